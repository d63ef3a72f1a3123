"""Effects: shapes, names, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from uplift import Effects, UpliftError
from uplift.effects import mu_column, tau_column

ARMS, STAGES = ("none", "five", "ten"), ("click", "buy", "value")


def _effects(rows: int = 6, **changes: object) -> Effects:
    mu = np.random.default_rng(0).random((rows, 3, 3)).astype(np.float32)
    fields = {"units": pa.array(range(rows)), "arms": ARMS, "stages": STAGES, "model": "m", **changes}
    return Effects(mu, **fields)


def test_uplift_is_the_difference_from_control() -> None:
    effects = _effects()
    for stage in STAGES:
        assert not effects.tau(stage, "none").any()
        assert np.array_equal(effects.tau(stage, "ten"), effects.mu(stage, "ten") - effects.mu(stage, "none"))


def test_files_round_trip_to_the_bit(tmp_path: Path) -> None:
    tau = np.random.default_rng(1).normal(size=(6, 3, 3)).astype(np.float32)
    effects = _effects(tau_all=tau, unit_column="customer", calibrated=False, campaign="spring")
    read = Effects.read_parquet(effects.to_parquet(tmp_path / "effects.parquet"))
    assert np.array_equal(read.mu_all, effects.mu_all)
    assert np.array_equal(read.tau_all[:, 1:], effects.tau_all[:, 1:])
    assert (read.arms, read.stages, read.unit_column) == (ARMS, STAGES, "customer")
    assert (read.campaign, read.calibrated, read.units.to_pylist()) == ("spring", False, list(range(6)))


def test_columns_are_the_contract() -> None:
    names = _effects().to_table().column_names
    assert names[0] == "unit"
    assert names[1:10] == [mu_column(s, a) for s in STAGES for a in ARMS]
    assert names[10:] == [tau_column(s, a) for s in STAGES for a in ARMS[1:]]
    assert mu_column("buy", "five") == "mu__buy__five"


def test_the_conditional_rate_times_the_stage_before_is_the_stage() -> None:
    effects = _effects()
    assert np.allclose(effects.rate("buy", "five") * effects.mu("click", "five"), effects.mu("buy", "five"))


def test_missing_effects_are_refused() -> None:
    mu = np.zeros((2, 3, 3), np.float32)
    mu[1, 2, 1] = np.nan
    with pytest.raises(
        UpliftError, match="1 missing or infinite effects, first for arm 'ten' at stage 'buy'"
    ):
        Effects(mu, units=pa.array([1, 2]), arms=ARMS, stages=STAGES, model="m")
    with pytest.raises(UpliftError, match="expected \\(3, 3, 3\\)"):
        Effects(mu, units=pa.array([1, 2, 3]), arms=ARMS, stages=STAGES, model="m")
    with pytest.raises(UpliftError, match="did you mean 'buy'"):
        _effects().tau("by", "ten")


def test_effects_cannot_be_changed() -> None:
    effects = _effects()
    with pytest.raises(ValueError, match="read-only"):
        effects.tau("buy", "ten")[0] = 1.0
