"""Effects: shapes, names, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from uplift import Effects, UpliftError
from uplift.effects import high_column, low_column, mu_column, tau_column

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


def _with_intervals(**changes: object) -> Effects:
    tau = np.random.default_rng(1).normal(size=(6, 3, 3)).astype(np.float32)
    tau[:, 0] = 0
    half = np.random.default_rng(2).random((6, 3, 3)).astype(np.float32)
    half[:, 0] = 0
    fields = {"tau_all": tau, "low_all": tau - half, "high_all": tau + 2 * half, "level": 0.9, **changes}
    return _effects(**fields)


def test_intervals_are_read_by_stage_and_arm_and_hold_the_uplift() -> None:
    effects = _with_intervals()
    assert effects.has_intervals
    for stage in STAGES:
        assert not effects.tau_low(stage, "none").any()
        assert (effects.tau_low(stage, "ten") <= effects.tau(stage, "ten")).all()
        assert (effects.tau(stage, "ten") <= effects.tau_high(stage, "ten")).all()
    assert np.array_equal(effects.tau_high("buy", "five"), effects.high_all[:, 1, 1])


def test_without_intervals_asking_for_one_names_the_model() -> None:
    effects = _effects(model="plain")
    assert not effects.has_intervals
    with pytest.raises(UpliftError, match="'plain' gave no intervals"):
        effects.tau_low("buy", "ten")


def test_files_keep_intervals_to_the_bit_and_old_files_have_none(tmp_path: Path) -> None:
    effects = _with_intervals()
    read = Effects.read_parquet(effects.to_parquet(tmp_path / "effects.parquet"))
    assert read.level == 0.9
    assert np.array_equal(read.low_all, effects.low_all)
    assert np.array_equal(read.high_all, effects.high_all)
    names = effects.to_table().column_names
    assert names[16:22] == [low_column(s, a) for s in STAGES for a in ARMS[1:]]
    assert names[22:] == [high_column(s, a) for s in STAGES for a in ARMS[1:]]
    assert low_column("buy", "five") == "tau_low__buy__five"

    # What version 0.1 wrote: no level in the header, no interval columns.
    old = effects.to_table().select(names[:16])
    header = json.loads(old.schema.metadata[b"uplift.effects"])
    del header["level"]
    read = Effects.from_table(old.replace_schema_metadata({"uplift.effects": json.dumps(header)}))
    assert not read.has_intervals
    assert read.low_all is None
    assert np.array_equal(read.tau_all, effects.tau_all)

    with pytest.raises(UpliftError, match="lacks the effects column 'tau_low__click__five' \\(12 missing\\)"):
        Effects.from_table(effects.to_table().select(names[:16]))


def test_intervals_go_with_their_units() -> None:
    effects = _with_intervals()
    taken = effects.take(np.array([4, 1]))
    assert taken.level == 0.9
    assert np.array_equal(taken.low_all, effects.low_all[[4, 1]])
    found = effects.for_units(pa.array([5, 0, 3]))
    assert np.array_equal(found.tau_high("value", "ten"), effects.tau_high("value", "ten")[[5, 0, 3]])
    with pytest.raises(ValueError, match="read-only"):
        taken.tau_low("buy", "ten")[0] = 1.0


def test_intervals_that_cannot_be_are_refused() -> None:
    good = _with_intervals()
    assert good.low_all is not None
    narrow = good.tau_all.copy()
    narrow[3, 1, 2] += 0.5
    with pytest.raises(UpliftError, match=r"1 uplifts of .* outside their .* arm 'five' at stage 'value'"):
        _with_intervals(low_all=narrow)
    with pytest.raises(UpliftError, match="give all three or none"):
        _with_intervals(high_all=None)
    with pytest.raises(UpliftError, match="give all three or none"):
        _effects(level=0.9)
    with pytest.raises(UpliftError, match="must be in \\(0, 1\\)"):
        _with_intervals(level=90.0)
    with pytest.raises(UpliftError, match="lower ends of model 'm' have shape"):
        _with_intervals(low_all=good.low_all[:3])
    endless = good.low_all.copy()
    endless[0, 2, 0] = -np.inf
    with pytest.raises(UpliftError, match="1 missing or infinite lower ends, first for arm 'ten'"):
        _with_intervals(low_all=endless)
    wide = good.low_all.copy()
    wide[:, 0] = -1
    with pytest.raises(UpliftError, match="are not 0 for control 'none'"):
        _with_intervals(low_all=wide)
