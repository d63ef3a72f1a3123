"""Group G: usable with the keyboard, a screen reader, in the dark, and on a phone."""

from __future__ import annotations

from typing import Any

from benchmarks.click_through.browser import Visit
from benchmarks.click_through.case import Case, expect
from benchmarks.click_through.content_tables import shown_scores
from benchmarks.click_through.truth import Truth

WIDTHS = (375, 390, 768, 1400)
LEAST_CONTRAST = 4.5
LEAST_CONTRAST_LARGE = 3.0
"""WCAG 2.2, 1.4.3 (AA): text, and text of 24 px or bold 18.66 px."""

CONTROLS = "a[href], button, input, select, textarea, summary"

_FOCUSED = """() => { const e = document.activeElement; if (!e || e === document.body) return null;
  const s = getComputedStyle(e); const box = e.getBoundingClientRect();
  const ring = (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2) || s.boxShadow !== "none";
  const inside = e.matches("section") || box.width > 0;
  return [[...document.querySelectorAll("*")].indexOf(e), ring && inside, (e.id || e.dataset.state || e.textContent.trim().slice(0, 30) || e.tagName)]; }"""
_REACHABLE = """(selector) => { const every = [...document.querySelectorAll("*")];
  return [...document.querySelectorAll(selector)].filter((e) => !e.disabled && e.getClientRects().length && !e.closest("details:not([open]) > :not(summary), .modebar, svg")
    && getComputedStyle(e).visibility !== "hidden").map((e) => [every.indexOf(e), e.id || e.dataset.state || e.textContent.trim().slice(0, 30)]); }"""
_UNNAMED = """() => { const named = (e) => {
    const by = (e.getAttribute("aria-labelledby") ?? "").split(/\\s+/).map((id) => document.getElementById(id)?.textContent.trim()).join("");
    const labels = [...(e.labels ?? [])].map((l) => [...l.childNodes].filter((n) => n !== e).map((n) => n.textContent.trim()).join("")).join("");
    const own = e.matches("input, select, textarea") ? "" : e.textContent.trim();
    return by || labels || own || e.getAttribute("aria-label") || e.title; };
  const bad = [...document.querySelectorAll("a[href], button, input, select, textarea, summary")].filter((e) => !e.closest("svg, .modebar") && !named(e)).map((e) => "unnamed " + (e.id || e.dataset.state || e.tagName));
  bad.push(...[...document.images].filter((i) => !i.hasAttribute("alt")).map(() => "img without alt"));
  bad.push(...[...document.querySelectorAll("table")].filter((t) => !t.caption?.textContent.trim() || [...t.tHead.rows[0].cells].some((c) => c.scope !== "col")).map((t) => "table " + t.id));
  bad.push(...[...document.querySelectorAll("[data-figure]")].filter((p) => !p.closest("details:not([open])") && ((p.getAttribute("aria-label") ?? "").length < 30 || p.getAttribute("role") !== "img")).map((p) => "figure " + p.id));
  bad.push(...[...document.querySelectorAll("[role=group], [role=region], nav, main > section")].filter((g) => !g.getAttribute("aria-label") && !document.getElementById(g.getAttribute("aria-labelledby"))?.textContent.trim()).map((g) => "group " + (g.id || g.className || g.tagName)));
  if (!document.documentElement.lang) bad.push("no language");
  if (!document.title.trim()) bad.push("no title");
  const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5")].filter((h) => h.getClientRects().length).map((h) => Number(h.tagName[1]));
  if (levels.filter((l) => l === 1).length !== 1) bad.push("not one h1");
  levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) bad.push(`h${level} after h${levels[at - 1]}`); });
  return bad; }"""
_CONTRAST = """([small, large]) => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number);
    if (c.startsWith("color(")) return [...m.slice(0, 3).map((v) => 255 * v), m[3] ?? 1]; return [m[0], m[1], m[2], m[3] ?? 1]; };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ratio = (one, two) => { const [a, b] = [light(one), light(two)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
  const behind = new Map();
  const ground = (e) => { if (!e) return [255, 255, 255]; if (behind.has(e)) return behind.get(e);
    const c = parse(getComputedStyle(e).backgroundColor); const under = c[3] === 1 ? null : ground(e.parentElement);
    const made = c[3] === 1 ? c.slice(0, 3) : over(c, under); behind.set(e, made); return made; };
  const seen = new Set(), bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!text || !e || seen.has(e) || e.closest("script, style, noscript, .skip, .visually-hidden, option, .hoverlayer") || !e.getClientRects().length) continue;
    seen.add(e);
    const s = getComputedStyle(e); const drawn = e.closest("svg");
    if (s.visibility === "hidden") continue;
    let alpha = 1; for (let p = e; p; p = p.parentElement) alpha *= Number(getComputedStyle(p).opacity);
    if (alpha === 0) continue;
    const colour = parse(drawn ? s.fill : s.color); const under = ground(drawn ? drawn.closest("div") : e);
    const found = ratio(over([...colour.slice(0, 3), colour[3] * alpha], under), under);
    const size = parseFloat(s.fontSize), bold = Number(s.fontWeight) >= 700;
    const least = size >= 24 || (bold && size >= 18.66) ? large : small;
    if (found < least - 0.01) bad.push(`${found.toFixed(2)} ${text.slice(0, 25)}`);
  }
  return bad; }"""
_MISPLACED = """() => { const bad = [], texts = ["", 2, 3].flatMap((n) => ["x", "y"].flatMap((axis) =>
      [`.${axis}${n}title`, `.${axis}${n}tick text`])).join(", ") + ", .legendtext";
  for (const plot of [...document.querySelectorAll("[data-figure]")].filter((p) => p.getClientRects().length)) {
    const frame = plot.getBoundingClientRect();
    const boxes = [...plot.querySelectorAll(texts)].map((el) => [el.textContent, el.getBoundingClientRect()]).filter(([, b]) => b.width > 0);
    for (const [text, b] of boxes) if (b.left < frame.left - 2 || b.right > frame.right + 2 || b.bottom > frame.bottom + 2) bad.push(plot.id + " outside: " + text);
    for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
      const [a, b] = [boxes[i][1], boxes[j][1]];
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > 2 && y > 3) bad.push(plot.id + ": " + boxes[i][0] + " on " + boxes[j][0]);
    } } return bad; }"""
_OUTSIDE = """() => [...document.querySelectorAll("main *, header *, footer *")].filter((e) => {
    if (!e.getClientRects().length || e.closest("svg, .scroll, nav, pre, .skip, .visually-hidden") || getComputedStyle(e).position === "absolute") return false;
    const b = e.getBoundingClientRect(); return b.right > innerWidth + 1 || b.left < -1; }).map((e) => e.id || e.className || e.tagName)"""
_OVERLAPPING = """() => { const bad = [], parts = [...document.querySelectorAll(".control, .key, .slider > *, button.sort, h1, h2, h3, .answer, nav li")]
    .filter((e) => e.getClientRects().length && !e.closest(".visually-hidden") && !e.matches(".visually-hidden"));
  const byParent = new Map(); for (const e of parts) byParent.set(e.parentElement, [...(byParent.get(e.parentElement) ?? []), e]);
  for (const group of byParent.values()) for (let i = 0; i < group.length; i++) for (let j = 0; j < i; j++) {
    const [a, b] = [group[i].getBoundingClientRect(), group[j].getBoundingClientRect()];
    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 3 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3) bad.push(group[i].textContent.trim().slice(0, 25) + " on " + group[j].textContent.trim().slice(0, 25));
  } return bad; }"""
_TINY = """() => [...document.querySelectorAll("main *")].filter((e) => e.getClientRects().length && !e.closest("svg, .visually-hidden") && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && parseFloat(getComputedStyle(e).fontSize) < 10).map((e) => e.textContent.trim().slice(0, 25))"""


def _reach(visit: Visit, truth: Truth) -> None:
    wanted = dict(map(tuple, visit.js(_REACHABLE, CONTROLS)))  # type: ignore[arg-type]
    visit.js("() => { document.activeElement?.blur(); scrollTo(0, 0); }")
    reached: list[int] = []
    dim: list[str] = []
    for _ in range(3 * len(wanted) + 60):
        visit.page.keyboard.press("Tab")
        found = visit.js(_FOCUSED)
        if found is None or found[0] in reached:
            break
        reached.append(found[0])
        if not found[1]:
            dim.append(found[2])
    missing = [name for place, name in wanted.items() if place not in reached]
    expect(not missing, f"the keyboard does not reach {missing[:4]} ({len(missing)} of {len(wanted)})")
    expect(not dim, f"no visible focus on {dim[:4]}")
    order = [place for place in reached if place in wanted]
    expect(order == sorted(order), "the keyboard jumps about")


def _skip(visit: Visit, truth: Truth) -> None:
    visit.page.keyboard.press("Tab")
    expect(
        visit.js(
            "document.activeElement.matches('a.skip') && document.activeElement.getBoundingClientRect().left >= 0"
        ),
        "the skip link does not come first",
    )
    visit.page.keyboard.press("Enter")
    visit.settle(60)
    expect(
        visit.js("document.activeElement.id || location.hash.slice(1)") == "verdict",
        "the skip link does not lead to the verdict",
    )


def _keyboard(visit: Visit, truth: Truth) -> None:
    page = visit.page
    selector = 'select[data-state="stage"]'
    start = page.input_value(selector)
    page.focus(selector)
    page.keyboard.press("ArrowDown" if int(start) < len(truth.stages) - 1 else "ArrowUp")
    page.keyboard.press("Enter")
    visit.settle()
    now = page.input_value(selector)
    expect(now != start, "the arrow keys do not move the select of the stage")
    arm = truth.arms[1 + int(page.input_value('select[data-state="arm"]'))]
    shown_scores(visit.table("table-scores"), truth, truth.stages[int(now)], arm, truth.models)
    for key in ("Enter", "Space"):
        head = page.locator("#table-scores thead th").nth(
            visit.table("table-scores").column("qini_per_capita")
        )
        before = head.get_attribute("aria-sort")
        head.locator("button").focus()
        page.keyboard.press(key)
        expect(head.get_attribute("aria-sort") != before, f"{key} does not sort")
    page.focus('input[data-state="bands"]')
    page.keyboard.press("Space")
    expect(page.is_checked('input[data-state="bands"]'), "Space does not switch the bands")
    if truth.plan is not None:
        before = page.inner_text('[data-budget="value"]')
        page.focus("#budget-slider")
        page.keyboard.press("End")
        expect(page.inner_text('[data-budget="value"]') != before, "End does not move the slider")
        page.focus("#budget-reset")
        page.keyboard.press("Enter")
        expect(page.inner_text('[data-budget="value"]') == before, "Enter does not reset the budget")
    box = page.locator("#reproduce details").first
    box.locator("> summary").focus()
    page.keyboard.press("Enter")
    expect(box.evaluate("(b) => b.open"), "Enter does not open the configuration")


def _names(visit: Visit, truth: Truth) -> None:
    bad = visit.js(_UNNAMED)
    expect(not bad, f"for a screen reader: {bad[:4]}")
    if truth.plan is not None:
        said = visit.js("document.getElementById('budget-slider').getAttribute('aria-valuetext')")
        expect(said and any(letter.isdigit() for letter in said), f"the slider says {said!r}")
    expect(visit.js("!!document.querySelector('[aria-live], [role=status]')"), "changes are not announced")


def _contrast(visit: Visit, truth: Truth) -> None:
    bad = visit.js(_CONTRAST, [LEAST_CONTRAST, LEAST_CONTRAST_LARGE])
    expect(not bad, f"contrast: {bad[:4]} ({len(bad)} texts)")


def _dark(visit: Visit, truth: Truth) -> None:
    light = visit.js("""() => ["body", ".card", ".key", "table"].map((s) => document.querySelector(s)).filter(Boolean).map((e) => {
      let p = e; while (p && getComputedStyle(p).backgroundColor === "rgba(0, 0, 0, 0)") p = p.parentElement;
      const c = getComputedStyle(p ?? document.body).backgroundColor.match(/[\\d.]+/g).map(Number); return (c[0] + c[1] + c[2]) / 3; })""")
    expect(max(light) < 90, f"in the dark the page has light areas ({max(light):.0f} of 255)")
    ink = visit.js("""() => [...document.querySelectorAll("[data-figure] .xtitle, [data-figure] .legendtext, [data-figure] .ytick text")].map((t) => {
      const c = getComputedStyle(t).fill.match(/[\\d.]+/g).map(Number); return (c[0] + c[1] + c[2]) / 3; })""")
    expect(ink and min(ink) > 120, "figures have dark text on the dark page")
    _contrast(visit, truth)


def _layout(visit: Visit, truth: Truth) -> None:
    extra = visit.js("document.documentElement.scrollWidth - innerWidth")
    expect(extra <= 0, f"the page scrolls sideways by {extra} px")
    outside = visit.js(_OUTSIDE)
    expect(not outside, f"outside of the window: {outside[:4]}")
    misplaced = visit.js(_MISPLACED)
    expect(not misplaced, f"texts of figures: {misplaced[:3]}")
    overlapping = visit.js(_OVERLAPPING)
    expect(not overlapping, f"over each other: {overlapping[:3]}")
    tiny = visit.js(_TINY)
    expect(not tiny, f"smaller than 10 px: {tiny[:3]}")
    hidden = visit.js("""() => [...document.querySelectorAll(".scroll")].filter((r) => r.scrollWidth > r.clientWidth + 1 && r.getClientRects().length
      && !(/(auto|scroll)/.test(getComputedStyle(r).overflowX) && r.querySelector(".sideways")?.getClientRects().length)).map((r) => r.querySelector("table")?.id ?? "")""")
    expect(not hidden, f"wider than the window, and do not say so: {hidden[:3]}")


def _case(width: int, number: int) -> Case:
    return Case(
        f"G{number:02d}",
        "layout",
        "must",
        f"{width} px: nothing sideways, outside, overlapping or tiny",
        _layout,
        width=width,
    )


_DARK: dict[str, Any] = {"dark": True}
CASES = (
    Case("G01", "keyboard", "must", "the skip link comes first and works", _skip, changes="page"),
    Case("G02", "keyboard", "must", "Tab reaches every control in order, and the focus is seen", _reach, changes="page"),
    Case("G03", "keyboard", "must", "selects, sorting, switch, slider, reset and details work with keys alone", _keyboard, changes="page"),
    Case("G04", "screen reader", "must", "names, captions, headings, descriptions of figures, announcements", _names),
    Case("G05", "contrast", "must", f"every text at least {LEAST_CONTRAST:g}:1", _contrast),
    Case("G06", "contrast", "must", "dark pages are dark, and as readable", _dark, **_DARK),
    *(_case(width, 7 + place) for place, width in enumerate(WIDTHS)),
)  # fmt: skip
