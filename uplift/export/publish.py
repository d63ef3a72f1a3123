"""Publishing: several files appear complete under their names, the manifest last, or not at all.

Everything is written into a hidden folder beside the target and moved into place by renames. Killed at any moment,
an export leaves either nothing under the final names, or complete files whose manifest is not there yet; the same
command then finishes the work (what it finds in place must have the SHA-256 that the unfinished manifest states).
A lock on the parent folder keeps two exports into it apart and lets hidden folders of dead ones be removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uplift.errors import OutputError, first_line
from uplift.io.atomic import make_ordinary
from uplift.io.fingerprint import file_sha256

_SUFFIX = ".tmp-uplift"
_OLD = "-old"
MANIFEST = "manifest.json"
"""Name of the manifest inside a folder of parts."""
_STATED = (
    "parts", "rows", "counts", "sums", "arms", "control", "unit_column", "holdout", "budget", "constraints",
)  # fmt: skip
"""Keys that every manifest has."""


def manifest_path(target: Path) -> Path:
    """Where the manifest of a file or of a folder of parts is."""
    return target / MANIFEST if target.is_dir() else target.with_name(target.name + ".manifest.json")


def read_manifest(target: Path) -> dict[str, Any]:
    """The manifest of a file or folder.

    Raises
    ------
    OutputError
        There is none, or it is damaged.
    """
    path = manifest_path(target)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(
            f"{target} has no manifest beside it ({path.name}), so nothing says what should be there; give what "
            "'uplift export' wrote, with its manifest."
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path} cannot be read ({first_line(error)}); export the allocation again."
        ) from error
    if not isinstance(content, dict) or content.get("kind") != "uplift-export":
        raise OutputError(f"{path} is no manifest of an export; export the allocation again.")
    missing = [key for key in _STATED if key not in content]
    if missing:
        raise OutputError(f"{path} is damaged (no {missing[0]!r}); export the allocation again.")
    return content


@contextlib.contextmanager
def publish_files(target: Path, others: tuple[Path, ...] = (), *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a hidden folder; its files, which have the final names, are moved beside `target`, the manifest last.

    Parameters
    ----------
    target : Path
        The main file; its manifest is ``NAME.manifest.json``.
    others : tuple of Path
        Further files that will be written, in the same folder.

    Raises
    ------
    OutputError
        A file exists (without `overwrite`, and not left by a killed export), or the folder cannot be written to.
    """
    with _locked(target.parent):
        stale = _stale(target)
        finished = [folder for folder in stale if not list(folder.glob("*.manifest.json"))]
        _remove(finished)  # killed before there was anything to move, or after all had been moved
        for path in (target, *others):
            if path.is_dir():
                raise OutputError(f"{path} is a folder; choose another name.")
            if path.exists() and not overwrite and not any(_left_by(folder, path) for folder in stale):
                raise OutputError(
                    f"{path} exists already; pass --overwrite to replace it or choose another name."
                )
        _remove(stale)
        with _hidden(target) as folder:
            yield folder
            manifest = manifest_path(target).name
            files = sorted(folder.iterdir(), key=lambda file: (file.name == manifest, file.name))
            for file in files:
                _sync(file)
            _sync(folder)
            for file in files:
                os.replace(file, target.parent / file.name)
            _sync(target.parent)


@contextlib.contextmanager
def publish_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a hidden folder that becomes `target` in one rename.

    Raises
    ------
    OutputError
        `target` is a file, or holds anything (without `overwrite`, or that no manifest of ours lists).
    """
    with _locked(target.parent):
        stale = _stale(target)
        olds = [folder for folder in stale if folder.name.endswith(_OLD)]
        if olds and not target.exists():
            os.rename(olds[0], target)  # killed between the two renames below
            stale.remove(olds[0])
        _check_folder(target, overwrite=overwrite)
        _remove(stale)
        with _hidden(target) as folder:
            yield folder
            for file in sorted(folder.rglob("*"), reverse=True):
                _sync(file)
            _sync(folder)
            old = folder.with_name(folder.name + _OLD)
            if target.exists():
                os.rename(target, old)
            os.rename(folder, target)
            _sync(target.parent)
            shutil.rmtree(old, ignore_errors=True)


def _check_folder(target: Path, *, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{target} is a file, not a folder; choose another name.")
    held = {str(file.relative_to(target)) for file in target.rglob("*") if not file.is_dir()}
    if not held:
        return
    if not overwrite:
        raise OutputError(
            f"{target} already holds files; pass --overwrite to replace them or choose another folder."
        )
    listed: set[str] = set()
    if MANIFEST in held:
        listed = {MANIFEST, *(part["file"] for part in read_manifest(target)["parts"])}
    foreign = sorted(held - listed)
    if foreign:
        raise OutputError(
            f"{target} holds files that no manifest of an export lists, such as {foreign[0]!r}, so --overwrite will "
            "not delete it; choose another folder."
        )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}; choose a writable folder."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _hidden(target: Path) -> Iterator[Path]:
    try:
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_SUFFIX))
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; choose a writable folder."
        ) from error
    folder.chmod(0o755 & ~_umask())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stale(target: Path) -> list[Path]:
    """Hidden folders of exports to `target` that were killed; we hold the lock, so none is at work."""
    start = f".{target.name}."
    return [
        path
        for path in sorted(target.parent.iterdir())
        if path.name.startswith(start) and path.name.endswith((_SUFFIX, _SUFFIX + _OLD)) and path.is_dir()
    ]


def _left_by(folder: Path, path: Path) -> bool:
    """Whether `path` is a finished file of the killed export whose hidden folder this is."""
    manifests = list(folder.glob("*.manifest.json"))
    if not manifests:
        return False
    try:
        parts = json.loads(manifests[0].read_text(encoding="utf-8"))["parts"]
    except (OSError, ValueError, KeyError):
        return False
    hashes = {part["file"]: part["sha256"] for part in parts}
    return path.name in hashes and file_sha256(path) == hashes[path.name]


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    if path.is_file():
        make_ordinary(path)
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
