"""XGBoost in LightGBM's place: the same settings, on a CPU or a GPU, kept as UBJSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from uplift.errors import MissingDependencyError, ModelError, first_line
from uplift.models.classical.boosting import (
    BINARY,
    REGRESSION,
    TWEEDIE,
    Settings,
    check_outcome,
    useful_threads,
)

OBJECTIVES = {BINARY: "binary:logistic", REGRESSION: "reg:squarederror", TWEEDIE: "reg:tweedie"}


def xgboost() -> ModuleType:
    """The xgboost module.

    Raises
    ------
    MissingDependencyError
        It is not installed, or its shared library cannot be loaded.
    """
    try:
        import xgboost as module
    except Exception as error:  # its own XGBoostError when the shared library is missing
        raise MissingDependencyError(
            f"backend='xgboost' needs XGBoost, which cannot be imported ({first_line(error)}); install it with 'pip install xgboost', or use backend='lightgbm'."
        ) from error
    return module


@cache
def has_cuda() -> bool:
    """Whether XGBoost can grow a tree on a GPU here; it falls back to the CPU in silence, so it is tried."""
    module = xgboost()
    if not module.build_info().get("USE_CUDA"):
        return False
    with module.config_context(verbosity=0):
        try:
            data = module.DMatrix(np.zeros((2, 1), np.float32), label=np.array([0.0, 1.0], np.float32))
            tried = module.train({"device": "cuda", "max_depth": 1}, data, num_boost_round=1)
        except module.core.XGBoostError:
            return False
    return device_of(tried).startswith("cuda")


def device_of(booster: Any) -> str:
    """Where a booster that was just trained did its work: "cpu" or "cuda:0"."""
    return str(json.loads(booster.save_config())["learner"]["generic_param"]["device"])


def chosen_device(device: str) -> str:
    """ "cpu" or "cuda"; "auto" is the GPU where there is one.

    Raises
    ------
    ModelError
        "cuda" where XGBoost finds no GPU.
    """
    if device == "cpu":
        return device
    if not has_cuda():
        if device == "cuda":
            raise ModelError(
                "device='cuda' was asked for, but XGBoost finds no CUDA device here; use device='cpu' or 'auto', or check the driver and that the installed xgboost was built with CUDA."
            )
        return "cpu"
    return "cuda"


class XGBoostTrees:
    """A fitted ensemble; what its file holds and nothing else.

    Predictions are made on the CPU wherever the trees were grown, so that they are the same bits after loading.

    Parameters
    ----------
    raw : bytes
        XGBoost's UBJSON.

    Raises
    ------
    ValueError
        It is damaged.
    """

    def __init__(self, raw: bytes | bytearray) -> None:
        module = xgboost()
        try:
            self._booster = module.Booster(model_file=bytearray(raw))
        except module.core.XGBoostError as error:
            raise ValueError(first_line(error)) from error
        self._raw = bytes(raw)

    def predict(self, matrix: np.ndarray, *, num_threads: int) -> np.ndarray:
        """Mean outcome, float32 [row]."""
        self._booster.set_param({"nthread": num_threads})
        result: np.ndarray = self._booster.inplace_predict(matrix)
        return result

    def save(self, path: Path) -> None:
        """Write UBJSON."""
        path.write_bytes(self._raw)

    @classmethod
    def load(cls, path: Path) -> XGBoostTrees:
        """Read what :meth:`save` wrote."""
        return cls(path.read_bytes())


@dataclass(frozen=True)
class XGBoostSettings(Settings):
    """LightGBM's settings, for XGBoost. Trees are close to LightGBM's and not equal.

    Trees grow leaf by leaf up to `num_leaves`, on histograms of 256 bins. `learning_rate`, `reg_lambda` and
    `max_cat_to_onehot` are the same numbers. XGBoost counts no rows but sums second derivatives: `min_child_samples` is multiplied with their mean at the
    mean outcome (1 for squared error, p (1 - p) for a rate p). Boosting starts from the mean outcome, as LightGBM's.
    LightGBM's extra penalty on splits of categories has no counterpart.

    Attributes
    ----------
    device : {"cpu", "cuda"}
    """

    device: str = "cpu"

    @property
    def one_by_one(self) -> bool:
        """A GPU is kept busy by one fit."""
        return self.device != "cpu"

    def dataset(self, matrix: np.ndarray, weights: np.ndarray | None) -> Any:
        """Bin a matrix [row, column] once; labels are set per outcome."""
        return self._bin(matrix, weight=weights)

    def binned(self, matrix: np.ndarray) -> Any:
        """Bin a matrix [row, column] once for models of many of its :meth:`subset`."""
        return self._bin(matrix)

    def subset(self, data: Any, matrix: np.ndarray, rows: np.ndarray) -> Any:
        """Some rows, in the bins of all rows: XGBoost cannot slice binned data, but bin by the cuts of others."""
        return self._bin(matrix[rows], ref=data)

    def train(self, data: Any, outcome: np.ndarray, objective: str, weights: np.ndarray | None = None) -> Any:
        """Trees of one outcome [row].

        Raises
        ------
        ModelError
            XGBoost refuses the parameters or the data, or fell back to the CPU where a GPU was asked for: it does so
            with no more than a warning.
        """
        check_outcome(outcome, objective)
        label = np.ascontiguousarray(outcome, np.float32)
        data.set_label(label)
        if weights is not None:
            data.set_weight(weights)
        given = data.get_weight() if weights is None else weights
        given = given if len(given) else np.ones(len(label))
        mean = float(np.average(label, weights=given))
        if objective == BINARY:
            mean = min(max(mean, 1e-7), 1 - 1e-7)
        elif objective == TWEEDIE:
            mean = max(mean, 1e-7)
        # LightGBM's Tweedie power is 1.5, whose second derivative at the mean is its square root.
        curvature = {BINARY: mean * (1 - mean), REGRESSION: 1.0, TWEEDIE: mean**0.5}[objective]
        params = {
            "objective": OBJECTIVES[objective],
            "tree_method": "hist",
            "grow_policy": "lossguide",
            "max_depth": 0,
            "max_leaves": self.params["num_leaves"],
            "learning_rate": self.params["learning_rate"],
            "lambda": self.params["reg_lambda"],
            "max_cat_to_onehot": self.params["max_cat_to_onehot"],
            "min_child_weight": self.params["min_child_samples"] * curvature * float(np.mean(given)),
            "base_score": mean,
            "max_bin": MAX_BIN,
            "seed": self.params["seed"],
            "device": self.device,
            "nthread": useful_threads(self.n_jobs, data.num_row(), data.num_col()),
            "verbosity": 0,
        }
        if objective == TWEEDIE:
            params["tweedie_variance_power"] = 1.5
        grown = _guarded(lambda: xgboost().train(params, data, num_boost_round=self.n_estimators))
        if self.device != "cpu" and (used := device_of(grown)) == "cpu":
            raise ModelError(
                f"device={self.device!r} was asked for, but XGBoost grew the trees on device {used!r}; it lost its GPU, so check the driver, or use device='cpu'."
            )
        # Through bytes at once: the saved model is then the very one that predicts.
        return XGBoostTrees(grown.save_raw("ubj"))

    def _bin(self, matrix: np.ndarray, **options: Any) -> Any:
        categorical = set(self.categorical)
        return _guarded(
            lambda: xgboost().QuantileDMatrix(
                matrix,
                feature_types=["c" if j in categorical else "q" for j in range(matrix.shape[1])],
                enable_categorical=True,
                max_bin=MAX_BIN,
                nthread=useful_threads(self.n_jobs, *matrix.shape),
                **options,
            )
        )


MAX_BIN = 256


def _guarded(call: Any) -> Any:
    try:
        return call()
    except xgboost().core.XGBoostError as error:
        raise ModelError(f"XGBoost refuses these parameters or data ({first_line(error)}).") from error
