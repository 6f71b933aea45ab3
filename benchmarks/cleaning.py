"""Does cleaning labels help? One network on labels as they are, on audited ones, and by the likelihood of wrong labels.

    python -m benchmarks.cleaning --annotations labels.json --image-dir images --predictions a.json \
        --predictions b.json --config benchmarks/lspet.toml --seeds 3 --out docs/results/cleaning

Images are taken in the file's order: `--train` of them to train on, the next `--report` to judge on. The labels to
train on are audited by the predictions and corrected (`probpose audit --corrected`, its defaults): *audited*. *robust*
trains on the labels as they are, with `--robust`. All are judged on the held-out labels as they are, which no audit has
touched, and on the same labels audited and corrected. Persons who have no label left there are left out of the latter.
Differences from *raw* are paired by keypoint and seed, with standard errors over images and seeds.
"""

from __future__ import annotations

__all__ = ["main"]

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import probpose as pp
from benchmarks.synthetic_runs import finished_run
from benchmarks.tables import report
from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.scores import Scores, score_run
from probpose.inference.training.config import config_from

CONDITIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": ("train.json", {}),
    "audited": ("train-audited.json", {}),
    "robust": ("train.json", {"robust": True}),
}
"""The labels and the settings that each is trained with."""

JUDGES = {"as they are": "report.json", "audited": "report-audited.json"}

COLUMNS = {
    "labels": "held-out labels",
    "model": "trained on",
    "seeds": "seeds",
    "keypoints": "keypoints",
    "nll_nats": "NLL",
    "d_nll_nats": "difference",
    "d_nll_nats_se": "s.e.",
    "pck0.2_mean": "PCK@0.2",
    "d_pck0.2_mean": "difference of PCK",
    "d_pck0.2_mean_se": "s.e. of PCK",
    "epe_px_mean": "EPE px",
    "coverage50": "in 50%",
    "coverage90": "in 90%",
}


@click.command()
@click.option("--annotations", type=click.Path(path_type=Path, exists=True), required=True, help="COCO keypoints.")
@click.option("--image-dir", type=click.Path(path_type=Path, exists=True), required=True, help="Their images.")
@click.option("--predictions", type=click.Path(path_type=Path, exists=True), multiple=True, required=True)
@click.option("--config", type=click.Path(path_type=Path, exists=True), required=True, help="Network and budget.")
@click.option("--residual", default="laplace", show_default=True)
@click.option("--train", default=3000, show_default=True, help="Images to train on.")
@click.option("--report", "held_out", default=500, show_default=True, help="Images to judge on.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/cleaning"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(
    annotations: Path, image_dir: Path, predictions: Sequence[Path], config: Path, residual: str, train: int,
    held_out: int, seeds: int, runs: Path, out: Path | None,
) -> None:  # fmt: skip
    """Audit, train, and judge."""
    runs.mkdir(parents=True, exist_ok=True)
    for part, images in (("train", slice(0, train)), ("report", slice(train, train + held_out))):
        _audited(_part(annotations, images, runs / f"{part}.json"), image_dir, predictions, runs)
    scores: dict[str, dict[str, dict[int, Scores]]] = {judge: {name: {} for name in CONDITIONS} for judge in JUDGES}
    for seed in range(seeds):
        for name, (labels, settings) in CONDITIONS.items():
            own = config_from(config, {
                "residual": residual, "seed": seed, "train_annotations": str(runs / labels),
                "val_annotations": str(runs / "report.json"), "image_dir": str(image_dir), **settings,
            })  # fmt: skip
            run = finished_run(own, runs / f"{name}-seed{seed}")
            for judge, file in JUDGES.items():
                persons = pp.open_data(annotations=runs / file, image_dir=image_dir)
                scores[judge][name][seed] = score_run(run, persons)
    report([row for judge, found in scores.items() for row in _rows(judge, found)], COLUMNS, out)


def _part(annotations: Path, images: slice, target: Path) -> Path:
    """The file `target`, with some of the images of `annotations` in the file's order."""
    document = json.loads(annotations.read_text())
    document["images"] = document["images"][images]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [record for record in document["annotations"] if record["image_id"] in kept]
    target.write_text(json.dumps(document))
    return target


def _audited(annotations: Path, image_dir: Path, predictions: Sequence[Path], runs: Path) -> None:
    """Write NAME-audited.json beside NAME.json, unless it is there."""
    target = annotations.with_name(f"{annotations.stem}-audited.json")
    if target.exists():
        return
    kept = {image["id"] for image in json.loads(annotations.read_text())["images"]}
    own = [runs / f"{annotations.stem}-{file.name}" for file in predictions]
    for file, part in zip(predictions, own, strict=True):
        part.write_text(json.dumps([record for record in json.loads(file.read_text()) if record["image_id"] in kept]))
    changes = pp.save_corrected(pp.audit(own, annotations, image_dir=image_dir, counting=pp.bars), target)
    click.echo(f"{target}: {len(changes)} joints are labelled in another way", err=True)


def _rows(judge: str, scores: dict[str, dict[int, Scores]]) -> list[dict[str, Any]]:
    found = Comparison.of(judge, scores, "raw")
    keypoints = {"labels": judge, "keypoints": found.keypoints}
    return [dict.fromkeys(COLUMNS) | row | keypoints for row in found.records()]


if __name__ == "__main__":
    main()
