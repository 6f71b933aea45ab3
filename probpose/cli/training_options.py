"""The options of training, made from the settings of a configuration, and the configuration that they make."""

from __future__ import annotations

__all__ = ["TrainingCommand", "config_of", "training_options"]

import types
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click

from probpose.api.settings import ConfigField, TrainConfig, config_fields, config_from, option_value
from probpose.cli.options import Decorator, shared
from probpose.cli.types import FLIP_PAIRS, NUMBERS, SIZE, LateChoice
from probpose.errors import ConfigError

_SIZE_OPTION = click.option("--input-size", type=SIZE, help="Height x width of the crops. [64x64; 256x192 on photos]")
"""In place of two settings."""


_NO_FLIP = click.option("--no-flip", is_flag=True, default=None, help="The same as --flip 0.")


def training_options(*left_out: str) -> Decorator:
    """`--config`, and an option for each setting that is not left out; an option that is not given is None."""
    config = click.option(
        "--config", "base", type=click.Path(path_type=Path), help="A config.toml to start from, as of a run."
    )
    made = {name: _option(name, place) for name, place in config_fields().items() if name not in left_out}
    made["input_height"] = _SIZE_OPTION
    del made["input_width"]
    made["flip"] = shared(made["flip"], _NO_FLIP)
    return shared(config, *made.values())


def config_of(base: Path | None, options: Mapping[str, Any]) -> TrainConfig:
    """The configuration in the file `base`, or the defaults of the data set, changed by the options that are given.

    Raises:
        ConfigError: the file cannot be read, or a value is out of range.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if given.pop("no_flip", None) and given.setdefault("flip", 0.0):
        raise ConfigError("--no-flip and --flip say different things: leave one out.")
    if (pairs := given.pop("options", None)) is not None:
        given["options"] = dict(option_value(pair) for pair in pairs)
    return config_from(base, given)


class TrainingCommand(click.Command):
    """A command whose help ends with the models that can be named, those included that were registered until then.

    Args:
        models: called for their text.
    """

    def __init__(self, *args: Any, models: Callable[[], str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.models = models

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog and the models."""
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(f"\b\n{self.models()}")


def _option(name: str, place: ConfigField) -> Decorator:
    """The option of a setting; without a default of its own, so that what is given can be told from what is not."""
    kind, spelt, facts = _plain(place.kind), name.replace("_", "-"), place.setting
    if get_origin(kind) is dict:
        return click.option(f"--{spelt[:-1]}", name, multiple=True, metavar=facts.metavar, help=facts.help)
    text = f"{facts.help} [{_defaults(place)}]"
    if kind is bool:
        return click.option(f"--{spelt}/--no-{spelt}", name, default=None, help=text)
    return click.option(f"--{spelt}", name, type=_type(kind, place), help=text)


def _type(kind: Any, place: ConfigField) -> Any:
    """The click type of a setting's values."""
    choices, limits = place.setting.choices, place.setting.range
    if choices is not None:
        return LateChoice(choices, place.setting.prefixes)
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if get_origin(kind) is tuple:
        return NUMBERS if get_args(kind)[0] is int else FLIP_PAIRS
    if kind in (int, float):
        made = click.IntRange if kind is int else click.FloatRange
        return made(**asdict(limits)) if limits else kind
    return click.Path() if place.setting.path else kind


def _plain(kind: Any) -> Any:
    """A type annotation without None."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def _defaults(place: ConfigField) -> str:
    """The default, and that on photographs where it is another one."""
    usual, photos = _shown(place.default, place), place.setting.photos
    return usual if photos is None or photos == place.default else f"{usual}; {_shown(photos, place)} on photos"


def _shown(value: Any, place: ConfigField) -> str:
    if value is None or value == ():
        return place.setting.unset
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
