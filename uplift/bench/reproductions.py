"""Published numbers, tried again: which there are, whether they can be tried on this machine, and our number."""

from __future__ import annotations

import importlib.util
import tomllib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import DatasetError, UpliftError, did_you_mean

LIBRARIES = {"catboost": "catboost", "xgboost": "xgboost", "lightgbm": "lightgbm", "econml": "econml"}


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A published number.

    Attributes
    ----------
    id, data, what : str
        Name, data set, and what was measured.
    protocol : {"fact", "sklift", "two_forests", "registry", "linear_effect", "forest_learner", "linear_pehe"}
        A statistic of the data; scikit-uplift's own model on its own split; two forests on many splits; a model of the
        registry; and, where effects are known, those of :mod:`uplift.bench.known_effects`.
    params : dict
        Of the protocol.
    published, tolerance : float
        Their number, and how far ours may lie from it and count as the same.
    grade : {"A", "B", "C"}
        See ``reproductions.toml``.
    source, note : str
        Where it was published, and why ours may differ.
    """

    id: str
    data: str
    what: str
    protocol: str
    params: dict[str, Any]
    published: float
    tolerance: float
    grade: str
    source: str
    note: str = ""
    threads: int = field(default=1)

    @property
    def label(self) -> str:
        """For people."""
        return self.id

    @property
    def file(self) -> str:
        """Path of the record, relative to the folder."""
        return f"reproductions/{self.id}.json"

    def to_dict(self) -> dict[str, Any]:
        """What the process is told; a change of anything makes it another one."""
        content = asdict(self)
        return {"reproduction": content.pop("id"), **content}


@cache
def _file() -> dict[str, Any]:
    text = (resources.files("uplift.bench") / "reproductions.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def all_reproductions() -> list[Reproduction]:
    """All of them, those of a table of models spelled out.

    Examples
    --------
    >>> [one.id for one in all_reproductions() if one.data == "criteo"][:3]
    ['criteo-conversion-ate', 'criteo-visit-ate', 'criteo-visit-lightgbm_s']
    """
    content = _file()
    found = [Reproduction(**entry) for entry in content["entries"]]
    shared = {key: value for key, value in content["criteo_visit"].items() if key not in ("models", "params")}
    for model, number in content["criteo_visit"]["models"].items():
        params = {**content["criteo_visit"]["params"], "model": model}
        what = f"scikit-uplift Qini of {model} on the visit"
        found.append(
            Reproduction(id=f"criteo-visit-{model}", what=what, params=params, published=number, **shared)
        )
    return found


def out_of_reach() -> dict[str, str]:
    """Published tables that no entry can try, and why."""
    return dict(_file()["missing"])


def load_reproductions(names: Iterable[str] | None = None) -> list[Reproduction]:
    """Reproductions of these ids; all for None.

    Raises
    ------
    UpliftError
        Unknown id.
    """
    found = all_reproductions()
    if names is None:
        return found
    known, wanted = [one.id for one in found], list(names)
    for name in wanted:
        if name not in known:
            raise UpliftError(f"unknown reproduction {name!r}; {did_you_mean(name, known, limit=len(known))}")
    return [one for one in found if one.id in wanted]


def not_possible(one: Reproduction) -> str | None:
    """Why it cannot be tried on this machine, in one sentence, or None."""
    from uplift.bench.entries import TRUTHS
    from uplift.bench.known_effects import missing_replications
    from uplift.datasets import find_files
    from uplift.models.registry import MODEL_NAMES

    try:
        missing = missing_replications(one.data, one.params) if one.data in TRUTHS else None
        if one.data not in TRUTHS:
            find_files(one.data)
    except DatasetError as error:
        return str(error)
    if missing is not None:
        return missing
    learner, model = one.params.get("learner"), one.params.get("model")
    learner = learner or one.params.get("library")
    if learner is not None and importlib.util.find_spec(LIBRARIES[learner]) is None:
        return f"{learner} is not installed; run 'pip install {learner}'."
    if model is not None and model not in MODEL_NAMES:
        return f"this version of uplift has no model {model!r}."
    return None


def reproduce(name: str) -> dict[str, Any]:
    """Our number.

    Returns
    -------
    dict
        ``value``, and for repeated splits ``spread`` and ``splits``; JSON types.
    """
    from uplift.bench.known_effects import PROTOCOLS as KNOWN_EFFECTS
    from uplift.datasets import load_dataset

    (one,) = load_reproductions([name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries that deprecate what the published code calls
        if one.protocol in KNOWN_EFFECTS:
            return KNOWN_EFFECTS[one.protocol](one.data, dict(one.params))
        campaign = load_dataset(one.data)
        return PROTOCOLS[one.protocol](campaign, dict(one.params))


# ---------------------------------------------------------------- protocols


def _fact(campaign: Campaign, params: dict[str, Any]) -> dict[str, Any]:
    from uplift.metrics.average import compare, difference_in_means

    outcome, arm = campaign.outcome(params["stage"]).astype(np.float64), str(params["arm"])
    if params["of"] == "count":
        return {"value": float(outcome[campaign.arm_codes == campaign.arm_index(arm)].sum())}
    pair = compare(campaign, arm)
    return {"value": difference_in_means(pair, outcome[pair.rows]).value}


def _pair(campaign: Campaign, params: dict[str, Any]) -> tuple[Any, np.ndarray, np.ndarray]:
    """Features (a frame in the file's row order), outcome and treatment of control and one arm."""
    rows = np.flatnonzero(np.isin(campaign.arm_codes, (0, campaign.arm_index(str(params["arm"])))))
    part = campaign.take(rows)
    features = part.table.select(list(part.feature_names)).to_pandas()
    for column in part.categorical_features:
        features[column] = features[column].astype(str)
    treated = (part.arm_codes > 0).astype(np.int64)
    return features, part.outcome(params["stage"]).astype(np.int64), treated


def _sklift(campaign: Campaign, params: dict[str, Any]) -> dict[str, Any]:
    """scikit-uplift's own model and split: what is published is theirs, and so must the code be."""
    import pandas as pd
    from sklearn.model_selection import train_test_split

    features, outcome, treated = _pair(campaign, params)
    strata = [f"{t}{y}" for t, y in zip(treated, outcome, strict=True)] if params.get("stratify") else None
    learn, judge = train_test_split(
        np.arange(len(outcome)), test_size=params["test"], random_state=params["seed"], stratify=strata
    )
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    ours, theirs = features.iloc[learn], features.iloc[judge]
    if text:
        ours, theirs = target_statistics(ours, outcome[learn], theirs, text)
    model = _sklift_model(params["method"], params["learner"], params.get("learner_params", {}))
    y = pd.Series(outcome[learn], index=ours.index)
    model.fit(ours, y, pd.Series(treated[learn], index=ours.index))
    score = np.asarray(model.predict(theirs))
    return {"value": _metric(params["metric"], score, outcome[judge], treated[judge])}


def target_statistics(train: Any, outcome: np.ndarray, test: Any, columns: list[str]) -> tuple[Any, Any]:
    """Ordered target statistics of categories, as ``category_encoders.CatBoostEncoder`` computes them by default.

    A training row's category becomes (sum of the outcomes of earlier rows of it + prior) / (their number + 1), a test row's
    the same over all training rows; the prior is the mean outcome. A category that training does not hold gets the prior.

    Parameters
    ----------
    train, test : DataFrame
        Rows in their order.
    outcome : ndarray [row]
        Of the training rows.
    columns : list of str
        Categorical columns.

    References
    ----------
    Prokhorenkova et al., CatBoost: unbiased boosting with categorical features, NeurIPS 2018, section 3.2.
    """
    import pandas as pd

    train, test, prior = train.copy(), test.copy(), float(outcome.mean())
    for column in columns:
        y = pd.Series(outcome, index=train.index, dtype=float)
        groups = y.groupby(train[column])
        before, earlier = groups.cumsum() - y, groups.cumcount()
        totals = groups.agg(["sum", "count"])
        means = (totals["sum"] + prior) / (totals["count"] + 1)
        test[column] = test[column].map(means).fillna(prior).astype(float)
        train[column] = (before + prior) / (earlier + 1)
    return train, test


def _sklift_model(method: str, learner: str, params: dict[str, Any]) -> Any:
    from sklift.models import ClassTransformation, SoloModel, TwoModels

    if method == "class_transformation":
        return ClassTransformation(estimator=_learner(learner, params))
    if method == "solo":
        return SoloModel(estimator=_learner(learner, params))
    return TwoModels(
        estimator_trmnt=_learner(learner, params), estimator_ctrl=_learner(learner, params), method="vanilla"
    )


def _learner(name: str, params: dict[str, Any]) -> Any:
    module = importlib.import_module(LIBRARIES[name])
    made = {"xgboost": "XGBClassifier", "lightgbm": "LGBMClassifier", "catboost": "CatBoostClassifier"}[name]
    threads = {"catboost": "thread_count"}.get(name, "n_jobs")
    return getattr(module, made)(**{threads: 1, **params})


def _two_forests(campaign: Campaign, params: dict[str, Any]) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import OrdinalEncoder

    features, outcome, treated = _pair(campaign, params)
    matrix = features.copy()
    text = list(matrix.select_dtypes(exclude="number"))
    matrix[text] = OrdinalEncoder().fit_transform(matrix[text])
    x, found = matrix.to_numpy(np.float64), []
    for split in range(params["splits"]):
        learn, judge = train_test_split(np.arange(len(outcome)), test_size=params["test"], random_state=split)
        rates = []
        for arm in (0, 1):
            rows = learn[treated[learn] == arm]
            forest = RandomForestClassifier(params["trees"], random_state=params["forest_seed"])
            rates.append(forest.fit(x[rows], outcome[rows]).predict_proba(x[judge])[:, 1])
        found.append(_metric(params["metric"], rates[1] - rates[0], outcome[judge], treated[judge]))
    return {"value": float(np.mean(found)), "spread": float(np.std(found, ddof=1)), "splits": len(found)}


def _registry(campaign: Campaign, params: dict[str, Any]) -> dict[str, Any]:
    """A model of the registry on the published split, on the published stage alone."""
    from dataclasses import replace

    from sklearn.model_selection import train_test_split

    from uplift.models.duplicates import first_of_each
    from uplift.models.registry import make_model

    stage = params["stage"]
    dropped = [name for name in (*campaign.chain, campaign.roles.value) if name not in (stage, None)]
    roles = replace(campaign.roles, chain=(stage,), value=None)
    campaign = replace(campaign, table=campaign.table.drop_columns(dropped), roles=roles)
    if params.get("deduplicate"):
        campaign = campaign.take(first_of_each(campaign))
    learn, judge = train_test_split(
        np.arange(campaign.n_rows), test_size=params["test"], random_state=params["seed"]
    )
    test = campaign.take(np.sort(judge))
    model = make_model(params["model"], random_state=params["seed"]).fit(campaign.take(np.sort(learn)))
    effects: Effects = model.predict(test)
    score = effects.tau(stage, str(params["arm"]))
    return {"value": _metric(params["metric"], score, test.outcome(stage), test.arm_codes > 0)}


def _metric(name: str, score: np.ndarray, outcome: np.ndarray, treated: np.ndarray) -> float:
    from uplift.metrics import scores
    from uplift.metrics.ranking import Ranking

    if name == "uplift_at_30_by_group":
        return _by_group(score, outcome, np.asarray(treated, bool), 0.3)
    cells = Ranking.build(score, treated, outcome).cells
    metrics: dict[str, Callable[[], Any]] = {
        "uplift_at_30": lambda: scores.uplift_at(cells, 0.3),
        "qini_sklift": lambda: scores.qini_sklift(cells),
        "auuc_sklift": lambda: scores.auuc_sklift(cells),
    }
    return float(metrics[name]())


def _by_group(score: np.ndarray, outcome: np.ndarray, treated: np.ndarray, share: float) -> float:
    """Uplift among the best share of each group apart (scikit-uplift's ``strategy="by_group"``)."""
    means = []
    for group in (treated, ~treated):
        order = np.argsort(-score[group], kind="mergesort")
        means.append(float(outcome[group][order[: int(group.sum() * share)]].mean()))
    return means[0] - means[1]


PROTOCOLS: dict[str, Callable[[Campaign, dict[str, Any]], dict[str, Any]]] = {
    "fact": _fact,
    "sklift": _sklift,
    "two_forests": _two_forests,
    "registry": _registry,
}
"""By name."""
