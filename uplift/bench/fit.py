"""The process of one fit: ``python -m uplift.bench.fit RESULT.json`` with the job as JSON on standard input."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from uplift.bench.suite import Job

INFLUENCE = ".npz"
"""Ending of the file beside the result that holds the influences."""


def fit(job: Job) -> tuple[dict[str, Any], np.ndarray | None]:
    """Draw the sample, fit the variant, score it.

    Returns
    -------
    dict
        ``scores`` (list of measure, stage, value), ``fit_seconds``, ``predict_seconds``, ``train_rows``, ``test_rows``,
        ``stages``, for networks ``epochs`` and ``kept_epoch``, and for blends their ``weights``; JSON types.
    ndarray of float32 [unit, stage] or None
        Influence of every test unit on the mean Qini over arms, where the Qini is measured.
    """
    from uplift.bench.data import draw
    from uplift.bench.entries import read_entry
    from uplift.bench.measures import measure
    from uplift.models.registry import check_available, make_model

    check_available([job.model])  # imports the libraries, so that the time below is that of the work
    sample = draw(read_entry(job.data), job.seed)
    model = make_model(job.model, random_state=job.seed, **_threaded(job))
    begun, cpu = time.perf_counter(), time.process_time()
    model.fit(sample.train)
    fitted = time.perf_counter()
    effects = model.predict(sample.audience)
    predicted, cpu = time.perf_counter(), time.process_time() - cpu
    learned = model.predict(sample.train) if sample.train_truth is not None else None
    found, influence = measure(effects, sample, learned=learned)
    # On a machine that does other things as well the processor's time says more than the clock's.
    scores = found | {("cpu_seconds", ""): round(cpu, 3)}
    history = getattr(model, "history_", None) or []
    weights = getattr(model, "weights_", None)
    return {
        "scores": [
            {"measure": name, "stage": stage, "value": value} for (name, stage), value in scores.items()
        ],
        "fit_seconds": round(fitted - begun, 3),
        "predict_seconds": round(predicted - fitted, 3),
        "train_rows": sample.train.n_rows,
        "test_rows": sample.test.n_rows,
        "stages": list(sample.scored),
        "weights": None if weights is None else np.asarray(weights).tolist(),
        "epochs": len(history) or None,
        "kept_epoch": next((entry["epoch"] for entry in history if entry["kept"]), None),
    }, influence


def _threaded(job: Job) -> dict[str, Any]:
    """The parameters, with the job's threads for models that count them themselves (it does not change what they learn)."""
    from uplift.models.registry import model_class

    if "n_jobs" in model_class(job.model).parameter_names() and "n_jobs" not in job.params:
        return {**job.params, "n_jobs": job.threads}
    return job.params


def peak_mib() -> float:
    """Peak resident memory of this program in MiB.

    ``ru_maxrss`` survives exec: a small program started by a large one would report the large one's. Linux knows the
    program's own.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def main() -> None:
    """Read the job, write the result: of a fit, or of the reproduction of a published number."""
    from uplift.io.atomic import write_json

    content, target = json.load(sys.stdin), Path(sys.argv[1])
    if "reproduction" in content:
        from uplift.bench.reproductions import reproduce

        result = reproduce(content["reproduction"])
    else:
        result, influence = fit(Job(**content))
        if influence is not None:
            np.savez_compressed(target.with_suffix(INFLUENCE), influence=influence)
    write_json(target, {**result, "peak_mib": peak_mib()})


if __name__ == "__main__":
    main()
