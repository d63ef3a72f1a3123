"""One budget on a torch device: `dual.price_pass` and the solver around it, with the same decisions bit for bit.

Amounts are sent once and stay for all readings. What an arm may not be used for (closed, harmful, held out) is
written into the device's copy as a value of ``-inf``, so the readings need no masks.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from uplift.allocation.device_arrays import block_units, blocks, check_room, round_down, round_up, send
from uplift.allocation.problem import Problem
from uplift.allocation.solve import Solution, solve


class PricePasses:
    """Readings of all units of a problem at prices of money.

    Attributes
    ----------
    value, cost : Tensor of float32 or float64 [arm, unit]
        On the device; value -inf and cost 0 where the arm cannot be used.
    """

    def __init__(self, problem: Problem, device: torch.device, *, block: int | None = None) -> None:
        n, k = problem.value.shape
        self.device, self.size = device, block or block_units(device, k)
        self.scales = problem.value_unit.scale, problem.cost_unit.scale
        check_room(device, 2 * problem.value.nbytes + 2 * n)
        self.value = send(problem.value, device, self.size)
        self.cost = send(problem.cost, device, self.size)
        for part in blocks(n, self.size):
            value, cost = self.value[:, part], self.cost[:, part]
            closed = torch.zeros_like(value, dtype=torch.bool)
            if not problem.allow_harm:
                closed |= (value < 0) & (cost < 0)
            for mask in (problem.open_unit[part, None], problem.open_arm[part]):
                if mask.size:
                    closed |= ~torch.from_numpy(np.array(mask)).to(device).T
            value.masked_fill_(closed, -math.inf)
            cost.masked_fill_(closed, 0.0)

    def read(self, weight: float, high: float, low: float) -> tuple[np.ndarray, np.ndarray, int, int, int]:
        """See :func:`uplift.allocation.dual.price_pass`: arms at the high price, core, spend, value, treated."""
        n = self.value.shape[1]
        arms = torch.empty(n, dtype=torch.int16, device=self.device)
        core = []
        sums = torch.zeros(3, dtype=torch.int64, device=self.device)
        for part in blocks(n, self.size):
            value, cost = self.value[:, part], self.cost[:, part]
            arm, tied = _best(value, cost, weight, high)
            low_arm, low_tied = _best(value, cost, 1.0, low)
            tied = (tied | low_tied).nonzero().squeeze(1)
            if len(tied):
                v, c = value[:, tied].double(), cost[:, tied].double()
                arm[tied] = _best_of_ties(v, c, weight, high)
                low_arm[tied] = _best_of_ties(v, c, 1.0, low)
            arms[part] = arm
            core.append((arm != low_arm).nonzero().squeeze(1) + part.start)
            treated = arm > 0
            at = (arm.long() - 1).clamp_(min=0).unsqueeze(0)
            v, c = (x.gather(0, at).squeeze(0).double().where(treated, 0.0) for x in (value, cost))
            sums += torch.stack(
                [round_up(c, self.scales[1]).sum(), round_down(v, self.scales[0]).sum(), treated.sum()]
            )
        spend, worth, count_ = (int(s) for s in sums.tolist())
        rows = torch.cat(core).cpu().numpy() if core else np.empty(0, np.int64)
        return arms.cpu().numpy(), rows, spend, worth, count_


def _best(value: Tensor, cost: Tensor, weight: float, price: float) -> tuple[Tensor, Tensor]:
    """Arms that strictly beat all before them, and the units where two were equal on the way."""
    units = value.shape[1]
    best = torch.zeros(units, dtype=torch.float64, device=value.device)
    arm = torch.zeros(units, dtype=torch.int16, device=value.device)
    tied = torch.zeros(units, dtype=torch.bool, device=value.device)
    for j in range(len(value)):
        reduced = _reduced(value[j].double(), cost[j].double(), weight, price)
        more = reduced > best
        tied |= reduced == best
        best = torch.where(more, reduced, best)
        arm.masked_fill_(more, j + 1)
    return arm, tied


def _best_of_ties(value: Tensor, cost: Tensor, weight: float, price: float) -> Tensor:
    """As :func:`uplift.allocation.dual.best_arm`: among equals the cheaper, then the more valuable."""
    best, best_v, best_c = (torch.zeros_like(value[0]) for _ in range(3))
    arm = torch.zeros_like(value[0], dtype=torch.int16)
    for j in range(len(value)):
        v, c = value[j], cost[j]
        reduced = _reduced(v, c, weight, price)
        preferred = (c < best_c) | ((c == best_c) & (v > best_v))
        more = (reduced > best) | ((reduced == best) & preferred)
        best, best_v, best_c = (
            torch.where(more, new, old) for new, old in ((reduced, best), (v, best_v), (c, best_c))
        )
        arm.masked_fill_(more, j + 1)
    return arm


def _reduced(value: Tensor, cost: Tensor, weight: float, price: float) -> Tensor:
    """``weight v - price c``. At weight 0 a closed arm is NaN, which no comparison prefers."""
    return (value if weight == 1.0 else weight * value) - price * cost


def solve_on(problem: Problem, device: torch.device, *, sample: int | None = None) -> Solution:
    """Allocate one budget with the readings on a device; the answer of :func:`uplift.allocation.solve.solve`.

    Bracket, core and the steps around the break stay on the CPU: they are few units.

    Raises
    ------
    AllocationError
        The device's memory does not hold the amounts.
    """
    return solve(problem, sample=sample, read=PricePasses(problem, device).read if problem.n_units else None)
