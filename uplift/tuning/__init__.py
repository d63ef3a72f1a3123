"""Search the parameters of a model inside the training part; the test part cannot get in (:mod:`uplift.tuning.rows`)."""

from uplift.tuning.from_file import tune_file
from uplift.tuning.result import Trial, TuningResult
from uplift.tuning.rows import TrainingPart
from uplift.tuning.search import tune

__all__ = ["Trial", "TrainingPart", "TuningResult", "tune", "tune_file"]
