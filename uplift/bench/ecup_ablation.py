"""What each part of ECUP is worth: every part taken away, every open point of the paper the other way, and peers."""

from __future__ import annotations

from typing import Any

from uplift.bench.entries import PublicEntry, SimulatedEntry
from uplift.bench.suite import Suite, Variant

ROWS = 50_000
PAPER: dict[str, Any] = {
    "tenet": True,
    "taenet": True,
    "tau_units": 2,
    "stop_gradient": True,
    "share_tower": True,
    "loss_space": "entire",
    "gamma": 2.0,
    "bit_level": "d",
    "averaging": 0.98,
    "stage_weights": None,
    "criterion": "qini",
    "numeric_embedding": "affine",
    "arm_encoding": "id",
    "members": 1,
}
"""Stated in full, so that a new default of the model is no silent change of the base. The paper has no averaging."""


def _ecup(name: str, title: str, **changes: Any) -> Variant:
    return Variant(name=name, title=title, model="ecup", params=PAPER | changes)


def _peer(name: str, title: str) -> Variant:
    return Variant(name=name, title=title, model=name, params={})


SUITE = Suite(
    name="ecup-ablation",
    title="ECUP, part by part",
    data=(
        SimulatedEntry(name="simulated", rows=ROWS),
        PublicEntry(name="hillstrom", rows=ROWS),
    ),
    variants=(
        _ecup("full", "ECUP as in the paper, weights averaged"),
        _ecup("no_tenet", "without the treatment-enhanced network", tenet=False),
        _ecup("no_taenet", "without the task-enhanced network", taenet=False),
        _ecup("one_tau", "features and gate from one treatment-aware unit", tau_units=1),
        _ecup("no_stop_gradient", "task gates train the embeddings", stop_gradient=False),
        _ecup("separate_towers", "every stage has a tower of its own", share_tower=False),
        _ecup("click_space", "later stages trained on rows that reached the one before", loss_space="conditional"),
        _ecup("no_chain", "independent heads, no product along the chain", loss_space="independent"),
        _ecup("gamma_1", "task gates up to 1 in place of 2", gamma=1.0),
        _ecup("bit_per_field", "one bit-level vector per field", bit_level="f*d"),
        _ecup("no_averaging", "last weights in place of their moving average, as in the paper", averaging=0.0),
        _ecup("last_stage_10", "last stage weighs ten times the first", stage_weights=[1.0, 10.0]),
        _ecup("by_loss", "epoch of the lowest validation loss", criterion="loss"),
        _ecup("by_last_loss", "epoch of the lowest validation loss of the last stage", criterion="last"),
        _ecup("periodic", "numbers embedded by periodic functions, beyond the paper", numeric_embedding="periodic"),
        _ecup("piecewise", "numbers embedded piecewise linearly, beyond the paper", numeric_embedding="piecewise"),
        _peer("tarnet", "TARNet on the chain"),
        _peer("lightgbm_chain", "S-learners on LightGBM, multiplied along the chain"),
        _peer("lightgbm_s", "S-learner on LightGBM"),
        _peer("lightgbm_t", "T-learner on LightGBM"),
    ),
)  # fmt: skip
