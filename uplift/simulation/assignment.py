"""Which coupon each customer is sent: at planned shares, by region, or by a targeting rule that confounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from uplift.simulation.settings import Settings
from uplift.simulation.streams import WORLD_SEED, stream

#: Part of the assignment that stays random under confounding, so that every customer can get every arm.
OVERLAP = 0.02


def arm_probabilities(
    settings: Settings, region: npt.NDArray[np.intp] | None, targeting: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Probability of every arm, float64 [unit, arm], rows sum to 1.

    Within region s the planned shares p_a become proportional to p_a exp(strata_imbalance * u_sa), with fixed u_sa
    in [-1, 1]. With confounding, a multinomial logit on top of these sends (bigger) coupons to customers with a
    higher `targeting` index, those who buy more anyway; `OVERLAP` of the rows are sent at the planned shares.
    """
    shares = np.array(settings.shares)
    arms = len(shares)
    planned = np.tile(shares / shares.sum(), (max(settings.strata, 1), 1))
    if settings.strata_imbalance > 0:
        tilt = stream(WORLD_SEED, "region tilt").uniform(-1, 1, (settings.strata, arms))
        planned *= np.exp(settings.strata_imbalance * tilt)
        planned /= planned.sum(axis=1, keepdims=True)
    own = planned[np.zeros(len(targeting), np.intp) if region is None else region]
    if settings.confounding == 0:
        return own
    pull = np.array([0.0, *(0.5 + 0.5 * np.arange(1, arms) / (arms - 1))])
    targeted = own * np.exp(settings.confounding * targeting[:, None] * pull)
    targeted /= targeted.sum(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = (1 - OVERLAP) * targeted + OVERLAP * own
    return result


def pick_arms(
    probabilities: npt.NDArray[np.float64], uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.int16]:
    """One arm per unit, int16 [unit], from `probabilities` [unit, arm] and a uniform number [unit]."""
    arm = np.zeros(len(probabilities), np.int16)
    cumulative = np.zeros(len(probabilities))
    # the last arm takes what is left, whatever the rounding of the sum
    for a in range(probabilities.shape[1] - 1):
        cumulative += probabilities[:, a]
        arm += uniform >= cumulative
    return arm
