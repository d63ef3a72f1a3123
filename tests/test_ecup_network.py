"""The ECUP network does what the paper's equations say, for one arm per row and for all arms at once."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from uplift.models.ecup.ecenet import Tower
from uplift.models.ecup.network import EcupNetwork
from uplift.models.ecup.taenet import TaskAttention
from uplift.models.ecup.tenet import TENet, TreatmentAwareUnit
from uplift.models.neural.embeddings import CategoricalEmbedding, NumericEmbedding

pytestmark = pytest.mark.usefixtures("one_thread")

PAPER: dict[str, Any] = {
    "numeric_fields": 5,
    "cardinalities": (4, 9),
    "arms": 4,
    "stages": 2,
    "value": None,
    "embedding_dim": 16,
    "attention_dim": 16,
    "bit_level": "d",
    "hidden": (128, 64),
    "gate_hidden": 64,
    "heads": 2,
    "gamma": 2.0,
    "tenet": True,
    "taenet": True,
    "tau_units": 2,
    "stop_gradient": True,
    "share_tower": True,
    "share_gates": False,
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"stages": 1},
    {"stages": 3, "value": "lognormal"},
    {"numeric_fields": 0},
    {"cardinalities": ()},
    {"attention_dim": 8, "bit_level": "f*d"},
    {"hidden": (32,)},
    {"hidden": (32, 32), "share_gates": True},
    {"tenet": False},
    {"taenet": False, "value": "mse"},
    {"tau_units": 1},
    {"stop_gradient": False},
    {"share_tower": False, "value": "lognormal"},
    {"share_tower": False, "taenet": False},
    {"tau_heads": 4},
    {"numeric_embedding": "piecewise", "bins": 4, "edges": (torch.linspace(-2, 2, 5),) * 5},
    {"numeric_embedding": "periodic", "bins": 4},
    {"arm_attributes": torch.tensor([[5.0, 0], [10, 0], [20, 30]]).double(), "arm_deviations": True},
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(seed: int = 0, **changes: Any) -> EcupNetwork:
    return EcupNetwork(**(PAPER | changes), generator=generator(seed))


def features(network: EcupNetwork, rows: int = 64, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    source = generator(seed)
    p = 0 if network.numeric is None else len(network.numeric.missing)
    numeric = torch.randn(rows, p, generator=source)
    numeric[torch.rand(rows, p, generator=source) < 0.1] = float("nan")
    sizes = () if network.categorical is None else network.categorical.cardinalities
    codes = [torch.randint(size, (rows,), generator=source) for size in sizes]
    categorical = torch.stack(codes, 1).int() if codes else torch.zeros(rows, 0, dtype=torch.int32)
    return numeric, categorical


def size(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("fields", "arms", "count"), [(99, 5, 234_930), (12, 2, 53_922)])
def test_parameter_counts_of_the_paper_are_met_up_to_the_missing_states(
    fields: int, arms: int, count: int
) -> None:
    network = build(numeric_fields=fields, cardinalities=(), arms=arms)
    assert network.numeric is not None
    assert size(network) - network.numeric.missing.numel() == count
    assert network.numeric.missing.shape == (fields, 16)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_one_pass_over_all_arms_equals_a_pass_per_arm(changes: dict[str, Any]) -> None:
    network = build(**changes)
    numeric, categorical = features(network)
    everything = network.all_arms(numeric, categorical)
    assert everything.logits.shape == (64, 4, network.stages)
    for arm in range(4):
        one = network(numeric, categorical, torch.full((64,), arm))
        torch.testing.assert_close(everything.logits[:, arm], one.logits, rtol=0, atol=1e-6)
        if everything.value is not None:
            torch.testing.assert_close(everything.value[:, arm], one.value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_later_stages_are_never_likelier_and_control_has_no_uplift(changes: dict[str, Any]) -> None:
    network = build(**changes)
    output = network.all_arms(*features(network))
    rates = output.rates()
    assert ((rates >= 0) & (rates <= 1)).all()
    assert (rates[..., 1:] <= rates[..., :-1]).all()
    mu = network.mu(output)
    assert mu.shape[-1] == network.stages + ("value" in changes)
    assert ((mu - mu[:, :1])[:, 0] == 0).all()
    assert (mu[:, 1:] != mu[:, :1]).any(0).all()


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_parameter_is_trained(changes: dict[str, Any]) -> None:
    network = build(**changes)
    numeric, categorical = features(network)
    output = network(numeric, categorical, torch.arange(64) % 4)
    loss = output.logits.square().sum() + (0 if output.value is None else output.value.square().sum())
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # The bias of the attention's keys cancels in the softmax; the paper's count includes it.
        assert parameter.grad.abs().max() > (-1 if name.endswith("key.bias") else 0), name


def test_rows_do_not_see_each_other() -> None:
    network = build()
    numeric, categorical = features(network)
    together = network.all_arms(numeric, categorical).logits
    torch.testing.assert_close(
        network.all_arms(numeric[:7], categorical[:7]).logits, together[:7], rtol=0, atol=1e-6
    )


# ---------------------------------------------------------------- embeddings


def test_numeric_embedding_is_one_affine_map_per_field_and_a_state_for_missing() -> None:
    embed = NumericEmbedding(3, 4, generator=generator())
    with torch.no_grad():
        embed.missing.normal_(generator=generator(1))
    x = torch.tensor([[0.5, float("nan"), -2.0]])
    expected = torch.stack(
        [
            0.5 * embed.slope[0] + embed.offset[0],
            embed.offset[1] + embed.missing[1],
            -2.0 * embed.slope[2] + embed.offset[2],
        ]
    )
    torch.testing.assert_close(embed(x)[0], expected)


def test_a_value_missing_only_when_scoring_is_read_as_the_training_mean() -> None:
    embed = NumericEmbedding(2, 4, generator=generator())
    missing, mean = torch.full((1, 2), float("nan")), torch.zeros(1, 2)
    torch.testing.assert_close(embed(missing), embed(mean))


def test_categories_of_different_fields_do_not_share_rows() -> None:
    embed = CategoricalEmbedding((3, 4), 2, generator=generator())
    torch.testing.assert_close(embed(torch.tensor([[2, 0]]))[0], embed.table[[2, 3]])
    embed(torch.tensor([[2, 3]])).sum().backward()
    assert embed.table.grad is not None
    assert embed.table.grad.any(1).nonzero().flatten().tolist() == [2, 6]


def test_codes_without_training_rows_get_the_mean_of_the_training_rows() -> None:
    embed = CategoricalEmbedding((4, 3), 2, generator=generator())
    before = embed.table.detach().clone()
    codes = torch.tensor([[2, 2], [2, 2], [2, 1], [3, 1]])
    embed.settle_unseen([torch.bincount(field) for field in codes.unbind(1)])
    torch.testing.assert_close(embed.table[0], 0.75 * before[2] + 0.25 * before[3])
    torch.testing.assert_close(embed.table[1], embed.table[0])
    torch.testing.assert_close(embed.table[[2, 3, 5, 6]], before[[2, 3, 5, 6]])
    torch.testing.assert_close(embed.table[4], before[[5, 6]].mean(0))


# ---------------------------------------------------------------- TENet


@pytest.mark.parametrize("attention_dim", [8, 16, 24])
@pytest.mark.parametrize("bit_level", ["d", "f*d"])
def test_treatment_aware_unit_follows_equations_9_to_13(attention_dim: int, bit_level: Any) -> None:
    unit = TreatmentAwareUnit(
        fields=7, dim=16, attention_dim=attention_dim, bit_level=bit_level, generator=generator()
    )
    fields, treatment = (
        torch.randn(5, 7, 16, generator=generator(1)),
        torch.randn(5, 16, generator=generator(2)),
    )
    query, key, value = fields @ unit.query, fields @ unit.key, fields @ unit.value
    attention = (
        torch.softmax(query @ key.transpose(1, 2) / math.sqrt(attention_dim), dim=-1) @ value @ unit.project
    )
    bit = torch.relu(treatment @ unit.extract.weight + unit.extract.bias).view(5, -1, 16)
    assert bit.shape[1] == (1 if bit_level == "d" else 7)
    torch.testing.assert_close(unit(fields, treatment), attention * bit, rtol=1e-5, atol=1e-6)


def tenet() -> TENet:
    return TENet(units=2, fields=6, dim=16, attention_dim=16, bit_level="d", generator=generator())


def test_tegate_mixes_initial_and_treatment_aware_features_by_equations_14_to_16() -> None:
    network = tenet()
    fields, treatment = (
        torch.randn(5, 6, 16, generator=generator(1)),
        torch.randn(5, 16, generator=generator(2)),
    )
    enhanced, weight = (tau(fields, treatment) for tau in network.taus)
    gate = torch.sigmoid(weight)
    expected = torch.cat((fields * gate + enhanced * (1 - gate), treatment[:, None]), dim=1)
    torch.testing.assert_close(network(fields, treatment), expected, rtol=1e-5, atol=1e-6)


def test_open_gate_passes_the_initial_embedding_whatever_the_treatment() -> None:
    network = tenet()
    fields, treatment = (
        torch.randn(5, 6, 16, generator=generator(1)),
        torch.randn(5, 16, generator=generator(2)),
    )
    with torch.no_grad():  # E^bit of TAU_w is 1, so that W_b is what is put in as its attention
        network.taus[1].extract.weight.zero_()
        network.taus[1].extract.bias.fill_(1.0)
    opened = (network.attend(fields)[0], torch.full_like(fields, torch.inf))
    assert torch.equal(network.gate(fields, opened, treatment), fields)
    shut = (opened[0], torch.full_like(fields, -torch.inf))
    torch.testing.assert_close(network.gate(fields, shut, treatment), network.taus[0](fields, treatment))


def test_another_treatment_changes_both_units() -> None:
    network = tenet()
    fields, treatment = (
        torch.randn(5, 6, 16, generator=generator(1)),
        torch.randn(2, 16, generator=generator(2)),
    )
    for tau in network.taus:
        assert (tau(fields, treatment[0]) != tau(fields, treatment[1])).any(-1).all()
    first, second = network.attend(fields)
    assert not torch.allclose(first, second)  # separate parameters


# ---------------------------------------------------------------- TAENet and ECENet


def test_task_attention_is_multi_head_attention_with_the_task_as_query() -> None:
    ours = TaskAttention(dim=16, heads=2, stop_gradient=True, generator=generator())
    reference = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    with torch.no_grad():
        layers = (ours.query, ours.key, ours.value)
        reference.in_proj_weight.copy_(torch.cat([layer.weight.t() for layer in layers]))
        reference.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
        reference.out_proj.weight.copy_(ours.output.weight.t())
        reference.out_proj.bias.copy_(ours.output.bias)
    tokens, tasks = torch.randn(5, 7, 16, generator=generator(1)), torch.randn(3, 16, generator=generator(2))
    expected, _ = reference(tasks.expand(5, -1, -1), tokens, tokens)
    torch.testing.assert_close(ours(tokens, tasks), expected, rtol=1e-5, atol=1e-6)
    assert size(ours) == size(reference)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_gates_send_no_gradient_into_features_and_treatment(stop_gradient: bool) -> None:
    network = build(stop_gradient=stop_gradient)
    assert network.tenet is not None
    assert network.taenet is not None
    for layer in (0, 1):
        for task in (0, 1):
            network.zero_grad()
            fields = network.embed(*features(network))
            tokens = network.tenet(fields, network.treatment(torch.arange(64) % 4))
            network.taenet(tokens)[layer][:, task].sum().backward()
            for name, parameter in network.named_parameters():
                room = name.split(".")[0]
                if room in ("numeric", "categorical", "treatment", "tenet"):
                    touched = parameter.grad is not None and bool(parameter.grad.any())
                    assert touched is not stop_gradient, name
            query = network.taenet.tasks.grad
            assert query is not None
            assert query[task].any()
            assert not query[1 - task].any()


def test_tower_is_shared_and_only_the_output_layer_belongs_to_a_task() -> None:
    network = build()
    gradients = []
    for task in (0, 1):
        network.zero_grad()
        numeric, categorical = features(network)
        network(numeric, categorical, torch.arange(64) % 4).logits[:, task].sum().backward()
        gradients.append(
            {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        )
    own = {"heads.weight", "heads.bias", "taenet.tasks"}
    for name, first in gradients[0].items():
        second = gradients[1][name]
        if name in own:
            assert first[0].any()
            assert second[1].any()
            assert not first[1].any()
            assert not second[0].any()
        elif name.startswith("tower"):
            assert first.any()
            assert second.any()
            assert first.shape[0] == 1


def test_gates_differ_between_tasks_only_through_the_query() -> None:
    network = build()
    assert network.taenet is not None
    tokens = torch.randn(8, 8, 16, generator=generator(3))
    for delta in network.taenet(tokens):
        assert ((delta > 0) & (delta < 2)).all()
        assert not torch.allclose(delta[:, 0], delta[:, 1])
    with torch.no_grad():
        network.taenet.tasks[1] = network.taenet.tasks[0]
    for delta in network.taenet(tokens):
        assert torch.equal(delta[:, 0], delta[:, 1])


def test_zeroed_gates_give_a_plain_shared_bottom_network() -> None:
    gated, plain = build(), build(taenet=False)
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("taenet")})
    numeric, categorical = features(gated)
    arms = torch.arange(64) % 4
    assert not torch.allclose(
        gated(numeric, categorical, arms).logits, plain(numeric, categorical, arms).logits
    )
    assert gated.taenet is not None
    with torch.no_grad():
        for gate in gated.taenet.gates:
            gate.outer.weight.zero_()
            gate.outer.bias.zero_()
    for delta in gated.taenet(torch.randn(3, 8, 16)):
        assert (delta == 1).all()
    torch.testing.assert_close(
        gated(numeric, categorical, arms).logits, plain(numeric, categorical, arms).logits, rtol=0, atol=1e-6
    )


def test_tower_scales_after_the_activation() -> None:
    tower = Tower(inputs=6, widths=(5, 3), tasks=2, share=True, generator=generator())
    z = torch.randn(4, 6, generator=generator(1))
    scales = [torch.rand(4, 2, 5, generator=generator(2)), torch.rand(4, 2, 3, generator=generator(3))]
    for task in (0, 1):
        state = z
        for layer in (0, 1):
            state = (
                torch.relu(state @ tower.weights[layer][0] + tower.biases[layer][0]) * scales[layer][:, task]
            )
        torch.testing.assert_close(tower(z, scales)[:, task], state)


# ---------------------------------------------------------------- ablations


def test_ablations_remove_what_they_name() -> None:
    full = size(build())
    unit = 4 * 16 * 16 + 16 * 16 + 16
    assert size(build(tenet=False)) == full - 2 * unit
    assert size(build(tau_units=1)) == full - unit
    assert size(build(stop_gradient=False)) == full
    bare = build(taenet=False)
    assert not any(name.startswith("taenet") for name, _ in bare.named_parameters())
    tower = sum(p.numel() for name, p in build().named_parameters() if name.startswith("tower"))
    assert size(build(share_tower=False)) == full + tower
    assert size(build(bit_level="f*d")) == full + 2 * (7 - 1) * (16 * 16 + 16)


def test_without_tenet_features_do_not_adapt_to_the_treatment() -> None:
    network = build(tenet=False, taenet=False, hidden=(8,))
    with torch.no_grad():  # cut the path of the concatenated E^tr
        network.tower.weights[0][:, -16:] = 0
    logits = network.all_arms(*features(network)).logits
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits))


def test_building_and_running_leaves_the_global_random_state_and_threads_alone() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    network = build(value="lognormal")
    network.all_arms(*features(network))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    again = build(value="lognormal")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
