"""Networks that other codes have trained, as runs."""

from __future__ import annotations

__all__ = ["import_model"]

from os import PathLike
from pathlib import Path
from typing import Literal, get_args

from probpose.api.data import SkeletonLike
from probpose.api.inputs import joint_names, one_of
from probpose.api.runs import Run
from probpose.data.datasets.coco import CocoOptions, read_skeleton
from probpose.inference.training.importing import import_run
from probpose.inference.training.runs import RunFolder
from probpose.skeleton import Skeleton

Layout = Literal["rle", "mmpose"]


def import_model(
    checkpoint: str | PathLike[str],
    layout: Layout,
    *,
    out: str | PathLike[str],
    backbone: str | None = None,
    skeleton: SkeletonLike | PathLike[str] | None = None,
    input_size: tuple[int, int] = (256, 192),
) -> Run:
    """A checkpoint of the published RLE code, or of an RLE model of mmpose, as a run; nothing in it is executed.

    mu and sigma are those of the original for the same crop. The density is the flow of the checkpoint, mirrored, in no
    gauge: sigma is no standard deviation, and points are the density's mean, which is not mu. `Run.calibrate` makes it
    a density that can be believed. The probability that a joint is labelled is not known, and is 1/2.

    Args:
        checkpoint: .pth or .safetensors: a state dict, or a checkpoint with one.
        layout: "rle" for the code of Li et al. (ICCV 2021), "mmpose" for a ResNet with mmpose's RLEHead.
        out: folder of the run, which must not hold one.
        backbone: name of the image network; by default the ResNet whose names the file has.
        skeleton: the joints in the network's order, their names, or a COCO-format file that has them; COCO's 17 by
            default.
        input_size: height and width of the crops that it was trained on.

    Raises:
        CheckpointError: the file cannot be read or holds something else; what is missing or not known is named.
        ConfigError: an unknown layout or backbone, another number of joints, or a run in the folder.
    """
    one_of(layout, get_args(Layout), "layout")
    loaded = import_run(
        Path(checkpoint), layout, RunFolder(Path(out)), backbone=backbone, skeleton=_skeleton(skeleton),
        input_size=input_size,
    )  # fmt: skip
    return Run(loaded)


def _skeleton(given: SkeletonLike | PathLike[str] | None) -> Skeleton | None:
    if given is None or isinstance(given, Skeleton):
        return given
    if isinstance(given, str | PathLike):
        return read_skeleton(Path(given), CocoOptions())
    return Skeleton.from_names(joint_names(given))
