"""What a case is, what it may find, and how findings are counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchmarks.click_through.browser import Visit
    from benchmarks.click_through.truth import Truth

Check = Callable[["Visit", "Truth"], None]
Applies = Callable[["Truth"], bool]
Level = Literal["must", "should"]


class Wrong(AssertionError):
    """The page shows something else than the files say, or does something else than it should."""


class CannotTell(Exception):
    """The files or the page do not allow to decide: the precondition does not hold."""


class Verdict(Enum):
    """What became of a case."""

    PASS = "Pass"
    FAIL = "Fail"
    UNCERTAIN = "Uncertain"
    HARNESS = "Harness"
    """The script went wrong, not the page: another way to the same state, the precondition and the page's own
    data are all in order."""


def expect(holds: object, message: str) -> None:
    """Raise :class:`Wrong` unless `holds`."""
    if not holds:
        raise Wrong(message)


@dataclass(frozen=True)
class Case:
    """One thing that somebody does, and what they should see.

    Attributes
    ----------
    id : str
        Group and number, for example ``C04``.
    feature : str
        Part of the page; the score is a mean over features.
    level : {"must", "should"}
    title : str
        What is claimed.
    check : callable
        Action and oracle: raises :class:`Wrong`.
    again : callable or None
        Another path to the same state (the keyboard instead of the mouse, the address instead of a click), for
        triage. None: the same path on a page that was opened anew.
    query : callable or None
        The same question to the DOM or the page's data directly.
    precondition : str
        What has to be there, in words; `applies` decides from the files.
    applies : callable
        Whether the run has what the case is about. A run without a plan has no budget to slide.
    width, dark : int, bool
        Viewport and colour scheme.
    changes : {"", "choices", "page"}
        What is different afterwards: only what the reader chose (the next case finds it as it was at the start), or
        the page (the next case gets a new one).
    evidence : str
        CSS selector of the excerpt that is kept.
    """

    id: str
    feature: str
    level: Level
    title: str
    check: Check
    again: Check | None = None
    query: Check | None = None
    precondition: str = "the report is open"
    applies: Applies = lambda truth: True
    width: int = 1400
    dark: bool = False
    changes: Literal["", "choices", "page"] = ""
    evidence: str = "main"

    @property
    def group(self) -> str:
        """A, B, C or G."""
        return self.id[0]


@dataclass(frozen=True)
class Result:
    """A case with its verdict."""

    id: str
    feature: str
    level: str
    title: str
    verdict: Verdict
    message: str = ""
    seconds: float = 0.0
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """All results of one page."""

    results: tuple[Result, ...]
    skipped: tuple[str, ...] = field(default=())
    """Cases whose subject this run does not have."""

    def of(self, verdict: Verdict) -> tuple[Result, ...]:
        """Results with this verdict."""
        return tuple(result for result in self.results if result.verdict is verdict)

    @property
    def failed(self) -> tuple[Result, ...]:
        """Confirmed failures."""
        return self.of(Verdict.FAIL)

    @property
    def score(self) -> float:
        """Mean over features of the share of passed cases (failures and uncertain ones count; harness does not)."""
        shares = []
        for feature in dict.fromkeys(result.feature for result in self.results):
            counted = [r for r in self.results if r.feature == feature and r.verdict is not Verdict.HARNESS]
            if counted:
                shares.append(sum(r.verdict is Verdict.PASS for r in counted) / len(counted))
        return sum(shares) / max(len(shares), 1)

    @property
    def releasable(self) -> bool:
        """All of group A, every *must*, nothing uncertain, no harness error, and 95 % overall."""
        required = [r for r in self.results if r.level == "must" or r.id[0] == "A"]
        return (
            all(r.verdict is Verdict.PASS for r in required)
            and not self.of(Verdict.UNCERTAIN)
            and not self.of(Verdict.HARNESS)
            and self.score >= 0.95
        )

    def table(self, results: Iterable[Result] | None = None) -> str:
        """One line per case."""
        rows = [
            f"{r.id}  {r.verdict.value:<9} {r.level:<6} {r.seconds:5.1f} s  {r.title}"
            + (f"\n     {r.message}" if r.message else "")
            for r in (self.results if results is None else results)
        ]
        return "\n".join(rows)

    def write(self, folder: Path) -> None:
        """``results.json`` and ``results.md`` with links to the evidence."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{**asdict(r), "verdict": r.verdict.value} for r in self.results]
        content = {
            "score": self.score,
            "releasable": self.releasable,
            "results": rows,
            "skipped": self.skipped,
        }
        (folder / "results.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        lines = ["| case | level | verdict | what is claimed | evidence |", "|---|---|---|---|---|"]
        for r in self.results:
            links = " ".join(f"[{Path(name).suffix[1:]}]({name})" for name in r.evidence)
            said = f"{r.title}. {r.message}" if r.message else r.title
            lines.append(f"| {r.id} | {r.level} | {r.verdict.value} | {said.replace('|', '/')} | {links} |")
        (folder / "results.md").write_text("\n".join(lines) + "\n")
