"""`--recalibration`, for the commands that predict with a run."""

from __future__ import annotations

__all__ = ["recalibration_of_run", "recalibration_option"]

from collections.abc import Callable

import click

from probpose.analysis.calibration.run_cure import recalibration_of
from probpose.analysis.forward import Recalibrate
from probpose.inference.runs import LoadedRun


def recalibration_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--recalibration/--no-recalibration`."""
    text = "Use what `probpose calibrate` has kept in the run."
    return click.option("--recalibration/--no-recalibration", default=True, show_default=True, help=text)(command)


def recalibration_of_run(run: LoadedRun, wanted: bool) -> tuple[Recalibrate | None, str | None]:
    """The run's recalibration and its method, which is named on standard error; None where there is none.

    Raises:
        CheckpointError: it is damaged, or belongs to another checkpoint.
    """
    found = recalibration_of(run) if wanted else None
    if found is None:
        return None, None
    click.echo(f"recalibrated: {found[1]}", err=True)
    return found
