"""Labels that are wrong on purpose, and none: what `--robust` gains, and what it costs.

    python -m benchmarks.robust_training --out docs/results/robust_training

In the labels of the synthetic figures, the two sides of 8% of the pairs are exchanged and 3% of the labels are moved
to anywhere in the crop, in training as in the split that chooses the checkpoint. Models are trained on these labels and
on the labels as they are, with and without `--robust`, and all are judged on the validation labels as they are.
Differences in NLL are from the same model without `--robust` on the same labels, label by label, with standard errors
over images.
"""

from __future__ import annotations

__all__ = ["main"]

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.synthetic_runs import finished_run, run_options
from benchmarks.tables import report
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.outcome import Evaluation, LabelEvaluation
from probpose.analysis.evaluation.statistics import paired_difference
from probpose.data.persons import Persons
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.report import read_log
from probpose.inference.training.train import open_split
from probpose.text import slug

HEATMAP: dict[str, Any] = {"family": "heatmap", "options": {"surface": "bilinear"}}
EXCHANGED, MOVED = 0.08, 0.03
MODELS: dict[str, dict[str, Any]] = {
    "laplace": {"residual": "laplace"},
    "rle": {"residual": "rle"},
    "heatmap": HEATMAP,
}
VARIANTS: dict[str, dict[str, bool]] = {
    "--robust": {"robust": True},
    "--robust --exchanged-sides": {"robust": True, "exchanged_sides": True},
}

PERSONS = 2000
"""To train on: so that all models take an hour of one core."""

COLUMNS = {
    "labels": "trained on labels",
    "model": "model",
    "nll": "NLL on clean labels",
    "d_nll": "difference",
    "se": "±",
    "pck": "PCK@0.2 of the mode",
    "epe": "EPE px of the mode",
    "ap": "AP",
    "coverage50": "in 50%",
    "coverage90": "in 90%",
    "pair": "pairs exchanged",
    "person": "persons exchanged",
    "wrong_joint": "at another joint",
    "miss": "elsewhere",
    "jitter": "wide",
}


@click.command()
@run_options("robust_training")
@click.option("--models", default=",".join(MODELS), show_default=True, help="Which of them.")
def main(epochs: int, seed: int, runs: Path, data_root: str | None, out: Path | None, models: str) -> None:
    """Train on wrong labels and on clean ones, with and without a model of errors, and judge on clean ones."""
    base = default_config("synthetic", epochs=epochs, seed=seed, data_root=data_root, batch_size=32)
    clean, all_of_them = open_split(base, "val"), open_split(base, "train")
    chosen = all_of_them.select(np.arange(PERSONS))
    rows = []
    for labels, rates in (("spoilt", (EXCHANGED, MOVED)), ("clean", (0.0, 0.0))):
        file = runs / f"{labels}.json"
        _spoil(chosen, file, seed, *rates)
        for name in models.split(","):
            data = {"train_annotations": str(file), "image_dir": str(clean.image_dir.parent)}
            config = base.changed(**MODELS[name], **data)
            plain, _ = _judged(config, runs / f"{labels}-{name}", clean)
            rows.append(_row(labels, name, plain, plain, {}))
            for options, changes in VARIANTS.items():
                folder = runs / slug(f"{labels}-{name}{options}")
                robust, found = _judged(config.changed(**changes), folder, clean)
                rows.append(_row(labels, f"{name} {options}", robust, plain, found))
    report(rows, COLUMNS, out)


def _spoil(persons: Persons, file: Path, seed: int, exchanged: float, moved: float) -> None:
    """Write the persons as a COCO file with sides exchanged and labels moved.

    Args:
        persons: of a COCO file.
        file: to write.
        seed: of the errors.
        exchanged: share of the pairs whose sides are exchanged.
        moved: share of the labels that are moved into the box, enlarged by a quarter.
    """
    assert persons.annotations is not None
    rng, partner = np.random.default_rng(seed), np.array(persons.skeleton.flip_permutation)
    first = np.minimum(np.arange(len(partner)), partner)
    swap = (rng.random(persons.labelled.shape) < exchanged)[:, first]
    gone = (rng.random(persons.labelled.shape) < moved) & persons.labelled
    place = persons.box[:, None, :2] + persons.box[:, None, 2:] * (1.25 * rng.random((*gone.shape, 2)) - 0.125)
    points = np.where(gone[..., None], place, np.nan_to_num(persons.keypoints))
    labels = np.concatenate([points, persons.visibility[..., None]], -1)
    labels = np.where(swap[..., None], labels[:, partner], labels)
    document = json.loads(persons.annotations.read_text())
    for image in document["images"]:
        image["file_name"] = f"{persons.image_dir.name}/{image['file_name']}"
    found = dict(zip(persons.annotation_id.tolist(), labels, strict=True))
    kept = [record for record in document["annotations"] if record["id"] in found]
    document["annotations"] = [record | {"keypoints": found[record["id"]].ravel().tolist()} for record in kept]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def _judged(config: TrainConfig, folder: Path, clean: Persons) -> tuple[Evaluation, dict[str, float]]:
    """The run's evaluation on clean labels, and the rates of errors that it has learned."""
    run = finished_run(config, folder)
    evaluation = evaluate(run.model, clean, run.input_size, estimator="mode")
    return evaluation, read_log(folder / "log.jsonl")[-1]["label_errors"]


def _row(labels: str, model: str, found: Evaluation, plain: Evaluation, rates: dict[str, float]) -> dict[str, Any]:
    ours, theirs = _of_labels(found), _of_labels(plain)
    gain = paired_difference([-ours.scores.log_prob], [-theirs.scores.log_prob], ours.scores.image)
    numbers = ours.statistics
    return {
        "labels": labels,
        "model": model,
        "nll": numbers.nll_nats,
        "d_nll": None if found is plain else gain.mean,
        "se": None if found is plain else gain.se,
        "pck": numbers.pck,
        "epe": numbers.epe_px,
        "ap": found.coco.AP,
        "coverage50": numbers.coverage50,
        "coverage90": numbers.coverage90,
        **{name: rates.get(name) for name in ("pair", "person", "wrong_joint", "miss", "jitter")},
    }


def _of_labels(found: Evaluation) -> LabelEvaluation:
    assert found.labels is not None
    return found.labels


if __name__ == "__main__":
    main()
