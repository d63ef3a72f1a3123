"""What the report has to show, computed from the files of the run folder.

Nothing here is taken from :mod:`uplift`, and nothing from the page: curves, tenths, rates and the budget curve are
written down a second time, from their definitions, on the rows of ``test_effects`` and ``effects.parquet``.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.click_through.case import CannotTell
from benchmarks.click_through.measured import MeasuredPlans, arm_money, climb

VALUE = "value"
HEADLINE = "qini_per_capita"
DESIGN = ("weight", "propensity", "stratum")


class Truth:
    """A run folder, read for what its report should say.

    Parameters
    ----------
    folder : path
        What ``uplift run`` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.run: dict[str, Any] = self._json("run.json")
        self.metrics: dict[str, Any] = self._json("metrics.json")
        self.checks: list[dict[str, Any]] = self._json("checks.json")
        self.plan: dict[str, Any] | None = (
            self._json("allocation.json") if (self.folder / "allocation.json").is_file() else None
        )
        self.insight: dict[str, Any] | None = (
            self._json("insight.json") if (self.folder / "insight.json").is_file() else None
        )
        campaign = self.run["campaign"]
        self.arms = tuple(arm["name"] for arm in campaign["arms"])
        self.chain = tuple(campaign["chain"])
        self.stages = (*self.chain, VALUE) if campaign["value"] else self.chain
        self.models = tuple(self.metrics["models"])
        self.calibrated = tuple(
            m for m in self.models if m not in self.metrics["references"]["uncalibrated_models"]
        )
        self.confidence = float(self.metrics["confidence"])
        self.z = NormalDist().inv_cdf(0.5 + self.confidence / 2)

    def _json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    # ------------------------------------------------------------ names

    def arm(self, name: str) -> str:
        """How the campaign file wants an arm to be called."""
        found = next(arm for arm in self.run["campaign"]["arms"] if arm["name"] == name)
        return str(found["label"] or name)

    def stage(self, name: str) -> str:
        """The value stage goes by its column, too."""
        column = self.run["campaign"]["value"]
        return f"{column} ({VALUE})" if name == VALUE and column and column != VALUE else name

    @property
    def decided(self) -> str:
        """Stage that the plan buys."""
        return str(self.run["decide_stage"])

    @property
    def deciding_model(self) -> str:
        """Model of the plan."""
        return str(self.run["chosen_model"])

    @property
    def decide(self) -> dict[str, Any]:
        """The campaign file's [decide]."""
        return dict(self.run["config"]["decide"])

    def cost(self, arm: str) -> tuple[float, str]:
        """Money per event, and the event on which an arm is paid."""
        rule = next(one for one in self.run["campaign"]["arms"] if one["name"] == arm)["cost"]
        return float((rule["share"] if rule["on"] == VALUE else rule["amount"]) or 0.0), str(rule["on"])

    @cached_property
    def measured(self) -> MeasuredPlans:
        """What plans and rules bring on the test rows."""
        return MeasuredPlans(self)

    # ------------------------------------------------------------ metrics.json

    def metric(self, model: str, stage: str, arm: str, metric: str) -> dict[str, float | None] | None:
        """value, low, high; None where the model has no such metric."""
        found: dict[str, Any] = self.metrics["models"][model][stage][arm]
        return found.get(metric)

    @property
    def metric_ids(self) -> tuple[str, ...]:
        """All metrics of the models."""
        return tuple(
            dict.fromkeys(
                metric
                for model in self.metrics["models"].values()
                for stage in model.values()
                for arm in stage.values()
                for metric in arm
            )
        )

    def difference(self, model: str, other: str, stage: str, arm: str) -> dict[str, float]:
        """Headline of `model` less that of `other`: value, low, high, p."""
        for row in self.metrics["differences"]:
            if (row["stage"], row["arm"]) != (stage, arm):
                continue
            if (row["model"], row["other"]) == (model, other):
                return {key: row[key] for key in ("value", "low", "high", "p")}
            if (row["model"], row["other"]) == (other, model):
                return {"value": -row["value"], "low": -row["high"], "high": -row["low"], "p": row["p"]}
        raise CannotTell(f"metrics.json has no difference of {model} and {other} at {stage}, {arm}")

    def strongest(self, stage: str) -> str:
        """Arm with the largest average effect."""
        effects = self.metrics["ate"][stage]
        return max(effects, key=lambda arm: float(effects[arm]["value"]))

    # ------------------------------------------------------------ test_effects

    @cached_property
    def _rows(self) -> dict[str, pd.DataFrame]:
        return {}

    def rows(self, model: str) -> pd.DataFrame:
        """Test rows with outcomes and one model's effects."""
        if model not in self._rows:
            self._rows[model] = pd.read_parquet(self.folder / "test_effects" / f"{model}.parquet")
        return self._rows[model]

    @property
    def test_rows(self) -> int:
        """How many there are."""
        return len(self.rows(self.models[0]))

    @property
    def plain(self) -> bool:
        """A design without weights, propensities or strata, and one row per unit."""
        rows = self.rows(self.models[0])
        return not set(DESIGN) & set(rows.columns) and bool(rows.iloc[:, 0].is_unique)

    def rate(self, stage: str, arm: str) -> float:
        """Mean outcome of an arm."""
        self._need_plain()
        rows = self.rows(self.models[0])
        return float(rows.loc[rows["arm"].astype(str) == arm, stage].astype(float).mean())

    def _need_plain(self) -> None:
        if not self.plain:
            raise CannotTell(
                "this design has weights or repeated units, which the suite does not compute again"
            )

    def _compared(
        self, model: str, stage: str, arm: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Score, treated, outcome and place in the ranking's tie groups, best first."""
        self._need_plain()
        rows = self.rows(model)
        received = rows["arm"].astype(str).to_numpy()
        keep = (received == arm) | (received == self.arms[0])
        score = rows[f"tau__{stage}__{arm}"].to_numpy()[keep]
        order = np.argsort(-score, kind="stable")
        score = score[order]
        treated = (received[keep] == arm)[order]
        outcome = rows[stage].to_numpy(float)[keep][order]
        ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)) + 1
        return score, treated, outcome, ends

    def curve(self, model: str, stage: str, arm: str, kind: str, at: np.ndarray) -> np.ndarray:
        """The Qini curve ("gain", V4), uplift curve ("lift", V2 / n) or TOC ("toc") at some shares of the customers."""
        _, treated, outcome, ends = self._compared(model, stage, arm)
        n_t, n_c = np.cumsum(treated)[ends - 1], np.cumsum(~treated)[ends - 1]
        y_t = np.cumsum(np.where(treated, outcome, 0.0))[ends - 1]
        y_c = np.cumsum(np.where(treated, 0.0, outcome))[ends - 1]
        share = ends / ends[-1]
        if kind == "gain":
            height = y_t / n_t[-1] - y_c / n_c[-1]
        elif kind == "toc":
            # Of the first rows, which hold one group alone, nothing is known; the page begins after them.
            both = (n_t > 0) & (n_c > 0)
            height = y_t[both] / n_t[both] - y_c[both] / n_c[both] - (y_t[-1] / n_t[-1] - y_c[-1] / n_c[-1])
            return np.interp(at, share[both], height, left=np.nan)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                height = share * (np.where(n_t > 0, y_t / n_t, 0.0) - np.where(n_c > 0, y_c / n_c, 0.0))
        return np.interp(at, np.append(0.0, share), np.append(0.0, height))

    def curve_error(self, model: str, stage: str, arm: str, kind: str, share: float) -> float:
        """Standard error of a curve's height at a share (delta method; the share's own place moves, too)."""
        _, treated, outcome, _ = self._compared(model, stage, arm)
        n = len(outcome)
        first = np.arange(n) < round(share * n)
        moved = np.zeros(n)
        for group, sign in ((treated, 1.0), (~treated, -1.0)):
            inside = group & first
            if kind == "gain":
                part = np.where(first, outcome, 0.0)
                moved += sign * np.where(group, part - part[group].mean(), 0.0) / group.sum()
            else:
                scale = share if kind == "lift" else 1.0
                moved += sign * scale * np.where(inside, outcome - outcome[inside].mean(), 0.0) / inside.sum()
            if kind == "toc":
                moved -= sign * np.where(group, outcome - outcome[group].mean(), 0.0) / group.sum()
        ends = np.clip([share - 0.1, share + 0.1], 0.02, 1.0)
        rise = float(np.diff(self.curve(model, stage, arm, kind, ends))[0] / (ends[1] - ends[0]))
        return float(np.sqrt(np.sum((moved - rise * (first - share) / n) ** 2)))

    def tenths(self, model: str, stage: str, arm: str) -> pd.DataFrame:
        """Predicted and observed effect (low, high) by tenth of the ranking; ties are never cut."""
        score, treated, outcome, ends = self._compared(model, stage, arm)
        n = len(score)
        wanted = np.ceil(np.linspace(0, n, 11)[1:])
        cuts = np.unique(ends[np.searchsorted(ends, wanted).clip(max=len(ends) - 1)])
        rows, start = [], 0
        for number, end in enumerate(cuts, start=1):
            piece = slice(start, end)
            start = end
            groups = [outcome[piece][treated[piece] == arm] for arm in (True, False)]
            if min(map(len, groups)) < 2:
                continue
            observed = groups[0].mean() - groups[1].mean()
            se = np.sqrt(sum(group.var() / len(group) for group in groups))
            predicted = score[piece].astype(float).mean()
            rows.append((number, predicted, observed, observed - self.z * se, observed + self.z * se))
        return pd.DataFrame(rows, columns=["tenth", "predicted", "observed", "low", "high"])

    def observed(self, rows: np.ndarray, stage: str, arm: str) -> dict[str, Any]:
        """control, treated, effect, low and high among some test rows (bool [row]); None where there are too few."""
        self._need_plain()
        mine = self.rows(self.models[0])[rows]
        received, outcome = mine["arm"].astype(str).to_numpy(), mine[stage].to_numpy(float)
        one, other = outcome[received == arm], outcome[received == self.arms[0]]
        if min(len(one), len(other)) < 2:
            return dict.fromkeys(("control", "treated", "effect", "low", "high"))
        effect, reach = (
            one.mean() - other.mean(),
            self.z * np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)),
        )
        low, high = (effect - reach, effect + reach) if reach > 0 else (None, None)
        return {"control": other.mean(), "treated": one.mean(), "effect": effect, "low": low, "high": high}

    # ------------------------------------------------------------ the plan

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """``allocation.parquet``."""
        frame = pd.read_parquet(self.folder / "allocation.parquet")
        return frame.assign(arm=frame["arm"].astype(str))

    @property
    def treated(self) -> int:
        """Customers who get a coupon."""
        return int((self.decisions["arm"] != self.arms[0]).sum())

    def planned(self, column: str, arm: str) -> float:
        """Sum of a column over the customers who get an arm."""
        mine = self.decisions["arm"] == arm
        return float(self.decisions.loc[mine, column].sum())

    def customers(self, arm: str) -> int:
        """How many get an arm."""
        return int((self.decisions["arm"] == arm).sum())

    @cached_property
    def _steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Budget, value and treated customers along the relaxed optimum, by steps of falling return.

        Every customer's arms are points (cost, value); only the upper hull from (0, 0) is ever worth taking. The
        relaxed optimum takes the hull's steps of all customers in the order of value per money (Sinha and Zoltners
        1979).
        """
        effects = pd.read_parquet(self.folder / "effects.parquet")
        unit = effects.columns[0]
        held = self.decisions.set_index(unit)["holdout"].reindex(effects[unit]).to_numpy(bool)
        values, costs = arm_money(self, effects[~held])
        steps = [
            (money, worth, int(before == 0))
            for value, cost in zip(values, costs, strict=True)
            for before, _, money, worth in climb(value, cost)
        ]
        steps.sort(key=lambda step: -step[1] / max(step[0], 1e-12))
        table = np.array([(0.0, 0.0, 0), *steps], float).cumsum(axis=0)
        return table[:, 0], table[:, 1], table[:, 2]

    @property
    def last_budget(self) -> float:
        """More money than this changes nothing."""
        return float(self._steps[0][-1])

    def at_budget(self, budget: float) -> dict[str, float]:
        """spend, value, treated and roi (value of the last unit of money) of the relaxed optimum."""
        budgets, values, treated = self._steps
        place = min(max(int(np.searchsorted(budgets, budget)), 1), len(budgets) - 1)
        money = budgets[place] - budgets[place - 1]
        return {
            "spend": min(budget, self.last_budget),
            "value": float(np.interp(budget, budgets, values)),
            "treated": float(np.interp(budget, budgets, treated)),
            "roi": float((values[place] - values[place - 1]) / money) if money > 0 else float("inf"),
        }
