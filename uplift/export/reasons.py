"""Role and reason codes of an exported decision: what the unit is in the campaign, and why it has its arm."""

from __future__ import annotations

ROLES = ("treatment", "control", "holdout", "not_eligible")
"""``treatment`` gets an arm; ``control`` gets none because that is best; ``holdout`` gets none on purpose, to measure
the campaign against; ``not_eligible`` could not get any."""

REASONS = {
    "selected": "gets the arm with the largest value at the plan's prices",
    "holdout": "kept in control by the hash of its id, before anything was optimised",
    "negative_uplift": "no arm is expected to bring anything",
    "below_price": "an arm would bring something, but less per unit of money than the plan's price (or it lost a tie there)",
    "not_eligible": "no arm is open to this unit",
    "do_not_disturb": "even the upper end of the uplift's interval is negative",
    "no_consent": "did not agree to be contacted",
    "stock": "the arm it would get is used up",
    "cap": "a limit on contacts stands in the way",
    "tie_cut": "its return equals the price and the money ended within the tie",
    "repaired": "was moved to meet a limit exactly",
    "control": "is in control; the plan does not say why",
}
"""Every reason code with its meaning. A plan may bring codes of its own: they are exported as they are, with
underscores for blanks."""

NOT_ELIGIBLE_REASONS = frozenset({"not_eligible", "do_not_disturb", "no_consent"})
"""Reasons that make the role ``not_eligible``."""
