"""The command line: parse, call, print.

Nothing that a command needs is imported before it runs: `probpose --help` costs little more than click.
"""

from __future__ import annotations

__all__ = ["main"]

import gc
from keyword import iskeyword

import click

from probpose import __version__
from probpose.cli.lazy import LazyGroup

COMMANDS = {
    "annotators": "How people err when they label the same objects, and what the labels should have been.",
    "audit": "Which labels are wrong, and how: exchanged sides, another person's joint, a wrong joint, anything else.",
    "calibrate": "Can the predicted uncertainty be believed? And if not, make it so.",
    "compare": "Train models with one network and budget, and compare them with each other and with finished runs.",
    "data": "Make, check and describe data sets.",
    "ensemble": "Make one run of several: its density is the mean of theirs, and where they disagree it is unsure.",
    "evaluate": "Evaluate a run: AP, PCK, error, nats per keypoint, coverage, sigma, r50 and r90.",
    "export": "Write a run as one graph for ONNX or torch.export, recalibration included.",
    "import": "Make a run of a checkpoint of the published RLE code or of mmpose's RLE models.",
    "models": "List families, residual densities and backbones, with what each costs.",
    "oks-sigmas": "OKS sigmas of any skeleton with intervals, from repeated labels or from labels and models.",
    "predict": "Predict keypoints and their uncertainty.",
    "show": "Look through predictions, one person at a time, on a page that opens without a server.",
    "train": "Train a keypoint regressor by maximum likelihood.",
}
"""The first line of the help of each command, which is the attribute of its name in the module of its name; there a
hyphen is an underscore, and a word of Python has one more."""


def _home(name: str) -> str:
    own = name.replace("-", "_") + "_" * iskeyword(name)
    return f"probpose.cli.{own}:{own}"


OBJECTS = 10_000
"""New ones after which garbage is collected, in place of 700: a million that never go come with torch and pandas, and
passes over all of them took a twelfth of the time."""

EPILOG = """\b
Example:
  probpose train --dataset synthetic
  probpose evaluate
  probpose calibrate
  probpose predict photo.jpg
"""


@click.group(
    cls=LazyGroup,
    places={name: _home(name) for name in COMMANDS},
    lines=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="probpose")
def main() -> None:
    """Keypoint regression whose uncertainty means something."""
    gc.set_threshold(OBJECTS)
