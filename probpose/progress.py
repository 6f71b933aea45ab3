"""How far something is: what is counted, up to where, and a function that moves it."""

from __future__ import annotations

__all__ = ["Counting", "bars", "silent"]

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Counting = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows how far something is: called with what is counted and up to where, entered for the function that counts."""


def silent(_: str, __: int) -> AbstractContextManager[Callable[[int], None]]:
    """Shows nothing."""
    return nullcontext(lambda _: None)


@contextmanager
def bars(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, silent where that is no terminal; yields the function that moves it.

    Args:
        what: is counted, in front of the bar.
        total: where it ends; 0 shows no bar.

    >>> with bars("reading", 3) as move:
    ...     move(3)
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    from probpose.text import shown

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal or not total) as bar:
        task = bar.add_task(escape(shown(what)), total=total)
        yield lambda done: bar.update(task, completed=done)
