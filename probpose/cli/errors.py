"""Errors on the command line: one message and an exit code, never a stack trace for what a user can mend."""

from __future__ import annotations

__all__ = ["ReportingGroup"]

import sys
from typing import Any

import click

from probpose.errors import ConfigError, ProbposeError


class ReportingGroup(click.Group):
    """A group whose commands report `ProbposeError`: exit code 2 for wrong options, 1 for anything else."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ProbposeError as error:
            kind = click.UsageError if isinstance(error, ConfigError) else click.ClickException
            raise kind(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error}: check the path, its permissions and the space left.") from error
        except (MemoryError, RuntimeError) as error:
            if not _is_lack_of_memory(error):
                raise
            raise click.ClickException(
                f"out of memory ({error}): lower --batch-size or --input-size, or use --precision bf16."
            ) from error


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether main memory is used up, or a device's, whose error exists only where torch is in use."""
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))
