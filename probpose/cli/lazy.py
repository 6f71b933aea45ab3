"""A group of commands that are imported when they are called; what a user can mend is one message."""

from __future__ import annotations

__all__ = ["LazyGroup", "ReportingGroup"]

import sys
from collections.abc import Mapping
from importlib import import_module
from io import TextIOWrapper
from typing import Any, TextIO

import click

from probpose.errors import ConfigError, ProbposeError
from probpose.text import shown


class ReportingGroup(click.Group):
    """A group whose commands report `ProbposeError`: exit code 2 for wrong options, 1 for anything else."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        _spell_out(sys.stdout)
        try:
            return super().invoke(ctx)
        except ProbposeError as error:
            kind = click.UsageError if isinstance(error, ConfigError) else click.ClickException
            raise kind(shown(str(error))) from error
        except BrokenPipeError:
            raise  # click ends quietly when the reader has seen enough, such as `head`
        except OSError as error:
            message = f"{error}: check the path, its permissions and the space left."
            raise click.ClickException(shown(message)) from error
        except (MemoryError, RuntimeError) as error:
            if (fault := _fault_of_the_machine(error)) is None:
                raise
            raise click.ClickException(fault) from error


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


def _spell_out(stream: TextIO) -> None:
    """Let a stream write a letter that its encoding lacks as a code."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad allocation", "bad_alloc")
"""What torch says where the machine's own memory is used up, for which it has no error of its own."""


def _fault_of_the_machine(error: Exception) -> str | None:
    """What to say where memory is used up, or a worker of torch's loader is killed; None for any other error.

    Torch raises the latter wherever the program happens to be.
    """
    torch = sys.modules.get("torch")
    said = (str(error).splitlines() or [""])[0].strip()
    if "DataLoader worker" in str(error) and not isinstance(error, MemoryError):
        return (
            f"a process that reads images has died, probably for lack of memory ({said}): use fewer --workers; a "
            "training goes on with --resume."
        )
    lack = isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))
    if not lack and not any(words in str(error) for words in _NO_MEMORY):
        return None
    return (
        f"out of memory ({said}): lower --batch-size or --input-size, or use --precision bf16; a training goes on with "
        "--resume."
    )
