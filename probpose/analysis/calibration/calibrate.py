"""Calibration: split by image, fit the cures, choose one, and judge before and after on what nothing was fitted to."""

from __future__ import annotations

__all__ = ["Settings", "calibrate"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from probpose.analysis.calibration.bootstrap import REPLICATES
from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.choose import Candidate, Choice, Method, choose
from probpose.analysis.calibration.cures import Cure
from probpose.analysis.calibration.diagnosis import Diagnosis, Questions
from probpose.analysis.calibration.diagnosis_record import diagnosis_record
from probpose.analysis.calibration.gather import gather
from probpose.analysis.calibration.judged import Judged, Levels
from probpose.analysis.calibration.outcome import Index, Outcome, residuals_of
from probpose.analysis.calibration.quick import QuickLook
from probpose.analysis.calibration.source import Source
from probpose.analysis.calibration.split import PARTS, Split
from probpose.analysis.calibration.suspects import Suspects
from probpose.analysis.calibration.verdict import verdict_text
from probpose.analysis.estimates import Array

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
    density: Callable[[Cases], Cure] | None = None
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
        The outcome and the chosen cure.

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
    questions = Questions.of(Judged.of(fit, settings.seed), source.joints, settings.radius_px)
    test = _Test(questions, choice, source.labels * 2 // 5, settings)
    done = 0
    for chunk in source.chunks():
        test.add(chunk, split)
        done += len(chunk)
        if progress is not None:
            progress(done)
    cures, scores = _compare(choice, sample, settings)
    recalibrated = sample.under(choice.chosen.cure.apply(sample))
    outcome = Outcome(
        record=_record(source, split, test, choice) | {"cures": cures},
        before=residuals_of(sample),
        after=None if choice.chosen.log_prob is None else residuals_of(recalibrated),
        test=recalibrated,
        scores=scores,
    )
    return outcome, choice.chosen


def _for_many(density: Callable[[Cases], Cure], cases: Cases) -> Cure:
    return density(cases).for_many()


class _Test:
    """What is learnt from the test part, before and after; and the suspects of all parts."""

    def __init__(self, questions: Questions, choice: Choice, labels: int, settings: Settings) -> None:
        self.chosen = choice.chosen
        known = {"replicates": settings.replicates, "seed": settings.seed}
        self.before = Diagnosis(questions, labels, **known)
        self.after = None if self.chosen.name == "none" else Diagnosis(questions, labels, **known)
        self.suspects = Suspects(next((c.cure for c in choice.candidates if c.name == "density"), None))

    def add(self, cases: Cases, split: Split) -> None:
        """Add all persons of some images, of any part."""
        doubted = self.suspects.add(cases, split)
        rows = split.rows(cases.image, "test")
        cases, doubted = cases.select(rows), None if doubted is None else doubted[rows]
        if not cases.labelled.any():
            return
        self.before.add(cases, doubted)
        if self.after is not None:
            self.after.add(cases.under(self.chosen.cure.apply(cases)), doubted)


def _compare(
    choice: Choice, sample: Cases, settings: Settings
) -> tuple[list[dict[str, Any]], dict[str, tuple[Array, Index]]]:
    """One row a cure, and the log densities of those that have one, on test persons that fit into memory."""
    rows, scores = [], {}
    for candidate in choice.candidates:
        judged = Levels.of(sample.under(candidate.cure.apply(sample)), settings.seed)
        look = QuickLook(replicates=settings.replicates, seed=settings.seed)
        look.add(judged)
        has_density = candidate.log_prob is not None
        known = {"method": candidate.name, "nll_calibrate_nats": candidate.nll_calibrate_nats}
        rows.append(known | look.record(has_density=has_density) | {"chosen": candidate is choice.chosen})
        if has_density:
            scores[candidate.name] = (judged.log_prob, judged.image)
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
            "method": chosen.cure.method,
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
