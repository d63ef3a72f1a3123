"""Effects pulled in to the size that randomised data support: less promised, better chosen.

A plan picks the units whose predicted effect is largest, and among those over-stated ones abound (the winner's
curse): the promised value exceeds the true one, and the more so the noisier the model. The slope of the best linear
predictor says by how much predictions are spread too far, and needs no true effect to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError
from uplift.metrics.average import compare
from uplift.metrics.calibration import calibration_slope


@dataclass(frozen=True, eq=False)
class Recalibration:
    """Linear corrections per arm and stage, estimated on randomised rows; apply them with :meth:`apply`.

    Attributes
    ----------
    centre : ndarray of float64 [arm, stage]
        Mean predicted effect on the rows it was estimated on; the corrections turn around it.
    slope : ndarray of float64 [arm, stage]
        Estimated slope, as it came out.
    se : ndarray of float64 [arm, stage]
        Its standard error; NaN where all predictions are the same and the slope counts as 1.
    arms, stages : tuple of str
        Axes (arms with control first, whose row is not used).

    Examples
    --------
    >>> import uplift
    >>> learn, test = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0).campaign().split(test=0.5)
    >>> effects = uplift.make_model("lightgbm_s", n_estimators=10).fit(learn).predict(test)
    >>> correction = uplift.recalibration(test, effects)
    >>> correction.apply(effects).model
    'lightgbm_s'
    """

    centre: np.ndarray
    slope: np.ndarray
    se: np.ndarray
    arms: tuple[str, ...]
    stages: tuple[str, ...]

    @property
    def factor(self) -> np.ndarray:
        """What deviations from the centre are multiplied by, [arm, stage]: the slope kept within 0 and 1.

        Below 0, predictions say nothing about who responds; above 1 they would be spread further on the word of a
        noisy estimate, which is the error that this is meant to mend.
        """
        result: np.ndarray = np.clip(self.slope, 0.0, 1.0)
        return result

    def apply(self, effects: Effects) -> Effects:
        """Corrected effects of any rows of the same model.

        Each uplift becomes ``centre + factor * (tau - centre)``, its interval with it, and the arm's outcome the
        control's plus the uplift (kept in [0, 1] for binary stages, above 0 for the value). Stages are corrected
        one by one: the chain's stages need no longer nest exactly.

        Raises
        ------
        EvaluationError
            Other arms or stages, or ranking scores.
        """
        if (effects.arms, effects.stages) != (self.arms, self.stages):
            raise EvaluationError(
                f"the correction is for arms {list(self.arms)} and stages {list(self.stages)}, the effects have "
                f"{list(effects.arms)} and {list(effects.stages)}; estimate it on effects of the same model."
            )
        _needs_effects(effects)

        def pulled(array: np.ndarray) -> np.ndarray:
            moved = self.centre + self.factor * (array.astype(np.float64) - self.centre)
            moved[:, 0] = 0.0
            result: np.ndarray = moved.astype(np.float32)
            return result

        tau = pulled(effects.tau_all)
        mu = effects.mu_all[:, :1] + tau
        binary = [at for at, stage in enumerate(self.stages) if stage != VALUE_STAGE]
        np.maximum(mu, 0.0, out=mu)
        mu[..., binary] = np.minimum(mu[..., binary], 1.0)
        ends = {}
        if effects.low_all is not None and effects.high_all is not None:
            ends = {
                "low_all": np.minimum(pulled(effects.low_all), tau),
                "high_all": np.maximum(pulled(effects.high_all), tau),
            }
        return replace(effects, mu_all=mu, tau_all=tau, **ends)

    def to_frame(self) -> pd.DataFrame:
        """One row per arm and stage: arm, stage, centre, slope, se, factor."""
        return pd.DataFrame(
            [
                {
                    "arm": arm,
                    "stage": stage,
                    "centre": self.centre[a, s],
                    "slope": self.slope[a, s],
                    "se": self.se[a, s],
                    "factor": self.factor[a, s],
                }
                for a, arm in enumerate(self.arms)
                if a
                for s, stage in enumerate(self.stages)
            ]
        )


def recalibration(campaign: Campaign, effects: Effects, *, pooled: bool = True) -> Recalibration:
    """Estimate how far a model's effects must be pulled in.

    Parameters
    ----------
    campaign : Campaign
        Randomised rows that the model was not fitted on; not those on which a plan is valued afterwards.
    effects : Effects
        The model's effects for these rows.
    pooled : bool
        One slope per stage, the arms' slopes weighted by their precision: a model mostly errs alike for all arms, and
        a slope of one arm alone is noisy. False: a slope for every arm.

    Returns
    -------
    Recalibration

    Raises
    ------
    EvaluationError
        The effects are ranking scores, or an arm or control has no rows.

    See Also
    --------
    uplift.metrics.calibration.calibration_slope : The estimate, with its source.

    Examples
    --------
    >>> import uplift
    >>> world = uplift.simulate(rows=20_000, seed=0)
    >>> correction = recalibration(world.campaign(), world.effects)
    >>> bool((correction.factor[1:, 0] > 0.7).all())  # the true effects have the right size
    True
    """
    _needs_effects(effects)
    shape = (len(effects.arms), len(effects.stages))
    centre, slope, se = np.zeros(shape), np.ones(shape), np.full(shape, np.nan)
    rows_influence = np.zeros((campaign.n_rows, *shape))
    for a, arm in enumerate(effects.arms):
        if a == 0:
            continue
        rows = compare(campaign, arm)
        weight = np.ones(len(rows.rows)) if rows.weight is None else rows.weight
        for s, stage in enumerate(effects.stages):
            tau = effects.tau(stage, arm)[rows.rows].astype(np.float64)
            centre[a, s] = np.average(tau, weights=weight)
            if np.ptp(tau) <= 1e-12 * max(1.0, float(np.abs(tau).max())):
                continue
            found = calibration_slope(tau, rows.treated, campaign.outcome(stage)[rows.rows], rows.weight)
            rows_influence[rows.rows, a, s] = found.influence
            slope[a, s], se[a, s] = found.value, _spread(found.influence, rows.cluster)
    if pooled:
        cluster = campaign.unit_codes if campaign.units_repeat else None
        for s in range(shape[1]):
            known = np.flatnonzero(np.isfinite(se[:, s]))
            if len(known):
                share = se[known, s] ** -2 / np.sum(se[known, s] ** -2)
                slope[known, s] = share @ slope[known, s]
                se[known, s] = _spread(rows_influence[:, known, s] @ share, cluster)
    return Recalibration(centre, slope, se, effects.arms, effects.stages)


def _spread(influence: np.ndarray, cluster: np.ndarray | None) -> float:
    """Standard error from the rows' influences, those of a unit added up first."""
    if cluster is not None:
        influence = np.bincount(cluster, influence)
    return float(np.sqrt(np.square(influence).sum()))


def _needs_effects(effects: Effects) -> None:
    if not effects.calibrated:
        raise EvaluationError(
            f"the uplifts of model {effects.model!r} are ranking scores, which have no size to correct; "
            "use a model whose effects are calibrated."
        )
