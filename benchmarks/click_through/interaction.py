"""Group C: whatever can be chosen, moved, sorted, downloaded or printed changes everything that depends on it."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from benchmarks.click_through.agreement import close
from benchmarks.click_through.browser import HEIGHT, Visit, read_numbers
from benchmarks.click_through.case import CannotTell, Case, expect
from benchmarks.click_through.content import DRIVERS, FEATURES, MEASURED, PLAIN, PLAN, WHO
from benchmarks.click_through.content_drivers import driver_figures, importance_order
from benchmarks.click_through.content_figures import curve_points, effect_points, score_points, tenth_points
from benchmarks.click_through.content_size import bands, calibrations
from benchmarks.click_through.content_spend import slider_measured, slider_measured_by_keyboard
from benchmarks.click_through.content_tables import shown_scores
from benchmarks.click_through.content_who import who_figures
from benchmarks.click_through.truth import HEADLINE, VALUE, Truth

FIGURES = ("scores", "tenths", "curve")

# ---------------------------------------------------------------- stage, arm, model


def _pairs(truth: Truth) -> list[tuple[int, int]]:
    """Every stage once and every arm once, not all of both: first, last, and across."""
    stages, arms = len(truth.stages), len(truth.arms) - 1
    return [(index % stages, (index + 1) % arms) for index in range(max(stages, arms))]


def _agree_on(visit: Visit, truth: Truth, stage: str, arm: str, model: str) -> None:
    """Everything that depends on the selects of section 4 shows the same choice."""
    table = visit.table("table-scores")
    expect(len(table.rows) == len(truth.models), f"{len(table.rows)} rows at {stage}, {arm}")
    shown_scores(table, truth, stage, arm, truth.models)
    expect(
        truth.stage(stage) in table.caption and truth.arm(arm) in table.caption, f"caption {table.caption!r}"
    )
    if visit.has("#table-differences"):
        table = visit.table("table-differences")
        expect(len(table.rows) == len(truth.models) - 1, f"{len(table.rows)} differences at {stage}, {arm}")
        expect(
            all((row[1].text, row[2].text) == (truth.stage(stage), truth.arm(arm)) for row in table.rows),
            f"differences of another stage or arm than {stage}, {arm}",
        )
    score_points(visit, truth, stage, arm)
    curve_points(visit, truth, stage, arm, "gain")
    tenth_points(visit, truth, model, stage, arm)
    for figure in FIGURES:
        said = visit.subtitle(figure)
        expect(truth.stage(stage) in said and truth.arm(arm) in said, f"figure {figure} says {said!r}")
    expect(
        model in visit.text("#figure-tenths-title"),
        f"the tenths are headed {visit.text('#figure-tenths-title')!r}",
    )


def _selects(visit: Visit, truth: Truth) -> None:
    for number, (s, a) in enumerate(_pairs(truth)):
        m = number % len(truth.models)
        for name, index in (("stage", s), ("arm", a), ("model", m)):
            visit.choose(name, str(index))
        _agree_on(visit, truth, truth.stages[s], truth.arms[1 + a], truth.models[m])


def _selects_by_keyboard(visit: Visit, truth: Truth) -> None:
    """The last option of every select, with the arrow keys alone."""
    sizes = {"stage": len(truth.stages), "arm": len(truth.arms) - 1, "model": len(truth.models)}
    for name, size in sizes.items():
        visit.page.focus(f'select[data-state="{name}"]')
        for _ in range(size - 1):
            visit.page.keyboard.press("ArrowDown")
    visit.settle()
    _agree_on(visit, truth, truth.stages[-1], truth.arms[-1], truth.models[-1])
    for name, size in sizes.items():
        visit.page.focus(f'select[data-state="{name}"]')
        for _ in range(size - 1):
            visit.page.keyboard.press("ArrowUp")
    visit.settle()
    _agree_on(visit, truth, truth.stages[0], truth.arms[1], truth.models[0])


def _models(visit: Visit, truth: Truth) -> None:
    visit.choose("stage", "0")
    visit.choose("arm", "0")
    for index, model in enumerate(truth.models):
        visit.choose("model", str(index))
        tenth_points(visit, truth, model, truth.stages[0], truth.arms[1])
        expect(model in visit.text("#figure-tenths-title"), f"headed {visit.text('#figure-tenths-title')!r}")


def _effect_views(visit: Visit, truth: Truth) -> None:
    options = visit.js(
        "[...document.querySelectorAll('select[data-state=\"effects\"] option')].map((o) => [o.value, o.text])"
    )
    for value, text in options:
        visit.choose("effects", value)
        relative = "control" in text
        stages = truth.stages if relative else (VALUE,) if "per customer" in text else truth.chain
        effect_points(visit, truth, stages, relative=relative)


def _curves(visit: Visit, truth: Truth) -> None:
    for kind in ("lift", "gain"):
        visit.choose("curve", kind)
        visit.choose("stage", str(len(truth.stages) - 1))
        visit.choose("arm", "0")
        curve_points(visit, truth, truth.stages[-1], truth.arms[1], kind)
        ends = {"lift": "Uplift", "gain": "Qini"}
        expect(
            ends[kind] in visit.text("#figure-curve-title"), f"headed {visit.text('#figure-curve-title')!r}"
        )


def _bands(visit: Visit, truth: Truth) -> None:
    def shown() -> int:
        return sum(one["meta"] == "band" for one in visit.traces("curve"))

    start = shown()
    visit.page.check('input[data-state="bands"]')
    expect(shown() == len(truth.models), f"{shown()} of {len(truth.models)} bands")
    visit.page.uncheck('input[data-state="bands"]')
    expect(shown() == start, f"{shown()} bands after switching back, {start} before")


# ---------------------------------------------------------------- budget


def _shown_budget(visit: Visit, truth: Truth, budget: float) -> None:
    assert truth.plan is not None
    at = truth.at_budget(budget)
    plan = truth.at_budget(min(truth.plan["budget"] or math.inf, truth.last_budget))
    cells = {
        name: visit.text(f'[data-budget="{name}"]') for name in ("spend", "value", "change", "treated", "roi")
    }
    close(cells["spend"], at["spend"], f"spend at {budget:g}", truth)
    close(cells["value"], at["value"], f"value at {budget:g}", truth)
    close(cells["change"], at["value"] - plan["value"], f"change at {budget:g}", truth)
    close(cells["treated"], at["treated"], f"customers at {budget:g}", truth, scale="treated")
    # The return is a step: look at the steps around.
    near = [truth.at_budget(budget + shift * truth.last_budget)["roi"] for shift in (0.03, -0.03)]
    last = read_numbers(cells["roi"])[0]
    roi = last.value
    expect(last.half <= 0.03 * roi or roi == 0, f"return at {budget:g}: {cells['roi']!r} is rounded too much")
    expect(
        0.98 * near[0] - 0.01 <= roi <= 1.02 * near[1] + 0.01 or budget <= 0.03 * truth.last_budget,
        f"return at {budget:g}: {cells['roi']!r}, the files say {near[0]:.3g} to {near[1]:.3g}",
    )
    mark = next(one for one in visit.traces("budget") if one["meta"] == "chosen")
    expect(
        math.isclose(mark["x"][0], budget, rel_tol=1e-5, abs_tol=1e-6),
        f"the mark in the figure stands at {mark['x'][0]}, the slider at {budget}",
    )
    close(f"{mark['y'][0]:.2f}", at["value"], f"the mark's value at {budget:g}", truth)


def _slider(visit: Visit, truth: Truth) -> None:
    last = float(visit.page.get_attribute("#budget-slider", "max"))
    expect(
        math.isclose(last, truth.last_budget, rel_tol=1e-5),
        f"the slider ends at {last:g}, useful is {truth.last_budget:g}",
    )
    for share in (0.0, 0.5, 1.0, 0.2):
        budget = visit.slide(share * last)
        _shown_budget(visit, truth, budget)
        typed = float(visit.page.input_value("#budget-number"))
        expect(math.isclose(typed, budget, abs_tol=0.011), f"the field says {typed}, the slider {budget}")
    visit.page.click("#budget-reset")
    start = min((truth.plan or {})["budget"] or math.inf, last)
    expect(
        math.isclose(float(visit.page.input_value("#budget-slider")), start, rel_tol=1e-5),
        "reset does not go back to the plan",
    )
    _shown_budget(visit, truth, start)


def _slider_by_keyboard(visit: Visit, truth: Truth) -> None:
    visit.page.focus("#budget-slider")
    for key, share in (("Home", 0.0), ("End", 1.0)):
        visit.page.keyboard.press(key)
        _shown_budget(visit, truth, share * truth.last_budget)
    visit.page.focus("#budget-reset")
    visit.page.keyboard.press("Enter")
    _shown_budget(visit, truth, min((truth.plan or {})["budget"] or math.inf, truth.last_budget))


def _typed_budget(visit: Visit, truth: Truth) -> None:
    budget = round(0.37 * truth.last_budget, 2)
    visit.page.fill("#budget-number", str(budget))
    _shown_budget(visit, truth, budget)
    expect(
        math.isclose(float(visit.page.input_value("#budget-slider")), budget, rel_tol=1e-4),
        "the slider does not follow the field",
    )
    for typed, kept in ((str(10 * truth.last_budget + 10), truth.last_budget), ("-5", 0.0)):
        visit.page.fill("#budget-number", typed)
        expect(visit.page.is_visible("#budget-hint"), f"{typed} is taken without a word")
        _shown_budget(visit, truth, kept)


# ---------------------------------------------------------------- sorting


def _sort_scores(visit: Visit, truth: Truth) -> None:
    """At the first stage, and at the last, where numbers have more digits and both signs."""
    for index in dict.fromkeys((0, len(truth.stages) - 1)):
        visit.choose("stage", str(index))
        visit.choose("arm", "0")
        stage, arm = truth.stages[index], truth.arms[1]
        for metric in truth.metric_ids:
            cells = {model: truth.metric(model, stage, arm, metric) for model in truth.models}
            known = {
                model: cell["value"] for model, cell in cells.items() if cell and cell["value"] is not None
            }
            up = sorted(known, key=lambda model: float(known[model] or 0.0))
            _sorts(visit, "table-scores", metric, (up[::-1], up))


def _sorts(visit: Visit, table: str, column: str, orders: tuple[list[str], list[str]]) -> None:
    """Numbers start with the highest; the second click turns them round; what has no number stays last."""
    at = visit.table(table).column(column)
    button = visit.page.locator(f"#{table} thead th").nth(at).locator("button")
    for order, said in zip(orders, ("descending", "ascending"), strict=True):
        button.click()
        found = [row[0].text for row in visit.table(table).rows][: len(order)]
        expect(found == order, f"{column} {said}: {found}, should be {order}")
        state = visit.page.locator(f"#{table} thead th").nth(at).get_attribute("aria-sort")
        expect(state == said, f"{column} is said to be {state}, it is {said}")


def _sort_effects(visit: Visit, truth: Truth) -> None:
    """Points and money are sorted apart: each falls, then rises."""
    exact = {
        (truth.stage(stage), truth.arm(arm)): (stage == VALUE, effect["value"])
        for stage, effects in truth.metrics["ate"].items()
        for arm, effect in effects.items()
    }
    at = visit.table("table-effects").column("ate")
    button = visit.page.locator("#table-effects thead th").nth(at).locator("button")
    for falling in (True, False):
        button.click()
        rows = [(row[0].text, row[1].text) for row in visit.table("table-effects").rows]
        expect(sorted(rows) == sorted(exact), "rows are lost by sorting")
        for money in (False, True):
            found = [exact[row][1] for row in rows if exact[row][0] == money]
            expect(
                found == sorted(found, reverse=falling),
                f"effects are not {'falling' if falling else 'rising'}: {found}",
            )


def _sort_words(visit: Visit, truth: Truth) -> None:
    names = sorted(truth.models, key=str.lower)
    at = visit.table("table-scores").column("Model")
    button = visit.page.locator("#table-scores thead th").nth(at).locator("button")
    for order in (names, names[::-1]):
        button.click()
        found = [row[0].text for row in visit.table("table-scores").rows]
        expect(found == order, f"models by name: {found}")


# ---------------------------------------------------------------- downloads

_CSV_BUTTON = """(id) => { const table = document.getElementById(id); const box = table.closest(".wide, figure, .card") ?? table.parentElement;
  const near = [...box.querySelectorAll("button, a")].filter((b) => /csv/i.test([b.textContent, b.getAttribute("aria-label"), b.title, b.getAttribute("download")].join(" ")));
  if (!near.length) return null; near[0].dataset.clickThrough = id; return near[0].textContent.trim(); }"""


def csv_of(visit: Visit, table: str) -> list[list[str]] | None:
    """The file that the table's CSV button gives, as rows; None where there is no button."""
    if visit.js(_CSV_BUTTON, table) is None:
        return None
    button = visit.page.locator(f'[data-click-through="{table}"]')
    with visit.page.expect_download(timeout=5_000) as waiting:
        button.click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def _csv(visit: Visit, truth: Truth) -> None:
    names = visit.js(
        "[...document.querySelectorAll('main table[id]')].filter((t) => !t.closest('details:not([open])')).map((t) => t.id)"
    )
    without = [name for name in names if visit.js(_CSV_BUTTON, name) is None]
    expect(not without, f"no CSV of {', '.join(without[:4])}")
    _csv_of_scores(visit, truth)
    rows = csv_of(visit, "table-allocation") if truth.plan is not None else None
    if rows is not None:
        found = {row[0]: row for row in rows[1:]}
        for arm in truth.arms:
            row = next((row for name, row in found.items() if name in (truth.arm(arm), arm)), None)
            expect(row is not None, f"the CSV of the plan lacks {arm}")
            assert row is not None
            expect(
                str(truth.customers(arm)) in [cell.replace(",", "") for cell in row],
                f"customers of {arm} in the CSV: {row}",
            )


def _csv_of_scores(visit: Visit, truth: Truth) -> None:
    """Every visible score with its exact number, by model."""
    visit.choose("stage", "0")
    visit.choose("arm", "0")
    rows = csv_of(visit, "table-scores")
    expect(rows is not None and len(rows) > 1, "the CSV of the scores is empty")
    assert rows is not None
    head, body = rows[0], rows[1:]
    expect(all(len(row) == len(head) for row in body), "rows of the CSV differ in length")
    at = next(
        (i for i, name in enumerate(head) if HEADLINE in name or name.startswith("Qini per customer")), None
    )
    expect(at is not None, f"no {HEADLINE} among {head}")
    assert at is not None
    for model in truth.models:
        cell = truth.metric(model, truth.stages[0], truth.arms[1], HEADLINE)
        mine = [
            row
            for row in body
            if row[0] == model
            and (
                len(body) <= len(truth.models)
                or (truth.stage(truth.stages[0]) in row and truth.arm(truth.arms[1]) in row)
            )
        ]
        expect(len(mine) == 1, f"{len(mine)} rows of {model} in the CSV")
        assert cell is not None
        expect(
            math.isclose(float(mine[0][at]), float(cell["value"] or 0.0), rel_tol=1e-9),
            f"{HEADLINE} of {model} in the CSV: {mine[0][at]}, the file says {cell['value']}",
        )


def _picture(visit: Visit, truth: Truth) -> None:
    without = visit.js(
        "[...document.querySelectorAll('[data-figure]')].filter((p) => !p.closest('figure').querySelector('[data-image]')).map((p) => p.id)"
    )
    expect(not without, f"no picture of {without[:4]}")
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<svg")):
        button = visit.page.locator(f'figure:has(#figure-curve) [data-image="{kind}"]')
        with visit.page.expect_download(timeout=8_000) as waiting:
            button.click()
        data = Path(waiting.value.path()).read_bytes()
        expect(data.startswith(begins), f"the {kind} begins with {data[:8]!r}")
        expect(len(data) > 5_000, f"the {kind} has {len(data)} bytes")
        if kind == "svg":
            expect(all(model in data.decode() for model in truth.models), "the svg does not name the models")


# ---------------------------------------------------------------- hover


def _hover(visit: Visit, truth: Truth) -> None:
    place = visit.js("""() => { const plot = document.getElementById("figure-allocation"); plot.scrollIntoView({ block: "center", behavior: "instant" });
      const bar = plot.querySelector(".barlayer .point path").getBoundingClientRect();
      return [bar.left + bar.width / 2, bar.top + bar.height / 2]; }""")
    visit.settle()
    place = visit.js("""() => { const bar = document.querySelector("#figure-allocation .barlayer .point path").getBoundingClientRect();
      return [bar.left + bar.width / 2, bar.top + bar.height / 2]; }""")
    visit.page.mouse.move(place[0] - 3, place[1])
    visit.page.mouse.move(*place, steps=3)
    visit.page.wait_for_timeout(300)
    said = visit.js("document.querySelector('#figure-allocation .hoverlayer')?.textContent ?? ''")
    expect(f"{truth.customers(truth.arms[0]):,}" in said, f"hovering over {truth.arms[0]} says {said!r}")


# ---------------------------------------------------------------- places


def _back(visit: Visit, truth: Truth) -> None:
    def stands() -> tuple[str, str]:
        return tuple(visit.page.input_value(f'select[data-state="{name}"]') for name in ("stage", "arm"))  # type: ignore[return-value]

    start = stands()
    stage = str((int(start[0]) + 1) % len(truth.stages))
    arm = str((int(start[1]) + 1) % (len(truth.arms) - 1))
    visit.choose("stage", stage)
    visit.choose("arm", arm)
    visit.page.go_back()
    visit.settle(200)
    expect(stands() == (stage, start[1]), f"back leads to {stands()}, it was {(stage, start[1])}")
    shown_scores(
        visit.table("table-scores"),
        truth,
        truth.stages[int(stage)],
        truth.arms[1 + int(start[1])],
        truth.models,
    )
    visit.page.go_forward()
    visit.settle(200)
    expect(stands() == (stage, arm), f"forward leads to {stands()}, it was {(stage, arm)}")
    score_points(visit, truth, truth.stages[int(stage)], truth.arms[1 + int(arm)])


def _deep_link(visit: Visit, truth: Truth) -> None:
    visit.choose("stage", "0")
    visit.choose("arm", "0")
    visit.choose("curve", "lift")
    money = None
    if truth.plan is not None:
        money = visit.slide(round(0.3 * truth.last_budget, 2))
    address = visit.js("location.hash")
    expect(len(address) > 3, "the address does not say what is shown")
    visit.open(address)
    shown_scores(visit.table("table-scores"), truth, truth.stages[0], truth.arms[1], truth.models)
    curve_points(visit, truth, truth.stages[0], truth.arms[1], "lift")
    if money is not None:
        _shown_budget(visit, truth, money)
    visit.page.reload()
    visit.wait_ready()
    curve_points(visit, truth, truth.stages[0], truth.arms[1], "lift")


def _menu(visit: Visit, truth: Truth) -> None:
    names = visit.js("[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href').slice(1))")
    sections = visit.js("[...document.querySelectorAll('main > section')].map((s) => s.id)")
    expect(names == sections, f"the menu has {names}, the page {sections}")
    visit.js("document.documentElement.style.scrollBehavior = 'auto'")
    for name in names:
        visit.page.click(f'nav a[href="#{name}"]')
        visit.settle(60)
        top, height, end = visit.js(
            "(id) => { const b = document.getElementById(id).getBoundingClientRect(); return [b.top, innerHeight, scrollY + innerHeight >= document.documentElement.scrollHeight - 2]; }",
            name,
        )
        expect(-5 <= top < 0.5 * height or end, f"#{name} stands at {top:.0f} of {height} after the click")


def _details(visit: Visit, truth: Truth) -> None:
    count = visit.page.locator("main details").count()
    if not count:
        raise CannotTell("nothing on the page can be opened")
    for index in range(count):
        box = visit.page.locator("main details").nth(index)
        if box.evaluate("(b) => !!b.parentElement.closest('details:not([open])')"):
            continue
        before = box.evaluate("(b) => b.open")
        box.locator("> summary").click()
        expect(
            box.evaluate("(b) => b.open") != before,
            f"{box.locator('> summary').inner_text()[:40]!r} does not open",
        )
        inside = box.evaluate("(b) => b.innerText.length - b.querySelector('summary').innerText.length")
        expect(inside > 20 or before, f"{box.locator('> summary').inner_text()[:40]!r} is empty")
    said = visit.js("[...document.querySelectorAll('main details')].map((d) => d.textContent).join(' ')")
    expect(str(truth.run["config"]["split"]["test"]) in said, "the configuration is not shown in full")


# ---------------------------------------------------------------- paper


def _print(visit: Visit, truth: Truth) -> None:
    visit.js("dispatchEvent(new Event('beforeprint'))")
    visit.page.emulate_media(media="print")
    visit.page.set_viewport_size({"width": 718, "height": 1000})
    visit.settle(250)
    try:
        expect(
            visit.js("[...document.querySelectorAll('main details')].every((d) => d.open)"),
            "something stays closed on paper",
        )
        cut = visit.js(_CUT)
        expect(not cut, f"cut off on paper: {cut[:4]}")
        checks, arms = visit.table("table-checks"), visit.table("table-arms")
        expect(
            len(checks.rows) == len(truth.checks) and len(arms.rows) == len(truth.arms),
            "rows are missing on paper",
        )
        expect(
            not visit.js("!!document.querySelector('nav')?.getClientRects().length"), "the menu is printed"
        )
        background = visit.js("getComputedStyle(document.body).backgroundColor")
        expect(background in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"), f"the paper is {background}")
        left = visit.js(_CONTROLS)
        expect(not left, f"what cannot be used on paper is printed: {left[:4]}")
        pale = visit.js(_PALE)
        expect(not pale, f"figures with pale writing on paper: {pale[:4]}")
    finally:
        visit.js("dispatchEvent(new Event('afterprint'))")
        visit.page.emulate_media(media="screen")
        visit.page.set_viewport_size({"width": 1400, "height": HEIGHT})
    expect(
        not visit.js("[...document.querySelectorAll('main details')].some((d) => d.open)"),
        "what was closed stays open after printing",
    )


_CONTROLS = """() => [...document.querySelectorAll("main :is(button, input, select)")].filter((e) => e.getClientRects().length && !e.closest("thead")
  && !(e.matches("select") && getComputedStyle(e).borderTopWidth === "0px")).map((e) => e.id || e.dataset.state || e.textContent)"""

_PALE = """() => [...document.querySelectorAll("[data-figure]")].filter((plot) => [...plot.querySelectorAll(".xtick text, .ytick text")].some((t) =>
  (getComputedStyle(t).fill.match(/[\\d.]+/g) ?? []).slice(0, 3).every((v) => Number(v) > 150))).map((plot) => plot.id)"""

_CUT = """() => [...document.querySelectorAll("main *")].filter((e) => {
  if (e.closest("svg, .visually-hidden, .skip") || !e.getClientRects().length) return false;
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  if (style.position === "absolute" && style.clipPath !== "none") return false;
  const clips = (v) => v === "hidden" || v === "auto" || v === "scroll" || v === "clip";
  return box.right > innerWidth + 1.5 || (clips(style.overflowX) && e.scrollWidth > e.clientWidth + 2 && e.clientWidth > 0 && style.textOverflow !== "ellipsis")
    || (clips(style.overflowY) && e.scrollHeight > e.clientHeight + 2 && e.clientHeight > 0 && !e.closest("select, input"));
}).map((e) => (e.id || e.className || e.tagName) + "")"""


CASES = (
    Case("C01", "choices", "must", "stage, arm and model change every table and figure that depends on them", _selects, again=_selects_by_keyboard, changes="choices", evidence="#table-scores"),
    Case("C02", "choices", "must", "every model's tenths", _models, changes="choices", evidence="#figure-tenths", applies=lambda truth: truth.plain),
    Case("C03", "choices", "must", "average effects in every unit", _effect_views, changes="choices", evidence="#figure-effects", applies=lambda truth: truth.plain),
    Case("C04", "choices", "must", "Qini and uplift curves", _curves, changes="choices", evidence="#figure-curve", applies=lambda truth: truth.plain),
    Case("C05", "choices", "must", "bands of all models can be switched on and off", _bands, changes="choices", evidence="#figure-curve"),
    Case("C06", "budget", "must", "the slider at its ends and between gives the recomputed allocation; reset leads back", _slider, again=_slider_by_keyboard, changes="choices", evidence=".what-if", **PLAN),
    Case("C07", "budget", "must", "a typed budget does the same; out of range it says so", _typed_budget, changes="choices", evidence=".what-if", **PLAN),
    Case("C08", "sorting", "must", "models by every metric, both ways, missing ones last", _sort_scores, changes="choices", evidence="#table-scores"),
    Case("C09", "sorting", "must", "effects both ways, within their unit", _sort_effects, changes="choices", evidence="#table-effects"),
    Case("C10", "sorting", "should", "models by name", _sort_words, changes="choices", evidence="#table-scores"),
    Case("C11", "downloads", "must", "every table as CSV, with the exact numbers", _csv, changes="choices", evidence="#table-scores"),
    Case("C12", "downloads", "must", "every figure as PNG and SVG", _picture, evidence="#figure-curve"),
    Case("C13", "figures", "should", "hovering over a bar shows its number", _hover, evidence="#figure-allocation", **PLAN),
    Case("C14", "places", "must", "back and forward restore what was shown", _back, changes="page", evidence="#who"),
    Case("C15", "places", "must", "a link to a view, and a reload, restore it", _deep_link, changes="page", evidence="#who"),
    Case("C16", "places", "must", "the menu lists every section and leads there", _menu, changes="page", evidence="nav"),
    Case("C17", "places", "must", "what can be opened opens, and holds the whole configuration", _details, changes="page", evidence="#reproduce"),
    Case("C18", "paper", "must", "nothing is cut off, closed or dark in print", _print, changes="page", evidence="main"),
    Case("C25", "paper", "must", "a page that is read in the dark is printed light, its figures too", _print, changes="page", evidence="main", dark=True),
    Case("C19", "choices", "must", "calibration of every model, at other stages and arms", calibrations, changes="choices", evidence="#figure-calibration", **PLAIN),
    Case("C20", "choices", "must", "Qini, uplift and TOC curves of all models with their bands", bands, changes="choices", evidence="#figure-curve", **PLAIN),
    Case("C21", "choices", "must", "segments, kinds of customers and distribution follow arm and stage", who_figures, changes="choices", evidence="#figure-segments", **WHO),
    Case("C22", "choices", "must", "importance and effect by feature follow arm and feature", driver_figures, changes="choices", evidence="#figure-dependence", **FEATURES),
    Case("C23", "sorting", "must", "features by their loss, both ways", importance_order, changes="choices", evidence="#table-importance", **DRIVERS),
    Case("C24", "budget", "must", "the slider shows what was measured of such a plan, not what it promises", slider_measured, again=slider_measured_by_keyboard, changes="choices", evidence=".what-if", **MEASURED),
)  # fmt: skip
