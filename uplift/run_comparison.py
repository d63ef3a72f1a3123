"""Put finished runs side by side, from the files of their folders alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uplift import run_folder as names
from uplift.errors import UpliftError
from uplift.run_folder import RunFolder

if TYPE_CHECKING:
    from uplift.reporting.compare import ComparedRun


def compare_runs(runs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Path:
    """Write one page that compares runs: settings, checks, models on the same rows, plans and their overlap.

    Parameters
    ----------
    runs : sequence of path
        Two to eight run folders. They are called by the names of their folders.
    out : path
        HTML file, or a folder in which ``compare.html`` is written.

    Returns
    -------
    Path

    Raises
    ------
    UpliftError
        Not a run folder, the same one twice, too few or too many, or files are missing or damaged.

    Examples
    --------
    >>> compare_runs(["runs/spring", "runs/autumn"], "compare.html")  # doctest: +SKIP
    """
    from uplift.reporting.compare import comparison

    folders = [RunFolder.open(run) for run in runs]
    seen: dict[Path, Path] = {}
    for folder in folders:
        real = folder.path.resolve()
        if real in seen:
            raise UpliftError(f"{folder.path} is given twice; give every run once.")
        seen[real] = folder.path
    return comparison(
        out, [_compared(one, name) for one, name in zip(folders, _labels(folders), strict=True)]
    )


def _compared(folder: RunFolder, label: str) -> ComparedRun:
    from uplift.reporting.compare import ComparedRun
    from uplift.run_report import plan_again

    described = folder.read_json(names.RUN)
    test, effects = folder.test_effects()
    return ComparedRun(
        label=label,
        run=described,
        metrics=folder.read_json(names.METRICS),
        checks=folder.read_json(names.CHECKS),
        plan=plan_again(folder, described),
        test=test,
        effects=effects[described["chosen_model"]],
    )


def _labels(folders: Sequence[RunFolder]) -> list[str]:
    """Names of the folders; where two share one, with their number."""
    short = [folder.path.resolve().name or "run" for folder in folders]
    return [
        name if short.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(short, start=1)
    ]
