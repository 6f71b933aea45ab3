"""Models by a short text: `rle`, `heatmap`, `multibin+gaussian`, `multibin[bins=16,layout=uniform]`."""

from __future__ import annotations

__all__ = ["option_value", "parse_spec", "split_specs"]

import re
import tomllib
from typing import Any

from probpose.errors import ConfigError
from probpose.models.registry import FAMILIES, family_of, options_of
from probpose.models.residual_families import RESIDUALS

_SPEC = re.compile(r"(?P<name>[\w-]+)(\+(?P<residual>[\w-]+))?(\[(?P<options>.*)\])?")


def parse_spec(text: str) -> dict[str, Any]:
    """`family`, `residual` and `options` of a configuration.

    Args:
        text: a residual family, which stands for the family `regression`, or a family; `+` and another residual than
            its own; options in brackets.

    Raises:
        ConfigError: an unknown name, option or value.
    """
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} names no model: write it as rle, heatmap or multibin+gaussian[bins=16].")
    name, residual = found["name"], found["residual"]
    if name in RESIDUALS and residual is None and found["options"] is None:
        return {"family": "regression", "residual": name, "options": {}}
    if name not in FAMILIES:
        raise ConfigError(f"unknown model {name!r}: choose one of {', '.join([*RESIDUALS, *FAMILIES])}.")
    pairs = [pair for pair in (found["options"] or "").split(",") if pair]
    options = dict(option_value(pair) for pair in pairs)
    options_of(name, options)
    residual = residual or family_of(name).residuals[0]
    if residual not in family_of(name).residuals:
        allowed = " or ".join(family_of(name).residuals)
        raise ConfigError(f"family {name} cannot use residual {residual}: choose {allowed}.")
    return {"family": name, "residual": residual, "options": options}


def split_specs(text: str) -> tuple[str, ...]:
    """The models of a comma-separated list; commas inside brackets belong to a model."""
    return tuple(part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip())


def option_value(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`; the value is a number, true or false where it reads as one, otherwise a text.

    Raises:
        ConfigError: there is no `=`.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"{text!r} is no option: write it as name=value.")
    try:
        return name.strip(), tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()
