"""The policy file: a policy as plain JSON, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uplift.arms import CostRule
from uplift.errors import AllocationError, UpliftError, first_line
from uplift.policy.prices import Price

if TYPE_CHECKING:
    from uplift.policy.policy import Policy

SCHEMA_VERSION = 2
"""1: prices of a budget, no rules (still read). 2: prices of every limit, and what else the plan was made with."""
_KIND = "uplift-policy"
_HINT = "make one with 'uplift policy RUN --out policy.json'"


def to_dict(policy: Policy) -> dict[str, Any]:
    """Content of the policy file (plain JSON types)."""
    costs = None
    if policy.costs is not None:
        costs = {
            arm: {"on": rule.on, "amount": rule.amount, "share": rule.share}
            for arm, rule in policy.costs.items()
            if arm in policy.arms[1:]
        }
    return {
        "kind": _KIND,
        "schema_version": SCHEMA_VERSION,
        "campaign": policy.campaign,
        "model": {"name": policy.model, "fingerprint": policy.model_fingerprint},
        "arms": list(policy.arms),
        "labels": dict(policy.labels),
        "stage": policy.stage,
        "margin": policy.margin,
        "costs": costs,
        "prices": [price.to_dict() for price in policy.prices],
        "min_roi": policy.min_roi,
        "step_floor": policy.step_floor,
        "allow_harm": policy.allow_harm,
        "exactly_one": policy.exactly_one,
        "caution": policy.caution,
        "eligibility_given": policy.eligibility_given,
        "conditions": [dict(rule) for rule in policy.conditions],
        "holdout": {"share": policy.holdout_share, "salt": policy.salt},
        "plan": {
            "budget": policy.budget,
            "expected_cost": policy.expected_cost,
            "n_units": policy.n_units,
        },
    }


def arguments(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Arguments of the policy that a file describes.

    Raises
    ------
    AllocationError
        Another kind of file, another schema, or keys that are missing.
    """
    if content.get("kind") != _KIND:
        raise AllocationError(f"{source} is no policy file: {_HINT}.")
    version = content.get("schema_version")
    if version not in (1, SCHEMA_VERSION):
        raise AllocationError(
            f"{source} has schema version {version!r}, this uplift reads 1 to {SCHEMA_VERSION}: "
            "make the policy again."
        )
    if version == 1:
        content = {"step_floor": False, "exactly_one": False, "caution": 0.0, "conditions": [], **content}
    try:
        _check_numbers(content, source)
        plan, holdout, model, costs = (content[key] for key in ("plan", "holdout", "model", "costs"))
        return {
            "arms": tuple(content["arms"]),
            "prices": tuple(Price(**price) for price in content["prices"]),
            "stage": content["stage"],
            "margin": content["margin"],
            "costs": None if costs is None else {arm: CostRule(**rule) for arm, rule in costs.items()},
            "holdout_share": holdout["share"],
            "salt": holdout["salt"],
            "min_roi": content["min_roi"],
            "step_floor": content["step_floor"],
            "allow_harm": content["allow_harm"],
            "exactly_one": content["exactly_one"],
            "caution": content["caution"],
            "eligibility_given": content["eligibility_given"],
            "conditions": tuple(content["conditions"]),
            "campaign": content["campaign"],
            "model": model["name"],
            "model_fingerprint": model["fingerprint"],
            "labels": content["labels"],
            "budget": plan["budget"],
            "expected_cost": plan["expected_cost"],
            "n_units": plan["n_units"],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise AllocationError(f"{source} is damaged ({error}): make the policy again.") from error


def _check_numbers(content: Mapping[str, Any], source: str) -> None:
    """Stop at what would only fail, or decide wrongly, when the first unit comes."""
    for key in ("margin", "min_roi", "caution"):
        given = content.get(key)
        bad = isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0
        if bad and not (key == "margin" and given is None):
            raise AllocationError(f"{source} is damaged ({key} is {given!r}): make the policy again.")
    for key in ("step_floor", "allow_harm", "exactly_one", "eligibility_given"):
        if not isinstance(content.get(key), bool):
            raise AllocationError(
                f"{source} is damaged ({key} is {content.get(key)!r}): make the policy again."
            )


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """JSON content of a policy file.

    Raises
    ------
    UpliftError
        There is none, or it is damaged.
    """
    if not Path(path).is_file():
        raise UpliftError(f"There is no policy file {str(path)!r}: {_HINT}.")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UpliftError(f"{path} cannot be read as a policy ({first_line(error)}): {_HINT}.") from error
    if not isinstance(content, dict):
        raise AllocationError(f"{path} is no policy file: {_HINT}.")
    return content
