"""What it takes for something shown to agree with a number of the files."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.click_through.browser import Cell, Number, Shown, read_interval, read_numbers
from benchmarks.click_through.case import expect
from benchmarks.click_through.truth import VALUE, Truth

RATIOS = ("qini_sklift", "auuc_sklift", "calibration_slope")


EXACT = 1e-9


def same_number(shown: Cell, exact: float | None, what: str) -> None:
    """A cell shows `exact` to the digits it has, has all digits behind it, and shows digits enough.

    None: the cell says that there is no number.
    """
    if exact is None:
        expect(not read_numbers(shown.text), f"{what}: {shown.text!r}, but there is no such number")
        return
    found = read_numbers(shown.text)
    expect(len(found) == 1, f"{what}: {shown.text!r} is not one number")
    expect(found[0].agrees(exact), f"{what}: shown {shown.text!r}, the files say {exact:.6g}")
    enough(found[0], exact, f"{what}: {shown.text!r}")
    if shown.value is not None:
        behind = float(shown.value) if shown.value else math.nan
        expect(math.isclose(behind, exact, rel_tol=EXACT, abs_tol=1e-12), f"{what}: behind it {shown.value}")


def enough(number: Number, exact: float, what: str) -> None:
    """No more than 3 % of a number is lost by rounding, unless its last digit is a small one anyway."""
    expect(
        number.half <= 0.03 * abs(exact)
        or number.half <= 0.00051
        or (number.half <= 0.5 and exact == round(exact)),
        f"{what} is rounded too much for {exact:.6g}",
    )


def same_interval(shown: Cell, low: float | None, high: float | None, what: str) -> None:
    """The interval under a number."""
    ends = read_interval(shown.small, shown.text)
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        expect(not ends, f"{what}: interval {shown.small!r}, but there is none")
        return
    expect(len(ends) == 2, f"{what}: no interval under it ({shown.small!r})")
    for end, exact in zip(ends, (low, high), strict=True):
        expect(end.agrees(exact), f"{what}: interval {shown.small!r}, the files say {low:.6g} to {high:.6g}")


def right_unit(shown: Cell, stage: str, metric: str, what: str) -> None:
    """Points or percent for shares, neither for money and ratios."""
    share = stage != VALUE and metric not in RATIOS
    expect(("pp" in shown.text or "%" in shown.text) == share, f"{what}: unit of {shown.text!r}")


def row_of(table: Shown, *names: str) -> tuple[Cell, ...]:
    """The one row whose first cells are `names`."""
    found = [row for row in table.rows if tuple(cell.text for cell in row[: len(names)]) == names]
    expect(len(found) == 1, f"{len(found)} rows for {' / '.join(names)} in {table.caption!r}")
    return found[0]


def whole(number: float) -> str:
    """A count as people write it."""
    return f"{int(number):,}"


def close(text: str, exact: float, what: str, truth: Truth, *, scale: str = "value") -> None:
    """A number of the budget curve: the page has 360 points of it, the files every step."""
    found = read_numbers(text)
    slack = 0.004 * truth.at_budget(truth.last_budget)[scale]
    expect(
        len(found) == 1 and abs(found[0].value - exact) <= found[0].half + slack,
        f"{what}: {text!r}, the files say {exact:,.6g}",
    )
    enough(found[0], found[0].value, f"{what}: {text!r}")


def same_points(found: object, exact: object, what: str, tolerance: float = 1e-5) -> None:
    """Two arrays are equal to what float32 keeps."""
    a, b = np.asarray(found, float), np.asarray(exact, float)
    expect(a.shape == b.shape, f"{what}: {a.shape} points, the files have {b.shape}")
    scale = max(float(np.nanmax(np.abs(b))) if b.size else 0.0, 1e-12)
    worst = float(np.nanmax(np.abs(a - b))) if b.size else 0.0
    expect(worst <= tolerance * scale, f"{what}: differs by {worst:.3g} (largest {scale:.3g})")
