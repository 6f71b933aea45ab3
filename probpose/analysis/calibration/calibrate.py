"""A quick look at one recalibration: log density and coverage of the test labels, with intervals over images.

The outcome of a calibration: what is written to calibration.json and shown in the report.

Calibration: split by image, fit recalibrations, choose one, and judge before and after on what nothing was fitted to.
"""

from __future__ import annotations

__all__ = ["Outcome", "QuickLook", "Residuals", "Settings", "calibrate", "residuals_of"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from probpose.analysis.calibration.cases import PARTS, Cases, Split
from probpose.analysis.calibration.diagnostics.bootstrap import REPLICATES, ImageBootstrap
from probpose.analysis.calibration.diagnostics.coverage import LEVELS, Coverage, coverage_columns, coverage_names
from probpose.analysis.calibration.diagnostics.diagnosis import Diagnosis, Questions
from probpose.analysis.calibration.diagnostics.record import diagnosis_record, interval_record, verdict_text
from probpose.analysis.calibration.outliers import Suspects
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.recalibration.choose import Candidate, Choice, Method, choose
from probpose.analysis.calibration.sources import Source, gather
from probpose.arrays import Array, Index, as_array
from probpose.models.densities import Residual
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.scores import LabelScores


class QuickLook:
    """Sums over a stream of labels.

    Args:
        replicates: of the bootstrap over images.
        seed: of the bootstrap.
    """

    def __init__(self, *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self._sums = ImageBootstrap([*coverage_names(()), "nll", "labels"], replicates=replicates, seed=seed)

    def add(self, scores: LabelScores) -> None:
        """Add the labels of whole images, scored with their `level`."""
        nll = {"nll": -scores.log_prob, "labels": np.ones(len(scores))}
        self._sums.add(scores.image, coverage_columns(scores.level, {}) | nll)

    def record(self, *, has_density: bool) -> dict[str, Any]:
        """Plain JSON; the NLL is None where the recalibration changes regions only."""
        coverage = Coverage(self._sums)
        nll = interval_record(self._sums.interval(self._sums.ratio("nll", "labels"))) if has_density else None
        return {
            "nll_nats": None if nll is None else nll["value"],
            "nll_interval": nll,
            **{f"coverage{100 * c:.0f}": interval_record(coverage.at(c)) for c in LEVELS},
        }


@dataclass(frozen=True)
class Residuals:
    """Test residuals z = L^-1 (label - location) of M labels beside the density that was predicted for them.

    Attributes:
        density: R, shared or one a joint.
        z: (M, 2), in the units of R.
        joint: (M,).
    """

    density: Residual
    z: Array
    joint: Index


@dataclass(frozen=True)
class Outcome:
    """A calibration.

    Attributes:
        record: plain JSON, the content of calibration.json (docs/commands.md says what it holds).
        before: residuals under the prediction as it was; None where it is not of the location-scale family.
        after: the same under the recalibrated prediction; None without one that has a density.
        test: the test persons under the recalibrated prediction, thinned to about 100,000 labels.
        scores: log density (M,) of their labels under each recalibration that has one, nats; and the image (M,) of
            each.
    """

    record: dict[str, Any]
    before: Residuals | None
    after: Residuals | None
    test: Cases
    scores: dict[str, tuple[Array, Index]]


def residuals_of(cases: Cases) -> Residuals | None:
    """The residuals of labels under a location-scale prediction; None under another."""
    predictive = cases.predictive
    if not isinstance(predictive, LocationScale):
        return None
    z = as_array(predictive.standardised(cases.filled))
    joint = np.nonzero(cases.labelled)[1]
    return Residuals(predictive.residual, z[cases.labelled], joint)


MANY = 500_000
"""Labels from which on a learned density is read from a table."""


@dataclass(frozen=True)
class Settings:
    """How to calibrate.

    Attributes:
        method: of recalibration.
        density: fits a residual density to cases, which also tells gross errors; None where that is impossible.
        per_joint: conformal guarantees by joint.
        radius_px: r of P(error <= r); the median error by default.
        replicates: of the bootstrap over images.
        seed: of the split, the bootstrap and all choices.
    """

    method: Method = "auto"
    density: Callable[[Cases], Recalibration] | None = None
    per_joint: bool = False
    radius_px: float | None = None
    replicates: int = REPLICATES
    seed: int = 0


def calibrate(
    source: Source, settings: Settings, progress: Callable[[int], None] | None = None
) -> tuple[Outcome, Candidate]:
    """Diagnose predictions and recalibrate them.

    Args:
        source: of held-out cases.
        settings: how.
        progress: called with the number of persons judged so far.

    Returns:
        The outcome and the chosen recalibration.

    Raises:
        DataError: too few images or labels, or a label's log density is not finite.
        ConfigError: a method that the predictions do not allow.
    """
    split = Split.of(source.images, seed=settings.seed, name=source.name)
    fit, held, sample = (gather(source, split, part, seed=settings.seed) for part in PARTS)
    density = settings.density
    if density is not None and source.labels > MANY:
        density = partial(_for_many, density)
    choice = choose(fit, held, settings.method, density=density, per_joint=settings.per_joint, seed=settings.seed)
    questions = Questions.of(fit, settings.radius_px)
    test = _Test(questions, choice, source.labels * 2 // 5, settings)
    done = 0
    for chunk in source.chunks():
        test.add(chunk, split)
        done += len(chunk)
        if progress is not None:
            progress(done)
    recalibrations, scores = _compare(choice, sample, settings)
    recalibrated = sample.under(choice.chosen.recalibration.apply(sample))
    outcome = Outcome(
        record=_record(source, split, test, choice) | {"cures": recalibrations},
        before=residuals_of(sample),
        after=None if choice.chosen.log_prob is None else residuals_of(recalibrated),
        test=recalibrated,
        scores=scores,
    )
    return outcome, choice.chosen


def _for_many(density: Callable[[Cases], Recalibration], cases: Cases) -> Recalibration:
    return density(cases).for_many()


class _Test:
    """What is learnt from the test part, before and after; and the suspects of all parts."""

    def __init__(self, questions: Questions, choice: Choice, labels: int, settings: Settings) -> None:
        self.chosen = choice.chosen
        known = {"replicates": settings.replicates, "seed": settings.seed}
        self.before = Diagnosis(questions, labels, **known)
        self.after = None if self.chosen.name == "none" else Diagnosis(questions, labels, **known)
        self.suspects = Suspects(next((c.recalibration for c in choice.candidates if c.name == "density"), None))

    def add(self, cases: Cases, split: Split) -> None:
        """Add all persons of some images, of any part."""
        doubted = self.suspects.add(cases, split)
        rows = split.rows(cases.image, "test")
        cases, doubted = cases.select(rows), None if doubted is None else doubted[rows]
        if not cases.labelled.any():
            return
        self.before.add(cases, doubted)
        if self.after is not None:
            self.after.add(cases.under(self.chosen.recalibration.apply(cases)), doubted)


def _compare(
    choice: Choice, sample: Cases, settings: Settings
) -> tuple[list[dict[str, Any]], dict[str, tuple[Array, Index]]]:
    """One row a recalibration, and the log densities of those that have one, on test persons that fit into memory."""
    rows, scores = [], {}
    for candidate in choice.candidates:
        found = sample.under(candidate.recalibration.apply(sample)).scores("level", seed=settings.seed)
        look = QuickLook(replicates=settings.replicates, seed=settings.seed)
        look.add(found)
        has_density = candidate.log_prob is not None
        known = {"method": candidate.name, "nll_calibrate_nats": candidate.nll_calibrate_nats}
        rows.append(known | look.record(has_density=has_density) | {"chosen": candidate is choice.chosen})
        if has_density:
            scores[candidate.name] = (found.log_prob, found.image)
    return rows, scores


def _record(source: Source, split: Split, test: _Test, choice: Choice) -> dict[str, Any]:
    before = diagnosis_record(test.before)
    after = None if test.after is None else diagnosis_record(test.after)
    last, chosen = before if after is None else after, choice.chosen
    return {
        "format": 1,
        "name": source.name,
        "joints": list(source.joints),
        "split": {"seed": split.seed} | {part: len(split.rows(split.images, part)) for part in PARTS},
        "verdict": {
            "calibrated": before["calibrated"],
            "refuted": before["refuted"],
            "text": verdict_text(before, after, chosen.name),
        },
        **{name: before[name] for name in ("keypoints", "persons", "images")},
        **_headline(before, has_density=True),
        "recalibrated": {
            "method": chosen.recalibration.method,
            "name": chosen.name,
            "calibrated": last["calibrated"],
            **_headline(last, has_density=chosen.log_prob is not None),
        },
        "not_fitted": choice.failed,
        **test.suspects.record(),
        "before": before,
        "after": after,
    }


def _headline(diagnosis: dict[str, Any], *, has_density: bool) -> dict[str, Any]:
    nll = diagnosis["scores"]["nll_nats"]
    coverage = {content: found["value"] for content, found in diagnosis["hdr_coverage"].items()}
    return {"nll_nats": nll["value"] if has_density and nll else None, "hdr_coverage": coverage}
