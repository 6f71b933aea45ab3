"""The command line: parse, call, print."""

from __future__ import annotations

__all__ = ["main"]

import click

from probpose import __version__
from probpose.cli.calibrate import calibrate
from probpose.cli.compare import compare
from probpose.cli.data import data
from probpose.cli.errors import ReportingGroup
from probpose.cli.evaluate import evaluate
from probpose.cli.models import models
from probpose.cli.predict import predict
from probpose.cli.suspects import suspects
from probpose.cli.train import train

EPILOG = """\b
Example:
  probpose train --dataset synthetic
  probpose evaluate
  probpose calibrate
  probpose predict photo.jpg
"""


@click.group(
    cls=ReportingGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="probpose")
def main() -> None:
    """Keypoint regression whose uncertainty means something."""


for command in (train, evaluate, predict, calibrate, compare, suspects, models, data):
    main.add_command(command)
