"""Options that several commands share."""

from __future__ import annotations

__all__ = [
    "DATA",
    "MACHINE",
    "ManyValues",
    "box_from_option",
    "category_option",
    "data_options",
    "dataset_choice",
    "detection_options",
    "draws_option",
    "estimator_option",
    "flip_test_option",
    "joint_options",
    "json_option",
    "machine_options",
    "named_data_options",
    "noise_option",
    "recalibration_option",
    "refuse_without_effect",
    "run_argument",
    "score_option",
    "shared",
]

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from probpose.cli.types import OKS, LateChoice

Decorator = Callable[[Any], Any]


def shared(*options: Decorator) -> Decorator:
    """Several options as one decorator, which the help lists in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _datasets() -> Iterable[str]:
    from probpose.api.choices import datasets

    return datasets()


def _default_nms(_: click.Context, __: click.Parameter, value: float | None) -> float:
    from probpose.api.settings import OKS_NMS

    return OKS_NMS if value is None else value


dataset_choice = LateChoice(_datasets)

run_argument = click.argument("run", required=False, type=click.Path(path_type=Path, file_okay=False))

estimator_option = click.option(
    "--estimator",
    type=click.Choice(["mean", "median", "mode", "oks"]),
    default="mean",
    show_default=True,
    help="Point estimate; oks is the point of greatest expected OKS.",
)

score_option = click.option(
    "--score",
    type=click.Choice(["usual", "expected-oks"]),
    default="usual",
    show_default=True,
    help="What poses are ranked by: mean confidence, or expected OKS.",
)

flip_test_option = click.option(
    "--flip-test", is_flag=True, help="Predict with the mixture of the crop's and its mirror image's density."
)

recalibration_option = click.option(
    "--recalibration/--no-recalibration",
    default=True,
    show_default=True,
    help="Use what `probpose calibrate` has kept in the run.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on standard output."
)

machine_options = shared(
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="Torch device, such as cpu or cuda:1; auto is a GPU that works, otherwise the CPU.",
    ),
    click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Persons at a time."),
    click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that read."),
)

detection_options = shared(
    click.option(
        "--nms",
        type=OKS,
        callback=_default_nms,
        help="Of two poses in detected boxes whose OKS is higher, one goes; 1 or none keeps both. [0.9]",
    ),
    click.option("--least-box-score", type=float, help="Leave out boxes with a lower score. [all are used]"),
)

category_option = click.option(
    "--category", help="Name or id of the one category of the annotations that counts. [all with keypoints]"
)

box_from_option = click.option(
    "--box-from",
    type=click.Choice(["file", "labels", "image"]),
    help="Where persons are: the file says it, around their labels, or the whole image. [file; labels without boxes]",
)

named_data_options = shared(
    click.argument("dataset", required=False, type=dataset_choice),
    click.option("--data-root", type=click.Path(path_type=Path), help="Its folder. [$PROBPOSE_DATA or ./data/NAME]"),
    click.option("--annotations", type=click.Path(path_type=Path), help="Any COCO-format keypoint file instead."),
    click.option("--image-dir", type=click.Path(path_type=Path), help="Folder of its images. [that of the file]"),
    category_option,
    box_from_option,
)
"""A data set by name, or by its files."""

noise_option = click.option(
    "--noise",
    type=click.Choice(["gaussian", "student_t", "flow"]),
    default="gaussian",
    show_default=True,
    help="Law of the errors of repeated labels; a flow is learned from them.",
)

draws_option = click.option(
    "--draws",
    type=click.IntRange(4),
    default=600,
    show_default=True,
    help="From the posterior of repeated labels, in each chain.",
)

joint_options = shared(
    click.option(
        "--joint-map",
        type=click.Path(path_type=Path),
        help="TOML or JSON: the run's name of a joint by the data's name, where they differ.",
    ),
    click.option("--common-joints", is_flag=True, help="Judge on the joints that data and run both have."),
)


class ManyValues(click.Command):
    """A command whose repeatable options take several values at once: `--option a b` is `--option a --option b`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each value that follows its first one, up to the next option."""
        repeatable = {name for one in self.params if getattr(one, "multiple", False) for name in one.opts}
        spread: list[str] = []
        current = None
        for word in args:
            if word.startswith("-"):
                current = word if word in repeatable else None
            elif current is not None and spread[-1] != current:
                spread.append(current)
            spread.append(word)
        return super().parse_args(ctx, spread)


def refuse_without_effect(names: Iterable[str], why: str) -> None:
    """Refuse options that were typed though nothing depends on them.

    Args:
        names: of the parameters.
        why: such as "with --table".

    Raises:
        UsageError: with all of them.
    """
    context = click.get_current_context()
    typed = {name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    options = [option for option in context.command.params if option.name in typed]
    spelt = [
        (option.secondary_opts if context.params[option.name or ""] is False else option.opts)[0] for option in options
    ]
    if spelt:
        raise click.UsageError(f"{', '.join(spelt)} without effect {why}: leave that out.")


DATA = (
    "dataset", "data_root", "split", "val_annotations", "image_dir", "category", "box_from", "joint_map",
    "common_joints", "move_boxes",
)  # fmt: skip
"""Parameters of `data_options`."""

MACHINE = ("device", "batch_size", "workers")
"""Parameters of `machine_options`."""

data_options = shared(
    click.option("--dataset", type=dataset_choice, help="Data set. [that of the run]"),
    click.option("--data-root", type=click.Path(), help="Its folder. [that of the run]"),
    click.option(
        "--split", type=click.Choice(["val", "train"]), default="val", show_default=True, help="Part of the data."
    ),
    click.option("--val-annotations", type=click.Path(), help="Any COCO-format keypoint file to judge on."),
    click.option("--image-dir", type=click.Path(), help="Folder of its images."),
    category_option,
    box_from_option,
    joint_options,
    click.option(
        "--move-boxes",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        help="Move and enlarge boxes by up to this share: those drawn around labels say where labels lie.",
    ),
)
