"""Ctrl-C that is not lost: an interrupt that a library swallows is raised again at the next step.

Python turns the signal into KeyboardInterrupt wherever the program happens to be. In a callback from a C library, or while
a module tries an optional import, the exception is printed or caught and the work goes on as if nobody had asked it to end.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_asked = threading.Event()


def watch() -> None:
    """Note interrupts from now on; where somebody else handles the signal, or off the main thread, nothing changes."""
    _asked.clear()
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _note)


def check() -> None:
    """Raise KeyboardInterrupt if one was asked for and has not ended the program."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
