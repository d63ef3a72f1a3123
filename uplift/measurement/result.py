"""What a plan brought: by arm and stage, in money, and against the promise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from uplift.metrics.average import Estimate

if TYPE_CHECKING:
    import pandas as pd

ALL_ARMS = "all arms"
"""Name of the row that adds the arms up."""

BASES = {
    "arm": "customers by planned arm: those sent it against those held out who would have got it",
    "chosen": "customers whom the plan wanted to reach: those sent an arm against those held out",
    "everybody": "everybody not held out, the plan's controls included, against everybody held out",
}
"""Who is compared with whom."""


@dataclass(frozen=True)
class MeasuredArm:
    """One arm at one stage, intent to treat.

    Attributes
    ----------
    stage : str
    arm : str
        :data:`ALL_ARMS` for all together.
    sent, held_out : int
        Customers on either side.
    mean_sent, mean_held_out : float
        Outcome per customer; for all arms the held out are weighted like those sent to.
    effect : Estimate
        Difference per customer sent to.
    total : Estimate
        The same times `sent`: extra clicks, conversions, or value.
    promised : float or None
        What the plan expected in total of the same customers, where it says.

    Examples
    --------
    >>> import pandas as pd, uplift
    >>> plan = pd.DataFrame({
    ...     "customer": range(8), "arm": ["five"] * 4 + ["none"] * 4, "planned_arm": ["five"] * 8,
    ...     "holdout": [False] * 4 + [True] * 4, "expected_value": [10.0] * 4 + [0.0] * 4, "expected_cost": 0.0,
    ... })
    >>> log = pd.DataFrame({"customer": range(8), "buy": [1, 1, 1, 0, 1, 0, 0, 0]})
    >>> found = uplift.measure(plan, log, chain=["buy"], margin=20.0)
    >>> one = found.effect("buy", "five")
    >>> one.sent, one.held_out, one.effect.value, one.total.value, one.promised
    (4, 4, 0.5, 2.0, 2.0)
    """

    stage: str
    arm: str
    sent: int
    held_out: int
    mean_sent: float
    mean_held_out: float
    effect: Estimate
    total: Estimate
    promised: float | None


@dataclass(frozen=True)
class MeasuredMoney:
    """One arm in money, over the customers it was sent to.

    Attributes
    ----------
    arm : str
    value : Estimate
        Incremental value: margin x incremental outcome of the valued stage.
    cost : float or None
        What was paid for what was sent, as observed; None without cost rules.
    net : Estimate or None
        Value less cost.
    promised_value, promised_cost : float
        What the plan expected of the same customers; the value is NaN where it was made for another stage than the one
        that is valued, and does not say what it expects there.

    Examples
    --------
    >>> import pandas as pd, uplift
    >>> plan = pd.DataFrame({
    ...     "customer": range(8), "arm": ["five"] * 4 + ["none"] * 4, "planned_arm": ["five"] * 8,
    ...     "holdout": [False] * 4 + [True] * 4, "expected_value": [10.0] * 4 + [0.0] * 4, "expected_cost": 0.0,
    ... })
    >>> log = pd.DataFrame({"customer": range(8), "buy": [1, 1, 1, 0, 1, 0, 0, 0]})
    >>> found = uplift.measure(plan, log, chain=["buy"], margin=20.0)
    >>> [(one.arm, one.value.value, one.promised_value) for one in found.money]
    [('five', 40.0, 40.0), ('all arms', 40.0, 40.0)]
    """

    arm: str
    value: Estimate
    cost: float | None
    net: Estimate | None
    promised_value: float
    promised_cost: float


@dataclass(frozen=True, repr=False)
class Measurement:
    """What a plan brought, by its holdout. Made by :func:`uplift.measure`.

    Attributes
    ----------
    stage : str
        The stage that is valued.
    margin : float
        Money per unit of its outcome.
    confidence : float
        Level of all intervals.
    basis : {"arm", "chosen", "everybody"}
        Who is compared with whom; see :data:`uplift.measurement.result.BASES`.
    stages : tuple of MeasuredArm
        Every stage, arm by arm and then all arms.
    money : tuple of MeasuredMoney
        Arm by arm, then all arms.
    customers, held_out : int
        Of the plan.
    warnings : tuple of str
        What to be careful about.

    Examples
    --------
    >>> import pandas as pd, uplift
    >>> plan = pd.DataFrame({
    ...     "customer": range(8), "arm": ["five"] * 4 + ["none"] * 4, "planned_arm": ["five"] * 8,
    ...     "holdout": [False] * 4 + [True] * 4, "expected_value": [10.0] * 4 + [0.0] * 4, "expected_cost": 0.0,
    ... })
    >>> log = pd.DataFrame({"customer": range(8), "buy": [1, 1, 1, 0, 1, 0, 0, 0]})
    >>> found = uplift.measure(plan, log, chain=["buy"], margin=20.0)
    >>> found.value.value, found.promised_value
    (40.0, 40.0)
    """

    stage: str
    margin: float
    confidence: float
    basis: str
    stages: tuple[MeasuredArm, ...]
    money: tuple[MeasuredMoney, ...]
    customers: int
    held_out: int
    warnings: tuple[str, ...] = ()

    @property
    def value(self) -> Estimate:
        """Incremental value of all arms, money."""
        return self.money[-1].value

    @property
    def cost(self) -> float | None:
        """What was paid for all arms, money; None without cost rules."""
        return self.money[-1].cost

    @property
    def net(self) -> Estimate | None:
        """Value less cost of all arms, money; None without cost rules."""
        return self.money[-1].net

    @property
    def promised_value(self) -> float:
        """What the plan expected of the customers that were sent something, money."""
        return self.money[-1].promised_value

    @property
    def promised_cost(self) -> float:
        """What the plan expected to pay for them, money."""
        return self.money[-1].promised_cost

    @property
    def kept(self) -> Estimate | None:
        """Measured value as a share of the promise; None where nothing was promised."""
        promised, value = self.promised_value, self.value
        if not promised > 0:
            return None
        return Estimate(*(number / promised for number in (value.value, value.se, value.low, value.high)))

    def effect(self, stage: str | None = None, arm: str = ALL_ARMS) -> MeasuredArm:
        """One arm at one stage.

        Parameters
        ----------
        stage : str, optional
            Default: the valued one.
        arm : str
            Default: all arms.

        Returns
        -------
        MeasuredArm

        Raises
        ------
        EvaluationError
            There is no such stage or arm in the result.
        """
        from uplift.errors import EvaluationError, did_you_mean

        wanted = self.stage if stage is None else stage
        for one in self.stages:
            if (one.stage, one.arm) == (wanted, arm):
                return one
        names = {one.stage for one in self.stages}
        if wanted not in names:
            raise EvaluationError(f"stage {wanted!r} was not measured; {did_you_mean(wanted, sorted(names))}")
        arms = [one.arm for one in self.stages if one.stage == wanted]
        raise EvaluationError(f"arm {arm!r} was not measured; {did_you_mean(arm, arms)}")

    def to_frame(self) -> pd.DataFrame:
        """One row per stage and arm.

        Returns
        -------
        pandas.DataFrame
            ``stage``, ``arm``, ``sent``, ``held_out``, ``mean_sent``, ``mean_held_out``, ``effect``, ``low``, ``high`` (per customer),
            ``total``, ``total_low``, ``total_high``, ``promised`` (over the customers sent to, outcome units).
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "stage": one.stage, "arm": one.arm, "sent": one.sent, "held_out": one.held_out,
                "mean_sent": one.mean_sent, "mean_held_out": one.mean_held_out,
                "effect": one.effect.value, "low": one.effect.low, "high": one.effect.high,
                "total": one.total.value, "total_low": one.total.low, "total_high": one.total.high,
                "promised": one.promised,
            }
            for one in self.stages
        )  # fmt: skip

    def money_frame(self) -> pd.DataFrame:
        """One row per arm and for all arms, in money.

        Returns
        -------
        pandas.DataFrame
            ``arm``, ``value``, ``low``, ``high``, ``promised``, ``cost``, ``promised_cost``, ``net``, ``net_low``, ``net_high``; the
            costs and net are missing without cost rules.
        """
        import pandas as pd

        nothing = Estimate(float("nan"), float("nan"), float("nan"), float("nan"))
        return pd.DataFrame(
            {
                "arm": one.arm, "value": one.value.value, "low": one.value.low, "high": one.value.high,
                "promised": one.promised_value, "cost": one.cost, "promised_cost": one.promised_cost,
                "net": (one.net or nothing).value, "net_low": (one.net or nothing).low,
                "net_high": (one.net or nothing).high,
            }
            for one in self.money
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types.

        Returns
        -------
        dict
        """
        return {
            **asdict(self),
            "stages": [asdict(one) for one in self.stages],
            "money": [asdict(one) for one in self.money],
            "warnings": list(self.warnings),
            "value": asdict(self.value),
            "promised_value": self.promised_value,
        }

    def __repr__(self) -> str:
        all_arms, value = self.effect(), self.value
        kept = self.kept
        promise = "" if kept is None else f", {kept.value:.0%} of the {self.promised_value:,.0f} promised"
        return (
            f"Measurement({all_arms.sent:,} sent, {all_arms.held_out:,} held out: value {value.value:,.0f} "
            f"[{value.low:,.0f}, {value.high:,.0f}]{promise})"
        )

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import measurement_html

        return measurement_html(self)
