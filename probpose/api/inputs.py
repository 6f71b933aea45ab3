"""What users name: joints, files, and one of several choices."""

from __future__ import annotations

__all__ = ["PathOrText", "joint_names", "one_of"]

from collections.abc import Iterable, Sequence
from os import PathLike

from probpose.errors import ConfigError, DataError

PathOrText = str | PathLike[str]


def joint_names(names: Iterable[object]) -> tuple[str, ...]:
    """Names of joints, which differ.

    Raises:
        DataError: they are a single text, or two are equal.
    """
    if isinstance(names, str):
        raise DataError(f"joints are the text {names!r}: give a list of names.")
    found = tuple(map(str, names))
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise DataError(f"two joints are called {twice!r}: give each its own name.")
    return found


def one_of(value: str, choices: Sequence[str], name: str) -> None:
    """Refuse a value that is not among the choices of the argument `name`.

    Raises:
        ConfigError: it is not.
    """
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}: choose one of {', '.join(choices)}.")
