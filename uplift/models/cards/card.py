"""What a model is and supports, and words that many cards share."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

MODULES = {"scikit-uplift": "sklift"}
"""Distribution -> module, where they differ."""

ROW_WEIGHTS = "row weights from sampling weights, propensities and strata"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model is and supports.

    Attributes
    ----------
    name : str
        Name in campaign files and results.
    where : str
        Its class, as ``module:name``; imported when asked for.
    title : str
        One line.
    family : {"ecup", "deep", "blend", "classical", "reference"}
    arms : str
        How it handles several arms.
    stages : str
        How it handles several stages.
    value : str
        How it learns the value stage.
    propensity : str
        What it does with propensities, strata and sampling weights.
    gpu : bool
        Whether it runs on a GPU where there is one.
    intervals : str
        With which options effects come with intervals; empty when they never do.
    source : str
        Paper or package.
    cost : str
        Fitting time, in words.
    library : str
        Distribution that fits it.

    Examples
    --------
    >>> import uplift
    >>> next(card.name for card in uplift.list_models() if card.name == "ecup")
    'ecup'
    """

    name: str
    where: str
    title: str
    family: Literal["ecup", "deep", "blend", "classical", "reference"]
    arms: str
    stages: str
    value: str
    propensity: str
    gpu: bool
    intervals: str
    source: str
    cost: str
    library: str

    def unavailable(self) -> str | None:
        """Why the model cannot be fitted here, or None.

        Cheap: looks for the library without importing it, so that a broken one goes unnoticed;
        :func:`check_available` imports it.
        """
        module = MODULES.get(self.library, self.library)
        try:
            found = importlib.util.find_spec(module) is not None
        except (ImportError, ValueError):
            found = False
        return None if found else f"{self.library} is not installed; run 'pip install {self.library}'."
