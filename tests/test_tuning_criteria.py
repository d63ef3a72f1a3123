"""What tuning judges by: against the package's own metrics, closed forms and the simulator's truth."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROLES, toy_frame

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import UpliftError
from uplift.metrics import evaluate, policy_value
from uplift.metrics.truth import pehe
from uplift.models.registry import MODEL_NAMES, REFERENCES, make_model
from uplift.simulation import simulate
from uplift.tuning import TrainingPart, Trial, TuningResult
from uplift.tuning.criteria import (
    CRITERIA,
    GROUPS,
    Decision,
    PolicyJudge,
    QiniJudge,
    make_judge,
    standard_error,
)
from uplift.tuning.objective import Objective
from uplift.tuning.rows import Fold, make_folds
from uplift.tuning.space import default_space, search_space

MARGIN = 40.0


@pytest.fixture(scope="module", params=["plain", "strata", "confounded"])
def case(request: pytest.FixtureRequest) -> tuple[Fold, Effects]:
    """A fold of a simulated campaign, and the true effects of its held-out rows."""
    options = {
        "plain": {},
        "strata": {"strata": 4, "strata_imbalance": 1.0},
        "confounded": {"confounding": 1.0, "repeat_units": 0.2},
    }
    simulated = simulate(
        rows=12_000, arms=2, chain=("click", "conversion"), value=False, seed=5, **options[request.param]
    )
    (fold,) = make_folds(TrainingPart.of(simulated.campaign(), test=0.1, seed=0), folds=None, seed=3)
    return fold, simulated.true_effects().take(fold.held.campaign.row_numbers)


def _changed(truth: Effects, tau: np.ndarray) -> Effects:
    tau = np.array(tau, np.float32)
    tau[:, 0] = 0
    return Effects(
        truth.mu_all, units=truth.units, arms=truth.arms, stages=truth.stages, model="changed", tau_all=tau
    )


def _perturbed(truth: Effects) -> dict[str, Effects]:
    rng = np.random.default_rng(0)
    tau = truth.tau_all
    return {
        "halved": _changed(truth, 0.5 * tau),
        "overdone": _changed(truth, 1.5 * tau),
        "shifted": _changed(truth, tau + 0.1),
        "shuffled": _changed(truth, tau[rng.permutation(len(tau))]),
        "noisy": _changed(truth, tau + rng.normal(0, 0.15, tau.shape)),
        "reversed": _changed(truth, -tau),
    }


@pytest.mark.parametrize("criterion", ["dr", "r"])
def test_the_loss_of_the_truth_is_lowest_by_the_squared_distance_to_it(case, criterion):
    """Excess loss is, in expectation, E[(tau' - tau)^2]; for the R-loss with the variance of the treatment as weights."""
    fold, truth = case
    judge = make_judge(criterion, fold, stage="click")
    best = judge.score(truth)
    share = np.bincount(fold.held.campaign.arm_codes, minlength=3) / len(truth)
    for name, other in _perturbed(truth).items():
        found = judge.score(other)
        error = standard_error(found.replicates - best.replicates)
        away = (other.tau_all - truth.tau_all)[:, 1:, 0].astype(float)
        if criterion == "dr":
            expected = np.square(away).mean()
        else:  # E[(sum_k (1{a=k} - e_k) d_k)^2] = sum e_k d_k^2 - (sum e_k d_k)^2
            expected = np.mean(np.square(away) @ share[1:] - np.square(away @ share[1:]))
        excess = found.value - best.value
        assert excess > 0, name
        # Strata and propensities move the arms' shares a little under the weights: 15 % for that.
        assert abs(excess - expected) < 4 * error + 0.15 * expected, (name, excess, expected, error)


def test_qini_is_that_of_the_evaluation_and_so_is_its_error(case):
    fold, truth = case
    held = fold.held.campaign
    for stage in held.chain:
        ours = QiniJudge(fold, stage=stage).score(truth)
        table = evaluate(held, {"truth": truth}, draws=200, random_state=1).scores
        theirs = table[(table["metric"] == "qini_per_capita") & (table["stage"] == stage)]
        assert ours.value == pytest.approx(theirs["value"].mean(), rel=1e-9)
        # Arms share their control rows, so the error of the mean lies between that of one arm and of independent ones.
        single = ((theirs["high"] - theirs["low"]) / 2 / 1.96).mean()
        assert single / np.sqrt(2) * 0.75 < standard_error(ours.replicates) < single * 1.25


def test_policy_value_is_that_of_the_metric_less_the_cost(case):
    fold, truth = case
    held = fold.held.campaign
    decision = Decision(costs=held.costs, margin=MARGIN, budget_per_customer=0.5)
    judge = PolicyJudge(fold, stage="conversion", decision=decision)
    codes = judge.plan(truth)
    assert set(codes) == {0, 1, 2}
    ours = judge.worth(codes)
    theirs = policy_value(held, codes, stage="conversion", margin=MARGIN, costs=dict(held.costs))
    assert ours.value == pytest.approx((theirs.value - theirs.cost) / len(held), rel=1e-9)
    gross = PolicyJudge(
        fold,
        stage="conversion",
        decision=Decision(costs={arm: type(rule)(on="send", amount=0.0) for arm, rule in held.costs.items()}, margin=MARGIN),
    ).worth(codes)  # fmt: skip
    assert gross.value == pytest.approx(theirs.value / len(held), rel=1e-9)
    # Their error holds the number of customers per arm and its strata fixed, ours does not.
    assert 0.6 < standard_error(gross.replicates) / (theirs.se / len(held)) < 1.6


def test_a_plan_without_a_budget_sends_only_what_is_worth_its_cost(case):
    fold, truth = case
    held = fold.held.campaign
    judge = PolicyJudge(fold, stage="conversion", decision=Decision(costs=held.costs, margin=MARGIN))
    profit = np.column_stack(
        [np.zeros(len(truth))]
        + [
            MARGIN * truth.tau("conversion", arm) - held.costs[arm].amount * truth.mu("conversion", arm)
            for arm in truth.treated_arms
        ]
    )
    chosen = np.take_along_axis(profit, judge.plan(truth)[:, None].astype(int), axis=1)[:, 0]
    assert chosen == pytest.approx(profit.max(axis=1), abs=1e-5)
    nobody = judge.worth(np.zeros(len(truth), int))
    assert nobody.value == 0
    assert not nobody.replicates.any()


def test_the_jackknife_gives_the_error_of_a_mean():
    rng = np.random.default_rng(3)
    sample, group = rng.exponential(size=40_000), rng.integers(0, GROUPS, 40_000)
    n, y = np.bincount(group, minlength=GROUPS), np.bincount(group, sample, GROUPS)
    replicates = (y.sum() - y) / (n.sum() - n)
    assert standard_error(replicates) == pytest.approx(sample.std() / np.sqrt(len(sample)), rel=0.35)


GOOD = {"n_estimators": 40, "min_child_samples": 200}
BAD = {"n_estimators": 200, "num_leaves": 60, "min_child_samples": 1, "learning_rate": 0.9, "reg_lambda": 0.0}


@pytest.fixture(scope="module")
def two_settings() -> TrainingPart:
    """Rows on which the first setting is nearer to the truth than the second, by that truth."""
    simulated = simulate(rows=12_000, arms=1, chain=("click", "conversion"), value=False, seed=8, effect=2.0)
    part = TrainingPart.of(simulated.campaign(), test=0.1, seed=0)
    truth = simulated.true_effects().take(part.campaign.row_numbers)
    good, bad = (
        make_model("lightgbm_t", **params).fit(part.campaign).predict(part.campaign) for params in (GOOD, BAD)
    )
    assert (
        pehe(good.tau_all[:, 1:], truth.tau_all[:, 1:]) < pehe(bad.tau_all[:, 1:], truth.tau_all[:, 1:])
    ).all()
    return part


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("folds", [None, 2])
def test_the_setting_that_is_nearer_to_the_truth_wins(two_settings, criterion, folds):
    decision = Decision(costs=two_settings.campaign.costs, margin=MARGIN, budget_per_customer=0.5)
    objective = Objective(
        "lightgbm_t",
        make_folds(two_settings, folds=folds, seed=1),
        criterion=criterion,
        stage="click",
        decision=decision,
    )
    good, bad = objective(GOOD).value, objective(BAD).value
    assert good < bad if criterion in ("r", "dr") else good > bad


# ---------------------------------------------------------------- more than luck?


def _result(gains: np.ndarray) -> TuningResult:
    """A search whose trials gain `gains` [trial, unit] over the start."""
    units = gains.shape[1]
    group = np.arange(units) % GROUPS
    trials = [Trial(number=0, params={}, value=0.0, replicates=(0.0,) * GROUPS)]
    for number, gain in enumerate(gains, start=1):
        n, y = np.bincount(group, minlength=GROUPS), np.bincount(group, gain, GROUPS)
        trials.append(
            Trial(
                number=number, params={}, value=float(gain.mean()), replicates=tuple((y.sum() - y) / (n.sum() - n))
            )
        )  # fmt: skip
    return TuningResult(
        {
            "model": "lightgbm_s",
            "criterion": "qini",
            "stage": "buy",
            "random_state": 0,
            "rows": 1_000,
            "folds": 2,
        },
        tuple(trials),
    )


def test_the_best_of_many_useless_settings_is_called_better_no_more_often_than_promised():
    """Whereas one standard error, or two, without regard to the number of trials would be passed most of the time."""
    rng = np.random.default_rng(1)
    useless = [_result(rng.normal(size=(20, 1_000))) for _ in range(200)]
    assert all(found.chosen is (found.default if found.within_noise else found.best) for found in useless)
    assert "these are the parameters of the start" in next(f for f in useless if f.within_noise).to_toml()
    assert 0.01 <= np.mean([found.chance <= 0.05 for found in useless]) <= 0.11
    assert np.mean([found.chance <= 0.5 for found in useless]) == pytest.approx(0.5, abs=0.12)
    assert np.mean([found.within_noise for found in useless]) > 0.89
    assert np.mean([found.gain[0] > found.gain[1] for found in useless]) > 0.9


def test_a_real_gain_is_told_from_luck():
    rng = np.random.default_rng(2)
    gains = rng.normal(size=(20, 1_000))
    gains[7] += 0.25  # eight standard errors
    found = _result(gains)
    assert found.best.number == 8
    assert not found.within_noise
    assert found.chance < 0.01
    assert found.chosen is found.best
    assert "So these are" not in found.to_toml()
    assert "less than 0.1 %" in found.verdict


# ---------------------------------------------------------------- search spaces


@pytest.mark.parametrize("name", [name for name in MODEL_NAMES if name not in REFERENCES])
def test_every_model_has_a_space_around_its_defaults_within_its_rules(name):
    space, defaults = default_space(name), make_model(name).get_params()
    assert space, f"{name}: add ranges to uplift/tuning/space.py"
    for parameter, chosen in space.items():
        assert chosen.holds(defaults[parameter]), parameter
        assert chosen.decode(chosen.encode(defaults[parameter])) == pytest.approx(
            defaults[parameter]
        ) or list(defaults[parameter]) == chosen.decode(chosen.encode(defaults[parameter]))
        for example in chosen.examples():
            make_model(name, **{parameter: example})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_leafs": [4]}, "did you mean 'num_leaves'"),
        ({"num_leaves": {"low": 4}}, "lacks a number for 'high'"),
        ({"num_leaves": {"low": 9, "high": 4}}, "goes from 9 to 4"),
        ({"num_leaves": {"low": 1, "high": 4}}, r"\[tune.lightgbm_t\].*num_leaves is 1"),
        ({"num_leaves": {"low": 4, "high": 8, "logg": True}}, "did you mean 'log'"),
        ({"num_leaves": {"low": 4, "high": 8, "log": 1}}, "must be true or false"),
        ({"reg_lambda": {"low": 0, "high": 8, "log": True}}, "low must be > 0"),
        ({"num_leaves": [4, "many"]}, "num_leaves is 'many'"),
        ({"learning_rate": 2.0}, r"learning_rate is 2.0; it must be a number in \(0, 1\]"),
        ({"random_state": [1, 2]}, "a seed is nothing to tune"),
    ],
)
def test_a_wrong_range_is_one_sentence(changes, message):
    with pytest.raises(UpliftError, match=message):
        search_space("lightgbm_t", changes)


def test_a_range_can_be_moved_dropped_and_kept_at_a_value():
    space, kept = search_space(
        "lightgbm_t", {"num_leaves": {"low": 4, "high": 6}, "reg_lambda": 2.0, "value_objective": ["regression", "tweedie"]}
    )  # fmt: skip
    assert str(space["num_leaves"]) == "4 to 6"
    assert kept == {"reg_lambda": 2.0}
    assert "reg_lambda" not in space
    assert str(space["value_objective"]) == "regression or tweedie"
    assert "n_estimators" not in search_space("lightgbm_t", keep=["n_estimators"])[0]


# ---------------------------------------------------------------- rows


def test_folds_part_the_units_and_hold_no_row_of_the_test_part():
    frame = toy_frame(900)
    frame["customer"] = frame["customer"] // 3  # three rows each
    campaign = Campaign.from_frame(frame, **ROLES)
    part = TrainingPart.of(campaign, test=0.3, seed=4)
    _, test = campaign.split(test=0.3, seed=4)
    forbidden = set(test.unit_ids.to_pylist())
    found = make_folds(part, folds=3, seed=0)
    judged = np.concatenate([fold.held.campaign.row_numbers for fold in found])
    assert sorted(judged) == sorted(part.campaign.row_numbers)
    for fold in found:
        fit, held = (set(side.campaign.unit_ids.to_pylist()) for side in fold)
        assert not fit & held
        assert not (fit | held) & forbidden
