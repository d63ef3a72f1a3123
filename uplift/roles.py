"""Roles: which column plays which part, and which names are free for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uplift.arms import SEND, VALUE_STAGE
from uplift.errors import CampaignError, did_you_mean

UNIT = "unit"
"""Name of the unit column in output files when the campaign has none."""
RESERVED = (
    "arm", VALUE_STAGE, "propensity", "weight", "stratum", SEND, "expected_value", "expected_cost", "holdout",
    "decision_id", "campaign", "model",
)  # fmt: skip
"""Names that the run folder gives to its own columns; no stage and no unit column may use them."""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Which column plays which part.

    Parameters
    ----------
    treatment : str
        Column with the arm each row received.
    control : str
        Text of the control arm's value.
    chain : tuple of str
        Binary stage columns in order, each implying the one before, 1..N of them.
    unit : str, optional
        Id of the customer. Without it every row is a unit of its own.
    value : str, optional
        Money (or any number) that follows the last stage.
    propensity : str, optional
        Probability, in (0, 1], of the arm the row received.
    strata : tuple of str
        Columns within which the treatment was randomised, possibly at different rates.
        They stay features: a model that does not see them is confounded.
    time : str, optional
        When the row was assigned.
    weight : str, optional
        Positive sampling weight of the row.
    features : tuple of str, optional
        Columns to learn from; default every column without another role.
    exclude : tuple of str
        Columns that are never features.
    categorical : tuple of str, optional
        Features to treat as categories; default those that hold text.

    Examples
    --------
    >>> roles = Roles.of(treatment="coupon", control="none", chain=["click", "buy"], value="spend", exclude=["note"])
    >>> roles.feature_names(["coupon", "click", "buy", "spend", "note", "age"])
    ('age',)
    """

    treatment: str
    control: str
    chain: tuple[str, ...]
    unit: str | None = None
    value: str | None = None
    propensity: str | None = None
    strata: tuple[str, ...] = ()
    time: str | None = None
    weight: str | None = None
    features: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    categorical: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        *,
        chain: Sequence[str] | str,
        strata: Sequence[str] | str = (),
        features: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        categorical: Sequence[str] | None = None,
        **columns: Any,
    ) -> Roles:
        """Roles from what a user may write: one name where a list is meant, lists where tuples are.

        Parameters
        ----------
        chain, strata, features, exclude, categorical : str or sequence of str
            One name or several.
        **columns
            The other attributes, as they are.

        Examples
        --------
        >>> Roles.of(treatment="coupon", control="none", chain="buy").chain
        ('buy',)
        """
        return cls(
            chain=(chain,) if isinstance(chain, str) else tuple(chain),
            strata=(strata,) if isinstance(strata, str) else tuple(strata),
            features=None if features is None else tuple(features),
            exclude=tuple(exclude),
            categorical=None if categorical is None else tuple(categorical),
            **columns,
        )

    def feature_names(self, available: Sequence[str]) -> tuple[str, ...]:
        """Columns to learn from: as listed, or those `available` that have no other part, in their order."""
        if self.features is not None:
            return self.features
        taken = set(self.named()) | set(self.exclude)
        return tuple(name for name in available if name not in taken)

    def used(self, features: Sequence[str]) -> set[str]:
        """All columns with a part to play, given the `features`."""
        return {*self.named(), *features, *self.strata}

    def named(self) -> dict[str, str]:
        """Column -> role, for the roles that take a column out of the features."""
        found = {self.treatment: "treatment"}
        found |= {stage: f"stage {position + 1} of the chain" for position, stage in enumerate(self.chain)}
        for role in ("unit", "value", "propensity", "time", "weight"):
            column = getattr(self, role)
            if column is not None:
                found[column] = role
        return found


def text_columns(roles: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns whose values are names: never numbers, even where they look like some."""
    return tuple(str(roles[role]) for role in ("unit", "treatment") if roles.get(role) is not None)


def check_names(available: Sequence[str], roles: Roles) -> None:
    duplicated = sorted({name for name in available if list(available).count(name) > 1})
    if duplicated:
        raise CampaignError(
            f"column {duplicated[0]!r} appears more than once; rename or drop the duplicates."
        )
    if not roles.chain:
        raise CampaignError(
            "the chain is empty; name at least one binary outcome column, for example chain = ['conversion']."
        )
    if len(set(roles.chain)) < len(roles.chain):
        raise CampaignError(f"the chain {list(roles.chain)} names a stage twice; each stage is one column.")
    wanted: list[tuple[str, str]] = [
        ("treatment", roles.treatment),
        *(("stage", stage) for stage in roles.chain),
    ]
    wanted += [
        (role, getattr(roles, role))
        for role in ("unit", "value", "propensity", "time", "weight")
        if getattr(roles, role)
    ]
    wanted += [("strata", name) for name in roles.strata] + [("exclude", name) for name in roles.exclude]
    wanted += [("feature", name) for name in roles.features or ()]
    wanted += [("categorical", name) for name in roles.categorical or ()]
    for role, column in wanted:
        if column not in available:
            raise CampaignError(f"there is no {role} column {column!r}; {did_you_mean(column, available)}")
    parts: dict[str, str] = {}
    for role, column in wanted:
        if role in ("feature", "strata", "exclude", "categorical"):
            continue
        if column in parts:
            raise CampaignError(
                f"column {column!r} cannot be both {parts[column]} and {role}; give each role its own column."
            )
        parts[column] = role
    for name in roles.features or ():
        if name in parts:
            raise CampaignError(
                f"column {name!r} is the {parts[name]} and cannot be a feature: it is known only after the decision, or identifies the row."
            )
    for name in roles.categorical or ():
        if (
            name in parts
            or name in roles.exclude
            or (roles.features is not None and name not in roles.features)
        ):
            raise CampaignError(
                f"categorical column {name!r} is not a feature; list only features under categorical."
            )
    for name in roles.chain:
        if name in RESERVED or "__" in name or not name.strip():
            raise CampaignError(
                f"a stage cannot be called {name!r} (reserved: {', '.join(RESERVED)}, and names with '__'); rename the column."
            )
    if UNIT in roles.chain and roles.unit is None:
        raise CampaignError(
            f"a stage cannot be called {UNIT!r} without a unit column, because that is what row numbers are called in files; rename the column."
        )
    if roles.unit in RESERVED:
        raise CampaignError(
            f"the unit column cannot be called {roles.unit!r} (reserved: {', '.join(RESERVED)}); rename it."
        )
