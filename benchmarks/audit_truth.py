r"""Labels that err on purpose: does the audit find them, by kind, and are its probabilities frequencies?

    python -m benchmarks.audit_truth --annotations lspet.json --predictions thunder.json --predictions lightning.json \
        --out docs/results/audit_truth
    python -m benchmarks.audit_truth --run runs/mine --dataset synthetic --out docs/results/audit_truth_synthetic

5% of the labels are spoilt, in one way at a time and in all ways but jitter together (5% in all), and audited by the
first model alone and by all of them: by P(kind) of what they are, and by the suspicion, the probability of being
neither good nor jitter (for jitter, of not being good). Beside the audit: the distance from label to prediction, and
that distance over sigma, which is the run's own, or for results without any the median distance of the joint in sizes
of the person.

Labels of real data err already, so that "clean" labels are not clean. Two sets of them are held against the spoilt
ones: all others, among which real errors count as false alarms; and those within 0.1 sizes of every model, which no
method is likely to suspect. The truth lies between both numbers. Inversions count where the sides lie at least 0.15
sizes apart, misses and wrong joints where the label was moved by at least that.
"""

from __future__ import annotations

__all__ = ["main", "spoil"]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

import probpose as pp
from benchmarks.tables import report
from probpose.analysis.audit.evidence import Evidence, evidence_of_network, evidence_of_predictions
from probpose.analysis.audit.judge import judge
from probpose.analysis.audit.record import Audit
from probpose.analysis.prediction.forward import predict_persons
from probpose.arrays import Array
from probpose.data.persons import Persons
from probpose.data.predictions.results import read_predictions
from probpose.inference.training.runs import load_run
from probpose.models.label_errors import KINDS

Flags = npt.NDArray[np.bool_]
WAYS = ("inversion", "person", "miss", "wrong_joint", "swap", "jitter")
SHARE = 0.05
APART = 0.15
"""Sizes of the person: nearer, an exchange or a move is no gross error."""

NEAR = 0.1
JITTER = 0.08
COLUMNS = {
    "models": "models", "way": "spoilt", "labels": "spoilt labels", "kind": "AUROC of P(kind)", "audit": "suspicion",
    "distance": "distance", "ratio": "over sigma", "near_kind": "P(kind), near", "near_audit": "suspicion, near",
    "near_distance": "distance, near", "near_ratio": "over sigma, near",
    "first": "of 100 first, audit", "first_ratio": "of 100 first, over sigma", "ece": "stated - found",
}  # fmt: skip


def spoil(persons: Persons, way: str, seed: int, share: float = SHARE) -> tuple[Persons, Flags]:
    """Persons of whose labels a share errs in one way, and which do.

    Args:
        persons: labelled.
        way: one of `WAYS`; "person" exchanges the sides of whole persons.
        seed: of the choice.
        share: of labels, pairs or persons.
    """
    rng = np.random.default_rng([seed, WAYS.index(way)])
    partner = np.array(persons.skeleton.flip_permutation)
    own, labelled = np.arange(len(partner)), persons.labelled
    size = np.sqrt(persons.box[:, 2] * persons.box[:, 3])[:, None, None]
    points, visibility = persons.keypoints, persons.visibility
    chosen = rng.random(labelled.shape) < share
    if way in ("inversion", "person"):
        event = np.zeros_like(own) if way == "person" else np.minimum(own, partner)
        chosen = chosen[:, event] & (own != partner) & labelled & labelled[:, partner]
        moved = points[:, partner]
    elif way == "miss":
        moved = persons.box[:, None, :2] + persons.box[:, None, 2:] * rng.uniform(-0.125, 1.125, points.shape)
    elif way == "jitter":
        moved = points + JITTER * size * rng.normal(size=points.shape)
    elif way == "wrong_joint":
        other = np.stack([_another(rng, row, partner) for row in labelled])
        chosen &= other >= 0
        moved = np.take_along_axis(points, np.maximum(other, 0)[..., None], axis=1)
    else:
        other, exists = _other_person(rng, persons.image_id)
        chosen = chosen & exists[:, None] & labelled[other]
        moved = points[other]
    chosen = chosen & labelled
    return replace(persons, keypoints=np.where(chosen[..., None], moved, points), visibility=visibility), chosen


def _another(rng: np.random.Generator, labelled: Flags, partner: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(K,), for each labelled joint another one, neither it nor its mirror image; -1 where there is none."""
    found = np.full(len(labelled), -1)
    for joint in np.flatnonzero(labelled):
        others = [k for k in np.flatnonzero(labelled) if k not in (joint, partner[joint])]
        if others:
            found[joint] = rng.choice(others)
    return found


def _other_person(rng: np.random.Generator, image: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Flags]:
    """(P,), another person of the same image, and whether there is one."""
    found = np.arange(len(image))
    for row in range(len(image)):
        others = np.flatnonzero((image == image[row]) & (found != row) & (np.arange(len(image)) != row))
        if len(others):
            found[row] = rng.choice(others)
    return found, found != np.arange(len(image))


@click.command()
@click.option("--annotations", type=click.Path(path_type=Path), help="COCO-format labels of --predictions.")
@click.option("--predictions", multiple=True, type=click.Path(path_type=Path), help="Results of a model.")
@click.option("--run", type=click.Path(path_type=Path), help="Instead of both: a run.")
@click.option("--dataset", help="Of which it judges the validation data.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of that.")
@click.option("--persons", "most", default=2000, show_default=True, help="Persons at most, drawn at random.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the table.")
def main(
    annotations: Path | None,
    predictions: tuple[Path, ...],
    run: Path | None,
    dataset: str | None,
    data_root: Path | None,
    most: int,
    seed: int,
    out: Path | None,
) -> None:
    """Spoil labels, audit them, and compare with two baselines."""
    if run is not None:
        loaded = load_run(run)
        persons = _drawn(pp.open_data(dataset, root=data_root), most, seed)
        said = evidence_of_network(persons, predict_persons(loaded.model, persons, loaded.input_size), run.name)
    else:
        assert annotations is not None
        persons = _drawn(pp.open_data(annotations=annotations), most, seed)
        said = evidence_of_predictions(persons, [read_predictions(file, persons) for file in predictions])
    count = len(said.models)
    sets = [[0], list(range(count))] if count > 1 else [[0]]
    several = len(np.unique(persons.image_id)) < len(persons)
    rows: list[dict[str, Any]] = []
    for way in (*(way for way in WAYS if way != "swap" or several), "all"):
        spoilt, wrong = _spoilt(said.persons, way, seed, several)
        for models in sets:
            rows.append(_compared(_part(said, models, spoilt), said.persons, wrong, way, seed))
            click.echo(str(rows[-1]), err=True)
    report(rows, COLUMNS, out)


def _drawn(persons: Persons, most: int, seed: int) -> Persons:
    order = np.random.default_rng(seed).permutation(len(persons))
    return persons.select(np.sort(order[:most]))


def _spoilt(persons: Persons, way: str, seed: int, several: bool) -> tuple[Persons, Flags]:
    """Labels spoilt in one way, or in all of them."""
    ways = [one for one in WAYS if one != "jitter" and (one != "swap" or several)] if way == "all" else [way]
    wrong = np.zeros(persons.labelled.shape, dtype=bool)
    for one in ways:
        persons, chosen = spoil(persons, one, seed, SHARE / len(ways))
        wrong |= chosen
    return persons, wrong


def _part(said: Evidence, models: Sequence[int], spoilt: Persons) -> Evidence:
    """The evidence of some models, on spoilt labels."""
    at = list(models)
    return replace(
        said,
        persons=spoilt,
        models=tuple(said.models[index] for index in at),
        point=said.point[at],
        covariance=None if said.covariance is None else said.covariance[at],
        confidence=None if said.confidence is None else said.confidence[at],
    )


def _compared(said: Evidence, clean: Persons, wrong: Flags, way: str, seed: int) -> dict[str, Any]:
    audit = judge(said, seed=seed, folds=2)
    at = (audit.row, audit.joint)
    size = np.sqrt(clean.box[:, 2] * clean.box[:, 3])[:, None]
    moved = np.linalg.norm(clean.keypoints - said.persons.keypoints, axis=-1) / size
    before = (np.linalg.norm(clean.keypoints - said.point, axis=-1) / size).max(0)
    counted = ~wrong | ((moved >= APART) if way != "jitter" else wrong)
    distance, ratio = _baselines(said, size)
    kept, bad = counted[at], wrong[at]
    near = kept & (bad | (before <= NEAR)[at])
    doubt = 1 - audit.probability[:, KINDS.index("good")] if way == "jitter" else audit.suspicion
    return {
        "models": " + ".join(said.models),
        "way": way.replace("_", " "),
        "labels": int((bad & kept).sum()),
        "kind": None if way == "all" else auroc(_of_kind(audit, way)[kept], bad[kept]),
        "audit": auroc(doubt[kept], bad[kept]),
        "distance": auroc(distance[at][kept], bad[kept]),
        "ratio": auroc(ratio[at][kept], bad[kept]),
        "near_kind": None if way == "all" else auroc(_of_kind(audit, way)[near], bad[near]),
        "near_distance": auroc(distance[at][near], bad[near]),
        "near_audit": auroc(doubt[near], bad[near]),
        "near_ratio": auroc(ratio[at][near], bad[near]),
        "first": int(bad[np.argsort(-audit.suspicion, kind="stable")[:100]].sum()),
        "first_ratio": int(bad[np.argsort(-ratio[at], kind="stable")[:100]].sum()),
        "ece": calibration_error(doubt, bad),
        "rates": {rate.event: rate.mean for rate in audit.rates if rate.joint is None},
    }


def _of_kind(audit: Audit, way: str) -> Array:
    return audit.probability[:, KINDS.index("inversion" if way == "person" else way)]


def _baselines(said: Evidence, size: Array) -> tuple[Array, Array]:
    """(N, K) each: pixels from the label to the models' mean, and that over sigma."""
    labels = said.persons.keypoints
    distance = np.linalg.norm(labels - said.point.mean(0), axis=-1)
    if said.covariance is not None:
        return distance, distance / np.sqrt(np.trace(said.covariance.mean(0), axis1=-2, axis2=-1) / 2)
    known = np.where(said.persons.labelled, distance / size, np.nan)
    usual = np.array([np.nanmedian(column) if np.isfinite(column).any() else 1.0 for column in known.T])
    return distance, distance / (size * usual)


def auroc(score: Array, wrong: Flags) -> float:
    """Probability that a wrong label has a greater score than another one; ties count half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    bad = int(wrong.sum())
    return float((rank[wrong].sum() - bad * (bad + 1) / 2) / (bad * (len(score) - bad)))


def calibration_error(stated: Array, wrong: Flags, bins: int = 10) -> float:
    """Mean distance of the stated probability and the share that is wrong, in bins of 0.1, by their labels."""
    place = np.minimum((stated * bins).astype(int), bins - 1)
    gaps = [abs(stated[place == b].mean() - wrong[place == b].mean()) * (place == b).sum() for b in np.unique(place)]
    return float(np.sum(gaps) / len(stated))


if __name__ == "__main__":
    main()
