"""The intervals hold the truth as often as they say: a short version of ``benchmarks/bench_coverage.py``."""

from __future__ import annotations

import pytest

from benchmarks.bench_coverage import DESIGNS, coverage


def _check(design: str, *, runs: int, rows: int) -> None:
    # Five standard errors of a share of 0.95 on either side: 80 to 100 % of 120 runs.
    reach = 5 * (0.95 * 0.05 / runs) ** 0.5
    for metric, found in coverage(design, runs=runs, rows=rows, seed=1).items():
        assert 0.95 - reach < found["coverage"] <= min(1.0, 0.95 + reach), metric
        assert abs(found["error / spread"] - 1) < 4.5 / (2 * runs) ** 0.5, metric
        assert abs(found["bias / spread"]) < 5 / runs**0.5, metric


def test_intervals_of_every_metric_cover_its_closed_form() -> None:
    _check("propensity", runs=120, rows=2_000)


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_intervals_of_every_metric_cover_its_closed_form_in_every_design(design: str) -> None:
    _check(design, runs=400, rows=4_000)
