"""`probpose predict`."""

from __future__ import annotations

__all__ = ["predict"]

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import (
    category_option,
    detection_options,
    estimator_option,
    flip_test_option,
    joint_options,
    machine_options,
    recalibration_option,
    refuse_without_effect,
    score_option,
)
from probpose.cli.terminal import note, run_of, say, say_device, say_recalibration
from probpose.cli.types import OUT_FILE, LateChoice

EPILOG = """\b
Example:
  probpose predict photo.jpg
  probpose predict runs/my-run a.jpg b.jpg --boxes detections.json --out poses.json
  probpose predict runs/my-run --dataset coco --split test-dev --boxes detections.json --flip-test
  probpose predict runs/four photo.jpg --decompose
  probpose predict runs/my-run --image-info images.json --image-dir images --boxes detections.json
"""


def _image_sets() -> Iterable[str]:
    from probpose.api.choices import IMAGE_SETS

    return IMAGE_SETS


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN] [IMAGE...]")
@click.option("--dataset", type=click.Choice(["coco"]), help="Predict for the images of a data set, with --boxes.")
@click.option("--split", type=LateChoice(_image_sets), help="Of --dataset. [val]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of --dataset. [that of the run]")
@click.option("--image-info", type=click.Path(path_type=Path), help="Or of the images that a COCO file lists.")
@click.option("--image-dir", type=click.Path(path_type=Path), help="Their folder. [that of --image-info]")
@click.option("--boxes", type=click.Path(path_type=Path), help="COCO detections or annotations of the images.")
@category_option
@joint_options
@detection_options
@click.option("--least-score", type=float, default=0.0, show_default=True, help="Draw persons with this score.")
@flip_test_option
@estimator_option
@score_option
@recalibration_option
@machine_options
@click.option(
    "--decompose",
    is_flag=True,
    help="Of an ensemble: what is unsure of labels and what of the model, in the results and overlays.",
)
@click.option("--out", type=OUT_FILE, help="Results file. [RUN/predictions/results.json]")
@click.option("--server", is_flag=True, help="Write what COCO's server takes and nothing else; so for test-dev.")
@click.option(
    "--overlays/--no-overlays",
    default=None,
    help="Draw skeleton and regions beside the results file. [for named images]",
)
def predict(
    paths: tuple[Path, ...], out: Path | None, overlays: bool | None, server: bool, decompose: bool, **options: Any
) -> None:
    """Predict keypoints and their uncertainty.

    Writes a COCO results file with sigma_px per keypoint, and an overlay a picture with the 50% and 90% regions.
    Without --boxes the whole image is one person. RUN is the folder of a run, by default the newest one. Predictions
    for a data set go into the file that COCO's evaluation server takes with --split test-dev or --server.
    """
    named = paths[0] if paths and paths[0].is_dir() else None
    images = list(paths[1:] if named is not None else paths)
    of_set = options["dataset"] is not None or options["image_info"] is not None
    server = server or options["split"] == "test-dev"
    drawn = not of_set if overlays is None else overlays
    _check(images, of_set, server, options)
    if options["boxes"] is None:
        refuse_without_effect(["nms", "least_box_score"], "without --boxes")
    if not drawn:
        refuse_without_effect(["least_score"], "without overlays")
    say_device(options["device"])
    run = run_of(named)
    recalibrate = say_recalibration(run, options["recalibration"])
    passed = ("boxes", "nms", "least_box_score", "flip_test", "estimator", "score", "batch_size", "device", "workers")
    poses = run.predict(
        _image_set(run, options) if of_set else images, recalibrate=recalibrate, keep_distributions=drawn,
        decompose=decompose, counting=pp.bars, **{name: options[name] for name in passed},
    )  # fmt: skip
    name = poses.server_file(run.path) if server else "results.json"
    file = poses.save(out or run.path / "predictions" / name, server=server)
    _report(poses, file)
    if decompose:
        _report_parts(poses)
    if drawn:
        files = poses.save_overlays(
            file.with_suffix(""), least_score=options["least_score"], decompose=decompose, counting=pp.bars
        )
        say(f"{len(files)} overlays: {file.with_suffix('')}/")


def _check(images: list[Path], of_set: bool, server: bool, options: dict[str, Any]) -> None:
    """Refuse options that do not go together."""
    if options["dataset"] is not None and options["image_info"] is not None:
        raise click.UsageError("--dataset and --image-info both name images: leave one out.")
    for name, owner in (("split", "dataset"), ("data_root", "dataset"), ("image_dir", "image_info")):
        if options[name] is not None and options[owner] is None:
            raise click.UsageError("--{} goes with --{}: name that too.".format(*_spelt(name, owner)))
    if of_set and images:
        raise click.UsageError(f"{images[0]} is not the folder of a run, and the images are those of the data set.")
    if of_set and options["boxes"] is None:
        raise click.UsageError("the persons of a data set are found by a detector: name its results with --boxes.")
    if server and not of_set:
        raise click.UsageError("--server needs the image ids of a data set: name --dataset or --image-info.")
    if not of_set and not images:
        raise click.UsageError("no image is given: name at least one after the run, or --dataset, or --image-info.")


def _spelt(*names: str) -> list[str]:
    return [name.replace("_", "-") for name in names]


def _image_set(run: pp.Run, options: dict[str, Any]) -> pp.Persons:
    """The images of --dataset or --image-info."""
    if options["image_info"] is not None:
        passed = {name: options[name] for name in ("image_dir", "category", "joint_map", "common_joints")}
        return pp.list_images(options["image_info"], skeleton=run.skeleton, **passed)
    own = run.config.data.data_root if run.config.data.dataset == "coco" else None
    return pp.list_images(options["split"] or "val", skeleton=run.skeleton, root=options["data_root"] or own)


def _report_parts(poses: pp.Poses) -> None:
    """Medians of what is unsure of labels and of the model."""
    from statistics import median

    if not len(poses):
        return
    parts = poses.decompose()
    aleatoric, epistemic = (
        median(((part[..., 0, 0] + part[..., 1, 1]) / 2).ravel().tolist()) ** 0.5
        for part in (parts.aleatoric, parts.epistemic)
    )
    nats = median(parts.mutual_information.ravel().tolist())
    say(f"medians: aleatoric {aleatoric:.2f} px, epistemic {epistemic:.2f} px, mutual information {nats:.3f} nats")


def _report(poses: pp.Poses, file: Path) -> None:
    for reason, count in poses.boxes_left_out.items():
        note(f"boxes left out: {count} x {reason}")
    for fault in poses.skipped:
        note(f"skipped {fault}")
    if len(poses.skipped) > 1:
        note(f"skipped {len(poses.skipped)} images in all")
    removed = f" (NMS removed {poses.suppressed} poses)" if poses.suppressed else ""
    say(f"{len(poses)} persons{removed}: {file}")
