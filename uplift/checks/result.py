"""What a check answers: a status, numbers in a sentence, and plain data for plots and files."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from uplift.errors import CampaignError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

Status = Literal["pass", "warn", "fail"]
SEVERITY: tuple[Status, ...] = ("pass", "warn", "fail")


def worst(statuses: Iterable[Status]) -> Status:
    """The most severe status; "pass" when there is none.

    Examples
    --------
    >>> worst(["pass", "fail", "warn"])
    'fail'
    """
    return max(statuses, key=SEVERITY.index, default="pass")


def plain(content: Any) -> Any:
    """Numpy and containers to what JSON can hold; NaN and infinities become None.

    Examples
    --------
    >>> plain({"p": np.float32(0.5), "n": np.arange(2), "bad": float("nan")})
    {'p': 0.5, 'n': [0, 1], 'bad': None}
    """
    if isinstance(content, Mapping):
        return {str(key): plain(item) for key, item in content.items()}
    if isinstance(content, np.ndarray | list | tuple):
        return [plain(item) for item in content]
    if isinstance(content, bool | np.bool_):
        return bool(content)
    if isinstance(content, int | np.integer):
        return int(content)
    if isinstance(content, float | np.floating):
        return float(content) if math.isfinite(content) else None
    return content if content is None else str(content)


def p_text(p: float) -> str:
    """A p-value for people.

    Examples
    --------
    >>> p_text(0.04321), p_text(0.0)
    ('p = 0.043', 'p < 1e-99')
    """
    return f"p = {p:.2g}" if p >= 1e-99 else "p < 1e-99"


def shown(name: str) -> str:
    """A name inside a line of text: quoted when it would break the line.

    Examples
    --------
    >>> shown("coupon 5"), shown("a\\nb")
    ('coupon 5', "'a\\\\nb'")
    """
    return name if name.isprintable() else repr(name)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Answer of one check.

    Attributes
    ----------
    check : str
        Id, as in checks.json.
    title : str
        The question for people.
    status : {"pass", "warn", "fail"}
    detail : str
        Numbers, and advice in one sentence.
    data : dict
        Plain JSON types, for plots.

    Examples
    --------
    >>> import uplift
    >>> campaign = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0).campaign()
    >>> [one.status for one in campaign.check().results][:3]
    ['pass', 'pass', 'pass']
    """

    check: str
    title: str
    status: Status
    detail: str
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", plain(self.data))

    def to_dict(self) -> dict[str, Any]:
        """One entry of checks.json."""
        return {
            "check": self.check,
            "status": self.status,
            "detail": self.detail,
            "title": self.title,
            "data": self.data,
        }


@dataclass(frozen=True, repr=False)
class CheckReport:
    """All answers, in a fixed order. ``report["sample_ratio"]`` is one of them.

    Attributes
    ----------
    results : tuple of CheckResult
    campaign : str
        Name of the campaign.

    Examples
    --------
    >>> import uplift
    >>> campaign = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0).campaign()
    >>> report = campaign.check()
    >>> report.passed, len(report.results) > 5
    (True, True)
    """

    results: tuple[CheckResult, ...]
    campaign: str = "campaign"

    @property
    def status(self) -> Status:
        """The worst status of all checks."""
        return worst(result.status for result in self.results)

    @property
    def passed(self) -> bool:
        """Whether no check failed; warnings allow learning, with care."""
        return self.status != "fail"

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, check: str) -> CheckResult:
        for result in self.results:
            if result.check == check:
                return result
        raise CampaignError(
            f"there is no check {check!r}; {did_you_mean(check, [result.check for result in self.results])}"
        )

    def to_list(self) -> list[dict[str, Any]]:
        """Content of checks.json."""
        return [result.to_dict() for result in self.results]

    def to_frame(self) -> pd.DataFrame:
        """One row per check: check, title, status, detail."""
        import pandas as pd

        columns = ["check", "title", "status", "detail"]
        return pd.DataFrame(
            [[getattr(result, name) for name in columns] for result in self.results], columns=columns
        )

    def _headline(self) -> str:
        counts = {status: sum(result.status == status for result in self.results) for status in SEVERITY}
        verdict = {
            "pass": "fit to learn from",
            "warn": "fit to learn from, with care",
            "fail": "not fit to learn from as it is",
        }[self.status]
        return f"{shown(self.campaign)}: {verdict} ({counts['pass']} pass, {counts['warn']} warn, {counts['fail']} fail)"

    def __str__(self) -> str:
        width = max((len(result.check) for result in self.results), default=0)
        lines = [
            f"  {result.status.upper()}  {result.check:<{width}}  {result.detail}" for result in self.results
        ]
        return "\n".join([self._headline(), *lines])

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        colours = {"pass": "green", "warn": "yellow", "fail": "bold red"}
        table = Table(title=Text(self._headline()), title_justify="left", show_lines=False)
        table.add_column("status", no_wrap=True)
        table.add_column("check", no_wrap=True)
        table.add_column("detail", overflow="fold")
        for result in self.results:  # Text, not str: column names may look like markup
            table.add_row(
                Text(result.status, style=colours[result.status]), Text(result.check), Text(result.detail)
            )
        return table

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{result.status}</td><td>{html.escape(result.title)}</td>"
            f"<td style='text-align:left'>{html.escape(result.detail)}</td></tr>"
            for result in self.results
        )
        head = "<tr><th>status</th><th>check</th><th>detail</th></tr>"
        return f"<p><b>{html.escape(self._headline())}</b></p><table><thead>{head}</thead><tbody>{rows}</tbody></table>"
