"""Evaluation of a campaign that stays on disk: one pass over its blocks, one table per model, stage and arm."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.errors import EvaluationError
from uplift.hashing import unit_hash
from uplift.metrics import scores
from uplift.metrics.arm_scores import Curve
from uplift.metrics.average import Estimate
from uplift.metrics.definitions import BINARY_ONLY, HEADLINE, uplift_at_id
from uplift.metrics.effect_rows import EffectRows
from uplift.metrics.evaluation import TOP_SHARES, Evaluation
from uplift.metrics.paired import DIFFERENCE_COLUMNS, placebo_ranges
from uplift.metrics.score_table import MAX_GROUPS, ScoreTable
from uplift.metrics.table_scores import TableScores, average_effect

EffectsFile = str | os.PathLike[str]


@dataclass(frozen=True, eq=False, repr=False)
class StreamedEvaluation(Evaluation):
    """An evaluation from tables: as :class:`Evaluation`, but models are not compared in pairs.

    Attributes
    ----------
    binning : DataFrame
        Per model, stage, arm and metric: groups of the table, bits of the scores that do not count (0: every score is a
        group of its own), and `error`, by how much the metric can differ from that of the rows at most. NaN where it is
        not bounded: calibration, whose predictions count as the mean of their bin.

    Examples
    --------
    >>> evaluate_stream(stream, "effects.parquet").scores  # doctest: +SKIP
    """

    binning: pd.DataFrame = field(default_factory=pd.DataFrame)

    def difference(self, model: str, other: str, stage: str, arm: str) -> pd.Series:
        """Refused: pairs of models need the scores of both for every row at once.

        Parameters
        ----------
        model, other, stage, arm : str

        Raises
        ------
        EvaluationError
            Always.
        """
        raise EvaluationError(
            f"{model!r} and {other!r} cannot be compared in pairs from a stream; evaluate them in memory, on a sample if need be."
        )

    def to_metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json`` with ``binning`` added."""
        records = self.binning.to_dict("records")
        return super().to_metrics() | {
            "binning": [{k: None if v != v else v for k, v in row.items()} for row in records]
        }


def evaluate_stream(
    campaign: CampaignStream,
    effects: EffectsFile | Mapping[str, EffectsFile],
    *,
    confidence: float = 0.95,
    draws: int = 400,
    top: Sequence[float] = TOP_SHARES,
    random_state: int = 0,
    max_groups: int = MAX_GROUPS,
) -> StreamedEvaluation:
    """Score predicted effects on disk against the outcomes of a randomised campaign on disk, in one pass.

    The numbers are those of :func:`uplift.metrics.evaluate` while the scores of a model, stage and arm have at most
    `max_groups` different values, and within the stated binning error otherwise. Memory: one block, about 180 bytes per
    group for every model, stage and arm, and 8 bytes per row to see that no unit comes twice.

    Parameters
    ----------
    campaign : CampaignStream
        Test rows: a part of a split, or a campaign of its own.
    effects : path, or mapping of name to path
        Parquet files as ``uplift predict`` or :meth:`Effects.to_parquet` write them, of these rows in their order or of
        all rows of the campaign's files.
    confidence, draws, top, random_state
        As in :func:`uplift.metrics.evaluate`.
    max_groups : int
        Most groups of a table, >= 2.

    Returns
    -------
    StreamedEvaluation

    Raises
    ------
    EvaluationError
        Effects do not belong to these rows, parameters are out of range, units have several rows, or the arms were
        randomised within strata whose propensities are not given: both need all rows at once.

    Examples
    --------
    >>> import pathlib, tempfile, pyarrow.parquet as pq, uplift
    >>> campaign = uplift.simulate(rows=2_000, arms=1, chain=("conversion",), seed=0).campaign()
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> pq.write_table(campaign.table, folder / "log.parquet")
    >>> stream = CampaignStream.from_parquet(
    ...     folder / "log.parquet", unit="customer_id", treatment="coupon", control="none", chain=["conversion"], value="gmv", exclude=["sent_at"]
    ... )
    >>> model = uplift.make_model("lightgbm_s", n_estimators=5).fit(campaign)
    >>> file = model.predict(campaign).to_parquet(folder / "effects.parquet")
    >>> list(evaluate_stream(stream, file, draws=20).models)
    ['lightgbm_s']
    """
    if not 0 < confidence < 1 or draws < 20 or not all(0 < share <= 1 for share in top):
        raise EvaluationError(
            f"confidence ({confidence}) and top shares ({tuple(top)}) must lie in (0, 1), and draws ({draws}) be at least 20."
        )
    if campaign.roles.strata and campaign.roles.propensity is None:
        raise EvaluationError(
            f"the strata {', '.join(campaign.roles.strata)} cannot be evaluated from a stream; name a column with the probability of the arm received as propensity, or load the campaign whole."
        )
    if not isinstance(effects, Mapping):
        effects = {"": effects}
    if not effects:
        raise EvaluationError("there are no effects to evaluate; pass the predictions of at least one model.")
    readers = {name: EffectRows(path, campaign) for name, path in effects.items()}
    readers = {name or reader.model: reader for name, reader in readers.items()}
    gathered = _Gathered(campaign, readers, max_groups)
    for block in campaign.blocks(columns=campaign.role_columns):
        gathered.add(block)
    gathered.check_units()
    return _evaluation(campaign, gathered, confidence, draws, tuple(top), random_state)


class _Gathered:
    """All tables of one pass."""

    def __init__(self, campaign: CampaignStream, readers: dict[str, EffectRows], max_groups: int) -> None:
        self.readers = readers
        self.stages, self.arms = campaign.stages, campaign.arm_names
        pairs = [(stage, arm) for arm in self.arms[1:] for stage in self.stages]
        empty = ScoreTable.empty(max_groups=max_groups)
        self.tables = {(name, *pair): empty for name in readers for pair in pairs}
        # Ranked by what was seen: the best that any ranking could do.
        self.perfect = dict.fromkeys(pairs, empty)
        # Sums of w, w y, w^2, w^2 y and w^2 y^2 by stage and arm, of sampling weights alone.
        self.sampled = np.zeros((5, len(self.stages), len(self.arms)))
        self.rows = np.zeros(len(self.arms), np.int64)
        self._units: list[np.ndarray] = []
        self._unit = campaign.roles.unit

    def add(self, block: Campaign) -> None:
        """Add the rows of `block` to every table."""
        codes = block.arm_codes
        if self._unit is not None:
            self._units.append(_unit_words(block.unit_ids))
        sampling = block.weights
        weight = sampling
        if block.propensity is not None:
            weight = (1.0 if sampling is None else sampling) / block.propensity
        outcomes = {stage: block.outcome(stage).astype(np.float64) for stage in self.stages}
        w = np.ones(block.n_rows) if sampling is None else sampling
        self.rows += np.bincount(codes, minlength=len(self.arms))
        for s, y in enumerate(outcomes.values()):
            for kind, part in enumerate((w, w * y, w * w, w * w * y, w * w * y * y)):
                self.sampled[kind, s] += np.bincount(codes, part, len(self.arms))
        tau = {name: reader.of(block) for name, reader in self.readers.items()}
        for index, arm in enumerate(self.arms[1:], start=1):
            keep = np.flatnonzero((codes == index) | (codes == 0))
            treated = codes[keep] == index
            kept = None if weight is None else weight[keep]
            for stage in self.stages:
                y = outcomes[stage][keep]
                for name in self.readers:
                    self._add(self.tables, (name, stage, arm), tau[name][stage, arm][keep], treated, y, kept)
                self._add(self.perfect, (stage, arm), np.where(treated, y, -y), treated, y, kept)

    def _add(self, tables: dict[Any, ScoreTable], key: Any, score: np.ndarray, *rows: Any) -> None:
        tables[key] += ScoreTable.of(score, *rows, max_groups=tables[key].max_groups)

    def check_units(self) -> None:
        """Refuse units with several rows, whose outcomes are not independent.

        Raises
        ------
        EvaluationError
            There are some.
        """
        if not self._units:
            return
        words = np.concatenate(self._units)
        self._units = []
        words.sort()
        repeats = int(np.count_nonzero(words[1:] == words[:-1]))
        if repeats:
            raise EvaluationError(
                f"{repeats:,} of {len(words):,} rows are further rows of a unit of column {self._unit!r}; intervals would have to draw whole units, which needs all rows at once: load the campaign whole."
            )


def _unit_words(units: pa.Array) -> np.ndarray:
    """64 bits that tell units apart: whole numbers themselves, a hash of anything else."""
    if pa.types.is_integer(units.type):
        result: np.ndarray = units.to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)
        return result
    return unit_hash(units)


def _evaluation(
    campaign: CampaignStream,
    found: _Gathered,
    confidence: float,
    draws: int,
    top: tuple[float, ...],
    random_state: int,
) -> StreamedEvaluation:
    frames: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("ate", "rates", "scores", "references", "groups", "placebo", "binning")
    }
    curves: dict[tuple[str, str, str], Curve] = {}
    notes: list[str] = []
    adjusted = "propensity" if campaign.roles.propensity else "weights" if campaign.roles.weight else "none"
    for s, stage in enumerate(found.stages):
        for a, arm in enumerate(found.arms):
            mean = _arm_mean(found.sampled[:, s, a], confidence)
            numbers = {"value": mean.value, "low": mean.low, "high": mean.high}
            frames["rates"].append({"stage": stage, "arm": arm, **numbers, "rows": int(found.rows[a])})
        how = TableScores(stage, confidence, draws, top, random_state)
        for arm in found.arms[1:]:
            where = {"stage": stage, "arm": arm}
            best = found.perfect[stage, arm]
            ate = average_effect(best, confidence=confidence)
            frames["ate"].append(where | vars(ate) | {"adjusted": adjusted})
            frames["references"] += [where | row for row in _references(best, stage, ate.value, top)]
            scored = {}
            for name, reader in found.readers.items():
                table = found.tables[name, stage, arm]
                one = how.score(table, calibrated=reader.calibrated, weighted=adjusted != "none")
                scored[name] = one
                mine = {"model": name} | where
                size = {"groups": len(table), "dropped_bits": table.drop}
                for row in one.rows:
                    off = row.pop("binning_error")
                    frames["scores"].append(mine | row)
                    frames["binning"].append(mine | {"metric": row["metric"]} | size | {"error": off})
                frames["groups"] += [mine | row for row in one.tenths]
                notes += [f"{name}, {stage}, {arm}: {reason}" for reason in one.missing]
                if table.binned:
                    notes.append(
                        f"{name}, {stage}, {arm}: {len(table):,} bins of scores; {HEADLINE} is off by at most {one.off:.2g}"
                    )
                curves[name, stage, arm] = one.curve
            frames["placebo"] += [where | row for row in placebo_ranges(scored, confidence)]
    tables = {name: pd.DataFrame(rows) for name, rows in frames.items()}
    return StreamedEvaluation(
        campaign=campaign.summary(),
        models=tuple(found.readers),
        arms=found.arms,
        stages=found.stages,
        uncalibrated=tuple(name for name, reader in found.readers.items() if not reader.calibrated),
        confidence=confidence,
        differences=pd.DataFrame(columns=DIFFERENCE_COLUMNS),
        curves=curves,
        notes=tuple(dict.fromkeys(notes)),
        **tables,  # type: ignore[arg-type]
    )


def _arm_mean(sums: np.ndarray, confidence: float) -> Estimate:
    """As :func:`uplift.metrics.average.arm_mean`, from sums of w, w y, w^2, w^2 y and w^2 y^2."""
    w, wy, ww, wwy, wwyy = sums
    mean = wy / w
    return Estimate.normal(
        mean, float(np.sqrt(max(wwyy - 2 * mean * wwy + mean**2 * ww, 0.0))) / w, confidence
    )


def _references(best: ScoreTable, stage: str, ate: float, top: tuple[float, ...]) -> list[dict[str, Any]]:
    rows = [{"metric": HEADLINE, "random": 0.0, "perfect": float(scores.qini_per_capita(best.cells))}]
    if stage != VALUE_STAGE:
        rows += [{"metric": metric, "random": 0.0, "perfect": 1.0} for metric in BINARY_ONLY]
    return rows + [{"metric": uplift_at_id(share), "random": ate, "perfect": np.nan} for share in top]
