"""Bugs that a report could well have, one at a time, in a copy of a good one: does the suite see them?

Each is a slip that somebody makes in a template, a style, a script or in the data that go into the page. None was
made with a case in mind; `near` only says where to look first, so that the benchmark ends sooner.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Defect:
    """A bug: what it is, how it gets into the page, and which cases to run first."""

    name: str
    says: str
    change: Callable[[str], str]
    near: tuple[str, ...]

    def apply(self, page: str) -> str:
        """The page with the bug.

        Raises
        ------
        LookupError
            The page is as it was: it no longer has what the bug is about.
        """
        changed = self.change(page)
        if changed == page:
            raise LookupError(f"the defect {self.name!r} changes nothing")
        return changed


def _text(old: str, new: str, count: int = 1) -> Callable[[str], str]:
    """Replace a piece of the page."""
    return lambda page: page.replace(old, new, count)


def _table(name: str, change: Callable[[str], str]) -> Callable[[str], str]:
    """Change the body of one table."""

    def apply(page: str) -> str:
        start = page.index(f'<table id="{name}"')
        start = page.index("<tbody>", start)
        end = page.index("</tbody>", start)
        return page[:start] + change(page[start:end]) + page[end:]

    return apply


def _data(change: Callable[[dict[str, Any]], None]) -> Callable[[str], str]:
    """Change the data that the page draws."""

    def apply(page: str) -> str:
        found = re.search(
            r'(<script type="application/json" id="report-data">)(.*?)(</script>)', page, re.DOTALL
        )
        assert found is not None
        content = json.loads(found[2])
        change(content)
        text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
        return page[: found.start(2)] + text + page[found.end(2) :]

    return apply


def _swap(one: str, other: str) -> Callable[[str], str]:
    return lambda body: body.replace(one, "\0").replace(other, one).replace("\0", other)


def _last_row(body: str) -> str:
    return body[: body.rindex("<tr")]


def _nan(body: str) -> str:
    return re.sub(r"<span>[−+]?[\d.]+ pp</span>", "<span>NaN pp</span>", body, count=1)


def _no_sign(body: str) -> str:
    return body.replace('data-value="-', 'data-value="').replace("<span>−", "<span>")


def _rolled(content: dict[str, Any]) -> None:
    for key, figure in content["figures"].items():
        if key.startswith("tenths"):
            for trace in figure["data"]:
                if isinstance(trace.get("y"), list):
                    trace["y"] = trace["y"][1:] + trace["y"][:1]


def _narrow(content: dict[str, Any]) -> None:
    for key, figure in content["figures"].items():
        if key.startswith("effects"):
            for trace in figure["data"]:
                for side in ("array", "arrayminus"):
                    bars = trace.get("error_x") or {}
                    if isinstance(bars.get(side), list):
                        bars[side] = [0.84 * reach for reach in bars[side]]


def _budget(content: dict[str, Any]) -> None:
    content["budget"]["start"] *= 1.15


def _curve_names(content: dict[str, Any]) -> None:
    for key, figure in content["figures"].items():
        if key.startswith("gain"):
            lines = [
                trace
                for trace in figure["data"]
                if trace.get("hovertemplate") and "treated" in trace["hovertemplate"]
            ]
            lines[0]["name"], lines[1]["name"] = lines[1]["name"], lines[0]["name"]


def _slower_roi(content: dict[str, Any]) -> None:
    content["budget"]["treated"] = [round(0.9 * count) for count in content["budget"]["treated"]]


def _total(body: str) -> str:
    """The total of the spend is that of another plan."""
    start = body.rindex("<tr")
    numbers = list(
        re.finditer(r'data-value="([\d.]+)" title="[\d.]+"[^>]*><span>([\d,.]+)</span>', body[start:])
    )
    cell = next(one for one in numbers if float(one[1]) > 1 and "." in one[1])
    wrong = 1.2 * float(cell[1])
    text = cell[0].replace(cell[1], repr(wrong)).replace(f"<span>{cell[2]}", f"<span>{wrong:,.0f}")
    return body[:start] + body[start:].replace(cell[0], text, 1)


def _numbers(values: Any) -> list[float]:
    """Coordinates of a trace; longer ones are packed."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), np.dtype(values["dtype"])).tolist()
    return list(values)


def _figures(kind: str, change: Callable[[dict[str, Any]], None]) -> Callable[[str], str]:
    """Change every figure of a kind."""

    def apply(content: dict[str, Any]) -> None:
        for key, figure in content["figures"].items():
            if key.partition(":")[0] == kind:
                change(figure)

    return _data(apply)


def _ticks(figure: dict[str, Any]) -> None:
    """The two features on top carry each other's names."""
    texts = figure["layout"]["yaxis"]["ticktext"]
    texts[0], texts[1] = texts[1], texts[0]


def _sides(figure: dict[str, Any]) -> None:
    """Observed effects stand on the axis of the predicted ones, and the other way round."""
    for trace in figure["data"]:
        if trace["name"].startswith("observed"):
            trace["x"], trace["y"] = trace["y"], trace["x"]


def _bands(stretch: float, lift: float) -> Callable[[dict[str, Any]], None]:
    """Bands narrower or wider by a factor, or lifted by parts of their height."""

    def change(figure: dict[str, Any]) -> None:
        for trace in figure["data"]:
            if trace.get("meta") == "band":
                y = np.array(_numbers(trace["y"]))
                middle = (y + y[::-1]) / 2
                trace["y"] = (middle + stretch * (y - middle) + lift * np.ptp(y)).tolist()

    return change


def _swap_names(*beginnings: str) -> Callable[[dict[str, Any]], None]:
    """Two traces of a figure carry each other's names."""

    def change(figure: dict[str, Any]) -> None:
        one, other = (
            next(t for t in figure["data"] if str(t.get("name")).startswith(name) and t.get("mode"))
            for name in beginnings
        )
        one["name"], other["name"] = other["name"], one["name"]

    return change


def _shares(figure: dict[str, Any]) -> None:
    """The legend's shares have moved on by one kind."""
    names = [trace["name"].partition(" (") for trace in figure["data"]]
    for trace, (name, _, _), (_, bracket, share) in zip(
        figure["data"], names, names[1:] + names[:1], strict=True
    ):
        trace["name"] = name + bracket + share


def _predicted_twice(figure: dict[str, Any]) -> None:
    """What is called observed is what was predicted for such customers."""
    traces = {trace["name"]: trace for trace in figure["data"]}
    observed = traces.get("observed, such customers")
    if observed is not None:
        observed["y"] = _numbers(traces["predicted, such customers"]["y"])[: len(_numbers(observed["y"]))]


def _toc_is_lift(content: dict[str, Any]) -> None:
    for key, figure in content["figures"].items():
        if key.startswith("toc:"):
            lift = content["figures"][key.replace("toc:", "lift:", 1)]
            figure["data"] = lift["data"]


def _other_model(content: dict[str, Any]) -> None:
    """Two models' calibrations are mixed up; the headings are right."""
    figures = content["figures"]
    for key in [key for key in figures if key.startswith("calibration:0:")]:
        one, other = figures[key], figures[key.replace(":0:", ":1:", 1)]
        one["data"], other["data"] = other["data"], one["data"]


def _rows_turned(body: str) -> str:
    """The rows of a table from the last to the first."""
    start = body.index("<tr")
    return body[:start] + "".join(reversed(re.findall(r"<tr.*?</tr>\s*", body[start:], re.DOTALL)))


_CDN = '<script src="https://cdn.plot.ly/plotly-2.35.2.min.js"></script></head>'
_IMAGE = (
    '<header class="page"><img src="data:image/png;base64,iVBORw0KGgo=" alt="logo" width="40" height="40">'
)
_LATE = 'document.documentElement.dataset.ready = "true";\n  setTimeout(() => data.history.length, 60);'

DEFECTS = (
    Defect("dead choice", "the select of the model does nothing", _text("      const name = input.dataset.state;\n", '      const name = input.dataset.state;\n      if (name === "model") return;\n'), ("C02", "C01")),
    Defect("swapped arms", "the rows of two arms carry each other's names", _table("table-effects", _swap("Coupon 5", "Coupon 10")), ("B07",)),
    Defect("stale chart", "figures are not drawn again when the arm is chosen", _text("  function show(name) {\n    drawWith(name);", '  function show(name) {\n    if (name !== "arm") drawWith(name);'), ("C01",)),
    Defect("wrong sign", "negative differences lose their minus", _table("table-differences", _no_sign), ("B10",)),
    Defect("off by one", "observed effects stand one tenth too far left", _data(_rolled), ("B17", "C02")),
    Defect("rounding", "the budget's numbers have one digit", _text("Math.max(0, 2 - Math.floor(Math.log10(size)))", "Math.max(0, 0 - Math.floor(Math.log10(size)))"), ("C06",)),
    Defect("truncated table", "the last row of the effects is missing", _table("table-effects", _last_row), ("B07",)),
    Defect("truncated checks", "the last check is missing", _table("table-checks", _last_row), ("B05",)),
    Defect("broken download", "the CSV button looks for a table that is not there", _text("csv(document.getElementById(button.dataset.csv))", "csv(document.getElementById(button.dataset.copy))"), ("C11",)),
    Defect("rounded download", "the CSV has the rounded numbers", _text('number ? (cell.dataset.value ?? "") : shown.trim()', "shown.trim()"), ("C11",)),
    Defect("missing image", "a picture in the heading is broken", _text('<header class="page">', _IMAGE), ("A04",)),
    Defect("console error", "something is read that is not there, a moment after loading", _text('document.documentElement.dataset.ready = "true";', _LATE), ("A02", "A03", "A04")),
    Defect("overlapping labels", "too many labels on the axes", _text("      axis.fixedrange = true;", "      axis.fixedrange = true;\n      axis.nticks = 60;\n      axis.tickangle = 0;"), ("G07", "G10")),
    Defect("CDN", "plotly is loaded from the net", _text("</head>", _CDN), ("A01",)),
    Defect("NaN cell", "a score is NaN", _table("table-scores", _nan), ("A05", "B09")),
    Defect("wrong interval", "the figure of the effects has 90 % intervals", _data(_narrow), ("B16",)),
    Defect("lost state", "the address does not remember what was chosen", _text('history[how + "State"]({ ...state }, "", hash);', 'history[how + "State"]({ ...state }, "");'), ("C15",)),
    Defect("lost history", "choices replace each other in the history", _text('remember("push");', 'remember("replace");'), ("C14",)),
    Defect("unlabelled control", "the slider has no label", _text('<label for="budget-slider">Budget</label>', "<span>Budget</span>"), ("G04",)),
    Defect("path", "the data's folder is in the configuration", _text("&#34;campaign.parquet&#34;", "&#34;/home/ann/spring/campaign.parquet&#34;"), ("A06",)),
    Defect("wrong budget", "the slider starts at another budget than the plan's", _data(_budget), ("B18", "C06")),
    Defect("wrong customers", "the slider counts too few customers", _data(_slower_roi), ("C06",)),
    Defect("ignored filter", "tables are filtered by the stage alone", _text("row.hidden = names.some(", "row.hidden = names.slice(0, 1).some("), ("C01",)),
    Defect("unreadable at 375 px", "the cards of the verdict have a fixed width", _text(".keys { display: grid;", ".keys { min-width: 640px; display: grid;"), ("G07",)),
    Defect("low contrast", "remarks are light grey on white", _text("--faint: #56606b", "--faint: #9aa3ad"), ("G05",)),
    Defect("dead keyboard control", "Tab passes over the headings that sort", _text('<button type="button" class="sort"', '<button type="button" tabindex="-1" class="sort"', 10_000), ("G02",)),
    Defect("invisible focus", "outlines are switched off", _text(":focus-visible { outline: 3px solid var(--accent);", ":focus-visible { outline: none;"), ("G02",)),
    Defect("sorted as text", "numbers are compared letter by letter", _text("number ? Number(a) - Number(b)", "number ? a.localeCompare(b)"), ("C08", "C09")),
    Defect("broken reset", "back to the plan leads to zero", _text("setBudget(data.budget.start));", "setBudget(0));"), ("C06",)),
    Defect("broken anchor", "the menu leads nowhere", _text('<li><a href="#plan">', '<li><a href="#planning">'), ("A07",)),
    Defect("missing unit", "effects without their unit", _table("table-effects", lambda body: body.replace(" pp</span>", "</span>")), ("B07",)),
    Defect("cut on paper", "wide tables are cut off in print", _text("  .scroll { overflow: visible; border: 0; }", "  .scroll { overflow: hidden; border: 0; }\n  .scroll table { min-width: 900px; }"), ("C18",)),
    Defect("dark figures", "figures are drawn for a light page in the dark", _text("dark.matches && !printing ? data.templates.dark : data.templates.light", "data.templates.light"), ("G06",)),
    Defect("mark stands still", "the mark in the figure does not follow the slider", _text("    if (plot.data) {\n      const chosen", "    if (!plot.data) {\n      const chosen"), ("C06",)),
    Defect("swapped curves", "two models carry each other's names in the Qini curves", _data(_curve_names), ("B17",)),
    Defect("spend beyond the budget", "the total of the plan's spend is wrong", _table("table-allocation", _total), ("B12",)),
    Defect("not said to be simulated", "the badge is missing", lambda page: re.sub(r' <span class="badge">simulated data</span>', "", page), ("B20",)),
    Defect("swapped features", "two features of the importance figure carry each other's names", _figures("importance", _ticks), ("C22",)),
    Defect("feature order", "two features of the importance table carry each other's names", _table("table-importance", _swap("<span>age</span>", "<span>city</span>")), ("B25",)),
    Defect("other feature", "the figure of the effect by feature stays with the first feature", _text("  function show(name) {\n    drawWith(name);", '  function show(name) {\n    if (name !== "feature") drawWith(name);'), ("C22",)),
    Defect("predicted as observed", "observed effects by feature are the predicted ones", _figures("dependence", _predicted_twice), ("C22",)),
    Defect("calibration turned", "predicted and observed effects have changed places", _figures("calibration", _sides), ("B21", "C19")),
    Defect("calibration mixed up", "two models have each other's calibration", _data(_other_model), ("B21", "C19")),
    Defect("shifted band", "the bands of the Qini curves lie too high by a twentieth", _figures("gain", _bands(1.0, 0.05)), ("C20",)),
    Defect("narrow bands", "the bands of the TOC curves are 90 % ones", _figures("toc", _bands(0.84, 0.0)), ("C20",)),
    Defect("TOC as uplift", "the TOC curves are the uplift curves", _data(_toc_is_lift), ("C20",)),
    Defect("promise for measurement", "the slider calls measured what the plan promises", _text("numbers.measured = found.value;", "numbers.measured = now.value;"), ("C24",)),
    Defect("half an interval", "the slider's measured interval ends at the value", _text("to ${people(found.high)}", "to ${people(found.value)}"), ("C24",)),
    Defect("mislabelled rule", "the rule by response and the plan carry each other's names", _figures("spend", _swap_names("top by response", "lightgbm_s")), ("B29",)),
    Defect("swapped marks", "everyone with the one coupon is called everyone with the other", _figures("spend", _swap_names("everyone Coupon 5", "everyone Coupon 10")), ("B29",)),
    Defect("gain for loss", "plans that measure less than the chosen one have lost their minus", _table("table-spend", _no_sign), ("B28",)),
    Defect("wrong kinds", "sure things and lost causes carry each other's names", _table("table-quadrants", _swap("sure things", "lost causes")), ("B23",)),
    Defect("shares of the kinds", "the legend gives every kind the share of the next", _figures("quadrants", _shares), ("C21",)),
    Defect("segments upside down", "the segment with the lowest effect comes first", _table("table-segments", _rows_turned), ("B24",)),
    Defect("dark figures on paper", "figures of a dark page are printed as they are", _text("dark.matches && !printing ?", "dark.matches ?"), ("C25",)),
    Defect("buttons on paper", "the buttons of tables and figures are printed", _text(".sort .arrow, .tools, .anchor", ".sort .arrow, .anchor"), ("C18",)),
)  # fmt: skip
