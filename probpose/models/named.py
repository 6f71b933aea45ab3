"""What can be chosen by name: entries that a program may add to, and that are looked up with a clear error."""

from __future__ import annotations

__all__ = ["add", "lookup"]

from collections.abc import Mapping, MutableMapping
from typing import TypeVar

from probpose.errors import ConfigError

Entry = TypeVar("Entry")


def add(entries: MutableMapping[str, Entry], kind: str, name: str, entry: Entry) -> None:
    """Give an entry its name.

    Args:
        entries: by name.
        kind: what they are, such as "backbone", for messages.
        name: new.
        entry: what it stands for.

    Raises:
        ConfigError: the name is taken.
    """
    if name in entries:
        raise ConfigError(f"there is a {kind} called {name!r} already: choose another name.")
    entries[name] = entry


def lookup(entries: Mapping[str, Entry], kind: str, name: str) -> Entry:
    """The entry called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in entries:
        raise ConfigError(f"unknown {kind} {name!r}: choose one of {', '.join(entries)}.")
    return entries[name]
