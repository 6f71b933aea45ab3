"""A group of commands that are imported when they are called."""

from __future__ import annotations

__all__ = ["LazyGroup"]

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from probpose.cli.errors import ReportingGroup


class LazyGroup(ReportingGroup):
    """A group that knows of its commands no more than name, place and first line of help until one is called.

    Args:
        places: `module:attribute` of each command.
        lines: the first line of its help.
    """

    def __init__(self, *args: Any, places: Mapping[str, str], lines: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.places = places
        for name, line in lines.items():
            self.add_command(click.Command(name, short_help=line))

    def load(self, name: str) -> click.Command:
        """The command called `name`."""
        module, attribute = self.places[name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments call, imported, and the arguments that are left for it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else self.load(name), rest
