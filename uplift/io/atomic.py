"""Atomic writes: a file appears complete under its name, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uplift.errors import OutputError

_SUFFIX = ".tmp-uplift"

MARKERS = ("run.json", "model.json", "simulation.json", "manifest.json")
"""A folder that holds one of these was written by uplift."""

_WRITTEN = {
    *MARKERS, "report.html", "metrics.json", "checks.json", "effects.parquet", "test_effects", "models",
    "allocation.parquet", "allocation.csv", "allocation.json", "insight.json", "constraint_columns.parquet", "campaign.parquet", "truth.parquet", "campaign.toml",
}  # fmt: skip
_WEIGHTS = (".safetensors", ".txt", ".npz")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block succeeds.

    On any error, an interrupt included, the temporary file is removed and what stood at `path` is untouched.

    Raises
    ------
    OutputError
        The folder does not exist and cannot be made, or cannot be written to.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=_SUFFIX)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; choose a writable folder."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        make_ordinary(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it onto `path` when the block succeeds.

    Raises
    ------
    OutputError
        `path` exists and is not empty without `overwrite`, or its parent cannot be written to.
    """
    target = Path(path)
    check_output_folder(target, overwrite=overwrite)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_SUFFIX))
    temporary.chmod(0o777 & ~_umask())
    try:
        yield temporary
        if target.exists():
            old = temporary.with_name(temporary.name + "-old")
            target.rename(old)
            try:
                temporary.rename(target)
            except BaseException:
                old.rename(target)
                raise
            shutil.rmtree(old)
        else:
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_output_folder(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse now what would fail after an hour of fitting.

    Raises
    ------
    OutputError
        `path` is a file, holds anything without `overwrite`, or its parent cannot be written to.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file, not a folder; choose another output folder.")
    if target.is_dir() and any(target.iterdir()):
        if not overwrite:
            raise OutputError(
                f"{target} already holds files; pass --overwrite to replace them or choose another folder."
            )
        foreign = sorted(child.name for child in target.iterdir() if not _ours(child))
        if foreign or not any((target / marker).exists() for marker in MARKERS):
            example = f", such as {foreign[0]!r}" if foreign else ""
            raise OutputError(
                f"{target} holds files that uplift did not write{example}, so --overwrite will not delete it; choose another folder."
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write to {target.parent}: {error.strerror or error}; choose a writable folder."
        ) from error


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Write JSON atomically: sorted as given, two-space indent, no NaN (JSON has none)."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def make_ordinary(path: Path) -> None:
    """Give a file the permissions of an ordinary open(); mkstemp and some libraries make private ones."""
    path.chmod(0o666 & ~_umask())


def _ours(path: Path) -> bool:
    return path.name in _WRITTEN or path.suffix in _WEIGHTS


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
