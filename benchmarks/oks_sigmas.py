"""OKS sigmas whose truth is known: how often intervals hold it, from repeated labels and from models.

    python -m benchmarks.oks_sigmas --out docs/results/oks_sigmas
    python -m benchmarks.oks_sigmas --only "real models" --annotations gt.json --predictions a.json b.json --out OUT

Repeated labels are drawn from the model of `probpose annotators` with parameters of its prior; labels beside models
from Gaussian errors, from Student-t errors of three degrees of freedom, and from Gaussian errors with gross ones.
*Truth* of the statistic "core" of errors that are not Gaussian is what it gives of a million labels.
"""

from __future__ import annotations

__all__ = ["main"]

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import click
import numpy as np

import probpose as pp
from benchmarks.tables import report
from probpose.analysis.oks_sigmas.collocation import Judged, labels_beside_models
from probpose.analysis.oks_sigmas.record import summarise
from probpose.analysis.oks_sigmas.scatter import Statistic, scatter
from probpose.arrays import Array
from probpose.inference.fitting.annotation_replicates import draw_prior
from probpose.models.annotation_model import Design
from probpose.skeleton import Skeleton

COLUMNS = {
    "truth": "truth",
    "statistic": "statistic",
    "assumed": "correlation assumed",
    "sigma": "sigma",
    "mean": "mean estimate",
    "coverage": "90% intervals hold it, %",
    "width": "mean width, % of sigma",
}

LABEL, MODELS = 0.06, (0.07, 0.09)
PERSONS = 400
SKELETON = Skeleton.from_names(["nose"])
GRID = np.array([0.0, 0.15, 0.25, 0.3, 0.5])

Law = Literal["Gaussian", "Student-t (3)", "gross errors"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Errors of a law, those of the models correlated, and what is assumed of the correlation."""

    law: Law
    rho: float
    assumed: tuple[float, float]
    statistic: Statistic


CASES = [
    Case("Gaussian", 0.0, (0.0, 0.0), "all"),
    Case("Gaussian", 0.0, (0.0, 0.0), "core"),
    Case("Gaussian", 0.3, (0.3, 0.3), "core"),
    Case("Gaussian", 0.3, (0.0, 0.5), "core"),
    Case("Gaussian", 0.0, (0.0, 0.5), "core"),
    Case("Gaussian", 0.7, (0.0, 0.5), "core"),
    Case("Student-t (3)", 0.0, (0.0, 0.0), "all"),
    Case("Student-t (3)", 0.0, (0.0, 0.0), "core"),
    Case("gross errors", 0.0, (0.0, 0.0), "all"),
    Case("gross errors", 0.0, (0.0, 0.0), "core"),
    Case("gross errors", 0.3, (0.0, 0.5), "core"),
]


def drawn(rng: np.random.Generator, law: Law, rho: float, persons: int) -> Judged:
    """One joint of persons of size 1, of whom 3% of labels and 8% of each model's points are gross in that law."""
    common = rng.normal(size=(persons, 2))
    unit = [np.sqrt(rho) * common + np.sqrt(1 - rho) * rng.normal(size=(persons, 2)) for _ in MODELS]
    z = [rng.normal(size=(persons, 2)), *unit]
    if law == "Student-t (3)":
        z = [own / np.sqrt(rng.chisquare(3, (persons, 1)) / 3) for own in z]
    errors = [size / np.sqrt(2) * own for size, own in zip((LABEL, *MODELS), z, strict=True)]
    if law == "gross errors":
        errors = [_with_gross(rng, own, share) for own, share in zip(errors, (0.03, 0.08, 0.08), strict=True)]
    label, *points = (own[:, None] for own in errors)
    return Judged(
        name="simulated", models=("a", "b"), skeleton=SKELETON, image=np.arange(persons), size=np.ones(persons),
        label=label, point=np.stack(points), known=np.ones((2, persons, 1), dtype=np.bool_),
    )  # fmt: skip


def _with_gross(rng: np.random.Generator, errors: Array, share: float) -> Array:
    gross = rng.random((len(errors), 1)) < share
    return np.where(gross, rng.uniform(-0.6, 0.6, errors.shape), errors)


def truth_of(case: Case) -> float:
    """Sigma that the statistic would give of infinitely many labels at the right correlation."""
    if case.law == "Gaussian" or (case.law == "gross errors" and case.statistic == "core"):
        return LABEL
    if case.statistic == "all":
        tails = {"Student-t (3)": LABEL * np.sqrt(3), "gross errors": np.sqrt(0.97 * LABEL**2 + 0.03 * 2 * 0.36 / 3)}
        return float(tails[case.law])
    many = labels_beside_models(drawn(np.random.default_rng(0), case.law, case.rho, 1_000_000), "core", GRID, 0, 0)
    return float(np.sqrt(many.variance[0, 0, 0, int(np.argmin(np.abs(GRID - case.rho)))]))


def collocation(seed: int, repetitions: int) -> Iterator[Row]:
    """Labels beside two models."""
    for number, case in enumerate(CASES):
        truth = truth_of(case)
        found = []
        for i in range(repetitions):
            judged = drawn(np.random.default_rng([seed, number, i]), case.law, case.rho, PERSONS)
            variance = labels_beside_models(judged, case.statistic, GRID, 100, seed=i)
            (one,) = summarise(variance, case.assumed, 0.9).joints
            found.append((one.sigma or 0.0, one.low or 0.0, one.high or 0.0))
        low, high = case.assumed
        assumed = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        yield _row(f"{case.law}, rho {case.rho:g}", case.statistic, assumed, truth, found)


def repeated(seed: int, repetitions: int) -> Iterator[Row]:
    """Repeated labels of objects of known sizes, by annotators drawn from the prior, a fifth of the labels missing."""
    for annotators in (3, 6, 2):
        found, moments, sigmas = [], [], []
        for i in range(repetitions):
            labels, variance = repeated_labels(np.random.default_rng([seed, annotators, i]), annotators, [seed, i])
            record = pp.oks_sigmas(labels, draws=100, replicates=200, seed=i)
            for one, sigma in zip(record.joints, np.sqrt(variance), strict=True):
                found.append((one.sigma or 0.0, one.low or 0.0, one.high or np.inf))
                moments.append(one.moments or (0.0, 0.0, 0.0))
                sigmas.append(sigma)
        for name, own in (("posterior", found), ("moments", moments)):
            relative = np.array(own) / np.array(sigmas)[:, None]
            law = f"repeated labels, {annotators} annotators, {OBJECTS} objects"
            yield _row(law, name, "", 1.0, [(s, a, b) for s, a, b in relative.tolist()])


OBJECTS = 60


def repeated_labels(rng: np.random.Generator, annotators: int, seed: Sequence[int]) -> tuple[pp.RepeatedLabels, Array]:
    """Labels of three landmarks with parameters of the prior, and their sigma squared (K,).

    The mean over the annotators that there are: of two, sum_a |b_a|^2 / (A - 1) is half the squared difference.
    """
    joints, size = ("nose", "left_ear", "right_ear"), rng.uniform(50, 200, OBJECTS)
    object_, who, joint = np.nonzero(rng.random((OBJECTS, annotators, 3)) >= 0.2)
    labels = pp.RepeatedLabels(
        name="simulated", objects=tuple(map(str, range(OBJECTS))), annotators=tuple(map(str, range(annotators))),
        landmarks=joints, pairs=((1, 2),), object=object_, annotator=who, landmark=joint,
        xy=rng.normal(0, 3, (len(who), 2)), area=size**2,
    )  # fmt: skip
    design = Design.of(labels)
    prior = draw_prior(design, 1, int(np.sum(seed))).named(design.typical)
    draw = {name: value[0, 0] for name, value in prior.items()}
    grow = (size / np.exp(np.log(size).mean())) ** draw["size_exponent"]
    rho, scale = draw["rho"], draw["scale"]
    z = rng.normal(size=labels.xy.shape)
    unit = np.stack([z[:, 0], rho[joint] * z[:, 0] + np.sqrt(1 - rho[joint] ** 2) * z[:, 1]], -1) * scale[joint]
    error = draw["bias"][who, joint] + draw["tau"][who, joint, None] * unit
    place = rng.uniform(0, 500, (OBJECTS, 3, 2))[object_, joint]
    own = (draw["bias"] ** 2).sum(axis=(0, 2)) / (annotators - 1) + (draw["tau"] ** 2).mean(axis=0) * (scale**2).sum(1)
    variance = own * (grow**2 / size**2).mean()
    variance[1:] = variance[1:].mean()  # the sides of a pair are pooled
    return replace(labels, xy=place + grow[object_, None] * error), variance


FIGURES = 1500


def figures(seed: int, _: int) -> Iterator[Row]:
    """Figures whose true joints are stored, beside two simulated models: Student-t (3) errors, hard joints in common.

    Truth is what the statistic gives of label minus true joint.
    """
    with TemporaryDirectory() as folder:
        root = pp.synthesise(Path(folder) / "figures", FIGURES, seed=seed, progress=False)
        persons = pp.open_data("synthetic", "train", root=root)
    assert persons.truth is not None
    rng, size = np.random.default_rng(seed), np.sqrt(persons.area)
    place = np.nan_to_num(persons.truth[..., :2])
    common, spread = rng.normal(size=place.shape), np.sqrt(rng.chisquare(3, (*place.shape[:2], 1)) / 3)
    points = []
    for own in MODELS:
        z = (np.sqrt(0.3) * common + np.sqrt(0.7) * rng.normal(size=place.shape)) / spread
        points.append(place + own / 2 * size[:, None, None] * z)
    judged = Judged(
        name="figures", models=("a", "b"), skeleton=persons.skeleton, image=persons.image_id, size=size,
        label=persons.keypoints, point=np.stack(points), known=np.stack([persons.labelled] * 2),
    )  # fmt: skip
    error = (persons.keypoints - place) / size[:, None, None]
    statistics: tuple[Statistic, ...] = ("all", "core")
    for statistic, assumed in itertools.product(statistics, ((0.3, 0.3), (0.0, 0.5))):
        variance = labels_beside_models(judged, statistic, GRID, 200, seed)
        exact = np.array([np.trace(scatter(error[persons.labelled[:, k], k], statistic).covariance) for k in range(17)])
        exact = np.sqrt((exact + exact[list(persons.skeleton.flip_permutation)]) / 2)
        found = summarise(variance, assumed, 0.9).joints
        relative = [(one.sigma / s, one.low / s, one.high / s) for one, s in zip(found, exact, strict=True)]
        low, high = assumed
        name = f"{len(persons)} figures, 17 joints, models of rho 0.3"
        yield _row(name, statistic, f"{low:g}" if low == high else f"{low:g} to {high:g}", 1.0, relative)


def _row(truth: str, statistic: str, assumed: str, sigma: float, found: Sequence[tuple[float, float, float]]) -> Row:
    mean, low, high = np.array(found).T
    held = (low <= sigma) & (sigma <= high)
    error = 100 * np.sqrt(held.mean() * (1 - held.mean()) / len(held))
    return {
        "truth": truth, "statistic": statistic, "assumed": assumed, "sigma": f"{sigma:.4f}",
        "mean": f"{mean.mean():.4f}", "coverage": f"{100 * held.mean():.0f} ± {error:.0f}",
        "width": f"{100 * (high - low).mean() / sigma:.0f}",
    }  # fmt: skip


def real_models(annotations: Path, predictions: Sequence[Path], out: Path | None) -> Iterator[Row]:
    """Sigmas of a data set by the models' results, beside those that are usual, and their picture."""
    found = {
        statistic: pp.oks_sigmas(annotations, predictions, statistic=statistic, correlation=(0.0, 0.5))
        for statistic in ("core", "all")
    }
    bound = pp.oks_sigmas(annotations, predictions[0])
    if out is not None:
        pp.save_oks_sigmas(found["core"], out)
    for core, every, one in zip(found["core"].joints, found["all"].joints, bound.joints, strict=True):
        if core.sigma is None:
            continue
        at = {round(rho, 3): sigma for rho, (sigma, _, _) in zip(found["core"].correlations, core.curve, strict=True)}
        yield {
            "joint": core.joint, "labels": core.labels, "usual": core.usual,
            "0": at[0.0], "0.5": at[0.5], "0.8": at[0.8],
            "interval": f"{core.low:.3f} to {core.high:.3f}", "kept": f"{core.kept:.2f}", "bound": one.sigma,
            "all": f"{every.low:.3f} to {every.high:.3f}",
        }  # fmt: skip


REAL_COLUMNS = {
    "joint": "joint",
    "labels": "labels",
    "usual": "published",
    "0": "rho 0",
    "0.5": "rho 0.5",
    "0.8": "rho 0.8",
    "interval": "90%, rho 0 to 0.5",
    "kept": "kept",
    "bound": "first model alone, at most",
    "all": "gross errors counted, 90%",
}

SIMULATIONS: dict[str, Callable[[int, int], Iterator[Row]]] = {
    "collocation": collocation,
    "figures": figures,
    "repeated": repeated,
}


@click.command()
@click.option("--repetitions", type=click.IntRange(1), default=200, show_default=True, help="Of each case.")
@click.option("--only", type=click.Choice([*SIMULATIONS, "real models"]), help="One of them.")
@click.option("--annotations", type=click.Path(path_type=Path), help="Of real labels.")
@click.option("--predictions", multiple=True, type=click.Path(path_type=Path), help="Of real models.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(
    repetitions: int,
    only: str | None,
    annotations: Path | None,
    predictions: tuple[Path, ...],
    seed: int,
    out: Path | None,
) -> None:
    """Sigmas of known truth, or of real labels and models."""
    if only == "real models":
        if annotations is None or not predictions:
            raise click.UsageError("real models need --annotations and --predictions.")
        report(list(real_models(annotations, predictions, out)), REAL_COLUMNS, out)
        return
    asked = SIMULATIONS if only is None else {only: SIMULATIONS[only]}
    rows = []
    for row in itertools.chain(*(one(seed, repetitions) for one in asked.values())):
        click.echo(f"{row['truth']}, {row['statistic']}: {row['coverage']}", err=True)
        rows.append(row)
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
