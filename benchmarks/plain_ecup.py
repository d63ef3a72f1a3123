"""ECUP as one writes it straight from the paper, with torch's own modules: what the benchmark compares with.

Nothing here is slow on purpose: the field embedding is one broadcast product, the attentions take torch's fused kernel,
scoring runs in inference mode. It has no missing values, no value head and no ablations. ``weights=True`` calls
``nn.MultiheadAttention`` with its defaults, as most people do: it then returns the attention's weights, unfused.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from uplift.models.ecup.network import EcupNetwork


class FieldEmbedding(nn.Module):
    """e_j = x_j v_j + b_j."""

    def __init__(self, fields: int, dim: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.randn(fields, dim) / dim**0.5)
        self.offset = nn.Parameter(torch.randn(fields, dim) / dim**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1) * self.slope + self.offset


class PlainTAU(nn.Module):
    """Self-attention over the fields, times ReLU of the treatment (eq. 9-13)."""

    def __init__(self, dim: int, weights: bool) -> None:
        super().__init__()
        self.weights = weights
        self.attention = nn.MultiheadAttention(dim, 1, bias=False, batch_first=True)
        self.extract = nn.Linear(dim, dim)

    def forward(self, fields: Tensor, treatment: Tensor) -> Tensor:
        attended, _ = self.attention(fields, fields, fields, need_weights=self.weights)
        return attended * torch.relu(self.extract(treatment)).unsqueeze(1)


class PlainEcup(nn.Module):
    """The network of the paper for two stages: pCTR and pCVR [batch] of one arm per row."""

    def __init__(
        self,
        *,
        fields: int,
        arms: int,
        dim: int = 16,
        hidden: tuple[int, ...] = (128, 64),
        gate_hidden: int = 64,
        gamma: float = 2.0,
        weights: bool = False,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.gamma = gamma
        self.fields = FieldEmbedding(fields, dim)
        self.treatment = nn.Embedding(arms, dim)
        self.tasks = nn.Parameter(torch.randn(2, dim))
        self.tau_g = PlainTAU(dim, weights)
        self.tau_w = PlainTAU(dim, weights)
        self.task_attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, gate_hidden), nn.ReLU(), nn.Linear(gate_hidden, width), nn.Sigmoid())
            for width in hidden
        )
        sizes = [(fields + 1) * dim, *hidden]
        self.tower = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.heads = nn.ModuleList(nn.Linear(hidden[-1], 1) for _ in range(2))

    def forward(self, x: Tensor, arm: Tensor) -> tuple[Tensor, Tensor]:
        fields = self.fields(x)
        treatment = self.treatment(arm)
        weight = torch.sigmoid(self.tau_w(fields, treatment))
        enhanced = fields * weight + self.tau_g(fields, treatment) * (1 - weight)
        tokens = torch.cat((enhanced, treatment.unsqueeze(1)), dim=1)
        stopped = tokens.detach()
        query = self.tasks.expand(len(x), -1, -1)
        context, _ = self.task_attention(query, stopped, stopped, need_weights=self.weights)
        rates = []
        for task, head in enumerate(self.heads):
            state = tokens.flatten(1)
            for layer, gate in zip(self.tower, self.gates, strict=True):
                state = torch.relu(layer(state)) * (self.gamma * gate(context[:, task]))
            rates.append(torch.sigmoid(head(state)).squeeze(1))
        return rates[0], rates[1]

    @torch.no_grad()
    def copy_weights(self, network: EcupNetwork) -> PlainEcup:
        """Take the weights of `network` (numeric fields, two stages, the paper's options)."""
        assert network.numeric is not None
        assert network.tenet is not None
        assert network.taenet is not None
        self.fields.slope.copy_(network.numeric.slope)
        self.fields.offset.copy_(network.numeric.offset)
        self.treatment.weight.copy_(network.treatment.table)
        self.tasks.copy_(network.taenet.tasks)
        for plain, unit in zip((self.tau_g, self.tau_w), network.tenet.taus, strict=True):
            plain.attention.in_proj_weight.copy_(torch.cat((unit.query, unit.key, unit.value), dim=1).t())
            plain.attention.out_proj.weight.copy_(unit.project.t())
            plain.extract.weight.copy_(unit.extract.weight.t())
            plain.extract.bias.copy_(unit.extract.bias)
        ours = network.taenet.attention
        layers = (ours.query, ours.key, ours.value)
        self.task_attention.in_proj_weight.copy_(torch.cat([layer.weight.t() for layer in layers]))
        self.task_attention.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
        self.task_attention.out_proj.weight.copy_(ours.output.weight.t())
        self.task_attention.out_proj.bias.copy_(ours.output.bias)
        for plain_gate, gate in zip(self.gates, network.taenet.gates, strict=True):
            for linear, dense in ((plain_gate[0], gate.inner), (plain_gate[2], gate.outer)):
                linear.weight.copy_(dense.weight.t())
                linear.bias.copy_(dense.bias)
        for linear, matrix, bias in zip(self.tower, network.tower.weights, network.tower.biases, strict=True):
            linear.weight.copy_(matrix[0].t())
            linear.bias.copy_(bias[0])
        for linear, vector, bias in zip(self.heads, network.heads.weight, network.heads.bias, strict=True):
            linear.weight.copy_(vector.unsqueeze(0))
            linear.bias.copy_(bias)
        return self


def train_epoch(
    model: PlainEcup, optimiser: torch.optim.Optimizer, data: TensorDataset, batch_size: int
) -> float:
    """One epoch over (features, arm, click, conversion); the mean loss."""
    loss_of = nn.BCELoss()
    total = 0.0
    device = next(model.parameters()).device
    model.train()
    for batch in DataLoader(data, batch_size=batch_size, shuffle=True):
        x, arm, click, conversion = (part.to(device) for part in batch)
        optimiser.zero_grad()
        ctr, cvr = model(x, arm)
        loss = loss_of(ctr, click) + loss_of(ctr * cvr, conversion)
        loss.backward()
        optimiser.step()
        total += loss.item() * len(x)
    return total / len(data)


@torch.inference_mode()
def score_all_arms(model: PlainEcup, x: Tensor, batch_size: int) -> Tensor:
    """Rates in the entire space [row, arm, stage]: one pass per arm."""
    model.eval()
    device = next(model.parameters()).device
    scored = []
    for part in x.split(batch_size):
        part = part.to(device)
        by_arm = []
        for arm in range(model.treatment.num_embeddings):
            ctr, cvr = model(part, torch.full((len(part),), arm, device=device))
            by_arm.append(torch.stack((ctr, ctr * cvr), dim=-1))
        scored.append(torch.stack(by_arm, dim=1))
    return torch.cat(scored)
