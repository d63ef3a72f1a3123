"""What things are called on the page: the labels of the arms, and the value stage by its own column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign

_VERBS = frozenset({"bought", "sent", "paid", "seen", "read", "sold", "spent", "won", "open"})
"""Stages whose names are no nouns although they do not end like a participle."""


@dataclass(frozen=True)
class Names:
    """Display names; whatever is not in the mappings keeps its name.

    Attributes
    ----------
    arms : mapping of str to str
        Arm name to label; no two arms share one.
    value : str or None
        Column of the value stage.

    Examples
    --------
    >>> names = Names({"coupon_5": "Five off"}, "spend")
    >>> names.arm("coupon_5"), names.arm_small("coupon_5"), names.stage("value"), names.stage("click")
    ('Five off', 'coupon_5', 'spend (value)', 'click')
    """

    arms: Mapping[str, str] = field(default_factory=dict)
    value: str | None = None

    @classmethod
    def of(cls, campaign: Campaign, run: Mapping[str, Any] | None = None) -> Names:
        """Labels of the campaign's arms; the value column as the run recorded it, else as the campaign has it."""
        shown = [arm.display for arm in campaign.arms]
        taken = Counter([*shown, *(arm.name for arm in campaign.arms if arm.display != arm.name)])
        arms = {
            arm.name: text if taken[text] == 1 else f"{text} ({arm.name})"
            for arm, text in zip(campaign.arms, shown, strict=True)
            if text != arm.name
        }
        recorded = ((run or {}).get("campaign") or {}).get("value")
        return cls(arms, str(recorded) if recorded else campaign.roles.value)

    def arm(self, name: str) -> str:
        """Label of an arm."""
        return self.arms.get(name, name)

    def arm_small(self, name: str) -> str:
        """The arm's name where its label differs, else nothing."""
        return name if self.arm(name) != name else ""

    def all_arms(self, names: Iterable[str]) -> list[str]:
        """Labels of several arms."""
        return [self.arm(name) for name in names]

    def stage(self, name: str) -> str:
        """A stage; the value stage with its column in front."""
        if name == VALUE_STAGE and self.value and self.value != VALUE_STAGE:
            return f"{self.value} ({VALUE_STAGE})"
        return name


def events(stage: str) -> str:
    """Several events of a stage, where its name can be read as a noun.

    Examples
    --------
    >>> events("conversion"), events("bought")
    ('conversions', 'customers who reach bought')
    """
    noun = (
        stage.isascii() and stage.isalpha() and not stage.endswith(("ed", "s", "y")) and stage not in _VERBS
    )
    return f"{stage}s" if noun else f"customers who reach {stage}"
