"""Which library grows the trees: LightGBM, or XGBoost, which can do it on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from uplift.errors import ModelError
from uplift.models.classical.boosting import BoostedParameters, Settings
from uplift.models.parameters import Choice, Rule

if TYPE_CHECKING:
    from uplift.features import FeatureSchema

LIGHTGBM, XGBOOST = "lightgbm", "xgboost"


@dataclass(kw_only=True, eq=False, repr=False)
class BackendParameters(BoostedParameters):
    """Constructor of models whose trees may also be XGBoost's.

    The wheels of LightGBM have no CUDA, those of XGBoost do. The same parameters mean nearly the same to both; see
    :class:`~uplift.models.classical.xgboost_backend.XGBoostSettings` for how they are translated. See
    :class:`~uplift.models.classical.boosting.BoostedParameters` for the rest of the parameters.

    Parameters
    ----------
    backend : {"lightgbm", "xgboost"}
        Library that grows the trees.
    device : {"cpu", "cuda", "auto"}
        Where they are grown and read; "auto" is CUDA where XGBoost finds a GPU. LightGBM is always
        on the CPU.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        **BoostedParameters.rules,
        "backend": Choice(LIGHTGBM, XGBOOST),
        "device": Choice("cpu", "cuda", "auto"),
    }

    backend: str = LIGHTGBM
    device: str = "auto"

    def _check_combination(self) -> None:
        super()._check_combination()  # type: ignore[misc]
        if self.backend == LIGHTGBM and self.device == "cuda":
            raise ModelError(
                f"model {self.name!r}: device='cuda' needs backend='xgboost', because the wheels of LightGBM have no CUDA."  # type: ignore[attr-defined]
            )

    def settings(self, schema: FeatureSchema, *, extra_categorical: tuple[int, ...] = ()) -> Settings:
        """Settings of the chosen library."""
        found = super().settings(schema, extra_categorical=extra_categorical)
        if self.backend == LIGHTGBM:
            return found
        from uplift.models.classical.xgboost_backend import XGBoostSettings, chosen_device

        return XGBoostSettings(
            found.params, found.n_estimators, found.n_jobs, found.categorical, chosen_device(self.device)
        )

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy", "xgboost" if self.backend == XGBOOST else "lightgbm")
