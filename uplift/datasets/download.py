"""Fetch data sets from their publishers: resumable, bounded, checked, atomic."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from uplift.datasets.cards import DatasetCard, FileCard, get_card
from uplift.datasets.local import Found, Home, data_homes, locate, missing_message, where_to_put
from uplift.errors import DatasetError

Progress = Callable[[str, int, int | None], None]
"""Called with file name, bytes so far and bytes in all (None when the server does not say)."""

CHUNK = 1 << 20
TIMEOUT = 30.0
MOST = 8 << 30
"""Most bytes taken when neither the card nor the server says how many there are."""
FRUITLESS_TRIES = 3
"""Connections in a row that bring no new byte before an address is given up."""
PAUSE = 0.5
"""Seconds before the second such try; twice as long before the third."""

_NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class _Unusable(Exception):
    """This address will not give these bytes, however often it is asked."""


def get_dataset(
    name: str, *, home: Home = None, progress: Progress | None = None, force: bool = False
) -> Path:
    """Make sure that a data set is on this machine, whole and undamaged; download it if need be.

    An interrupted download leaves ``FILE.part`` behind and goes on from there next time. A file appears
    under its own name only after size and digest agree with the card.

    Parameters
    ----------
    name : str
        Name of a card.
    home : path, optional
        Data home to look in and to download to; default ``UPLIFT_DATA_HOME``, then the user's cache.
    progress : callable, optional
        ``progress(file_name, bytes_so_far, bytes_in_all)`` after every piece.
    force : bool
        Download again although the files are there.

    Returns
    -------
    Path
        Folder that holds the files.

    Raises
    ------
    DatasetError
        Unknown name, no address known (the sentence says where to get it and where to put it), the network
        fails, the folder cannot be written, or size or digest differ from the card.

    Examples
    --------
    >>> get_dataset("hillstrom")  # doctest: +SKIP
    """
    return get_files(get_card(name), home=home, progress=progress, force=force)


def get_files(
    card: DatasetCard, *, home: Home = None, progress: Progress | None = None, force: bool = False
) -> Path:
    """:func:`get_dataset` for a card of your own."""
    found = None if force else locate(card, home)
    if found is not None:
        _check_present(card, found)
        return found.paths[0].parent
    forms = [form for form in card.forms if form.downloadable]
    if not forms:
        raise DatasetError(missing_message(card, home))
    folder = data_homes(home)[0]
    failures: list[str] = []
    for form in forms:
        try:
            for file in form.files:
                fetch_file(file, folder / file.path, progress=progress, force=force)
        except DatasetError as error:
            failures.append(str(error).rstrip("."))
        else:
            return (folder / form.files[0].path).parent
    raise DatasetError(
        f"{'; then '.join(failures)}; check the network, or {card.obtain.rstrip('.')} and {where_to_put(card, home)}."
    )


def fetch_file(
    file: FileCard, target: Path, *, progress: Progress | None = None, force: bool = False
) -> Path:
    """Download one file to `target` from the first of its addresses that gives the right bytes.

    Raises
    ------
    DatasetError
        No address gave the right bytes, or `target` cannot be written.
    """
    if target.is_file() and not force and not damage(file, target):
        return target
    part = target.with_name(target.name + ".part")
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_room(file, target.parent)
        for url in file.urls:
            try:
                _fetch_checked(url, part, file, progress)
            except _Unusable as error:
                failures.append(f"{url} {error}")
            else:
                part.replace(target)
                return target
    except OSError as error:
        raise DatasetError(
            f"cannot write {target} ({error.strerror or error}); choose a writable folder with enough room."
        ) from error
    raise DatasetError(f"cannot download {file.name}: " + "; ".join(failures) + ".")


def damage(file: FileCard, path: Path) -> str | None:
    """What is wrong with the bytes at `path` by the card, or None."""
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        return f"has {size:,} bytes where the card says {file.bytes:,}"
    for algorithm, expected in (("sha256", file.sha256), ("md5", file.md5)):
        if expected is not None:
            with path.open("rb") as handle:
                digest = hashlib.file_digest(handle, partial(hashlib.new, algorithm, usedforsecurity=False))
            if digest.hexdigest() != expected:
                return f"has {algorithm} {digest.hexdigest()} where the card says {expected}"
            return None
    return None


def _check_present(card: DatasetCard, found: Found) -> None:
    for file, path in zip(found.form.files, found.paths, strict=True):
        problem = damage(file, path)
        if problem:
            remedy = (
                f"run 'uplift data get {card.name} --force'"
                if card.downloadable
                else "replace it by a fresh copy"
            )
            raise DatasetError(f"{path} {problem}: it is damaged or another version; {remedy}.")


def _check_room(file: FileCard, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if file.bytes is not None and file.bytes > free:
        raise DatasetError(
            f"{file.name} needs {file.bytes / 1e6:,.0f} MB and {folder} has {free / 1e6:,.0f} MB free; set UPLIFT_DATA_HOME to a larger disk."
        )


def _fetch_checked(url: str, part: Path, file: FileCard, progress: Progress | None) -> None:
    resumed = part.exists() and part.stat().st_size > 0
    _fetch_all(url, part, file, progress)
    problem = damage(file, part)
    if problem and resumed:
        # The first bytes may be from an older version or another mirror: once more from the start.
        part.unlink()
        _fetch_all(url, part, file, progress)
        problem = damage(file, part)
    if problem:
        part.unlink()
        raise _Unusable(f"gave a file that {problem} (damaged on the way, or a new version); it was not kept")


def _fetch_all(url: str, part: Path, file: FileCard, progress: Progress | None) -> None:
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        total: int | None = file.bytes
        reason = "the connection closed early"
        try:
            total = _fetch_once(url, part, file, progress)
            done = part.stat().st_size
            if total is None or done >= total:
                return
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 425, 429):
                raise _Unusable(f"answered {error.code} {error.reason}") from error
            reason = f"it answered {error.code} {error.reason}"
        except _NETWORK as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
        done = part.stat().st_size if part.exists() else 0
        fruitless = 0 if done > before else fruitless + 1
        if fruitless >= FRUITLESS_TRIES:
            whole = f" of {total:,}" if total else ""
            again = ", and the same command goes on from there" if done else ""
            raise _Unusable(f"failed after {done:,}{whole} bytes ({reason}){again}")
        time.sleep(PAUSE * fruitless)


def _fetch_once(url: str, part: Path, file: FileCard, progress: Progress | None) -> int | None:
    """One request; append what it brings to `part`. Returns the size of the whole file, when known."""
    have = part.stat().st_size if part.exists() else 0
    if file.bytes is not None and have >= file.bytes:
        if have == file.bytes:
            return file.bytes
        part.unlink()
        have = 0
    # Identity, or a helpful server would compress a second time and ranges would not fit.
    headers = {"User-Agent": "uplift-datasets", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # The part is as long as the file, or longer: the digest decides, else the caller starts over.
        error.close()
        return have
    with response:
        start, total = _span(response, have)
        if total is not None and file.bytes is not None and total != file.bytes:
            raise _Unusable(f"offers {total:,} bytes where the card says {file.bytes:,}")
        limit = total if total is not None else file.bytes
        done = start
        with part.open("r+b" if start else "wb") as sink:
            sink.seek(start)
            sink.truncate()
            while block := _read(response):
                done += len(block)
                if done > (limit or MOST):
                    sink.truncate(0)
                    raise _Unusable(f"sent more than the {limit or MOST:,} bytes it should")
                sink.write(block)
                if progress is not None:
                    progress(file.name, done, limit)
            sink.flush()
            os.fsync(sink.fileno())
    return limit


def _read(response: Any) -> bytes:
    # TLS and socket failures are bare OSErrors here; keep them apart from a full disk.
    try:
        return bytes(response.read(CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def _span(response: Any, have: int) -> tuple[int, int | None]:
    """Where the answer starts in the file, and the size of the file when the server tells."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match and int(match[1]) == have:
            return have, None if match[2] == "*" else int(match[2])
        raise _Unusable("answers a range that was not asked for")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None
