"""Simulation: a simulated campaign together with the truth behind it, in memory and in a folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.io.atomic import atomic_folder
from uplift.io.toml import dump_toml
from uplift.simulation.drivers import SEGMENTS
from uplift.simulation.settings import (
    CONTROL,
    PROPENSITY,
    STRATUM,
    TIME,
    TREATMENT,
    UNIT,
    VALUE_COLUMN,
    Settings,
)

if TYPE_CHECKING:
    import pandas as pd

NAME = "simulated-coupons"
TRUE_MODEL = "truth"
MARGIN = 40.0
HOLDOUT = 0.05
TEST_SHARE = 0.3
#: Money to spend per customer of the test split: less than the profitable coupons would cost.
BUDGET_PER_CUSTOMER = 0.15


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    """A campaign with known effects.

    Attributes
    ----------
    table : pyarrow.Table [row]
        What a marketing team would have: `customer_id`, `sent_at`, features, `region` (with strata), `coupon`,
        `p_arm` (with confounding), one int8 column per stage of the chain, `gmv` (with value).
    effects : Effects
        The true mu and tau of every row, arm and stage in the entire space, row by row as in `table`.
    segment_codes : ndarray of int8 [row]
        Position in `SEGMENTS`: regular, browser, loyal, do_not_disturb.
    settings : Settings
        All knobs.

    Examples
    --------
    >>> import uplift
    >>> simulation = uplift.simulate(rows=1_000, arms=1, chain=("buy",), seed=0)
    >>> simulation.true_effects().tau("buy", "coupon_5").shape
    (1000,)
    """

    table: pa.Table
    effects: Effects
    segment_codes: npt.NDArray[np.int8] = field(repr=False)
    settings: Settings

    @property
    def frame(self) -> pd.DataFrame:
        """`table` as a pandas frame."""
        result: pd.DataFrame = self.table.to_pandas()
        return result

    @cached_property
    def truth(self) -> pa.Table:
        """The true effects in the columns of an effects file: customer_id, mu__STAGE__ARM, tau__STAGE__ARM."""
        return self.effects.to_table()

    @property
    def segments(self) -> npt.NDArray[np.str_]:
        """Segment name of every row."""
        return np.array(SEGMENTS)[self.segment_codes]

    def true_effects(self) -> Effects:
        """The truth as effects of a model named "truth"."""
        return self.effects

    def campaign(self) -> Campaign:
        """The table with its roles: what `campaign.toml` describes."""
        contract = self._contract()
        roles = {key: entry for key, entry in contract["campaign"].items() if key != "data"}
        return Campaign.from_table(self.table, **roles, arms=contract["arms"])

    def write(self, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write `campaign.parquet`, `truth.parquet`, `campaign.toml` and `simulation.json`; all of them or none.

        Parameters
        ----------
        folder : path
            Made when missing.
        overwrite : bool
            Replace what an earlier call wrote.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        OutputError
            The folder holds files and `overwrite` is off, or holds files of somebody else, or cannot be written.
        """
        import pyarrow.parquet as pq

        with atomic_folder(folder, overwrite=overwrite) as staged:
            pq.write_table(self.table, staged / "campaign.parquet", compression="zstd", compression_level=1)
            self.effects.to_parquet(staged / "truth.parquet")
            (staged / "campaign.toml").write_text(dump_toml(self._contract()), encoding="utf-8")
            (staged / "simulation.json").write_text(
                json.dumps(self.summary(), indent=2, allow_nan=False) + "\n", encoding="utf-8"
            )
        return Path(folder)

    def summary(self) -> dict[str, Any]:
        """All knobs, the share of each segment and the true average effects, as JSON types."""
        average = self.effects.tau_all.mean(axis=0, dtype=np.float64)
        shares = np.bincount(self.segment_codes, minlength=len(SEGMENTS)) / len(self.segment_codes)
        return {
            "schema_version": 1,
            "settings": self.settings.to_dict(),
            "segments": dict(zip(SEGMENTS, shares.tolist(), strict=True)),
            "true_ate": {
                stage: {arm: float(average[a, s]) for a, arm in enumerate(self.effects.arms) if a}
                for s, stage in enumerate(self.effects.stages)
            },
        }

    def _contract(self) -> dict[str, dict[str, Any]]:
        """Content of `campaign.toml`."""
        knobs = self.settings
        roles: dict[str, Any] = {
            "name": NAME,
            "data": "campaign.parquet",
            "unit": UNIT,
            "treatment": TREATMENT,
            "control": CONTROL,
            "chain": list(knobs.chain),
        }
        if knobs.value:
            roles["value"] = VALUE_COLUMN
        if knobs.strata:
            roles["strata"] = [STRATUM]
        if knobs.confounding > 0:
            roles["propensity"] = PROPENSITY
        roles["time"] = TIME
        last = knobs.chain[-1]
        arms = {
            name: {
                "label": name.replace("_", " ").capitalize(),
                "amount": amount,
                "cost": {"on": last, "amount": amount},
            }
            for name, amount in zip(knobs.arm_names[1:], knobs.amounts, strict=True)
        }
        if knobs.confounding == 0 and not (knobs.strata and knobs.strata_imbalance > 0):
            # One lottery for all: its odds are the planned shares.
            arms = {CONTROL: {}, **arms}
            for name, share in zip(knobs.arm_names, knobs.shares, strict=True):
                arms[name]["share"] = share
        budget = BUDGET_PER_CUSTOMER * TEST_SHARE * (1 - knobs.repeat_units) * knobs.rows
        decide = {"stage": last, "margin": MARGIN, "budget": float(f"{budget:.2g}"), "holdout": HOLDOUT}
        split = {"test": TEST_SHARE, "by": "unit", "seed": 0}
        return {"campaign": roles, "arms": arms, "split": split, "decide": decide}

    def __repr__(self) -> str:
        knobs = self.settings
        return (
            f"Simulation({knobs.rows:,} rows, arms {' | '.join(knobs.arm_names[:8])}, "
            f"chain {' -> '.join(knobs.stages)}, seed {knobs.seed})"
        )
