"""EcupNetwork and the network written straight from the paper are one function, with one gradient."""

from __future__ import annotations

import pytest
import torch

from benchmarks.plain_ecup import PlainEcup, score_all_arms
from uplift.models.ecup.network import EcupNetwork
from uplift.models.neural.loss import stage_losses


def pair(fields: int, arms: int) -> tuple[EcupNetwork, PlainEcup]:
    network = EcupNetwork(
        numeric_fields=fields,
        cardinalities=(),
        arms=arms,
        stages=2,
        value=None,
        embedding_dim=16,
        attention_dim=16,
        bit_level="d",
        hidden=(128, 64),
        gate_hidden=64,
        heads=2,
        gamma=2.0,
        tenet=True,
        taenet=True,
        tau_units=2,
        stop_gradient=True,
        share_tower=True,
        share_gates=False,
        generator=torch.Generator().manual_seed(0),
    )
    return network, PlainEcup(fields=fields, arms=arms).copy_weights(network)


@pytest.mark.parametrize(("fields", "arms"), [(12, 2), (99, 5)])
def test_rates_of_all_arms_equal_those_of_the_plain_network(fields: int, arms: int) -> None:
    network, plain = pair(fields, arms)
    x = torch.randn(300, fields, generator=torch.Generator().manual_seed(1))
    ours = network.all_arms(x, torch.zeros(300, 0, dtype=torch.int32)).rates()
    torch.testing.assert_close(score_all_arms(plain, x, 128), ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("fields", "arms"), [(12, 2), (99, 5)])
def test_gradients_equal_those_of_the_plain_network(fields: int, arms: int) -> None:
    network, plain = pair(fields, arms)
    source = torch.Generator().manual_seed(1)
    x, arm = torch.randn(300, fields, generator=source), torch.arange(300) % arms
    outcomes = (torch.rand(300, 2, generator=source) < 0.5).float().cumprod(1)
    stage_losses(network(x, torch.zeros(300, 0, dtype=torch.int32), arm).logits, outcomes).mean(
        0
    ).sum().backward()
    ctr, cvr = plain(x, arm)
    bce = torch.nn.functional.binary_cross_entropy
    (bce(ctr, outcomes[:, 0]) + bce(ctr * cvr, outcomes[:, 1])).backward()
    theirs = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    ours = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    same = {
        "numeric.slope": theirs["fields.slope"],
        "numeric.offset": theirs["fields.offset"],
        "treatment.table": theirs["treatment.weight"],
        "taenet.tasks": theirs["tasks"],
        "tenet.units.0.query": theirs["tau_g.attention.in_proj_weight"][:16].t(),
        "tenet.units.0.extract.weight": theirs["tau_g.extract.weight"].t(),
        "tenet.units.1.value": theirs["tau_w.attention.in_proj_weight"][32:].t(),
        "tenet.units.1.project": theirs["tau_w.attention.out_proj.weight"].t(),
        "tower.weights.0": theirs["tower.0.weight"].t().unsqueeze(0),
        "tower.weights.1": theirs["tower.1.weight"].t().unsqueeze(0),
    }
    for name, gradient in same.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
