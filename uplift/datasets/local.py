"""Find the files of a data set on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from uplift.datasets.cards import DatasetCard, FileCard, Form, get_card
from uplift.errors import DatasetError

HOME_VARIABLE = "UPLIFT_DATA_HOME"

Home = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Found:
    """A form of a data set and where its files lie, in the form's order."""

    form: Form
    paths: tuple[Path, ...]


def data_homes(home: Home = None) -> list[Path]:
    """Folders that are searched, in order; the first is where downloads go.

    An explicit `home` is the only one. Otherwise the folder in the environment variable
    ``UPLIFT_DATA_HOME``, when set, then ``datasets`` in the user's cache folder.

    Parameters
    ----------
    home : path, optional

    Returns
    -------
    list of Path

    Examples
    --------
    >>> data_homes("data")
    [PosixPath('data')]
    """
    if home is not None:
        return [Path(home).expanduser()]
    import platformdirs

    variable = os.environ.get(HOME_VARIABLE, "").strip()
    cache = Path(platformdirs.user_cache_dir("uplift")) / "datasets"
    return [Path(variable).expanduser(), cache] if variable else [cache]


def locate(card: DatasetCard, home: Home = None) -> Found | None:
    """The first form all of whose files are in one data home, or None."""
    for folder in data_homes(home):
        for form in card.forms:
            paths = [_present(folder, file, alone=len(form.files) == 1) for file in form.files]
            if all(paths):
                return Found(form, tuple(path for path in paths if path))
    return None


def _present(folder: Path, file: FileCard, *, alone: bool) -> Path | None:
    # Only a file that is the whole data set is looked for outside its folder: train.csv could be anyone's.
    for path in (folder / file.path, folder / file.name) if alone else (folder / file.path,):
        if path.is_file():
            return path
    return None


def find_files(name: str, home: Home = None) -> list[Path]:
    """Paths of the files of a data set, whichever form is on this machine.

    Parameters
    ----------
    name : str
        Name of a card.
    home : path, optional
        Only folder to search; default ``UPLIFT_DATA_HOME``, then the user's cache.

    Returns
    -------
    list of Path

    Raises
    ------
    DatasetError
        Unknown name, or the files are not there; the sentence says how to get them and where to put them.

    Examples
    --------
    >>> find_files("hillstrom")  # doctest: +SKIP
    """
    card = get_card(name)
    found = locate(card, home)
    if found is None:
        raise DatasetError(missing_message(card, home))
    return list(found.paths)


def missing_message(card: DatasetCard, home: Home = None) -> str:
    """One sentence: what is missing, how to get it, and where to put it."""
    put = where_to_put(card, home)
    if card.downloadable:
        return f"data set {card.name!r} is not on this machine; run 'uplift data get {card.name}', or {put}."
    return f"data set {card.name!r} is not on this machine and has no address to download from: {card.obtain.rstrip('.')}; {put}."


def where_to_put(card: DatasetCard, home: Home = None) -> str:
    """Second half of an instruction: ``put it at PATH``."""
    folder = data_homes(home)[0]
    form = next((form for form in card.forms if form.downloadable), card.forms[0])
    places = " and ".join(str(folder / file.path) for file in form.files)
    return f"put {'it' if len(form.files) == 1 else 'them'} at {places}"
