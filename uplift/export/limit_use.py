"""What the rows use of one limit, and how that is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from uplift.export.sums import allowed, as_decimal


@dataclass(frozen=True)
class LimitUse:
    """One limit and what the rows use of it.

    Attributes
    ----------
    name, kind, sense : str
        As of :class:`uplift.allocation.Limit`.
    arm, segment, level : str or None
        What counts towards it; None: every arm but the control, everybody.
    limit : float
    use : str
        Customers, or money as an exact decimal number; value per unit of cost for a minimum return. Empty where it
        cannot be told.
    status : str
        ``pass``, ``fail`` or ``skip``.
    detail : str
        In words: for a failure by how much, for a skip why.
    tightness : float
        Use as a share of the limit (of a floor: limit as a share of use): 1 where nothing is left.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> from uplift.export import verify_export
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.5)
    >>> use = verify_export(plan.export(pathlib.Path(tempfile.mkdtemp()) / "plan.csv")).limits[0]
    >>> use.name, use.status, use.detail
    ('budget', 'pass', '1.000000000000 of 1.50')
    """

    name: str
    kind: str
    sense: str
    arm: str | None
    segment: str | None
    level: str | None
    limit: float
    use: str
    status: str
    detail: str
    tightness: float = 0.0


def checks_of(uses: Sequence[LimitUse]) -> list[tuple[str, str, str]]:
    """Name, status and detail of what is shown: every failure, the limits of one segment and kind together, and what
    cannot be told together by its reason."""
    found = [
        (use.name, use.status, use.detail) for use in uses if use.status != "skip" and use.segment is None
    ]
    grouped: dict[tuple[str, str], list[LimitUse]] = {}
    reasons: dict[str, list[LimitUse]] = {}
    for use in uses:
        if use.status == "skip":
            reasons.setdefault(use.detail, []).append(use)
        elif use.segment is not None:
            grouped.setdefault((use.kind, use.segment), []).append(use)
    for (kind, segment), group in grouped.items():
        found += [(use.name, use.status, use.detail) for use in group if use.status == "fail"]
        kept = [use for use in group if use.status == "pass"]
        if kept:
            closest = max(kept, key=lambda use: use.tightness)
            which = f"{len(kept):,} of {len(group):,}" if len(kept) < len(group) else f"all {len(kept):,}"
            where = repr(closest.level) + (f", {closest.arm!r}" if closest.arm is not None else "")
            found.append((f"{kind} by {segment}", "pass", f"{which} kept; closest {where}: {closest.detail}"))
    for reason, group in reasons.items():
        if len(group) == 1:
            found.append((group[0].name, "skip", reason))
        else:
            found.append(("limits", "skip", f"{len(group)} of them, first {group[0].name!r}: {reason}"))
    return found


def use_of(limit: dict[str, Any], use: str, status: str, detail: str, tightness: float = 0.0) -> LimitUse:
    """A limit of the manifest with what was found."""
    return LimitUse(
        name=str(limit["name"]), kind=str(limit["kind"]), sense=limit["sense"], arm=limit.get("arm"),
        segment=limit.get("segment"), level=limit.get("level"), limit=float(limit["limit"]), use=use, status=status,
        detail=detail, tightness=tightness,
    )  # fmt: skip


def counted(limit: dict[str, Any], rows: int, share: float | None, members: int) -> LimitUse:
    """Customers against a limit on them; `share` and `members`, where they are known, say it anew."""
    most, floor = limit["limit"], limit["kind"] == "min_reach"
    of = f"at least {most:,.0f}" if floor else f"{most:,.0f}"
    if share is not None:
        # A share is of the rows that are there, whatever number of customers the plan has made of it.
        most = min(most, float(allowed(0, share * members).to_integral_value(ROUND_FLOOR)))
        of = f"{most:,.0f}, {share:.6g} of {members:,}"
    beyond = math.ceil(most - rows if floor else rows - most)
    detail = f"{rows:,} of {of}"
    if beyond > 0:
        customers = "customer" if beyond == 1 else "customers"
        side = "fewer" if floor else "more"
        detail = f"{rows:,} customers, {beyond:,} {customers} {side} than {of}"
    ratio = (most, rows) if floor else (rows, most)
    return use_of(limit, f"{rows}", "fail" if beyond > 0 else "pass", detail, _share(*ratio))


def spent(limit: dict[str, Any], count: int, decimals: int, doubt: int) -> LimitUse:
    """Cost in multiples against a budget; an excess up to `doubt` cannot be told from rounding."""
    most = allowed(decimals, limit["limit"])
    text, beyond = as_decimal(count, decimals), Decimal(count) - most
    detail, status = f"{text} of {_number(limit['limit'])}", "pass"
    if beyond > doubt:
        over = format(beyond.scaleb(-decimals).normalize(), "f")
        detail, status = f"costs {text}, {over} more than {_number(limit['limit'])}", "fail"
    elif beyond > 0:
        detail, status = f"{detail}: costs were rounded when they were written, too coarsely to tell", "skip"
    return use_of(limit, text, status, detail, _share(count, float(most)))


def returned(
    limit: dict[str, Any], by_row: Decimal, value: Decimal, cost: Decimal, doubt: Decimal
) -> LimitUse:
    """Both ways to add up what is missing round against the plan, so the smaller is the closer to the truth: every
    row's ``limit cost - value`` rounded up (as plans do it), and the sums of rounded costs and values."""
    asked = _number(limit["limit"])
    short = min(by_row, Decimal(repr(float(limit["limit"]))) * cost - value)
    text = format((value / cost).quantize(Decimal("1e-6")), "f") if cost else "0"
    detail, status = f"{text} of at least {asked}", "pass"
    if short > doubt:
        detail = f"{value.normalize():f} for {cost.normalize():f}, {short.normalize():f} less value than {asked} times the cost"
        status = "fail"
    elif short > 0:
        detail, status = (
            f"{detail}: amounts were rounded when they were written, too coarsely to tell",
            "skip",
        )
    return use_of(limit, text, status, detail, _share(limit["limit"] * float(cost), float(value)))


def _share(part: float, total: float) -> float:
    return float(part / total) if total > 0 else float(part > 0)


def _number(amount: float) -> str:
    """A limit with two decimals, or with as many as it has."""
    text = format(Decimal(repr(float(amount))).normalize(), ",f")
    return text if len(text.partition(".")[2]) > 2 else f"{amount:,.2f}"
