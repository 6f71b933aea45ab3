"""Options with types: values from TOML or the command line, checked against a dataclass's annotations."""

from __future__ import annotations

__all__ = ["checked", "options_from", "options_text"]

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from probpose.errors import ConfigError

Options = TypeVar("Options")

LARGEST = 2**16
"""Of the whole numbers in options, which count bins, layers, channels and components."""


def options_from(cls: type[Options], values: Mapping[str, Any], where: str) -> Options:
    """The dataclass `cls` with the values given, all others at their defaults.

    Args:
        cls: a dataclass whose fields have defaults.
        values: by field name.
        where: what the options belong to, such as "family heatmap", for messages.

    Raises:
        ConfigError: an unknown name, or a value of the wrong type or too large.
    """
    hints = get_type_hints(cls)
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(f"{where} has no option {name!r}: it has {', '.join(known) or 'none'}.")
    given = {name: checked(value, hints[name], f"{where}: {name}") for name, value in values.items()}
    for name, value in given.items():
        if type(value) is int and abs(value) > LARGEST:
            raise ConfigError(f"{where}: {name} is {value}: it must be at most {LARGEST}.")
    return cls(**given)


def options_text(cls: type[Any]) -> str:
    """The options of a dataclass with their defaults, such as "bins=12, layout=uniform"; empty without fields."""
    shown = [(field.name, None if field.default is MISSING else field.default) for field in fields(cls)]
    return ", ".join(f"{name}={value}" for name, value in shown)


def checked(value: Any, hint: Any, where: str) -> Any:
    """`value` as a type annotation asks, lists made tuples.

    Args:
        value: as TOML has it.
        hint: a plain type, a Literal, a tuple of one type, a mapping, or one of these or None.
        where: the option's name, for messages.

    Raises:
        ConfigError: it is of another type, or a number that is not finite.
    """
    origin, choices = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in choices:
            return None
        return checked(value, next(choice for choice in choices if choice is not type(None)), where)
    if origin is Literal:
        if value not in choices:
            raise ConfigError(f"{where} is {value!r}: expected one of {', '.join(map(repr, choices))}.")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}: expected a list.")
        if choices[-1] is not Ellipsis and len(value) != len(choices):
            raise ConfigError(f"{where} has {value!r}: expected {len(choices)} values.")
        return tuple(checked(item, choices[0], where) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {value!r}: expected a table of names and values.")
        return value
    number = hint is float and isinstance(value, int) and not isinstance(value, bool)
    if type(value) is not hint and not number:
        raise ConfigError(f"{where} is {value!r}: expected {hint.__name__}.")
    if hint in (int, float) and not (math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63):
        raise ConfigError(f"{where} is {value}: expected a finite number{' of 64 bits' * (type(value) is int)}.")
    return float(value) if number else value
