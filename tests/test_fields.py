"""Fields: numbers as curves, categories in hash buckets, arms as amounts; against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROLES, toy_frame

from uplift import Arm, Campaign
from uplift.errors import CampaignError
from uplift.features import FeatureSchema, quantile_edges
from uplift.models.duplicates import first_of_each
from uplift.models.ecup.tenet import TreatmentAwareUnit
from uplift.models.neural.arm_embedding import ArmEmbedding
from uplift.models.neural.embeddings import NumericEmbedding
from uplift.models.neural.numeric_embeddings import (
    NumericKind,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    PiecewiseLinearEncoding,
    numeric_embedding,
)
from uplift.models.neural.rows import bin_edges, feature_tensors

NAN = float("nan")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- arms in files


def test_thresholds_come_back_from_files(tmp_path: Path) -> None:
    from uplift.campaign_file import write_campaign_folder
    from uplift.run_folder import arms_from_json, arms_to_json

    arms = {"coupon_5": {"amount": 5.0, "threshold": 30.0}, "coupon_10": {"threshold": 0.0}}
    campaign = Campaign.from_frame(toy_frame(200), **ROLES, arms=arms)
    assert [arm.threshold for arm in campaign.arms] == [None, 30.0, 0.0]
    again = Campaign.from_file(write_campaign_folder(campaign, tmp_path / "toy"))
    assert again.arms == campaign.arms
    written = arms_to_json(campaign.arms)
    assert arms_from_json(written) == campaign.arms
    for arm in written:
        del arm["threshold"]
    assert [arm.threshold for arm in arms_from_json(written)] == [None, None, None]


@pytest.mark.parametrize("threshold", [-1.0, math.inf, NAN])
def test_a_threshold_is_a_finite_amount_of_money(threshold: float) -> None:
    with pytest.raises(
        CampaignError, match=r"threshold of arm 'five' is .*; it must be a finite number >= 0"
    ):
        Arm(name="five", threshold=threshold)


def test_an_audience_can_be_asked_about_other_coupons(toy: Campaign) -> None:
    coupons = {"coupon_10": Arm(name="x", amount=10.0), "coupon_7.5": {"amount": 7.5, "threshold": 40.0}}
    audience = toy.audience(toy_frame(50), arms=coupons)
    assert audience.arm_names == ("none", "coupon_7.5", "coupon_10")
    assert audience.arms[1] == Arm(name="coupon_7.5", amount=7.5, threshold=40.0)
    assert toy.audience(toy_frame(50)).arms == toy.arms
    with pytest.raises(CampaignError, match="names the control 'none'"):
        toy.audience(toy_frame(50), arms={"none": {}})
    with pytest.raises(CampaignError, match="names no treated arm"):
        toy.audience(toy_frame(50), arms={})
    with pytest.raises(CampaignError, match="did you mean 'buy'"):
        toy.audience(toy_frame(50), arms={"c": {"cost": {"on": "bye", "amount": 1.0}}})


# ---------------------------------------------------------------- categories


def shops(rows: int = 3000, kinds: int = 300, rare: int = 40) -> pd.DataFrame:
    """`kinds` frequent shops and `rare` ones with one row each."""
    frame = toy_frame(rows)
    frame["shop"] = [f"shop {index % kinds}" for index in range(rows)]
    frame.loc[frame.index[:rare], "shop"] = [f"rare {index}" for index in range(rare)]
    return frame


def encoded_shops(schema: FeatureSchema, names: list[str | None]) -> list[int]:
    frame = toy_frame(len(names)).assign(coupon=(["none", "coupon_5"] * len(names))[: len(names)])
    frame["shop"] = pd.array(names, "string")
    return schema.encode(Campaign.from_frame(frame, **ROLES)).categorical[:, 1].tolist()


def test_category_hashes_are_the_same_on_every_machine_and_in_every_order() -> None:
    schema = FeatureSchema.fit(Campaign.from_frame(shops(), **ROLES), hash_buckets=16)
    names = ["Zürich", "new", "rare 0", "rare 1", ""]
    # FNV-1a and splitmix64 in plain Python, modulo 16; a change would give every saved model other codes.
    expected = [2, 8, 8, 1, 2]
    assert [code - 302 for code in encoded_shops(schema, names)] == expected
    assert [code - 302 for code in encoded_shops(schema, names[::-1])] == expected[::-1]


def test_rare_and_unseen_categories_share_the_buckets_and_known_ones_keep_their_codes() -> None:
    campaign = Campaign.from_frame(shops(), **ROLES)
    plain, hashed = FeatureSchema.fit(campaign), FeatureSchema.fit(campaign, hash_buckets=8)
    assert hashed.cardinalities == tuple(size + 8 for size in plain.cardinalities)
    before, after = plain.encode(campaign).categorical, hashed.encode(campaign).categorical
    np.testing.assert_array_equal(before[before != 1], after[before != 1])
    assert (after != 1).all()
    trained = set(after[before == 1].tolist())
    assert trained == set(range(302, 310))  # 40 rare shops train every one of the 8 buckets
    unseen = Counter(encoded_shops(hashed, [f"unseen {index}" for index in range(4000)]))
    assert set(unseen) == trained
    assert min(unseen.values()) > 400  # 500 expected, standard deviation 21
    assert encoded_shops(hashed, [None, "shop 7"])[0] == 0


def test_categories_beyond_the_limit_are_spread_too() -> None:
    campaign = Campaign.from_frame(shops(), **ROLES)
    schema = FeatureSchema.fit(campaign, max_categories=50, hash_buckets=4)
    assert schema.cardinalities[1] == 2 + 50 + 4
    codes = schema.encode(campaign).categorical[:, 1]
    assert np.bincount(codes)[52:].min() > 300


def test_schemas_with_buckets_come_back_and_older_files_have_none() -> None:
    campaign = Campaign.from_frame(shops(), **ROLES)
    schema = FeatureSchema.fit(campaign, hash_buckets=8)
    assert FeatureSchema.from_dict(schema.to_dict()) == schema
    written = FeatureSchema.fit(campaign).to_dict()
    del written["hash_buckets"]
    assert FeatureSchema.from_dict(written) == FeatureSchema.fit(campaign)


def test_trees_and_dense_learners_take_buckets_like_other_codes() -> None:
    campaign = Campaign.from_frame(shops(), **ROLES)
    plain, hashed = FeatureSchema.fit(campaign), FeatureSchema.fit(campaign, hash_buckets=8)
    assert hashed.matrix(campaign).max() < max(hashed.cardinalities)
    one_hot = hashed.dense(campaign)
    assert one_hot.shape[1] == plain.dense(campaign).shape[1] + 8  # the city's buckets; shops are shares
    assert one_hot[:, -1][plain.encode(campaign).categorical[:, 1] == 1].max() == 0
    np.testing.assert_array_equal(one_hot[:, -1], plain.dense(campaign)[:, -1])


# ---------------------------------------------------------------- numbers


def test_piecewise_linear_components_by_hand() -> None:
    edges = [torch.tensor([-1.0, 0.0, 2.0, 6.0]), torch.tensor([0.0, 1.0]), torch.tensor([4.0])]
    encode = PiecewiseLinearEncoding(edges, bins=3)
    found = encode(torch.tensor([[-3.0, 0.0, 4.0], [-0.25, 1.0, 5.0], [3.0, 0.5, -9.0], [7.0, 2.0, 4.0]]))
    expected = [
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0.75, 0, 0], [1, 0, 0], [0, 0, 0]],
        [[1, 1, 0.25], [0.5, 0, 0], [0, 0, 0]],
        [[1, 1, 1], [1, 0, 0], [0, 0, 0]],
    ]
    assert found.tolist() == expected
    assert encode.widths.tolist() == [[1, 2, 4], [1, 0, 0], [0, 0, 0]]


def test_piecewise_linear_embedding_is_linear_interpolation_of_its_values_at_the_edges() -> None:
    values = torch.tensor([[0.0], [1.0], [2.0], [4.0], [8.0]])
    embed = PiecewiseLinearEmbedding([values[:, 0]], 4, bins=4, generator=generator())
    with torch.no_grad():
        embed.weight.normal_(generator=generator(1))
    knots = embed(values)[:, 0]
    x = np.linspace(-1, 9, 41)
    found = embed(torch.tensor(x, dtype=torch.float32).unsqueeze(1))[:, 0]
    for column in range(4):
        by_numpy = np.interp(x, [0, 1, 2, 4, 8], knots[:, column].detach().numpy())
        np.testing.assert_allclose(found[:, column].detach(), by_numpy, atol=1e-6)


def test_piecewise_embedding_starts_as_the_affine_one() -> None:
    x = torch.randn(400, 5, generator=generator(1))
    x[:, 1] = (x[:, 1] > 0).float()
    x[:, 2] = x[:, 2].round()
    x[3, 0] = NAN
    edges = [torch.tensor(quantile_edges(column.numpy(), 6)) for column in x.unbind(1)]
    affine = NumericEmbedding(5, 8, generator=generator(3))
    curved = PiecewiseLinearEmbedding(edges, 8, bins=6, generator=generator(3))
    torch.testing.assert_close(curved(x), affine(x), atol=1e-5, rtol=0)


def test_edges_are_distinct_quantiles_whatever_the_field() -> None:
    rows = 1001
    frame = pd.DataFrame({"coupon": ["none", "coupon_5"] * 500 + ["none"], "y": 0})
    frame["uniform"] = np.arange(rows) / 1000
    frame["boolean"] = np.arange(rows) % 2 == 0
    frame["constant"] = 3.0
    frame["nearly constant"] = 0.0
    frame.loc[996:, "nearly constant"] = 1.0
    frame["never there"] = pd.Series([None] * rows, dtype="float64")
    frame["half there"] = np.where(np.arange(rows) % 2, np.arange(rows) // 2 / 499, NAN)
    expected = {
        "uniform": (0, 0.25, 0.5, 0.75, 1), "boolean": (0, 1), "constant": (3,), "nearly constant": (0, 1),
        "never there": (), "half there": (0, 124 / 499, 249 / 499, 374 / 499, 1),
    }  # fmt: skip
    for order in (frame, frame.sample(frac=1, random_state=0)):
        campaign = Campaign.from_frame(order, treatment="coupon", control="none", chain="y")
        schema = FeatureSchema.fit(campaign, bins=4)
        assert FeatureSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
        for field in schema.numeric:
            assert field.edges == pytest.approx(expected[field.name])
    edges = bin_edges(schema)
    numeric, _ = feature_tensors(campaign, schema)
    embed = PiecewiseLinearEmbedding(edges, 4, bins=4, generator=generator())
    assert torch.isfinite(embed(numeric)).all()
    # A constant field and one that was never there say nothing when another value turns up.
    known, other = torch.zeros(2, len(edges)).unbind(0)
    other[2], other[4] = 5.0, 5.0
    assert torch.equal(*embed(torch.stack((known, other)))[:, [2, 4]])
    for field, column in zip(schema.numeric, bin_edges(schema, normalise="none"), strict=True):
        assert column.tolist() == pytest.approx(field.edges)


def test_periodic_components_by_hand() -> None:
    embed = PeriodicEmbedding(1, 2, frequencies=1, sigma=1.0, generator=generator())
    with torch.no_grad():
        embed.frequency.fill_(0.25)
        embed.weight.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        embed.offset.zero_()
        embed.missing.copy_(torch.tensor([[0.5, -2.0]]))
    # sin and cos of a quarter turn per unit, negative ones cut; missing is the value 0 plus its own state.
    found = embed(torch.tensor([[0.0], [1.0], [2 / 3], [-1.0], [NAN]]))[:, 0]
    expected = [[0, 1], [1, 0], [3**0.5 / 2, 0.5], [0, 0], [0.5, 0]]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", get_args(NumericKind))
def test_missing_values_have_a_state_of_their_own_and_fields_do_not_mix(kind: NumericKind) -> None:
    edges = [torch.linspace(-2, 2, 6)] * 3
    embed: Any = numeric_embedding(kind, fields=3, dim=4, bins=5, edges=edges, generator=generator())
    gone = torch.tensor([[NAN, NAN, NAN]])
    torch.testing.assert_close(embed(gone), embed(torch.zeros(1, 3)))  # at first: like the training mean
    with torch.no_grad():
        embed.missing += 1.0
    assert ((embed(gone) - embed(torch.zeros(1, 3))).abs().amax(2) > 0.1).all()
    x = torch.randn(6, 3, generator=generator(2), requires_grad=True)
    (gradient,) = torch.autograd.grad(embed(x)[:, 1].square().sum(), x)
    assert (gradient[:, [0, 2]] == 0).all()
    assert (gradient[:, 1] != 0).any()


# ---------------------------------------------------------------- arms


def amounts(*values: float, thresholds: tuple[float, ...] | None = None) -> torch.Tensor:
    second = thresholds or (0.0,) * len(values)
    return torch.tensor(list(zip(values, second, strict=True)), dtype=torch.float64)


def test_arms_lie_on_a_polyline_over_their_amounts() -> None:
    arms = ArmEmbedding(amounts(5, 10, 20), 8, deviations=False, generator=generator())
    with torch.no_grad():
        arms.bend.normal_(generator=generator(1))
    asked = [5.0, 7.5, 10.0, 18.0, 20.0, 30.0]
    found = arms.rows(amounts(*asked), torch.full((6,), -1))[1:].detach().numpy()
    at = arms.table.detach().numpy()[1:]
    for column in range(8):
        inside = np.interp(asked[:5], [5, 10, 20], at[:, column])
        np.testing.assert_allclose(found[:5, column], inside, atol=1e-5)
        beyond = at[2, column] + (at[2, column] - at[1, column])  # as far again as from 10 to 20
        assert found[5, column] == pytest.approx(beyond, abs=1e-5)


def test_without_bends_amounts_are_evenly_spaced_and_control_is_apart() -> None:
    arms = ArmEmbedding(amounts(5, 10, 20), 8, deviations=True, generator=generator())
    table = arms.table
    torch.testing.assert_close(table[3] - table[2], 2 * (table[2] - table[1]))
    assert torch.equal(table[0], arms.control[0])


def test_thresholds_count_where_they_differ() -> None:
    same = ArmEmbedding(amounts(5, 10, thresholds=(30, 30)), 4, deviations=False, generator=generator())
    assert [column for column, *_ in same.curves] == [0]
    arms = ArmEmbedding(
        amounts(5, 5, 10, thresholds=(30, 60, 30)), 4, deviations=False, generator=generator()
    )
    table = arms.table
    assert len(arms.line) == 3
    fourth = arms.rows(amounts(10, thresholds=(60,)), torch.tensor([-1]))[1]
    torch.testing.assert_close(fourth, table[3] + table[2] - table[1])


def test_a_training_arm_keeps_its_deviation_and_a_new_one_has_none() -> None:
    arms = ArmEmbedding(amounts(5, 10), 4, deviations=True, generator=generator())
    assert arms.deviation is not None
    flat = arms.table.clone()
    with torch.no_grad():
        arms.deviation.normal_(generator=generator(1))
    found = arms.rows(amounts(10, 10), torch.tensor([1, -1]))
    assert torch.equal(found[0], flat[0])
    torch.testing.assert_close(found[1], arms.table[2])
    torch.testing.assert_close(found[2], flat[2])
    assert not torch.allclose(found[1], found[2])


# ---------------------------------------------------------------- open points of the paper


def test_attention_in_heads_equals_a_textbook_loop_over_heads() -> None:
    tau = TreatmentAwareUnit(fields=7, dim=6, attention_dim=8, bit_level="d", heads=4, generator=generator())
    fields = torch.randn(5, 7, 6, generator=generator(1))
    query, key, value = (fields @ weight for weight in (tau.query, tau.key, tau.value))
    joined = []
    for head in range(4):
        part = slice(2 * head, 2 * head + 2)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(2)
        joined.append(torch.softmax(scores, -1) @ value[..., part])
    torch.testing.assert_close(tau.attend(fields), torch.cat(joined, -1) @ tau.project, atol=1e-6, rtol=1e-5)


def test_exact_repeats_are_found_as_pandas_finds_them() -> None:
    frame = toy_frame(400)[["x1", "city", "coupon", "click", "buy"]].assign(x1=lambda f: f.x1.round(0))
    frame.loc[::7, "x1"] = None
    frame.loc[::5, "city"] = None
    frame["when"] = np.arange(400)
    roles: dict[str, Any] = {
        "treatment": "coupon",
        "control": "none",
        "chain": ["click", "buy"],
        "time": "when",
    }
    campaign = Campaign.from_frame(frame, **roles)
    expected = ~frame.drop(columns="when").duplicated().to_numpy()
    assert 30 < expected.sum() < 300
    np.testing.assert_array_equal(first_of_each(campaign), expected)
