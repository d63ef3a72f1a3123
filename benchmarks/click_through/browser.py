"""A headless Chromium, and a visit to a page: what it complained about, what it asked for, what it shows."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
HEIGHT = 900
LOCAL = ("file:", "data:", "blob:", "about:")


class Chromium:
    """The installed Chromium, driven by playwright; a context manager.

    Raises
    ------
    RuntimeError
        There is none on this machine (or no playwright).
    """

    def __init__(self) -> None:
        self._playwright: Any = None
        self._browser: Any = None

    @staticmethod
    def missing() -> str:
        """Why there is no browser; empty when there is one."""
        if EXECUTABLE is None:
            return "no Chromium on this machine: install chromium to run the browser tests"
        try:
            import playwright  # noqa: F401
        except ImportError:
            return "playwright is not installed"
        return ""

    def __enter__(self) -> Chromium:
        if self.missing():
            raise RuntimeError(self.missing())
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._browser.close()
        self._playwright.stop()

    def visit(
        self, file: Path, *, width: int = 1400, dark: bool = False, ready: str = "html[data-ready]"
    ) -> Visit:
        """A new window of its own (no cache, no history) that has opened `file`."""
        context = self._browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        return Visit(context, file, ready).open()


@dataclass(frozen=True)
class Cell:
    """What one cell of a table shows."""

    text: str
    small: str
    value: str | None


@dataclass(frozen=True)
class Shown:
    """A table as it stands on the page: headings, metric ids under them, and rows."""

    heads: tuple[str, ...]
    ids: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """Rows that can be seen."""
    caption: str
    hidden: int
    """Rows that cannot."""

    def column(self, wanted: str) -> int:
        """Place of a column by its heading or by the id under it."""
        names = [*self.ids, *self.heads]
        if wanted not in names:
            raise KeyError(f"no column {wanted!r} among {', '.join(self.heads)}")
        return names.index(wanted) % len(self.heads)


class Visit:
    """An open page.

    Attributes
    ----------
    page : playwright Page
    complaints, requests : list of str
        Console errors and warnings, uncaught errors and dialogs; addresses asked for.
    seconds : float
        Until the page said that it was ready: of the clock, or of the computing that it took where others held the
        processor.
    """

    def __init__(self, context: Any, file: Path, ready: str) -> None:
        self.file = file
        self.ready = ready
        self._context = context
        self.page = context.new_page()
        self._session = context.new_cdp_session(self.page)
        self._session.send("Performance.enable")
        self.page.set_default_timeout(5_000)
        self.page.set_default_navigation_timeout(40_000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.seconds = 0.0
        self._start: dict[str, Any] = {}
        page = self.page
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append("a dialog opened"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, address: str = "") -> Visit:
        """Go to the file (and a place in it), anew."""
        self.page.goto("about:blank")
        start, computed = time.perf_counter(), self._computed()
        self.page.goto(self.file.as_uri() + address)
        self.wait_ready()
        self.seconds, computed = time.perf_counter() - start, self._computed() - computed
        # On a machine that others use, too, the wall clock says how busy they are.
        if computed > 0:
            self.seconds = min(self.seconds, computed)
        self._start = self.js(_CHOICES)
        return self

    def _computed(self) -> float:
        """Seconds that the page's process has computed so far."""
        found = self._session.send("Performance.getMetrics")["metrics"]
        return float({one["name"]: one["value"] for one in found}["ProcessTime"])

    def restore(self) -> None:
        """Put every select, switch and the budget back to what they were when the page was opened."""
        self.js(_CHOOSE, self._start)

    def wait_ready(self) -> None:
        """Until the page's script has run to its end; a page that never gets there is judged as it is."""
        from playwright.sync_api import TimeoutError as Late

        try:
            self.page.wait_for_selector(self.ready, timeout=30_000)
        except Late:
            self.complaints.append("the page never said that it was ready")

    def close(self) -> None:
        """Close the window."""
        self._context.close()

    def js(self, expression: str, argument: Any = None) -> Any:
        """Value of an expression, or of a function called with `argument`, in the page."""
        return self.page.evaluate(expression, argument)

    def settle(self, milliseconds: int = 120) -> None:
        """Let the page draw: two frames and a moment."""
        self.js("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.page.wait_for_timeout(milliseconds)

    # ------------------------------------------------------------ reading

    def text(self, selector: str) -> str:
        """Visible text of the first match; empty when there is none."""
        return str(self.js("(s) => document.querySelector(s)?.innerText ?? ''", selector))

    def subtitle(self, figure: str) -> str:
        """What a figure says under its title."""
        said = self.js(
            "(f) => document.getElementById('figure-' + f)?.closest('figure').querySelector('[data-figure-subtitle]')?.innerText",
            figure,
        )
        return str(said or "")

    def has(self, selector: str) -> bool:
        """Whether anything matches."""
        return bool(self.js("(s) => !!document.querySelector(s)", selector))

    def table(self, name: str) -> Shown:
        """A table by its id.

        Raises
        ------
        KeyError
            There is none.
        """
        found = self.js(_TABLE, name)
        if found is None:
            raise KeyError(f"no table {name!r} on the page")
        rows = tuple(tuple(Cell(*cell) for cell in row) for row in found["rows"])
        return Shown(tuple(found["heads"]), tuple(found["ids"]), rows, found["caption"], found["hidden"])

    def traces(self, figure: str) -> list[dict[str, Any]]:
        """What a figure has drawn: name, meta, x, y, error bars (upper, lower) of every visible trace.

        Raises
        ------
        KeyError
            There is no such figure, or it is not drawn.
        """
        found = self.js(_TRACES, figure)
        if found is None:
            raise KeyError(f"figure {figure!r} is not drawn")
        return list(found)

    def trace(self, figure: str, name: str) -> dict[str, Any]:
        """One trace by its name.

        Raises
        ------
        KeyError
            It is not there.
        """
        for one in self.traces(figure):
            if one["name"] == name:
                return one
        raise KeyError(f"figure {figure!r} has no trace {name!r}")

    # ------------------------------------------------------------ doing

    def choose(self, name: str, value: str) -> None:
        """Pick an option of one of the page's selects."""
        self.page.select_option(f'select[data-state="{name}"]', value)

    def slide(self, budget: float) -> float:
        """Move the budget slider there; returns where it stands (a slider keeps about six digits)."""
        self.js(
            """(money) => { const s = document.getElementById("budget-slider"); s.value = money;
            s.dispatchEvent(new Event("input", { bubbles: true })); }""",
            budget,
        )
        return float(self.page.input_value("#budget-slider"))


_CHOICES = """() => Object.fromEntries([...document.querySelectorAll("[data-state]")]
  .map((e) => [e.dataset.state, e.type === "checkbox" ? e.checked : e.value]))"""
_CHOOSE = """(start) => { for (const e of document.querySelectorAll("[data-state]")) {
    const box = e.type === "checkbox", now = box ? e.checked : e.value, before = start[e.dataset.state];
    if (now === before || before === undefined) continue;
    if (box) e.checked = before; else e.value = before;
    e.dispatchEvent(new Event("change", { bubbles: true })); }
  document.getElementById("budget-reset")?.click(); scrollTo(0, 0);
  // Where the last click was, Tab would go on from there.
  document.body.tabIndex = -1; document.body.focus(); document.body.blur(); document.body.removeAttribute("tabindex"); }"""

_TABLE = """(id) => {
  const table = document.getElementById(id);
  if (!table || !table.tHead) return null;
  const shown = (row) => !row.hidden && row.getClientRects().length > 0 && getComputedStyle(row).visibility !== "hidden";
  const open = !table.closest("details:not([open])");
  const own = (cell) => {
    const small = cell.querySelector("small");
    const main = cell.querySelector("span, code") ?? cell;
    return [main.textContent.trim(), small ? small.textContent.trim() : "", cell.dataset.value ?? null];
  };
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  const heads = [...table.tHead.rows[0].cells];
  return {
    heads: heads.map((h) => { const c = h.cloneNode(true); c.querySelectorAll(".id, .arrow").forEach((e) => e.remove()); return c.textContent.trim(); }),
    ids: heads.map((h) => h.querySelector(".id")?.textContent.trim() ?? ""),
    rows: rows.filter((row) => !open || shown(row)).map((row) => [...row.cells].map(own)),
    caption: (table.caption?.querySelector("span") ?? table.caption)?.textContent.trim() ?? "",
    hidden: rows.filter((row) => open && !shown(row)).length,
  };
}"""

_TRACES = """(key) => {
  const plot = document.getElementById("figure-" + key);
  if (!plot || !plot._fullData) return null;
  const list = (a) => a == null ? null : Array.from(a, (v) => (typeof v === "number" && !Number.isFinite(v) ? null : v));
  const error = (e) => !e || !e.visible ? null : [list(e.array), list(e.symmetric ? e.array : e.arrayminus)];
  return plot._fullData.filter((t) => t.visible === true).map((t) => ({
    name: t.name, meta: t.meta ?? null, kind: t.type, legend: t.showlegend !== false, x: list(t.x), y: list(t.y),
    error_x: error(t.error_x), error_y: error(t.error_y),
  }));
}"""


_NUMBER = re.compile(r"[−-]?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Number:
    """A number as it is shown: its value in the unit of the file, and half a step of its last digit."""

    value: float
    half: float

    def agrees(self, exact: float) -> bool:
        """Whether it is `exact`, rounded to the digits that are shown."""
        return abs(self.value - exact) <= self.half * (1 + 1e-6) + 1e-12


def read_numbers(text: str) -> list[Number]:
    """All numbers in a text for people; percent and percentage points become shares.

    A suffix after the last number counts for all: ``(−0.55 to +4.27)`` beside ``+1.86 pp`` has none of its own.

    Examples
    --------
    >>> [round(n.value, 6) for n in read_numbers("+1.86 pp")], read_numbers("1,943")[0].half
    ([0.0186], 0.5)
    """
    factor = 0.01 if re.search(r"\d\s*(?:%|pp)", text) else 1.0
    return [_number(found, factor) for found in _NUMBER.findall(text)]


def read_interval(small: str, text: str) -> list[Number]:
    """Both ends of the interval below a number, in the unit of that number."""
    factor = 0.01 if re.search(r"\d\s*(?:%|pp)", text) else 1.0
    inside = small[small.rindex("(") :] if "(" in small else small
    return [_number(found, factor) for found in _NUMBER.findall(inside)[:2]]


def _number(text: str, factor: float) -> Number:
    plain = text.replace("−", "-").replace(",", "")
    decimals = len(plain.partition(".")[2])
    return Number(float(plain) * factor, 0.5 * 10.0**-decimals * factor)
