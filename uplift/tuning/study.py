"""A search that can be interrupted: Optuna's journal, plain JSON lines, and what makes going on the same as not stopping."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from uplift.errors import OutputError, UpliftError
from uplift.io.atomic import write_json
from uplift.tuning.result import Trial
from uplift.tuning.space import Space

if TYPE_CHECKING:
    import optuna

DESCRIPTION, JOURNAL, TRIALS, BEST = "study.json", "study.journal", "trials.parquet", "best.toml"
FILES = (DESCRIPTION, JOURNAL, TRIALS, BEST)

RANDOM_TRIALS = 10
"""Trials at random, before the sampler believes what it has seen."""

_NAME = "uplift"
_RECORD = "record"


class Study:
    """Trials so far, and the next one; on disk where there is a folder.

    The next parameters depend on the seed, the number of the trial and the finished trials before it, and on nothing
    else: the sampler is made anew for every trial, with a seed of its own. So an interrupted search that goes on
    proposes what an uninterrupted one would have. A trial that was interrupted has no record and is done again.

    Optuna's journal is used, not its database: one line of JSON per operation, appended and flushed, so that a
    crash can cost the last line at most, and without the pickles of its snapshots, which files do not have.

    Parameters
    ----------
    folder : Path or None
        None keeps the trials in memory.
    description : dict
        Plain JSON; a folder goes on only with the same one.
    space : dict of str to Range
    start : dict or None
        Encoded parameters of trial 0; None where they lie outside the space.
    higher_is_better : bool
    random_state : int

    Raises
    ------
    OutputError
        The folder holds other files, another search, or a damaged one, or another process is searching in it.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        description: Mapping[str, Any],
        space: Space,
        start: Mapping[str, Any] | None,
        higher_is_better: bool,
        random_state: int,
    ) -> None:
        self.folder, self.space, self._start, self._seed = folder, space, start, random_state
        self._distributions = {name: chosen.distribution() for name, chosen in space.items()}
        self._lock: Any = None
        if folder is not None:
            self._open(folder, json.loads(json.dumps(description)))
        try:
            self._study = _optuna_study(folder, "maximize" if higher_is_better else "minimize")
            self.trials = self._read()
        except BaseException:
            self.close()
            raise

    # ---------------------------------------------------------------- trials

    def propose(self) -> tuple[optuna.Trial | None, dict[str, Any]]:
        """The next trial, and the parameters that the search chose for it; (None, {}) for trial 0."""
        number = len(self.trials)
        if number == 0:
            return None, {}
        with _quiet():
            self._study.sampler = _sampler(self._seed, number)
            asked = self._study.ask(self._distributions)
        return asked, {name: chosen.decode(asked.params[name]) for name, chosen in self.space.items()}

    def record(self, asked: optuna.Trial | None, trial: Trial) -> None:
        """Keep a finished trial."""
        from optuna.trial import TrialState, create_trial

        content = json.dumps(trial.to_dict())
        if asked is None:  # in one line of the journal
            known = self._start is not None and trial.ok
            self._study.add_trial(
                create_trial(
                    # Outside the space it teaches the sampler nothing.
                    state=TrialState.COMPLETE if known else TrialState.FAIL,
                    value=trial.value if known else None,
                    params=dict(self._start or {}) if known else {},
                    distributions=self._distributions if known else {},
                    user_attrs={_RECORD: content},
                )
            )
        else:
            asked.set_user_attr(_RECORD, content)
            self._tell(asked, trial)
        self.trials.append(trial)

    def _tell(self, asked: optuna.Trial | int, trial: Trial) -> None:
        from optuna.trial import TrialState

        with _quiet():
            if trial.ok:
                self._study.tell(asked, trial.value)
            else:
                self._study.tell(asked, state=TrialState.FAIL)

    def _read(self) -> list[Trial]:
        """Finished trials; what an interrupt has left open is closed."""
        from optuna.trial import TrialState

        found = []
        for stored in self._study.get_trials(deepcopy=False):
            record = stored.user_attrs.get(_RECORD)
            trial = None if record is None else Trial.from_dict(json.loads(record))
            if stored.state == TrialState.RUNNING:
                self._tell(stored.number, trial or Trial(number=-1, params={}))
            if trial is not None:
                found.append(trial)
        return found

    # ---------------------------------------------------------------- the folder

    def _open(self, folder: Path, description: dict[str, Any]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = {child.name for child in folder.iterdir()}
        except OSError as error:
            raise OutputError(
                f"cannot write to {folder}: {error.strerror or error}; choose a writable folder."
            ) from error
        if there and DESCRIPTION not in there:
            raise OutputError(
                f"{folder} holds files ({sorted(there)[0]!r}) but no search to go on with; choose another folder."
            )
        self._lock = (folder / JOURNAL).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise OutputError(
                f"another process is searching in {folder}; wait for it or choose another folder."
            ) from None
        try:
            if DESCRIPTION in there:
                _check_same(folder, description)
            else:
                write_json(folder / DESCRIPTION, description)
            _mend(folder / JOURNAL)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others search in the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def start_anew(folder: Path) -> None:
    """Delete the search in `folder`, and nothing else.

    Raises
    ------
    OutputError
        The folder holds files that no search has written.
    """
    foreign = (
        sorted(child.name for child in folder.iterdir() if child.name not in FILES) if folder.exists() else []
    )
    if foreign:
        raise OutputError(
            f"{folder} holds files that no search has written, such as {foreign[0]!r}, so --overwrite will not delete it; "
            "choose another folder."
        )
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def read_description(folder: Path) -> dict[str, Any]:
    """Content of ``study.json``.

    Raises
    ------
    OutputError
        It is missing or damaged.
    """
    try:
        result: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return result
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{folder / DESCRIPTION} cannot be read ({error}); begin anew with --overwrite."
        ) from error


def _check_same(folder: Path, description: dict[str, Any]) -> None:
    there = read_description(folder)
    for key in (*description, *there):
        if there.get(key) != description.get(key):
            old, new = there.get(key), description.get(key)
            shown = (
                f"{old!r}, not {new!r}"
                if not isinstance(old, dict | list) and key != "data"
                else "another one"
            )
            what = {"data": "training rows", "space": "search space", "params": "starting point"}.get(
                key, key
            )
            raise OutputError(
                f"the search in {folder} was begun with {what} {shown}; go on with the same, choose another folder, "
                f"or pass --overwrite to begin anew."
            )


def _mend(journal: Path) -> None:
    """Cut a line that a crash left unfinished, and the lock of a process that is gone (ours is the only one now)."""
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(journal, whole)
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)


def _optuna_study(folder: Path | None, direction: Literal["minimize", "maximize"]) -> optuna.Study:
    import optuna
    from optuna.storages import InMemoryStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with _quiet():
        try:
            storage = (
                InMemoryStorage()
                if folder is None
                else JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
            )
            return optuna.create_study(
                storage=storage, study_name=_NAME, direction=direction, load_if_exists=True
            )
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise UpliftError(
                f"the search in {folder} is damaged ({error}); begin anew with --overwrite."
            ) from error


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import TPESampler

    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    # constant_liar would look at trials that an interrupt has left open.
    return TPESampler(seed=own, n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's remarks, which are for its own users, off the terminal; its settings are put back."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
