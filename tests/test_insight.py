"""Who responds and what drives it: numbers recomputed independently, and the simulator's own drivers found."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reporting_case import HOSTILE, make_case

from uplift import explain
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError, UpliftError
from uplift.insight import Insight
from uplift.insight.features import Feature, read_features, round_cuts
from uplift.insight.importance import permutation_importance
from uplift.insight.tree import grow
from uplift.metrics import evaluate
from uplift.reporting import (
    calibration_figure,
    dependence_figure,
    importance_figure,
    quadrants_figure,
    segments_figure,
    shap_figure,
    spread_figure,
    toc_figure,
)
from uplift.reporting.insight_facts import quadrants_table, segments_table
from uplift.reporting.names import Names
from uplift.reporting.page import render

ARMS = ("none", "five", "ten")


class Known:
    """A model that predicts the true effects of :func:`make_campaign`: the coupon works for city A, by age."""

    def predict(self, campaign: Campaign) -> Effects:
        frame = campaign.table.to_pandas()
        return Effects.for_campaign(truth(frame), campaign, model="known")


def truth(frame: pd.DataFrame) -> np.ndarray:
    """Potential outcomes [row, arm, stage]: clicks move with age and city, `noise` moves nothing."""
    works = (frame["city"].astype(str) == "A").to_numpy() * (frame["age"].fillna(40).to_numpy() > 40)
    click = np.stack([np.full(len(frame), 0.3), 0.3 + 0.1 * works, 0.3 + 0.25 * works], axis=1)
    return np.stack([click, 0.5 * click], axis=2).astype(np.float32)


def make_campaign(rows: int = 8_000, seed: int = 0, **roles: object) -> Campaign:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(rows) < 0.03, np.nan, rng.integers(18, 80, rows)),
            "city": rng.choice(["A", "B", "C"], rows, p=[0.5, 0.3, 0.2]),
            "member": rng.random(rows) < 0.5,
            "noise": rng.normal(size=rows),
        }
    )
    mu, arm = truth(frame), rng.integers(0, 3, rows)
    click = rng.random(rows) < mu[np.arange(rows), arm, 0]
    frame["coupon"] = np.array(ARMS)[arm]
    frame["click"] = click.astype(int)
    frame["buy"] = (click & (rng.random(rows) < 0.5)).astype(int)
    return Campaign.from_frame(frame, treatment="coupon", control="none", chain=["click", "buy"], **roles)


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return make_campaign()


@pytest.fixture(scope="module")
def insight(campaign: Campaign) -> Insight:
    model = Known()
    return explain(campaign, model.predict(campaign), model, stage="click", shap=True, max_predictions=30_000)


# -------------------------------------------------------------------- segments


def plain_effect(campaign: Campaign, rows: np.ndarray, arm: str, stage: str) -> tuple[float, float, float]:
    """Effect and rates by pandas, knowing nothing of the package's estimators."""
    frame = campaign.table.to_pandas()[rows]
    means = frame.groupby("coupon")[stage].mean()
    return means[arm] - means["none"], means["none"], means[arm]


def test_segments_are_the_groups_in_which_the_effect_differs(campaign: Campaign, insight: Insight) -> None:
    for found in insight.segments:
        first = found.segments[0]
        assert "city = A" in first.conditions
        assert any(re.fullmatch(r"age > 4[0-2]", one) for one in first.conditions)
        assert first.predicted > 0.09
        assert found.segments[-1].predicted == pytest.approx(0.0, abs=0.005)


def test_effects_in_segments_are_those_of_a_plain_group_by(campaign: Campaign, insight: Insight) -> None:
    frame = campaign.table.to_pandas()
    found = insight.segments[1]
    first = found.segments[0]
    cut = float(next(one for one in first.conditions if one.startswith("age")).split("> ")[1])
    rows = ((frame["city"] == "A") & (frame["age"] > cut)).to_numpy()
    effect, control, treated = plain_effect(campaign, rows, "ten", "click")
    assert first.observed.rows == rows.sum()
    assert first.share == pytest.approx(rows.mean())
    assert first.observed.effect == pytest.approx(effect, abs=1e-12)
    assert first.observed.control == pytest.approx(control)
    assert first.observed.treated == pytest.approx(treated)
    # Neyman's interval at Bonferroni's level, by hand.
    part = frame[rows]
    se = np.sqrt(sum(part[part["coupon"] == arm]["click"].var() / (part["coupon"] == arm).sum() for arm in ("none", "ten")))  # fmt: skip
    from scipy.stats import norm

    z = norm.ppf(1 - 0.05 / len(found.segments) / 2)
    assert first.observed.high - first.observed.effect == pytest.approx(z * se, rel=1e-6)


def test_segments_hold_every_customer_once(insight: Insight) -> None:
    for found in insight.segments:
        assert sum(one.share for one in found.segments) == pytest.approx(1.0)
        assert sum(one.observed.rows for one in found.segments) == insight.rows
        predicted = [one.predicted for one in found.segments]
        assert predicted == sorted(predicted, reverse=True)
        assert min(one.share for one in found.segments) >= 0.05


def test_intervals_of_segments_hold_together_at_their_level() -> None:
    """Over many campaigns all intervals of an arm cover the true effects at once at least 95 % of the time, less noise."""
    covered = []
    for seed in range(120):
        campaign = make_campaign(1_500, seed=seed)
        found = explain(campaign, Known().predict(campaign), stage="click").segments[1]
        covered.append(all(one.observed.low <= one.predicted <= one.observed.high for one in found.segments))
    assert np.mean(covered) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 120)


def test_a_tree_of_least_squares_agrees_with_an_independent_one(campaign: Campaign) -> None:
    tree = pytest.importorskip("sklearn.tree")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 12, 3_000).astype(float)
    y = np.where(x > 6, 1.0, 0.0) + np.where(x > 9, 0.5, 0.0) + 0.1 * rng.normal(size=3_000)
    cuts = np.arange(0.5, 11)
    feature = Feature("x", "numeric", np.searchsorted(cuts, x, side="left"), cuts, (), x)
    leaves = grow([feature], y, depth=2, min_share=0.01, min_gain=0.0)
    other = tree.DecisionTreeRegressor(max_depth=2, min_samples_leaf=30).fit(x[:, None], y)
    ours = np.empty(3_000)
    for leaf in leaves:
        ours[leaf.rows] = leaf.mean
    np.testing.assert_allclose(ours, other.predict(x[:, None]))


def test_a_constant_effect_has_one_segment(campaign: Campaign) -> None:
    mu = np.zeros((len(campaign), 3, 2), np.float32)
    mu[:, 1:] = 0.1
    found = explain(campaign, Effects.for_campaign(mu, campaign, model="flat"))
    assert [one.words for one in found.segments[0].segments] == ["all customers"]


def test_rules_read_like_sentences() -> None:
    frame = pd.DataFrame(
        {
            "t": ["a", "b"] * 50, "y": [0, 1] * 50, "x": [None, *range(99)], "b": [True, False] * 50,
            "when": pd.date_range("2026-01-01", periods=100), "c": list("pqrst") * 20,
        }
    )  # fmt: skip
    campaign = Campaign.from_frame(frame, treatment="t", control="a", chain=["y"])
    by_name = {feature.name: feature for feature in read_features(campaign)}
    x = by_name["x"]
    allowed = np.zeros(x.n_bins, bool)
    allowed[3:6] = True
    assert x.words(allowed) == f"{x.number(x.cuts[2])} < x ≤ {x.number(x.cuts[5])}"
    allowed[-1] = True
    assert x.words(allowed).endswith("(or missing)")
    only_missing = np.zeros(x.n_bins, bool)
    only_missing[-1] = True
    assert x.words(only_missing) == "x is missing"
    flag = by_name["b"]
    assert flag.words(np.arange(flag.n_bins) == flag.levels.index("true")) == "b = true"
    when = by_name["when"]
    assert re.fullmatch(r"when > 2026-\d\d-\d\d", when.words(np.arange(when.n_bins) > 3))
    letters = by_name["c"]
    assert letters.words(np.arange(letters.n_bins) != 0) == f"c is not {letters.levels[0]}"


def test_cut_points_are_round_and_inside() -> None:
    cuts = round_cuts(np.random.default_rng(0).normal(50, 10, 5_000))
    assert (np.diff(cuts) > 0).all()
    assert all(len(f"{cut:.6g}") <= 4 for cut in cuts)
    assert round_cuts(np.ones(10)).size == 0


# -------------------------------------------------------------------- quadrants and spread


def test_quadrants_hold_everybody_once_and_follow_their_rule(campaign: Campaign, insight: Insight) -> None:
    effects = Known().predict(campaign)
    for found in insight.quadrants:
        assert sum(group.share for group in found.groups) == pytest.approx(1.0)
        tau, mu = effects.tau("click", found.arm), effects.mu("click", "none")
        persuadable = tau >= found.effect
        assert found.groups[0].share == pytest.approx(persuadable.mean())
        assert found.groups[3].share == pytest.approx((tau < 0).mean())
        sure = ~persuadable & (tau >= 0) & (mu >= found.base)
        assert found.groups[1].share == pytest.approx(sure.mean())
        effect, *_ = plain_effect(campaign, persuadable, found.arm, "click")
        assert found.groups[0].observed.effect == pytest.approx(effect)
        for x, y, code in found.points:
            if abs(x - found.base) < 1e-6 or abs(y - found.effect) < 1e-6:
                continue  # the points are rounded to four digits
            assert code == (3 if y < 0 else 0 if y >= found.effect else 1 if x >= found.base else 2)


def test_spread_counts_everybody(campaign: Campaign, insight: Insight) -> None:
    effects = Known().predict(campaign)
    assert {(one.stage, one.arm) for one in insight.spread} == {
        (s, a) for s in ("click", "buy") for a in ARMS[1:]
    }
    for one in insight.spread:
        assert sum(one.shares) == pytest.approx(1.0)
        assert one.mean == pytest.approx(float(effects.tau(one.stage, one.arm).mean(dtype=np.float64)))


# -------------------------------------------------------------------- drivers


def test_importance_finds_what_moves_the_effect_and_only_that(insight: Insight) -> None:
    assert insight.importance is not None
    assert set(insight.importance.ranked()[:2]) == {"age", "city"}
    for one in insight.importance.drops:
        if one.feature in ("noise", "member"):
            assert one.drop == 0.0
            assert one.moved == 0.0
        elif one.arm == "ten":
            assert one.low > 0


def test_the_drop_is_the_qini_before_less_the_qini_after(campaign: Campaign) -> None:
    """On all rows, by the public evaluation of the two rankings."""
    model = Known()
    found = permutation_importance(model, campaign, "click", ["ten"], ["city"], random_state=5)
    rng = np.random.default_rng([5, 3])
    shuffled = campaign.table.to_pandas()
    shuffled["city"] = shuffled["city"].to_numpy()[rng.permutation(len(shuffled))]
    other = Campaign.from_frame(shuffled, treatment="coupon", control="none", chain=["click", "buy"])
    both = {"before": model.predict(campaign), "after": model.predict(other)}
    evaluation = evaluate(campaign, both, draws=20)
    expected = evaluation.difference("before", "after", "click", "ten")
    assert found.rows == found.of == len(campaign)
    assert found.drops[0].drop == pytest.approx(expected["value"], abs=1e-12)
    assert found.drops[0].se == pytest.approx(expected["se"], rel=1e-6)


def test_partial_dependence_is_the_mean_of_the_predictions_with_one_value(
    campaign: Campaign, insight: Insight
) -> None:
    city = next(one for one in insight.dependence if one.feature == "city")
    values = dict(zip(city.labels, city.effects["ten"], strict=True))
    assert values["B"] == values["C"] == pytest.approx(0.0, abs=1e-6)
    # 0.25 for those over 40, about 62 % of all.
    assert values["A"] == pytest.approx(0.25 * 39 / 62, abs=0.03)
    group = next(one for one in city.bins if one.label == "A")
    rows = (campaign.table.to_pandas()["city"] == "A").to_numpy()
    assert group.observed["ten"].effect == pytest.approx(plain_effect(campaign, rows, "ten", "click")[0])
    age = next(one for one in insight.dependence if one.feature == "age")
    assert sum(one.share for one in age.bins) == pytest.approx(1.0)
    assert age.bins[-1].label == "missing"


def test_the_surrogate_copies_the_effects_and_reads_what_drives_them(insight: Insight) -> None:
    for surrogate in insight.surrogates:
        assert surrogate.r2 > 0.95
        assert {one.feature for one in surrogate.features[:2]} == {"age", "city"}


def test_the_work_is_bounded_and_reproducible(campaign: Campaign) -> None:
    class Counting(Known):
        rows = 0

        def predict(self, campaign: Campaign) -> Effects:
            Counting.rows += len(campaign)
            return super().predict(campaign)

    model = Counting()
    effects = Known().predict(campaign)
    one = explain(campaign, effects, model, max_predictions=4_000)
    # Shuffles, the ranking before, and the dependence of four features.
    assert Counting.rows <= 4_000 + 1_000 + 4 * 400 * 10
    assert one.importance is not None
    assert one.importance.rows == 1_000
    assert one == explain(campaign, effects, Known(), max_predictions=4_000)


@pytest.mark.slow
def test_the_drivers_of_the_simulated_world_are_found() -> None:
    """With the true effects as the model's, the features above all others are those that the simulator reads."""
    import uplift
    from uplift.simulation.drivers import NUMERIC_DRIVERS

    campaign = uplift.simulate(rows=20_000, numeric=14, seed=3).campaign()
    train, test = campaign.split(test=0.5, seed=0)
    model = uplift.make_model("lightgbm_s", random_state=0).fit(train)
    found = explain(test, model.predict(test), model, max_predictions=60_000)
    assert found.importance is not None
    known = NUMERIC_DRIVERS | {
        "city",
        "channel",
        "device",
        "is_member",
        "category",
        "favourite_category",
        "region",
    }
    assert set(found.importance.ranked()[:4]) <= known
    assert found.importance.drops


# -------------------------------------------------------------------- bad input, files


def test_effects_of_other_rows_or_without_size_are_refused(campaign: Campaign) -> None:
    effects = Known().predict(campaign)
    with pytest.raises(EvaluationError, match="predict on these rows"):
        explain(campaign, effects.take(np.arange(10)))
    ranks = Effects.for_campaign(truth(campaign.table.to_pandas()), campaign, model="r", calibrated=False)
    with pytest.raises(EvaluationError, match="only ranks"):
        explain(campaign, ranks)
    with pytest.raises(EvaluationError, match="at least 1,000"):
        explain(campaign, effects, max_predictions=10)
    with pytest.raises(EvaluationError, match="tenn"):
        explain(campaign, effects).plot_segments("tenn")


def test_the_file_reads_back_and_damage_is_named(insight: Insight, tmp_path: Path) -> None:
    path = insight.write(tmp_path / "insight.json")
    assert Insight.read(path).model_dump() == insight.model_dump()
    assert "NaN" not in path.read_text()
    content = json.loads(path.read_text())
    del content["stage"]
    path.write_text(json.dumps(content))
    with pytest.raises(UpliftError, match="damaged"):
        Insight.read(path)
    with pytest.raises(UpliftError, match="cannot be read"):
        Insight.read(tmp_path / "nothing.json")


# -------------------------------------------------------------------- figures and page


def test_figures_show_the_numbers_of_the_insight(insight: Insight) -> None:
    ten = insight.arms.index("ten")
    found = insight.segments[ten]
    figure = segments_figure(insight, "ten")
    observed = next(trace for trace in figure.data if trace.name == "observed")
    assert list(observed.x) == [one.observed.effect for one in found.segments]
    figure = importance_figure(insight, "ten")
    drops = {one.feature: one.drop for one in insight.importance.drops if one.arm == "ten"}
    assert sorted(figure.data[0].x) == sorted(drops.values())
    figure = dependence_figure(insight, "age", "ten")
    age = next(one for one in insight.dependence if one.feature == "age")
    assert list(figure.data[0].y) == list(age.effects["ten"])
    assert len(spread_figure(insight).data) == 2
    assert len(quadrants_figure(insight, "ten").data) == 4
    assert sum(len(trace.x) for trace in quadrants_figure(insight, "ten").data) == len(
        insight.quadrants[ten].points
    )
    assert shap_figure(insight, "ten").data


def test_calibration_and_toc_figures_show_the_evaluation() -> None:
    case = make_case()
    figure = calibration_figure(case.evaluation, "ecup", "click", "coupon_10")
    rows = case.evaluation.groups
    rows = rows[(rows["model"] == "ecup") & (rows["stage"] == "click") & (rows["arm"] == "coupon_10")]
    observed = next(trace for trace in figure.data if trace.name == "observed")
    np.testing.assert_allclose(observed.y, rows["observed"])
    np.testing.assert_allclose(observed.x, rows["predicted"])
    assert "calibration_slope" in figure.layout.title.subtitle.text
    with pytest.raises(EvaluationError, match="only ranks"):
        calibration_figure(case.evaluation, "random", "click", "coupon_10")
    figure = toc_figure(case.evaluation, "click", "coupon_10")
    line = next(trace for trace in figure.data if trace.name == "ecup")
    curve = case.evaluation.curves["ecup", "click", "coupon_10"]
    np.testing.assert_allclose(line.y, curve.toc[curve.share >= 0.05])
    assert line.y[-1] == pytest.approx(0.0, abs=1e-12)


def test_the_page_shows_segments_quadrants_and_drivers_with_exact_numbers() -> None:
    case = make_case()
    effects = Effects.for_campaign(
        np.stack([np.full((4_000, 3), 0.2), np.full((4_000, 3), 0.1), np.full((4_000, 3), 2.0)], axis=2)
        + np.array([0, 0.01, 0.02])[None, :, None] * case.campaign.table["x"].to_numpy()[:, None, None],
        case.campaign,
        model="ecup",
    )
    found = explain(case.campaign, effects)
    page = render(case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run, insight=found)
    head = page.split('id="report-data"')[0]
    for table in (segments_table(found, Names()), quadrants_table(found, Names())):
        assert table is not None
        for row in table.rows:
            assert all(html.escape(cell.value) in head for cell in row.cells)
    assert "x &gt;" in head
    assert "drivers = true" in head
    with pytest.raises(UpliftError, match="explain the campaign that was evaluated"):
        render(case.campaign, case.evaluation, insight=found.model_copy(update={"all_arms": ("a", "b", "c")}))


def test_hostile_names_stay_text_in_every_new_place() -> None:
    case = make_case(hostile=True)
    frame = case.campaign.table.to_pandas()
    wild = "x" * 190 + "'\"<img src=x onerror=alert(3)>🎟️"
    frame = frame.assign(**{wild: np.where(frame["x"] > 0, HOSTILE, "=1+1")}).rename(columns={"x": HOSTILE})
    roles = case.campaign.roles
    campaign = Campaign.from_frame(
        frame, unit=roles.unit, treatment=roles.treatment, control=roles.control, chain=list(roles.chain), value=roles.value,
        arms={arm.name: arm for arm in case.campaign.arms}, name=HOSTILE,
    )  # fmt: skip

    class Wild(Known):
        def predict(self, campaign: Campaign) -> Effects:
            x = np.tanh(campaign.table[HOSTILE].to_numpy()) + 0.2 * (
                campaign.table[wild].to_pandas() == HOSTILE
            )
            mu = np.stack([np.full(len(x), 0.3), 0.32 + 0.05 * x, 0.3 + 0.1 * x], axis=1)
            return Effects.for_campaign(
                np.stack([mu, 0.4 * mu, 9 * mu], 2).astype(np.float32), campaign, model=HOSTILE
            )

    model = Wild()
    found = explain(campaign, model.predict(campaign), model, shap=True, max_predictions=4_000)
    page = render(case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run, insight=found)
    before = page.split("<script>")[0]
    assert "<script>alert" not in before
    assert "<img" not in before
    data = re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)
    assert data
    assert not set("<>&\u2028\u2029") & set(data[1])
    specs = json.loads(data[1])["figures"]
    assert {key.split(":")[0] for key in specs} >= {
        "spread", "quadrants", "segments", "importance", "dependence", "shap", "toc", "calibration",
    }  # fmt: skip
    for key, spec in specs.items():
        for trace in spec["data"]:
            texts = trace.get("text") or []
            for text in [trace.get("name", ""), *([texts] if isinstance(texts, str) else texts)]:
                assert "<" not in text, key
        for axis in ("xaxis", "yaxis"):
            for text in [
                *spec["layout"][axis].get("ticktext", []),
                spec["layout"][axis].get("title", {}).get("text", ""),
            ]:
                assert "<" not in text.removeprefix("<b>").removesuffix("</b>"), key
    for shown in (case.campaign, campaign, model.predict(campaign), case.evaluation, case.plan, found):
        text = shown._repr_html_()
        assert "<script>" not in text
        assert "<img" not in text
        assert len(text) < 40_000


def test_notebook_tables_hold_the_numbers(campaign: Campaign, insight: Insight) -> None:
    case = make_case()
    row = case.evaluation.score("ecup", "conversion", "coupon_5")
    assert f"{100 * row['value']:.3f}" in case.evaluation._repr_html_()
    assert f"{len(campaign):,} rows" in campaign._repr_html_()
    treated = f"{case.plan.certificate.n_treated:,} of"
    assert treated in case.plan._repr_html_()
    assert "below zero" in Known().predict(campaign)._repr_html_()
    assert "city = A" in insight._repr_html_()
    for method in (
        "plot_toc",
        "plot_deciles",
        "plot_calibration",
        "plot_scores",
        "plot_effects",
        "plot_funnel",
    ):
        assert getattr(case.evaluation, method)().data
    assert case.plan.plot_budget().data
    assert case.plan.plot_arms().data
