"""Progress of long work, without tying the work to a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What long work tells whoever watches."""

    def start(self, step: str) -> None:
        """A step begins."""

    def done(self, step: str, seconds: float, detail: str = "") -> None:
        """A step is over."""

    def note(self, message: str) -> None:
        """Something the user should know, in one sentence."""


class Silent:
    """Tells nobody."""

    def start(self, step: str) -> None:
        """Nothing."""

    def done(self, step: str, seconds: float, detail: str = "") -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""


class Stopwatch:
    """Times the steps of a piece of work, passing them on to a `Progress`.

    Attributes
    ----------
    seconds : dict of str to float
        Time of every finished step, in order.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time one step; append text to the yielded list to show it when the step is over."""
        self.progress.start(name)
        begun = time.perf_counter()
        detail: list[str] = []
        yield detail
        self.seconds[name] = round(time.perf_counter() - begun, 3)
        self.progress.done(name, self.seconds[name], " ".join(detail))


def prefixed(tell: Callable[[str], None], words: str) -> Callable[[str], None]:
    """`tell`, with `words` before everything that it is told."""
    return lambda text: tell(words + text)
