"""TAENet, the task-enhanced network (section 4.1.1): every task scales the shared tower in its own way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uplift.models.neural.layers import Dense, normal


class TaskAttention(nn.Module):
    """Multi-head attention of the tasks over the fields: E^pri of eq. 5.

    ``E^pri_m = MHA(query = E^ta_m, key = value = stopgrad(E~))``. The stop-gradient is drawn in the paper's
    figure; gradients still reach E^ta and the weights of the attention.

    Parameters
    ----------
    dim : int
        Embedding size, d; a multiple of `heads`.
    heads : int
        Attention heads; 2 in the paper.
    stop_gradient : bool
        False is an ablation.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    tokens [batch, f + 1, d], tasks [task, d]; output [batch, task, d]

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> attention = TaskAttention(dim=16, heads=2, stop_gradient=True, generator=generator)
    >>> attention(torch.randn(4, 13, 16), torch.randn(2, 16)).shape
    torch.Size([4, 2, 16])
    """

    def __init__(self, *, dim: int, heads: int, stop_gradient: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.stop_gradient = stop_gradient
        self.query = Dense(dim, dim, generator=generator)
        self.key = Dense(dim, dim, generator=generator)
        self.value = Dense(dim, dim, generator=generator)
        self.output = Dense(dim, dim, generator=generator)

    def forward(self, tokens: Tensor, tasks: Tensor) -> Tensor:
        if self.stop_gradient:
            tokens = tokens.detach()
        task_count, dim = tasks.shape
        head_dim = dim // self.heads
        # The queries are the same for every row, so keys and values need not be formed per field:
        # q' (W_K' e + b_K) = (W_K q)' e + q' b_K and sum_i a_i (W_V' e_i + b_V) = W_V' (sum_i a_i e_i) + b_V.
        query = self.query(tasks).view(task_count, self.heads, head_dim) / math.sqrt(head_dim)
        key = self.key.weight.view(dim, self.heads, head_dim)
        folded = torch.einsum("thk,dhk->thd", query, key).reshape(-1, dim)
        constant = torch.einsum("thk,hk->th", query, self.key.bias.view(self.heads, head_dim)).reshape(-1)
        # Scores [batch, task x head, field]: a softmax over the last axis is the fast one.
        scores = torch.baddbmm(
            constant.view(1, -1, 1), folded.expand(tokens.shape[0], -1, -1), tokens.transpose(1, 2)
        )
        pooled = (torch.softmax(scores, dim=-1) @ tokens).view(-1, task_count, self.heads, dim)
        value = self.value.weight.view(dim, self.heads, head_dim)
        mixed = torch.einsum("bthd,dhk->bthk", pooled, value).flatten(2) + self.value.bias
        result: Tensor = self.output(mixed)
        return result


class TaskGate(nn.Module):
    """TAEGate, eq. 6: ``delta = gamma * sigmoid(ReLU(E^pri A + a) B + b)``, one factor per neuron of a layer.

    With gamma = 2 and small weights the gate starts near 1 (the GateNU of PEPNet, KDD'23).

    Parameters
    ----------
    dim : int
        Embedding size, d.
    hidden : int
        Width of the hidden layer, h_gate.
    width : int
        Width of the tower layer that is scaled, h_l.
    gamma : float
        Upper end of the gate.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, task, d]; output [batch, task, h_l]

    Examples
    --------
    >>> gate = TaskGate(dim=16, hidden=64, width=128, gamma=2.0, generator=torch.Generator().manual_seed(0))
    >>> gate(torch.randn(4, 2, 16)).shape
    torch.Size([4, 2, 128])
    """

    def __init__(
        self, *, dim: int, hidden: int, width: int, gamma: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.inner = Dense(dim, hidden, generator=generator)
        self.outer = Dense(hidden, width, generator=generator)

    def forward(self, context: Tensor) -> Tensor:
        return self.gamma * torch.sigmoid(self.outer(torch.relu(self.inner(context))))


class TAENet(nn.Module):
    """Task attention and one gate per scaled tower layer; all parameters are shared by the tasks but E^ta.

    Parameters
    ----------
    tasks : int
        Number of tasks M: the stages of the chain, and the value when there is one.
    widths : sequence of int
        Widths h_1..h_{L-1} of the tower layers.
    share_gates : bool
        One gate for all layers, which must then be of one width; the figure draws one gate per layer.
    dim, heads, stop_gradient, gate_hidden, gamma, generator
        See :class:`TaskAttention` and :class:`TaskGate`.

    Shape
    -----
    input E~ [batch, f + 1, d]; output list over layers of delta_l [batch, task, h_l]

    Examples
    --------
    >>> taenet = TAENet(tasks=2, dim=16, heads=2, stop_gradient=True, gate_hidden=64, gamma=2.0,
    ...                 widths=(128, 64), share_gates=False, generator=torch.Generator().manual_seed(0))
    >>> [tuple(delta.shape) for delta in taenet(torch.randn(4, 13, 16))]
    [(4, 2, 128), (4, 2, 64)]
    """

    def __init__(
        self,
        *,
        tasks: int,
        dim: int,
        heads: int,
        stop_gradient: bool,
        gate_hidden: int,
        gamma: float,
        widths: Sequence[int],
        share_gates: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.tasks = normal(tasks, dim, generator=generator)
        self.attention = TaskAttention(dim=dim, heads=heads, stop_gradient=stop_gradient, generator=generator)
        built = widths[:1] if share_gates else widths
        self.gates = nn.ModuleList(
            TaskGate(dim=dim, hidden=gate_hidden, width=width, gamma=gamma, generator=generator)
            for width in built
        )
        self.layers = len(widths)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        context = self.attention(tokens, self.tasks)
        scales = [gate(context) for gate in self.gates]
        return scales * self.layers if len(scales) < self.layers else scales
