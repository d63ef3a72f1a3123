"""One background thread that makes the next item while the present one is used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from typing import TypeVar

Item = TypeVar("Item")

THREAD_NAME = "uplift-prefetch"
_PATIENCE = 0.05


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def prefetched(items: Iterable[Item], *, ahead: int = 1) -> Generator[Item, None, None]:
    """Yield `items`, of which up to `ahead` finished ones wait while one more is being made.

    An exception of `items` is raised here, after the items before it. When the generator is closed, by an
    interrupt for instance, the thread stops after the item it is making and is waited for.

    Parameters
    ----------
    items : iterable
        Iterated in the background thread; a generator is closed there.
    ahead : int
        Finished items that may wait, 1 or more.

    Examples
    --------
    >>> list(prefetched(iter("abc")))
    ['a', 'b', 'c']
    """
    queue: Queue[object] = Queue(maxsize=ahead)
    stop = threading.Event()

    def offer(item: object) -> bool:
        while not stop.is_set():
            try:
                queue.put(item, timeout=_PATIENCE)
                return True
            except Full:
                continue
        return False

    def work() -> None:
        iterator = iter(items)
        last: object = _END
        try:
            for item in iterator:
                if not offer(item):
                    break
        except BaseException as error:  # also those of other libraries: the reader of the items must see it
            last = _Failure(error)
        finally:
            if isinstance(iterator, Generator):
                iterator.close()
            offer(last)

    thread = threading.Thread(target=work, name=THREAD_NAME, daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if item is _END:
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]  # whatever is neither end nor failure came from `items`
            del item  # not held while the next one is waited for
    finally:
        stop.set()
        while thread.is_alive():
            try:
                queue.get_nowait()
            except Empty:
                thread.join(_PATIENCE)
