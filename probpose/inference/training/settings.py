"""The settings of a configuration: dataclass fields that carry their help, range, choices and defaults.

Whatever states the settings again, such as the options of a command, is made from these fields.
"""

from __future__ import annotations

__all__ = ["Range", "Setting", "check_ranges", "described", "setting", "setting_of"]

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any

from probpose.errors import ConfigError

_KEY = "setting"


@dataclass(frozen=True)
class Range:
    """The numbers from `min` to `max`, without an end that is open; None is no limit."""

    min: float
    max: float | None = None
    min_open: bool = False
    max_open: bool = False

    def __contains__(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        above = value > self.min if self.min_open else value >= self.min
        return above and (self.max is None or (value < self.max if self.max_open else value <= self.max))

    def __str__(self) -> str:
        low = f"{'more than' if self.min_open else 'at least'} {self.min}"
        low += "" if self.max is not None else " and finite"
        return low if self.max is None else f"{low} and {'less than' if self.max_open else 'at most'} {self.max}"


@dataclass(frozen=True)
class Setting:
    """What there is to know of a setting besides its name, type and default.

    Attributes:
        help: what it is, in a line or two.
        photos: its default on photographs, where that is another one.
        unset: what None stands for.
        range: of a number, or of each number in a list.
        choices: the values, asked for when they are needed: names may be registered until then.
        prefixes: what other values may begin with.
        metavar: placeholder of the value on a command line.
        path: it is a file or a folder.
    """

    help: str
    photos: Any = None
    unset: str = "none"
    range: Range | None = None
    choices: Callable[[], Iterable[str]] | None = None
    prefixes: tuple[str, ...] = ()
    metavar: str | None = None
    path: bool = False


def setting(default: Any, help: str, **facts: Any) -> Any:
    """A dataclass field that is a setting.

    Args:
        default: its default.
        help: what it is.
        facts: the other attributes of `Setting`.
    """
    return field(default=default, metadata=described(help, **facts))


def described(help: str, **facts: Any) -> dict[str, Setting]:
    """The metadata of a dataclass field that is a setting, for one whose default is made by a function."""
    return {_KEY: Setting(help, **facts)}


def setting_of(entry: Field[Any]) -> Setting | None:
    """The setting that a dataclass field is; None for any other field."""
    return entry.metadata.get(_KEY)


def check_ranges(group: Any) -> None:
    """Refuse numbers outside their ranges, and such that are not finite.

    Args:
        group: a dataclass with settings.

    Raises:
        ConfigError: a setting is out of range; it is named.
    """
    for entry in fields(group):
        found, value = setting_of(entry), getattr(group, entry.name)
        if found is None or found.range is None:
            continue
        for number in _numbers(value):
            if number not in found.range:
                raise ConfigError(f"{entry.name} is {number}: it must be {found.range}.")


def _numbers(value: Any) -> Iterator[float]:
    """The numbers of a setting: none, one, or those of a list."""
    if isinstance(value, tuple):
        for inner in value:
            yield from _numbers(inner)
    elif value is not None:
        yield value
