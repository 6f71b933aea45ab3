"""Simulations with known truth: what `calibrate` says and does of errors whose law is known.

    python -m benchmarks.known_truth --out docs/results/known_truth

Each was once answered wrongly (docs/results.md, "Simulations with known truth", has the numbers of then). Predictions
are Gaussian, labels are drawn, and everything goes through the public API; labels that judge are fresh.
"""

from __future__ import annotations

__all__ = ["main"]

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

import probpose as pp
from benchmarks.tables import report
from probpose.analysis.calibration.calibrate import Settings, calibrate
from probpose.analysis.calibration.cases import PARTS, Cases, Split
from probpose.analysis.calibration.recalibration.base import NoRecalibration
from probpose.analysis.calibration.recalibration.choose import choose, log_prob
from probpose.analysis.calibration.recalibration.noise import NoiseRecalibration
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.api.labels import cases_of_arrays
from probpose.arrays import Array

COLUMNS = {"simulation": "simulation", "truth": "truth", "asked": "asked", "found": "found"}

Row = dict[str, Any]


def predicted(rows: int, sigma: float | Array = 1.0, joints: int = 1) -> pp.Gaussian:
    """Predictions at 0 of `rows` persons."""
    return pp.Gaussian(np.zeros((rows, joints, 2)), sigma=np.broadcast_to(sigma, (rows, joints, 2)).copy())


def with_gross_errors(rng: np.random.Generator, rows: int, share: float) -> Array:
    """Errors (rows, 1, 2) of 5 px, a share of them uniform within 200 px."""
    gross = rng.uniform(size=(rows, 1, 1)) < share
    return np.where(gross, rng.uniform(-200, 200, (rows, 1, 2)), 5 * rng.normal(size=(rows, 1, 2)))


def elliptical(rng: np.random.Generator, rows: int, df: float) -> Array:
    """Errors (rows, 1, 2) by a Student-t on the plane; Gaussian for infinite degrees of freedom."""
    z = rng.normal(size=(rows, 1, 2))
    return z if np.isinf(df) else z * np.sqrt(df / rng.chisquare(df, size=(rows, 1, 1)))


def held(predictions: pp.Distribution, errors: Array) -> str:
    """Percent of the labels in the 50% and the 90% regions."""
    level = pp.score(predictions, errors).level
    return f"{100 * (level <= 0.5).mean():.1f}, {100 * (level <= 0.9).mean():.1f}"


def radii(seed: int, _: int) -> Iterator[Row]:
    """Fresh labels inside r50 and r90."""
    for share in (0.0, 0.03, 0.1):
        fit, fresh = (with_gross_errors(np.random.default_rng([seed, i]), 12_000, share) for i in (0, 1))
        found = pp.calibrate(predicted(len(fit), 5.0), fit, method="density", residual="gaussian")
        again = found.apply(predicted(len(fresh), 5.0))
        distance = np.linalg.norm(fresh - again.mean, axis=-1)
        inside = [100 * (distance <= again.radius_px(content)).mean() for content in (0.5, 0.9)]
        yield {
            "simulation": "radii of a density with outliers",
            "truth": f"{share:.0%} gross errors",
            "asked": "% of fresh labels inside r50, r90",
            "found": f"{inside[0]:.1f}, {inside[1]:.1f}",
        }


def units(seed: int, _: int) -> Iterator[Row]:
    """Sigma in another unit: the factor that is said, and what the regions hold after it."""
    errors = np.random.default_rng(seed).normal(size=(2000, 1, 2))
    for factor in (1 / 3000, 1 / 300, 100.0, 1e6):
        found = pp.calibrate(predicted(len(errors), factor), errors, method="scale", residual="gaussian")
        said = re.search(r"Sigma is ([\d,.]*\d) times too (large|small)", found.verdict)
        yield {
            "simulation": "sigma in another unit",
            "truth": f"sigma is {max(factor, 1 / factor):,.0f} times too {'large' if factor > 1 else 'small'}",
            "asked": "what is said; % in 50% regions after scale",
            "found": f"{said[1] + ' times too ' + said[2] if said else 'nothing'}; "
            f"{100 * found.record.recalibrated.hdr_coverage[0.5]:.1f}",
        }


def shapes(seed: int, _: int) -> Iterator[Row]:
    """Errors of exactly the predicted standard deviation and another shape."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(8000, 1, 2))
    laws = {
        "Laplace errors of the predicted standard deviation": rng.laplace(scale=np.sqrt(0.5), size=z.shape),
        "Student-t errors (3) of the predicted standard deviation": elliptical(rng, 8000, 3.0) / np.sqrt(3),
        "x and y correlated by 0.8": np.stack([z[..., 0], 0.8 * z[..., 0] + 0.6 * z[..., 1]], -1),
    }
    for name, errors in laws.items():
        found = pp.calibrate(predicted(len(errors)), errors, method="scale", residual="gaussian")
        said = re.search(r"Sigma is .*?[a-z%]\.", found.verdict)
        correlated = "; x and y named as correlated" if "x and y" in found.verdict else ""
        yield {
            "simulation": "scale and shape",
            "truth": name,
            "asked": "what is said of sigma",
            "found": f"{said[0] if said else 'nothing'}{correlated}",
        }


def groups(seed: int, _: int) -> Iterator[Row]:
    """A conditional fault that a map of levels alone leaves, in the unit of the claim and in another."""
    rng = np.random.default_rng(seed)
    claimed, errors = np.exp(rng.uniform(0, np.log(8), (6000, 1, 1))), 3 * rng.normal(size=(6000, 1, 2))
    for unit in (1.0, 20.0):
        source = MemorySource(made_up(unit * claimed, errors))
        after = calibrate(source, Settings(method="level")).record.after
        named = {one.group for one in after.deviations if "scale" in (one.group or "")} if after else set()
        yield {
            "simulation": "groups after recalibration",
            "truth": f"errors do not depend on sigma, claimed x {unit:g}",
            "asked": "fifths of the recalibrated sigma that are named",
            "found": f"{len(named)} of 5",
        }


def confidences(seed: int, _: int) -> Iterator[Row]:
    """What confidence says, rising, falling or most in its middle: labels inside r90 in fifths of it."""
    meanings: dict[str, Callable[[Array], Array]] = {
        "errors shrink with confidence": lambda c: 1 - c,
        "errors grow with confidence": lambda c: c,
        "errors are least in its middle": lambda c: 2 * np.abs(c - 0.5),
    }
    for name, meaning in meanings.items():
        parts = []
        for i in (0, 1):
            rng = np.random.default_rng([seed, i])
            confidence = rng.uniform(size=(8000, 1))
            parts.append((confidence, 2 * 4 ** meaning(confidence)[..., None] * rng.normal(size=(8000, 1, 2))))
        (confidence, errors), (fresh, judged) = parts
        found = pp.calibrate(predicted(8000, 4.0), errors, confidence=confidence, method="density", residual="gaussian")
        radius = found.apply(predicted(8000, 4.0), confidence=fresh).radius_px(0.9)
        inside = np.linalg.norm(judged, axis=-1) <= radius
        fifth = np.digitize(fresh, np.linspace(0, 1, 6)[1:-1])
        shares = [100 * inside[fifth == i].mean() for i in range(5)]
        yield {
            "simulation": "what confidence says",
            "truth": name,
            "asked": "% of fresh labels inside r90, in the worst and the best fifth of confidence",
            "found": f"{min(shares):.1f}, {max(shares):.1f}",
        }


def made_up(sigma: float | Array, errors: Array) -> Cases:
    """Predictions at 0 beside labels."""
    predictions = predicted(len(errors), sigma, errors.shape[1])
    return cases_of_arrays(predictions, errors, None, None, None, None, None, "made up")


def choices(seed: int, repetitions: int) -> Iterator[Row]:
    """Exact predictions: how often `auto`, of scale and levels, changes them, and the largest loss."""
    fresh = made_up(1.0, np.random.default_rng(seed).normal(size=(20_000, 1, 2)))
    exact = log_prob(NoRecalibration(), fresh).mean()
    for images in (20, 50, 250, 500, 1000, 2500):
        losses = []
        for repetition in range(repetitions):
            cases = made_up(1.0, np.random.default_rng([seed, images, repetition]).normal(size=(images, 1, 2)))
            split = Split.of(cases.image, seed=repetition)
            fit, calibrate_on = (split.select(cases, part) for part in PARTS[:2])
            choice = choose(fit, calibrate_on, "auto", density=None, seed=repetition)
            if choice.is_change:
                losses.append(float(exact - log_prob(choice.chosen.recalibration, fresh).mean()))
        yield {
            "simulation": "auto, of an exact prediction",
            "truth": f"{images} images of one label",
            "asked": f"% changed of {repetitions}; largest loss, nats",
            "found": f"{100 * len(losses) / repetitions:.1f}; {max(losses, default=0.0):.4f}",
        }


def refits(seed: int, _: int) -> Iterator[Row]:
    """A Student-t and a flow refitted: degrees of freedom, and coverage of fresh labels."""
    for df in (2.2, 3.0, 10.0, np.inf):
        errors = 5 * elliptical(np.random.default_rng([seed, 0]), 20_000, df)
        found = pp.calibrate(predicted(len(errors)), errors, method="density", residual="student_t")
        recalibration = found._outcome.recalibration
        assert isinstance(recalibration, NoiseRecalibration)
        learned = float(recalibration.model.residual.core.df[0])  # type: ignore[index]
        fresh = 5 * elliptical(np.random.default_rng([seed, 1]), 20_000, df)
        yield {
            "simulation": "refit of student_t",
            "truth": "Gaussian errors" if np.isinf(df) else f"{df:g} degrees of freedom",
            "asked": "degrees of freedom; % of fresh labels in 50% and 90% regions",
            "found": f"{learned:.2f}; {held(found.apply(predicted(len(fresh))), fresh)}",
        }
    for joints in (1, 17):
        errors, fresh = (np.random.default_rng([seed, i]).normal(size=(20_000 // joints, joints, 2)) for i in (0, 1))
        found = pp.calibrate(predicted(len(errors), 1.0, joints), errors, method="density")
        yield {
            "simulation": "refit of rle",
            "truth": f"Gaussian errors, {joints} joints a person",
            "asked": "% of fresh labels in 50% and 90% regions",
            "found": held(found.apply(predicted(len(fresh), 1.0, joints)), fresh),
        }


def handed_back(seed: int, _: int) -> Iterator[Row]:
    """200 points, each a landmark of its own."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(100, 200, (200, 2))
    names = {kind: np.array([f"{kind}_{i:03d}" for i in range(200)]) for kind in ("image", "joint")}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "points.npz"
        label, scale = points + rng.normal(size=(200, 2)), np.ones(200)
        np.savez(file, allow_pickle=False, prediction=points, label=label, scale=scale, **names)
        pp.calibrate_table(file, residual="gaussian").save(Path(folder) / "out", report=False)
        with np.load(Path(folder) / "out" / "recalibrated.npz") as handed:
            rows, same = len(handed["x"]), np.array_equal(handed["image"], names["image"])
    yield {
        "simulation": "a table handed back",
        "truth": "200 rows, images by name",
        "asked": "rows; names as they were",
        "found": f"{rows}; {'yes' if same else 'no'}",
    }


SIMULATIONS: dict[str, Callable[[int, int], Iterator[Row]]] = {
    "radii": radii,
    "units": units,
    "shapes": shapes,
    "groups": groups,
    "confidences": confidences,
    "refits": refits,
    "handed back": handed_back,
    "choices": choices,
}
"""From seed and repetitions."""


@click.command()
@click.option("--repetitions", type=click.IntRange(1), default=200, show_default=True, help="Of auto, at each size.")
@click.option("--only", type=click.Choice(list(SIMULATIONS)), help="One of them.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(repetitions: int, only: str | None, seed: int, out: Path | None) -> None:
    """Ask questions whose answer is known, and print what is answered."""
    rows: list[Row] = []
    asked = SIMULATIONS if only is None else {only: SIMULATIONS[only]}
    for row in itertools.chain(*(one(seed, repetitions) for one in asked.values())):
        click.echo(f"{row['simulation']}, {row['truth']}: {row['found']}", err=True)
        rows.append(row)
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
