"""Labels that were exchanged on purpose: are they found, and does a model that expects them learn better?

    python -m benchmarks.swapped_labels --out docs/results/swapped_labels

In the labels of the synthetic figures, the two sides of 8% of the pairs are exchanged and 3% of the labels are moved to
anywhere in the crop, in training and validation. `laplace`, which knows nothing of gross errors, and `gross`, which
sums over them (over exchanges from half of the training on, or from the start), are trained on these labels with one
budget. Judged on the clean validation labels: nats, PCK and error.
Judged on the spoilt ones by `probpose audit`: the rates found, and the average precision of the responsibilities.
"""

from __future__ import annotations

__all__ = ["main", "spoil"]

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.synthetic_runs import finished_run, run_options
from benchmarks.tables import report
from probpose.analysis.audit.evidence import evidence_of_network
from probpose.analysis.audit.judge import judge
from probpose.analysis.audit.record import Audit
from probpose.analysis.audit.sheet import draw_sheet, suspected_persons
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.existence import average_precision
from probpose.analysis.prediction.forward import predict_persons
from probpose.data.persons import Persons
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.train import open_split

Flags = npt.NDArray[np.bool_]

EXCHANGED, OUTLIER = 0.08, 0.03
GROSS: dict[str, Any] = {"family": "gross", "residual": "laplace"}
MODELS: dict[str, dict[str, Any]] = {
    "laplace": {"residual": "laplace"},
    "gross, exchanges from the start": GROSS | {"options": {"after": 0.0}},
    "gross": GROSS,
}
COLUMNS = {
    "model": "trained as",
    "nll": "NLL on clean labels",
    "pck": "PCK@0.2 of the mode",
    "epe": "EPE px of the mode",
    "exchanged": "d found",
    "exchanged_ap": "AP of exchanged",
    "outlier": "e found",
    "outlier_ap": "AP of gross",
}


@dataclass(frozen=True)
class Spoilt:
    """What was done to the labels of a table, in its order: (P, K) each."""

    exchanged: Flags
    outlier: Flags


def spoil(
    persons: Persons, source: Path, target: Path, seed: int, exchanged: float = EXCHANGED, outlier: float = OUTLIER
) -> Spoilt:
    """Copy the persons of a COCO file with sides exchanged and labels moved, and say which.

    Args:
        persons: the table that was read from `source`.
        source: annotation file.
        target: file to write.
        seed: of the errors.
        exchanged: share of the pairs whose sides are exchanged.
        outlier: share of the labels that are moved.
    """
    rng = np.random.default_rng(seed)
    partner = np.array(persons.skeleton.flip_permutation)
    first = np.minimum(np.arange(len(partner)), partner)
    swap = (rng.random(persons.labelled.shape) < exchanged)[:, first] & (partner != np.arange(len(partner)))
    moved = (rng.random(persons.labelled.shape) < outlier) & persons.labelled
    place = persons.box[:, None, :2] + persons.box[:, None, 2:] * (1.25 * rng.random((*moved.shape, 2)) - 0.125)
    points = np.where(moved[..., None], place, persons.keypoints)
    labels = np.concatenate([points, persons.visibility[..., None]], -1)
    labels = np.where(swap[..., None], labels[:, partner], labels)
    document = json.loads(source.read_text())
    for image in document["images"]:
        image["file_name"] = f"{persons.image_dir.name}/{image['file_name']}"
    rows = {int(number): row for row, number in enumerate(persons.annotation_id)}
    for record in document["annotations"]:
        if record["id"] in rows:
            record["keypoints"] = np.nan_to_num(labels[rows[record["id"]]]).ravel().tolist()
    document["annotations"] = [record for record in document["annotations"] if record["id"] in rows]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document))
    moved = np.where(swap, moved[:, partner], moved)
    seen = labels[..., 2] > 0
    return Spoilt(swap & seen, moved & seen)


@click.command()
@run_options("swapped_labels")
def main(epochs: int, seed: int, runs: Path, data_root: str | None, out: Path | None) -> None:
    """Spoil labels, train with and without a model of it, and judge both."""
    base = default_config("synthetic", epochs=epochs, seed=seed, data_root=data_root)
    clean = open_split(base, "val")
    files, truth = {}, {}
    for number, split in enumerate(("train", "val")):
        persons = open_split(base, split)  # type: ignore[arg-type]
        assert persons.annotations is not None
        files[split] = runs / f"{split}.json"
        truth[split] = spoil(persons, persons.annotations, files[split], seed + number)
    spoilt = {f"{split}_annotations": str(file) for split, file in files.items()}
    results, figure = [], None
    for name, options in MODELS.items():
        config = default_config(
            "synthetic", epochs=epochs, seed=seed, image_dir=str(clean.image_dir.parent), **options, **spoilt
        )
        labels, row = _judge(name, config, runs / name.replace(",", "").replace(" ", "-"), clean, truth["val"])
        results.append(row)
        figure = draw_sheet(labels, suspected_persons(labels), title=f"{name}: the first suspects")
    report(results, COLUMNS, out)
    if out is not None and figure is not None:
        figure.savefig(out / "suspects.png", dpi=100)


def _judge(name: str, config: TrainConfig, folder: Path, clean: Persons, truth: Spoilt) -> tuple[Audit, dict[str, Any]]:
    run = finished_run(config, folder)
    evaluation = evaluate(run.model, clean, run.input_size, estimator="mode")
    persons = open_split(config, "val")
    labels = judge(evidence_of_network(persons, predict_persons(run.model, persons, run.input_size), name))
    exchanged, elsewhere = labels.probability[:, 2], labels.probability[:, 3:].sum(1)
    rates = {rate.event: rate.mean for rate in labels.rates if rate.joint is None}
    at = (labels.row, labels.joint)
    return labels, {
        "model": name,
        "nll": evaluation.statistics.nll_nats,
        "pck": evaluation.statistics.pck,
        "epe": evaluation.statistics.epe_px,
        "exchanged": rates["pair exchanged"],
        "exchanged_ap": average_precision(exchanged, truth.exchanged[at]),
        "outlier": rates["wrong_joint"] + rates["miss"],
        "outlier_ap": average_precision(elsewhere, truth.outlier[at]),
    }


if __name__ == "__main__":
    main()
