"""P(error < 0.2 torso) by a model's own confidence, as claimed before and after calibration, and as it is.

    python -m benchmarks.within_torso results.json person_keypoints.json --out docs/results/within_torso

Predictions and labels are divided by the length of the torso, from left shoulder to right hip as they are labelled
(PCK); persons without both are left out and counted. Before, every error has one Gaussian scale; after, what
`pp.calibrate` makes of it with the confidences. Both were fitted on three fifths of the images; the table is of the
other two.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path

import click
import numpy as np

import probpose as pp
from benchmarks.tables import report
from probpose.analysis.calibration.cases import Split
from probpose.analysis.calibration.recalibration.choose import METHODS, Method
from probpose.analysis.calibration.sources.baseline import baseline
from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.arrays import Array, Index, Mask

RADIUS = 0.2
BINS = 5


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--method", type=click.Choice(METHODS), default="density", show_default=True)
@click.option("--residual", default="student_t", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the split by image.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(results: Path, annotations: Path, method: Method, residual: str, seed: int, out: Path | None) -> None:
    """Print a table with a row for each fifth of the confidence."""
    found = pp.read_predictions(results, annotations)
    joints = found.persons.skeleton.joints
    torso, rows = _torso(found.persons)
    rows = rows[np.argsort(found.persons.image_id[rows], kind="stable")]
    click.echo(f"{len(found)} persons, {len(found) - len(rows)} without a labelled torso left out")
    unit, label = torso[rows, None, None], found.persons.keypoints[rows]
    point, labelled = found.point[rows] / unit, found.persons.labelled[rows]
    label, image = label / unit, np.unique(found.persons.image_id[rows], return_inverse=True)[1]
    confidence = found.confidence
    assert confidence is not None
    confidence = confidence[rows]
    split = Split.of(image, seed=seed)
    everywhere = np.full((len(rows), 4), np.nan)
    sigma = baseline(point, everywhere, label, labelled, split.rows(image, "fit"))
    before = pp.Gaussian(point, sigma=sigma, joints=joints)
    known = np.where(labelled[..., None], label, np.nan)
    calibration = pp.calibrate(
        before,
        known,
        images=image,
        confidence=confidence,
        method=method,
        residual=residual,
        radius_px=RADIUS,
        seed=seed,
    )
    click.echo(calibration.verdict)
    test = split.rows(image, "test")
    after = calibration.apply(before.select(test), confidence=confidence[test])
    inside = (np.linalg.norm(after.mean - label[test], axis=-1) < RADIUS)[labelled[test]]
    claims = {"before": before.select(test), "after": after}
    claimed = {name: p.probability_within(RADIUS)[labelled[test]] for name, p in claims.items()}
    image_of = np.broadcast_to(image[test][:, None], labelled[test].shape)[labelled[test]]
    table = _table(confidence[test][labelled[test]], inside, claimed, image_of)
    columns = {name: name.replace("_", " ") for name in table[0]}
    report(table, columns, out)


def _torso(persons: pp.Persons) -> tuple[Array, Index]:
    """Length from left shoulder to right hip, and the persons that have both labels, apart."""
    ends = [persons.skeleton.joints.index(name) for name in ("left_shoulder", "right_hip")]
    length = np.linalg.norm(persons.keypoints[:, ends[0]] - persons.keypoints[:, ends[1]], axis=-1)
    return length, np.flatnonzero(persons.labelled[:, ends].all(axis=1) & (length > 0))


def _table(confidence: Array, inside: Mask, claimed: dict[str, Array], image: Index) -> list[dict[str, object]]:
    """A row for each fifth, and one for all; `±` is the standard error, over images, of claimed after - observed."""
    edges = np.quantile(confidence, np.linspace(0, 1, BINS + 1))
    part = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, BINS - 1)
    rows = []
    for number in range(BINS + 1):
        chosen = part == number if number < BINS else np.ones(len(part), dtype=np.bool_)
        name = f"{edges[number]:.2f} to {edges[number + 1]:.2f}" if number < BINS else "all"
        error = clustered_standard_error(claimed["after"][chosen] - inside[chosen], image[chosen])
        rows.append(
            {
                "confidence": name,
                "labels": int(chosen.sum()),
                "claimed_before": f"{claimed['before'][chosen].mean():.3f}",
                "claimed_after": f"{claimed['after'][chosen].mean():.3f}",
                "within_0.2_torso": f"{inside[chosen].mean():.3f}",
                "±": "" if error is None else f"{error:.3f}",
            }
        )
    return rows


if __name__ == "__main__":
    main()
