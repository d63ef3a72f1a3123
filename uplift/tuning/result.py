"""What a search found: its trials, the best of them, and whether that is more than luck."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uplift.io.toml import toml_key, toml_value
from uplift.models.registry import make_model
from uplift.tuning.criteria import JUDGES, standard_error

if TYPE_CHECKING:
    import pandas as pd

    from uplift.models.base import UpliftModel

LUCK = 0.05
"""A gain that luck alone would bring more often than this is called noise."""

_DRAWS = 4_000


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting of the parameters, and how good it was.

    Attributes
    ----------
    number : int
        From 0, which is where the search started: the defaults, or what the campaign file says.
    params : dict
        Parameters that differ from the model's defaults.
    tuned : tuple of str
        Names of those that the search chose; none for trial 0.
    value : float or None
        The criterion; None when the trial failed.
    replicates : tuple of float
        The criterion without each group of units (:mod:`uplift.tuning.criteria`).
    seconds : float
        To fit and judge.
    error : str or None
        Why the trial failed.

    Examples
    --------
    >>> import uplift
    >>> train, _ = uplift.simulate(rows=2_000, seed=1).campaign().split(test=0.3, seed=0)
    >>> found = uplift.tune(train, model="lightgbm_s", trials=2, space={"n_estimators": [20, 50]})
    >>> found.trials[1].params["n_estimators"] in (20, 50)
    True
    """

    number: int
    params: dict[str, Any]
    tuned: tuple[str, ...] = ()
    value: float | None = None
    replicates: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def se(self) -> float:
        """Standard error of the value; NaN when there is none."""
        return standard_error(np.asarray(self.replicates)) if self.ok else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**vars(self), "tuned": list(self.tuned), "replicates": list(self.replicates)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Trial:
        """Inverse of :meth:`to_dict`.

        Parameters
        ----------
        content : mapping
        """
        return cls(
            **{**content, "tuned": tuple(content["tuned"]), "replicates": tuple(content["replicates"])}
        )


@dataclass(frozen=True, eq=False, repr=False)
class TuningResult:
    """Outcome of a search.

    Attributes
    ----------
    description : dict
        What was searched: ``model``, ``criterion``, ``stage``, ``folds``, ``random_state``, ...
    trials : tuple of Trial
        In order; the first is where the search started.
    folder : Path or None
        Where ``study.json``, ``study.journal``, ``trials.parquet`` and ``best.toml`` lie.
    notes : tuple of str
        Warnings of the fits, each once.

    Examples
    --------
    >>> import uplift
    >>> train, _ = uplift.simulate(rows=2_000, seed=1).campaign().split(test=0.3, seed=0)
    >>> found = uplift.tune(train, model="lightgbm_s", trials=2, space={"n_estimators": [20, 50]})
    >>> len(found.trials)
    2
    """

    description: dict[str, Any]
    trials: tuple[Trial, ...]
    folder: Path | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.description["model"])

    @property
    def title(self) -> str:
        """The criterion in words."""
        return f"{JUDGES[self.description['criterion']].title}, {self.description['stage']}"

    @property
    def higher_is_better(self) -> bool:
        """Direction of the criterion."""
        return JUDGES[self.description["criterion"]].higher_is_better

    @property
    def default(self) -> Trial:
        """Trial 0: where the search started."""
        return self.trials[0]

    @cached_property
    def best(self) -> Trial:
        """The trial with the best value, the first of several."""
        good = [trial for trial in self.trials if trial.ok]
        return min(good, key=lambda trial: (-self._gain_of(trial.value or 0.0), trial.number))

    @property
    def chosen(self) -> Trial:
        """The best trial where its gain is more than luck, else the start: what ``best.toml`` holds.

        Taking the best anyhow is not harmless: with a noisy criterion it takes the luckiest, which is often worse than
        the start (``benchmarks/bench_tuning.py``).
        """
        return self.default if self.default.ok and self.within_noise else self.best

    @property
    def best_params(self) -> dict[str, Any]:
        """Constructor parameters of the best trial; those that are not named keep their defaults."""
        return dict(self.best.params)

    def best_model(self) -> UpliftModel:
        """The model with the best parameters, not fitted."""
        return self._made(self.best)

    def _made(self, trial: Trial) -> UpliftModel:
        chosen = make_model(self.model, **trial.params)
        if "random_state" in chosen.parameter_names() and "random_state" not in trial.params:
            chosen.set_params(random_state=self.description["random_state"])
        return chosen

    # ---------------------------------------------------------------- more than luck?

    def _gain_of(self, difference: float) -> float:
        return difference if self.higher_is_better else -difference

    def difference(self, one: Trial, other: Trial) -> tuple[float, float]:
        """By how much `one` is better than `other`, and the standard error of that; NaN where one failed."""
        if one.value is None or other.value is None:
            return float("nan"), float("nan")
        error = standard_error(np.asarray(one.replicates) - np.asarray(other.replicates))
        return self._gain_of(one.value - other.value), error

    @property
    def gain(self) -> tuple[float, float]:
        """By how much the best trial is better than the start, on the same rows, and its standard error."""
        return self.difference(self.best, self.default)

    @cached_property
    def chance(self) -> float:
        """How often luck alone would make the best trial look so much better than the start.

        The best of many settings looks better than it is, because it was picked for that. So draw the gains of all
        trials, in standard errors, from their joint distribution were no trial better than the start (multiplier bootstrap
        on the jackknife replicates), and see how often the largest exceeds that of the best trial. NaN where the start failed.

        References
        ----------
        White, A reality check for data snooping, Econometrica 2000; in standard errors, Hansen, A test for superior
        predictive ability, JBES 2005.
        """
        gain, error = self.gain
        good = [trial for trial in self.trials if trial.ok and trial.number]
        if not np.isfinite(gain) or not good:
            return float("nan")
        if self.best is self.default or gain <= 0:
            return 1.0
        spread = np.array([trial.replicates for trial in good]) - np.array(self.default.replicates)
        spread -= spread.mean(axis=1, keepdims=True)
        groups = spread.shape[1]
        errors = np.sqrt((groups - 1) / groups * np.square(spread).sum(axis=1, keepdims=True))
        # A setting whose effects are those of the start cannot win by luck.
        units = np.divide(spread, errors, out=np.zeros_like(spread), where=errors > 0)
        rng = np.random.default_rng(0)  # a quantile of a known distribution: the draws need no other seed
        draws = np.sqrt((groups - 1) / groups) * rng.standard_normal((_DRAWS, groups)) @ units.T
        return float((draws.max(axis=1) * error >= gain).mean())

    @property
    def within_noise(self) -> bool:
        """Whether the start may well be as good as the best: gain within one standard error, or luck."""
        gain, error = self.gain
        return not (gain > error and self.chance <= LUCK)

    @property
    def quickest(self) -> Trial:
        """The trial that took least time of those within one standard error of the best."""
        good = [trial for trial in self.trials if trial.ok]
        near = [trial for trial in good if _within(*self.difference(self.best, trial))]
        return min(near, key=lambda trial: (trial.seconds, trial.number))

    @property
    def verdict(self) -> str:
        """In a sentence: better than the start, or within the noise."""
        gain, error = self.gain
        if not np.isfinite(gain):
            return f"the start failed ({self.default.error}), so there is nothing to compare the best trial with."
        if self.best is self.default:
            return f"no trial of {len(self.trials)} was better than the start; keep it."
        luck = "less than 0.1 %" if self.chance < 1e-3 else f"{self.chance:.1%}"
        words = f"{gain:.3g} better than the start (standard error {error:.2g}); luck alone finds as much in {luck} of searches"
        return f"{words}: within the noise, the start may be as good." if self.within_noise else f"{words}."

    # ---------------------------------------------------------------- tables and files

    def to_frame(self) -> pd.DataFrame:
        """One row per trial: number, status, value, se, gain, gain_se, seconds, error, and ``param_NAME``.

        Parameters that are lists are JSON text; those that no trial set are left out, the others hold the model's
        default where a trial did not set them.
        """
        import pandas as pd

        names = sorted({name for trial in self.trials for name in trial.params})
        defaults = make_model(self.model).get_params()
        rows = []
        for trial in self.trials:
            gain, error = self.difference(trial, self.default)
            params = {f"param_{name}": _cell(trial.params.get(name, defaults[name])) for name in names}
            rows.append(
                {
                    "number": trial.number, "status": "ok" if trial.ok else "failed", "value": trial.value, "se": trial.se,
                    "gain": gain, "gain_se": error, "seconds": trial.seconds, "error": trial.error, **params,
                }
            )  # fmt: skip
        frame = pd.DataFrame(rows)
        frame["value"] = frame["value"].astype(float)
        return frame

    def to_toml(self) -> str:
        """The parameters of :attr:`chosen` as a ``[models.NAME]`` table of a campaign file, with a comment on where they come from."""
        how = self.description
        rows = f"{how['rows']:,} training rows, " + (
            f"{how['folds']} folds" if how["folds"] else f"{how['validation']:.0%} of the units held out"
        )
        lines = [
            f"# {self.title}: best {self.best.value:.6g} (standard error {self.best.se:.2g}), {rows}.",
            f"# Trial {self.best.number} of {len(self.trials)}: {self.verdict}",
        ]
        if self.chosen is not self.best:
            lines.append(
                f"# So these are the parameters of the start; trial {self.best.number} had {json.dumps(self.best.params)}."
            )
        lines += [
            f"# In place of the entry for {self.model} under [models], or: uplift fit ... --params best.toml",
            f"[models.{toml_key(self.model)}]",
            *(
                # TOML has no word for None.
                f"{toml_key(name)} = {toml_value(value)}"
                if value is not None
                else f"# {name} is None, which only Python can say"
                for name, value in self.chosen.params.items()
            ),
        ]
        return "\n".join(lines) + "\n"

    def __repr__(self) -> str:
        return (
            f"TuningResult({self.model}: {len(self.trials)} trials, best {self.best.value:.6g} ({self.title}), "
            f"params {self.best.params})"
        )


def _within(difference: float, error: float) -> bool:
    return difference <= error


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value
