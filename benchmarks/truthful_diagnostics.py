"""Does the diagnosis tell the truth? It passes the exact as often as stated, and names each fault as what it is.

    python -m benchmarks.truthful_diagnostics --out docs/results/truthful_diagnostics

Seven predictions whose fault is known (`benchmarks.calibration_fakes`), 200 samples each of 400 persons with 17 joints,
a tenth of them unlabelled, diagnosed as `probpose calibrate` does. *Named* is the share of the samples in which
anything is named at a family-wise level of 5%; the exact prediction must be named in 5% of them at most, which
agrees with what was counted where the 95% interval (Clopper and Pearson, Biometrika 1934) begins below that. *Right
kind* is the share in which the fault is named as what it is (`RIGHT`). *Refuted* is the share in which the verdict says
"not calibrated": it looks at the coverage of all labels alone, so that a fault that leaves it right is not refuted.

Persons of one image may share their errors. The diagnosis resamples images, and must be as truthful with three
persons an image, of whom the second and third are doubles of the first with probability 1/2. The same persons with an
image each show what it would say if it took them for independent.

    python -m benchmarks.truthful_diagnostics --few-images --out docs/results/truthful_diagnostics/few_images

How often the verdict on an exact prediction is wrong, and how often its 95% intervals hold the truth, with 1 to 400
images. Levels are uniform, and their normal scores are correlated between the labels of an image.
"""

from __future__ import annotations

__all__ = ["RIGHT", "main"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import stats

from benchmarks.calibration_fakes import FAKES, fake_cases
from benchmarks.tables import report
from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap
from probpose.analysis.calibration.diagnostics.coverage import Coverage, coverage_columns, coverage_names
from probpose.analysis.calibration.diagnostics.deviations import Deviation
from probpose.analysis.calibration.diagnostics.diagnosis import Diagnosis, Questions

FAMILY_LEVEL = 0.05
JOINTS = 17
QUESTIONS_SEED = 2**31
"""Of the sample that the questions are fixed on, which is not judged."""

BOOTSTRAP_SEED = 2**32
"""The bootstrap does not draw the numbers again that its sample was made from."""

COLUMNS = {
    "setting": "persons",
    "fake": "prediction",
    "images": "images",
    "named": "named",
    "named_low": "95% from",
    "named_high": "to",
    "right": "right kind",
    "refuted": "refuted",
    "calibrated": "called calibrated",
    "as_stated": "as stated",
}


FEW_COLUMNS = {
    "images": "images",
    "each": "labels each",
    "correlation": "correlation",
    "refuted": "refuted",
    "calibrated": "called calibrated",
    "held50": "interval holds 50%",
    "held90": "interval holds 90%",
}

FEW = (
    (1, 500, 0.3), (2, 100, 0.3), (4, 17, 0.0), (4, 100, 0.3), (12, 500, 0.3), (20, 17, 0.0), (20, 17, 0.3),
    (40, 17, 0.3), (80, 1, 0.0), (100, 17, 0.1), (200, 1, 0.0), (200, 17, 0.3), (400, 1, 0.0), (400, 17, 0.1),
)  # fmt: skip
"""Images, labels of each, and the correlation of their normal scores."""


@dataclass(frozen=True)
class Setting:
    """How persons are spread over images.

    Attributes:
        name: for the table.
        per_image: persons an image.
        ignored: whether the diagnosis is told that each person has an image of its own.
        fakes: predictions that are judged so.
    """

    name: str
    per_image: int
    ignored: bool
    fakes: tuple[str, ...]


SETTINGS = (
    Setting("one an image", 1, False, tuple(FAKES)),
    Setting("three an image that share errors", 3, False, tuple(FAKES)),
    Setting("the same, taken for independent", 3, True, ("exact",)),
)


def _signs(found: Sequence[Deviation], what: str, group: str = "") -> set[bool]:
    """Whether what is named is too large (True), too small (False), or either in several places.

    Args:
        found: deviations.
        what: beginning of the quantity, such as "coverage".
        group: beginning of the groups' names; empty for all keypoints together.
    """
    return {d.z > 0 for d in found if d.what.startswith(what) and _kind(d) == group}


def _kind(deviation: Deviation) -> str:
    """Kind of the group, such as "scale"; empty for all keypoints together."""
    return "" if deviation.group is None else deviation.group.split(":")[0]


RIGHT: dict[str, Callable[[Sequence[Deviation]], bool]] = {
    "exact": lambda found: not found,
    "over-confident": lambda found: _signs(found, "coverage") == {False},
    "under-confident": lambda found: _signs(found, "coverage") == {True},
    "biased": lambda found: _signs(found, "mean PIT along x") == {True} and not _signs(found, "mean PIT along y"),
    "wrong-tailed": lambda found: _signs(found, "coverage") == {False, True},
    "conditionally miscalibrated": lambda found: _signs(found, "coverage", "scale") == {False, True},
    "dependent": lambda found: _signs(found, "correlation") == {True},
}
"""The right kind of fault: too small a coverage overall and nowhere too large a one, too large a one alone, a shift to
the right along x alone, both too much in the middle and too much in the tails, both in bins of the predicted scale, and
a positive correlation between the joints of a person. Of the exact prediction: nothing."""


def diagnose(fake: str, setting: Setting, persons: int, questions: Questions, seed: int) -> Diagnosis:
    """The diagnosis of one sample."""
    cases = fake_cases(fake, persons=persons, joints=JOINTS, seed=seed, per_image=setting.per_image)
    if setting.ignored:
        cases = replace(cases, image=np.arange(len(cases), dtype=np.int64))
    diagnosis = Diagnosis(questions, persons * JOINTS, energy_labels=0, seed=BOOTSTRAP_SEED + seed)
    diagnosis.add(cases)
    return diagnosis


def repeat(fake: str, setting: Setting, *, repetitions: int, persons: int, seed: int) -> dict[str, Any]:
    """A row of the table."""
    asked = fake_cases(fake, persons=persons, joints=JOINTS, seed=QUESTIONS_SEED + seed, per_image=setting.per_image)
    questions = Questions.of(asked)
    counts, images = np.zeros(4, dtype=np.int64), 0
    for repetition in range(repetitions):
        diagnosis = diagnose(fake, setting, persons, questions, seed + repetition)
        found, verdict = diagnosis.deviations(FAMILY_LEVEL), diagnosis.coverage.verdict()
        counts += [bool(found), RIGHT[fake](found), verdict.refuted, verdict.calibrated]
        images = diagnosis.sums.images
    named, right, refuted, calibrated = (int(count) for count in counts)
    low, high = binomial_interval(named, repetitions)
    stated = None if fake != "exact" else "yes" if low <= FAMILY_LEVEL else "no"
    return {
        "setting": setting.name,
        "fake": fake,
        "images": images,
        "repetitions": repetitions,
        "named": named / repetitions,
        "named_low": low,
        "named_high": high,
        "right": right / repetitions,
        "refuted": refuted / repetitions,
        "calibrated": calibrated / repetitions,
        "as_stated": stated,
    }


def binomial_interval(count: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share."""
    interval = stats.binomtest(count, trials).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def rows(repetitions: int, persons: int, seed: int, fakes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of the table; each is told on standard error when it is done."""
    for setting in SETTINGS:
        for fake in (name for name in setting.fakes if name in fakes):
            row = repeat(fake, setting, repetitions=repetitions, persons=persons, seed=seed)
            click.echo(f"{setting.name}, {fake}: named {row['named']:.3f}, right kind {row['right']:.3f}", err=True)
            yield row


def few_images(images: int, each: int, correlation: float, repetitions: int, seed: int) -> dict[str, Any]:
    """A row of the table of few images."""
    found = np.zeros((repetitions, 4))
    for row in range(repetitions):
        rng = np.random.default_rng([seed, row])
        common, own = rng.normal(size=(images, 1)), rng.normal(size=(images, each))
        level = stats.norm.cdf(np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)
        sums = ImageBootstrap(coverage_names(()), seed=BOOTSTRAP_SEED + row)
        sums.add(np.repeat(np.arange(images), each), coverage_columns(level.ravel(), {}))
        verdict = Coverage(sums).verdict()
        held = [interval.low <= content <= interval.high for content, interval in verdict.coverage.items()]
        found[row] = [verdict.refuted, verdict.calibrated, *held]
    names = ("refuted", "calibrated", "held50", "held90")
    shares = dict(zip(names, found.mean(axis=0).tolist(), strict=True))
    return {"images": images, "each": each, "correlation": correlation, "repetitions": repetitions, **shares}


@click.command()
@click.option("--repetitions", type=click.IntRange(1), default=200, show_default=True, help="Samples of each.")
@click.option("--persons", type=click.IntRange(10), default=400, show_default=True, help="Of each sample.")
@click.option("--fake", "fakes", multiple=True, type=click.Choice(list(FAKES)), default=list(FAKES), help="[all]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first sample.")
@click.option("--few-images", "few", is_flag=True, help="The table of the verdict on few images instead.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(repetitions: int, persons: int, fakes: tuple[str, ...], seed: int, few: bool, out: Path | None) -> None:
    """Diagnose samples of predictions whose fault is known, and print how often it is named."""
    if few:
        report([few_images(*setting, repetitions, seed) for setting in FEW], FEW_COLUMNS, out)
        return
    report(list(rows(repetitions, persons, seed, fakes)), COLUMNS, out)


if __name__ == "__main__":
    main()
