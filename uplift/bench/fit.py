"""The process of one fit: ``python -m uplift.bench.fit RESULT.json`` with the job as JSON on standard input."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from uplift.bench.suite import Job


def fit(job: Job) -> dict[str, Any]:
    """Draw the sample, fit the variant, score it.

    Returns
    -------
    dict
        ``scores`` (list of measure, stage, value), ``fit_seconds``, ``predict_seconds``, and for networks ``epochs``
        and ``kept_epoch``; JSON types.
    """
    from uplift.bench.data import SOURCES
    from uplift.bench.measures import measure
    from uplift.models.registry import check_available, make_model

    check_available([job.model])  # imports the libraries, so that the time below is that of the work
    sample = SOURCES[job.data](job.rows, job.seed)
    model = make_model(job.model, **job.params, random_state=job.seed)
    begun, cpu = time.perf_counter(), time.process_time()
    model.fit(sample.train)
    fitted = time.perf_counter()
    effects = model.predict(sample.test)
    predicted, cpu = time.perf_counter(), time.process_time() - cpu
    # On a machine that does other things as well the processor's time says more than the clock's.
    scores = measure(effects, sample) | {("cpu_seconds", ""): round(cpu, 3)}
    history = getattr(model, "history_", None) or []
    return {
        "scores": [
            {"measure": name, "stage": stage, "value": value} for (name, stage), value in scores.items()
        ],
        "fit_seconds": round(fitted - begun, 3),
        "predict_seconds": round(predicted - fitted, 3),
        "epochs": len(history) or None,
        "kept_epoch": next((entry["epoch"] for entry in history if entry["kept"]), None),
    }


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
    """Read the job, write the result."""
    from uplift.io.atomic import write_json

    result = fit(Job(**json.load(sys.stdin)))
    write_json(sys.argv[1], {**result, "peak_mib": peak_mib()})


if __name__ == "__main__":
    main()
