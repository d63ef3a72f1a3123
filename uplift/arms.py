"""Treatment arms: a name, an optional face value and what it costs to send it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from uplift.errors import CampaignError

VALUE_STAGE = "value"
"""Name of the value axis in effects, metrics and files, whatever the value column is called."""

SEND = "send"
"""`CostRule.on` for a cost paid for every unit that gets the arm."""


@dataclass(frozen=True, kw_only=True)
class CostRule:
    """When an arm costs money, and how much.

    Parameters
    ----------
    on : str
        ``"send"`` (every unit that gets the arm), the name of a binary stage (paid when the unit reaches it:
        a coupon that is redeemed at conversion), or ``"value"`` (a percentage discount).
    amount : float, optional
        Money per event, >= 0. Needed unless ``on="value"``.
    share : float, optional
        Share of the value in [0, 1]. Needed when ``on="value"``.

    Raises
    ------
    CampaignError
        Amount or share missing, negative, not finite, or both given.

    Examples
    --------
    >>> CostRule(on="conversion", amount=5.0)  # paid when it is redeemed
    CostRule(on='conversion', amount=5.0, share=None)
    >>> CostRule(on="value", share=0.1).share  # ten per cent off
    0.1
    """

    on: str
    amount: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        wanted, other = ("share", "amount") if self.on == VALUE_STAGE else ("amount", "share")
        given = getattr(self, wanted)
        if given is None:
            example = "share = 0.1" if wanted == "share" else "amount = 5.0"
            raise CampaignError(f"a cost on {self.on!r} needs {wanted!r}, for example {example}.")
        if getattr(self, other) is not None:
            raise CampaignError(f"a cost on {self.on!r} takes {wanted!r} and no {other!r}; remove {other!r}.")
        if not math.isfinite(given) or given < 0 or (wanted == "share" and given > 1):
            bounds = "between 0 and 1" if wanted == "share" else "a finite number >= 0"
            raise CampaignError(f"the cost {wanted} on {self.on!r} is {given}; it must be {bounds}.")

    def describe(self) -> str:
        """The rule in words.

        Examples
        --------
        >>> CostRule(on="conversion", amount=5.0).describe()
        '5 per conversion'
        """
        if self.on == VALUE_STAGE:
            return f"{self.share:.0%} of the value"
        return f"{self.amount:g} per {'unit sent' if self.on == SEND else self.on}"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One value of the treatment column.

    Parameters
    ----------
    name : str
        Text of the column's value.
    label : str, optional
        Display name; `name` when not given.
    amount : float, optional
        Face value of the coupon, in money.
    threshold : float, optional
        Least spend at which the coupon can be redeemed, in money, >= 0.
    share : float, optional
        Planned share of the customers, in (0, 1): what the sample-ratio check tests against.
    cost : CostRule, optional
        Needed only to allocate under a budget.

    Raises
    ------
    CampaignError
        Amount, threshold or share out of range.

    Examples
    --------
    >>> Arm(name="coupon_5", amount=5.0, cost=CostRule(on="conversion", amount=5.0)).amount
    5.0
    """

    name: str
    label: str | None = None
    amount: float | None = None
    threshold: float | None = None
    share: float | None = None
    cost: CostRule | None = None

    def __post_init__(self) -> None:
        if self.amount is not None and not math.isfinite(self.amount):
            raise CampaignError(
                f"the amount of arm {self.name!r} is {self.amount}; it must be a finite number."
            )
        if self.threshold is not None and not 0 <= self.threshold < math.inf:
            raise CampaignError(
                f"the threshold of arm {self.name!r} is {self.threshold}; it must be a finite number >= 0."
            )
        if self.share is not None and not 0 < self.share < 1:
            raise CampaignError(
                f"the planned share of arm {self.name!r} is {self.share}; it must lie between 0 and 1."
            )

    @property
    def display(self) -> str:
        """`label`, or `name` when there is none."""
        return self.label or self.name


def natural_key(name: str) -> tuple[tuple[int, float, str], ...]:
    """Sort key that puts ``coupon_5`` before ``coupon_10`` and ``-1`` before ``2``.

    Examples
    --------
    >>> sorted(["coupon_10", "coupon_5"], key=natural_key)
    ['coupon_5', 'coupon_10']
    """
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    key = tuple((0, float(p), "") if re.fullmatch(r"\d+(?:\.\d+)?", p) else (1, 0.0, p) for p in parts if p)
    return (*key, (2, 0.0, name))  # "01" and "1" differ in nothing else
