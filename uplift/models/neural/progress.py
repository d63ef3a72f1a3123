"""Progress of a training run in the terminal."""

from __future__ import annotations

from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class TrainingProgress:
    """A bar over epochs with rows per second, loss and Qini; a context manager that always leaves the terminal clean.

    Parameters
    ----------
    name : str
        Name of the model.
    rows : int
        Training rows per epoch.
    epochs : int
        Largest number of epochs.
    """

    def __init__(self, *, name: str, rows: int, epochs: int) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[model]} epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("at most"),
            TimeRemainingColumn(),
            TextColumn("left"),
            transient=False,
        )
        self._task = self._progress.add_task("", total=rows * epochs, epoch=1, model=name, status="")

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def on_batch(self, rows: int) -> None:
        """Advance by `rows` rows."""
        self._progress.advance(self._task, rows)

    def on_epoch(self, entry: dict[str, Any]) -> None:
        """Show a history entry."""
        qini = entry["validation_qini"]
        status = (
            f"{entry['rows_per_second']:,.0f} rows/s  loss {entry['loss']:.5f}  "
            f"validation {entry['validation_loss']:.5f}  qini {'unknown' if qini is None else f'{qini:+.6f}'}"
        )
        self._progress.update(self._task, epoch=entry["epoch"] + 1, status=status)
