"""What a campaign is, apart from its rows: the names of its stages and arms, in memory or on disk."""

from __future__ import annotations

from uplift.arms import SEND, VALUE_STAGE, Arm, CostRule
from uplift.errors import CampaignError, did_you_mean
from uplift.roles import UNIT, Roles


class CampaignShape:
    """Names that follow from roles and arms alone; base of a campaign in memory and of one on disk.

    Attributes
    ----------
    roles : Roles
        The part each column plays.
    arms : tuple of Arm
        Control first, then by name in natural order.
    name : str
        Name of the campaign; ends up in every export.

    Examples
    --------
    >>> import uplift
    >>> campaign = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0).campaign()
    >>> campaign.stages, campaign.arm_names, campaign.control
    (('buy', 'value'), ('none', 'coupon_5'), 'none')
    """

    roles: Roles
    arms: tuple[Arm, ...]
    name: str

    @property
    def chain(self) -> tuple[str, ...]:
        """The binary stages, in order."""
        return self.roles.chain

    @property
    def has_value(self) -> bool:
        """Whether a value follows the last stage."""
        return self.roles.value is not None

    @property
    def stages(self) -> tuple[str, ...]:
        """The stage axis of effects: the chain, then ``"value"`` when there is one."""
        return self.chain + ((VALUE_STAGE,) if self.has_value else ())

    @property
    def control(self) -> str:
        """Name of the control arm."""
        return self.roles.control

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the arms, control first."""
        return tuple(arm.name for arm in self.arms)

    @property
    def costs(self) -> dict[str, CostRule]:
        """Cost rule of every arm that has one."""
        return {arm.name: arm.cost for arm in self.arms if arm.cost is not None}

    @property
    def planned_shares(self) -> dict[str, float] | None:
        """Planned share of every arm, or None when the arms carry none."""
        shares = {arm.name: arm.share for arm in self.arms if arm.share is not None}
        return shares or None

    @property
    def unit_column(self) -> str:
        """Name of the unit column in output files."""
        return self.roles.unit or UNIT

    def stage_index(self, stage: str) -> int:
        """Position of a stage on the stage axis; the value column's own name means ``"value"``.

        Raises
        ------
        CampaignError
            Unknown stage.
        """
        if stage in self.stages:
            return self.stages.index(stage)
        if self.has_value and stage == self.roles.value:
            return len(self.stages) - 1
        raise CampaignError(f"unknown stage {stage!r}; {did_you_mean(stage, self.stages)}")

    def arm_index(self, arm: str) -> int:
        """Position of an arm on the arm axis (control is 0).

        Raises
        ------
        CampaignError
            Unknown arm.
        """
        if str(arm) in self.arm_names:
            return self.arm_names.index(str(arm))
        raise CampaignError(f"unknown arm {str(arm)!r}; {did_you_mean(str(arm), self.arm_names)}")

    def check_costs(self) -> None:
        """Refuse a cost on something that is no stage.

        Raises
        ------
        CampaignError
            A cost rule names an unknown stage.
        """
        for arm in self.arms:
            if arm.cost is not None and arm.cost.on not in (SEND, *self.stages):
                raise CampaignError(
                    f"the cost of arm {arm.name!r} is on {arm.cost.on!r}; {did_you_mean(arm.cost.on, (SEND, *self.stages))}"
                )
