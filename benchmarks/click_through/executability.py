"""Group A: the page opens, alone, whole and quickly."""

from __future__ import annotations

import re

from benchmarks.click_through.browser import LOCAL, Visit
from benchmarks.click_through.case import Case, expect
from benchmarks.click_through.truth import Truth

MOST_SECONDS = 3.0
MOST_BYTES = 8_000_000

EMPTY_WORDS = re.compile(
    r"\b(?:NaN|undefined|null|Infinity)\b|\bNone\b(?!\s+[a-z])|\[object |\blorem ipsum\b|\{\{|\}\}|\{%",
    re.IGNORECASE,
)
"""What a missing number or an unfilled template leaves behind; "None of the ..." begins a sentence."""
PATHS = re.compile(
    r"file://|(?<![\w./:*])/(?:home|root|tmp|work|usr|var|opt|mnt|srv|Users|private)/[\w.-]+|\b[A-Za-z]:\\\w"
)

_ALL_TEXT = """() => {
  const attributes = ["title", "aria-label", "alt", "placeholder", "aria-valuetext", "value", "href", "data-value"];
  const said = [...document.querySelectorAll("body *")].flatMap((e) => attributes.map((a) => e.getAttribute(a)).filter(Boolean));
  const hidden = [...document.querySelectorAll("details:not([open]) :is(summary, p, pre, dd, dt, td > *, th > *), tr[hidden] > * > *")].map((e) => e.textContent);
  return [document.title, document.body.innerText, ...hidden, ...said].join("\\n");
}"""
_DATA_STRINGS = """() => {
  const found = [];
  const walk = (x) => { if (typeof x === "string") found.push(x); else if (x && typeof x === "object") Object.values(x).forEach(walk); };
  for (const s of document.querySelectorAll('script[type="application/json"]')) walk(JSON.parse(s.textContent));
  return found.filter((text) => text.length < 4000).join("\\n");
}"""
_MARKS = """() => Object.fromEntries([...document.querySelectorAll("[data-figure]")]
  .filter((plot) => !plot.closest("details:not([open])"))
  .map((plot) => [plot.id, [...plot.querySelectorAll(".main-svg .scatterlayer path, .main-svg .barlayer path")]
    .filter((mark) => { const b = mark.getBoundingClientRect(); return b.width + b.height > 0; }).length]))"""
_EXTERNAL = """() => {
  const found = [...document.querySelectorAll("[src], link[href], object[data], use[href]")]
    .map((e) => e.getAttribute("src") ?? e.getAttribute("href") ?? e.getAttribute("data"))
    .filter((a) => a && !/^(#|data:|blob:)/.test(a));
  for (const sheet of document.querySelectorAll("style"))
    found.push(...(sheet.textContent.match(/@import[^;]+|url\\((?!\\s*['"]?(?:data:|#))[^)]+\\)/g) ?? []));
  return found;
}"""
_BROKEN_IMAGES = """() => [...document.images].filter((i) => !i.complete || i.naturalWidth === 0).map((i) => i.alt || i.src.slice(0, 60))
  .concat([...document.querySelectorAll("canvas")].filter((c) => c.width * c.height === 0).map(() => "canvas"))"""
_BROKEN_LINKS = """() => {
  const there = (id) => id === "" || document.getElementById(decodeURIComponent(id).split("&")[0]);
  const broken = [...document.querySelectorAll("a[href^='#']")].map((a) => a.getAttribute("href").slice(1)).filter((id) => !there(id));
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for", "list"])
    for (const e of document.querySelectorAll(`[${name}]`))
      broken.push(...e.getAttribute(name).split(/\\s+/).filter((id) => !document.getElementById(id)).map((id) => name + " " + id));
  const ids = [...document.querySelectorAll("[id]")].filter((e) => !e.closest("svg")).map((e) => e.id);
  broken.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => "twice: " + id));
  return broken;
}"""


def _offline(visit: Visit, truth: Truth) -> None:
    abroad = [address[:80] for address in visit.requests if not address.startswith(LOCAL)]
    expect(not abroad, f"asked for {', '.join(abroad[:3])}")
    files = {address for address in visit.requests if address.startswith("file:")}
    expect(
        len({address.partition("#")[0] for address in files}) == 1,
        f"asked for other files: {sorted(files)[:3]}",
    )
    external = visit.js(_EXTERNAL)
    expect(not external, f"depends on {external[:3]}")


def _quiet(visit: Visit, truth: Truth) -> None:
    expect(not visit.complaints, f"console: {visit.complaints[:3]}")


def _not_blank(visit: Visit, truth: Truth) -> None:
    expect(visit.text("h1") == truth.run["campaign"]["name"], f"the heading is {visit.text('h1')!r}")
    for section in visit.js("[...document.querySelectorAll('main > section')].map((s) => s.id)"):
        words = len(visit.text(f"#{section}").split())
        expect(words > 20, f"section {section} says {words} words")


def _drawn(visit: Visit, truth: Truth) -> None:
    marks = visit.js(_MARKS)
    expect(len(marks) >= 6, f"only {len(marks)} figures")
    empty = [name for name, count in marks.items() if count == 0]
    expect(not empty, f"nothing is drawn in {', '.join(empty)}")
    broken = visit.js(_BROKEN_IMAGES)
    expect(not broken, f"images are missing: {broken[:3]}")
    for figure in marks:
        expect(visit.text(f"#{figure}-title"), f"{figure} has no title")


def _no_empty_words(visit: Visit, truth: Truth) -> None:
    text = visit.js(_ALL_TEXT)
    found = EMPTY_WORDS.search(text)
    # A name from the data may be such a word; then it is not the page's own.
    names = {*truth.arms, *truth.stages, *truth.models, *map(truth.arm, truth.arms)}
    expect(
        found is None or found[0] in names,
        f"the page says {found and text[max(0, found.start() - 30) : found.end() + 20]!r}",
    )


def _no_paths(visit: Visit, truth: Truth) -> None:
    for text in (visit.js(_ALL_TEXT), visit.js(_DATA_STRINGS)):
        found = PATHS.search(text)
        expect(found is None, f"a path of this machine: {found and text[found.start() : found.end() + 30]!r}")
        expect(str(truth.folder.resolve()) not in text, "the path of the run folder")


def _anchors(visit: Visit, truth: Truth) -> None:
    broken = visit.js(_BROKEN_LINKS)
    expect(not broken, f"lead nowhere: {broken[:4]}")


def _quick(visit: Visit, truth: Truth) -> None:
    seconds = visit.seconds
    for _ in range(2):
        if seconds < MOST_SECONDS:
            break
        visit.open()
        seconds = min(seconds, visit.seconds)
    expect(seconds < MOST_SECONDS, f"usable after {seconds:.1f} s (best of three)")


def _small(visit: Visit, truth: Truth) -> None:
    size = visit.file.stat().st_size
    expect(size < MOST_BYTES, f"{size / 1e6:.1f} MB")


CASES = (
    Case("A01", "executability", "must", "no request leaves the file, and nothing in it would make one", _offline),
    Case("A02", "executability", "must", "no console error, warning or rejection while it opens", _quiet),
    Case("A03", "executability", "must", "not blank: campaign's name, and words in every section", _not_blank),
    Case("A04", "executability", "must", "every figure has marks and a title, every image a picture", _drawn),
    Case("A05", "executability", "must", "no NaN, undefined, None, Infinity or unfilled template", _no_empty_words),
    Case("A06", "executability", "must", "no absolute path of a machine, in texts or data", _no_paths),
    Case("A07", "executability", "must", "every link in the page and every reference to an id resolves", _anchors),
    Case("A08", "executability", "must", f"usable in less than {MOST_SECONDS:g} s", _quick),
    Case("A09", "executability", "must", f"smaller than {MOST_BYTES / 1e6:g} MB", _small),
)  # fmt: skip
