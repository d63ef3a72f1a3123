"""What the command line prints: progress, tables and complaints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from uplift.cli.interrupts import check


def leads() -> bool:
    """Whether this process talks and writes files: under ``torchrun`` only the first one does."""
    return os.environ.get("RANK", "0") == "0"


def complain(message: str, kind: str = "error") -> None:
    """One line on standard error: an error, or a warning."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(
        Text.assemble((f"{kind}: ", "bold red" if kind == "error" else "yellow"), message)
    )


def say(message: Any) -> None:
    """Print a line, or anything rich can draw, on standard output."""
    from rich.console import Console
    from rich.text import Text

    if not leads():
        return
    if isinstance(message, str):
        message = Text(message)
    Console(soft_wrap=isinstance(message, Text)).print(message)


class Steps:
    """Steps of a run on standard error: a spinner while one runs, a line when it is over."""

    def __init__(self, console: Any, status: Any) -> None:
        self._console, self._status = console, status

    def start(self, step: str) -> None:
        """Show the step that runs."""
        from rich.text import Text

        check()
        self._status.update(Text(f"{step} ..."))

    def done(self, step: str, seconds: float, detail: str = "") -> None:
        """Print the finished step with its time."""
        from rich.text import Text

        check()
        self._console.print(
            Text.assemble(("  ok ", "green"), f"{seconds:6.1f} s  {step}", (f"  {detail}", "dim"))
        )

    def note(self, message: str) -> None:
        """Print a note."""
        from rich.text import Text

        self._console.print(Text.assemble(("note: ", "yellow"), message))


@contextmanager
def steps() -> Iterator[Steps]:
    """A `Steps` for the length of a block."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, quiet=not leads())
    with console.status("starting ...") as status:
        yield Steps(console, status)


def table(title: str, columns: list[str], rows: list[list[Any]], *, right: tuple[str, ...] = ()) -> Any:
    """A rich table; cells are plain text, not markup."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return drawn
