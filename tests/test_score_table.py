"""The table of sufficient statistics that adds up: the same numbers as in memory, and a bound where it bins."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uplift.errors import EvaluationError
from uplift.metrics import scores
from uplift.metrics.arm_scores import ArmScores
from uplift.metrics.average import Comparison, difference_in_means
from uplift.metrics.binning_error import binning_error
from uplift.metrics.influence import placebo_error, rate_influence, standard_error
from uplift.metrics.ranking import Ranking
from uplift.metrics.score_table import ScoreTable
from uplift.metrics.table_scores import TableScores, average_effect, rate
from uplift.metrics.table_scores import placebo_error as table_placebo
from uplift.radix_order import descending

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]


def _rows(
    n: int, seed: int, *, digits: int | None = None, weighted: bool = False, money: bool = False
) -> Rows:
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n) if digits is None else np.round(rng.normal(size=n), digits)
    treated = rng.random(n) < 0.4
    outcome = (rng.random(n) < np.clip(0.3 + treated * (0.05 + 0.1 * score), 0, 1)).astype(float)
    if money:
        outcome *= rng.lognormal(3, 1, n)
    return score, treated, outcome, rng.lognormal(0, 0.5, n) if weighted else None


def _parts(rows: Rows, seed: int, *, parts: int = 5, max_groups: int = 1 << 16) -> list[ScoreTable]:
    of = np.random.default_rng(seed).integers(0, parts, len(rows[0]))
    return [
        ScoreTable.of(*(None if part is None else part[of == p] for part in rows), max_groups=max_groups)  # type: ignore[arg-type]
        for p in range(parts)
    ]


# ---------------------------------------------------------------- the order


@pytest.mark.parametrize(
    "score",
    [
        np.random.default_rng(0).normal(size=5_000),
        np.random.default_rng(0).normal(size=5_000).astype(np.float32),
        np.round(np.random.default_rng(0).normal(size=5_000), 1),
        0.1 + 1e-15 * np.random.default_rng(0).integers(0, 900, 5_000),  # only the last bits differ
        np.append(0.1 + 1e-15 * np.random.default_rng(0).integers(0, 900, 5_000), [1e300, -1e300]),  # one long run
        np.random.default_rng(0).integers(-(2**62), 2**62, 5_000),
        2**60 + np.random.default_rng(0).integers(0, 50, 5_000),  # beyond the digits of a float
        np.random.default_rng(0).integers(0, 200, 5_000).astype(np.uint8),
        np.random.default_rng(0).random(5_000) < 0.5,
        np.random.default_rng(0).normal(size=5_000).astype(np.float16),
        np.array([0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, 0.0, -0.0]),
        np.array([3.0]),
    ],
)  # fmt: skip
def test_rows_are_ranked_as_by_a_stable_sort(score: np.ndarray) -> None:
    found = descending(score)
    wide = score.astype(np.int64) if score.dtype.kind in "iub" else score.astype(np.float64)
    order = np.argsort(-wide, kind="stable")
    assert np.array_equal(found.order, order)
    ranked = wide[order]
    assert found.ends.tolist() == [*(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1), len(score)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_counted(kind: type, bad: float) -> None:
    score = np.array([0.5, bad, -1.0, bad], kind)
    assert descending(score).refused == 2
    for make in (Ranking.build, ScoreTable.of):
        with pytest.raises(EvaluationError, match="2 of 4 scores are missing or infinite"):
            make(score, np.array([True, False, True, False]), np.zeros(4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=400))
def test_any_finite_scores_are_ranked(values: list[float]) -> None:
    score = np.array(values)
    assert np.array_equal(descending(score).order, np.argsort(-score, kind="stable"))


# ---------------------------------------------------------------- the table


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    digits=st.sampled_from([None, 1]),
    weighted=st.booleans(),
    money=st.booleans(),
)
def test_parts_add_up_to_what_memory_says(seed: int, digits: int | None, weighted: bool, money: bool) -> None:
    rows = _rows(800, seed, digits=digits, weighted=weighted, money=money)
    table, ranking = reduce(add, _parts(rows, seed)), Ranking.build(*rows)
    assert not table.binned
    assert len(table) == len(ranking.ends)
    for ours, theirs in zip(table.cells.arrays(), ranking.cells.arrays(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-9)
    for weighting in ("qini", "autoc"):
        influence = rate_influence(ranking, weighting)
        assert rate(table, weighting) == pytest.approx(
            (influence.value, standard_error(influence.rows)), rel=1e-9
        )
    assert table_placebo(table) == pytest.approx(placebo_error(ranking), rel=1e-9)
    comparison = Comparison(np.arange(800), rows[1], rows[3], None, None, "none")
    estimate, memory = average_effect(table), difference_in_means(comparison, rows[2])
    assert (estimate.value, estimate.se) == pytest.approx((memory.value, memory.se), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("stage", ["buy", "value"])
def test_every_number_of_a_table_is_that_of_its_rows(stage: str, weighted: bool) -> None:
    score, treated, outcome, weight = _rows(5_000, 3, weighted=weighted, money=stage == "value")
    comparison = Comparison(np.arange(5_000), treated, weight, None, None, "none")
    memory = ArmScores(comparison, outcome, stage, "a", 0.95, 100, (0.1, 0.3), 0).score(
        score, calibrated=True
    )
    table = reduce(add, _parts((score, treated, outcome, weight), 0))
    found = TableScores(stage, 0.95, 100, (0.1, 0.3), 0).score(table, calibrated=True, weighted=weighted)
    assert [row["metric"] for row in found.rows] == [row["metric"] for row in memory.rows]
    for ours, theirs in zip(found.rows, memory.rows, strict=True):
        for name in ("value", "se", "low", "high"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-8, nan_ok=True), ours["metric"]
    for ours, theirs in zip(found.tenths, memory.tenths, strict=True):
        assert ours == pytest.approx(theirs)
    for name in ("gain", "gain_low", "gain_high", "lift", "lift_low", "lift_high"):
        np.testing.assert_allclose(getattr(found.curve, name), getattr(memory.curve, name), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), most=st.integers(2, 300))
def test_bins_do_not_depend_on_how_the_rows_were_cut_or_added(seed: int, most: int) -> None:
    rows = _rows(600, seed)
    whole = ScoreTable.of(*rows, max_groups=most)
    parts = _parts(rows, seed, max_groups=most)
    for order in (parts, parts[::-1]):
        table = reduce(add, order, ScoreTable.empty(max_groups=most))
        assert (table.drop, len(table)) == (whole.drop, len(whole))
        assert np.array_equal(table.first, whole.first)
        assert np.array_equal(table.last, whole.last)
        np.testing.assert_allclose(table.sums, whole.sums, rtol=1e-12, atol=1e-12)
    assert len(whole) <= most
    nested = (parts[0] + parts[1]) + (parts[2] + (parts[3] + parts[4]))
    assert np.array_equal(nested.first, whole.first)


def _worst(rows: Rows, table: ScoreTable, sign: float) -> Ranking:
    """The rows of every bin put into the order that is best (or worst) for the curve."""
    score, treated, outcome, weight = rows
    from uplift.radix_order import ordered_bits

    bins = (ordered_bits(score)[0] >> np.uint64(table.drop)).astype(np.int64)
    gain = np.where(treated, 1 / treated.sum(), -1 / (~treated).sum()) * outcome
    order = np.lexsort((-sign * gain, bins))
    rank = np.empty(len(score))
    rank[order] = -np.arange(len(score))
    return Ranking.build(rank, treated, outcome, weight)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    most=st.integers(2, 400),
    weighted=st.booleans(),
    money=st.booleans(),
)
def test_no_order_within_the_bins_goes_beyond_the_binning_error(
    seed: int, most: int, weighted: bool, money: bool
) -> None:
    rows = _rows(500, seed, weighted=weighted, money=money)
    table = ScoreTable.of(*rows, max_groups=most)
    metrics = {
        "qini_per_capita": (binning_error(table, "qini_per_capita"), scores.qini_per_capita),
        "uplift_at": (binning_error(table, "uplift_at", 0.3), lambda cells: scores.uplift_at(cells, 0.3)),
    }
    if not money and not weighted:
        metrics["qini_sklift"] = (binning_error(table, "qini_sklift"), scores.qini_sklift)
        metrics["auuc_sklift"] = (binning_error(table, "auuc_sklift"), scores.auuc_sklift)
    for ranking in (Ranking.build(*rows), _worst(rows, table, 1.0), _worst(rows, table, -1.0)):
        for name, (error, metric) in metrics.items():
            off = abs(float(metric(ranking.cells)) - float(metric(table.cells)))
            assert off <= error * (1 + 1e-9) + 1e-12, name
        off = abs(rate_influence(ranking, "autoc").value - rate(table, "autoc")[0])
        assert off <= binning_error(table, "autoc") * (1 + 1e-9) + 1e-12


def test_the_bound_of_the_qini_is_reached_up_to_the_outcomes_own_rows() -> None:
    # Rare outcomes: then the responders take hardly any of a bin's share, and the bound is sharp.
    score, treated, _, _ = _rows(20_000, 1)
    outcome = (np.random.default_rng(2).random(20_000) < 0.02).astype(float)
    rows = (score, treated, outcome, None)
    table = ScoreTable.of(*rows, max_groups=64)
    exact = scores.qini_per_capita(table.cells)
    best = float(scores.qini_per_capita(_worst(rows, table, 1.0).cells) - exact)
    assert 0.9 < best / binning_error(table, "qini_per_capita") <= 1


def test_the_binning_error_is_nothing_beside_the_standard_error() -> None:
    rows = _rows(200_000, 5)
    table = ScoreTable.of(*rows, max_groups=1 << 16)
    assert table.binned
    assert binning_error(table, "qini_per_capita") < 0.03 * rate(table, "qini")[1]
    ranking = Ranking.build(*rows)
    off = abs(float(scores.qini_per_capita(ranking.cells)) - float(scores.qini_per_capita(table.cells)))
    assert off < 0.1 * binning_error(table, "qini_per_capita")


def test_tables_that_do_not_fit_are_refused() -> None:
    rows = _rows(50, 0)
    with pytest.raises(EvaluationError, match="at least 2"):
        ScoreTable.of(*rows, max_groups=1)
    with pytest.raises(EvaluationError, match="same max_groups"):
        ScoreTable.of(*rows, max_groups=8) + ScoreTable.of(*rows, max_groups=9)
    with pytest.raises(EvaluationError, match="no control rows"):
        _ = ScoreTable.of(rows[0], np.ones(50, bool), rows[2]).cells
    with pytest.raises(EvaluationError, match="differ in length"):
        ScoreTable.of(rows[0][:-1], *rows[1:])
