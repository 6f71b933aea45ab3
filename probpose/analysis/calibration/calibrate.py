"""Calibration: split by image, fit the cures, choose one, and judge before and after on what nothing was fitted to."""

from __future__ import annotations

__all__ = ["Settings", "calibrate"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probpose.analysis.calibration.bootstrap import REPLICATES
from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.choose import Candidate, Choice, Method, choose, log_prob
from probpose.analysis.calibration.cures import Cure
from probpose.analysis.calibration.diagnosis import Diagnosis, Questions
from probpose.analysis.calibration.diagnosis_record import diagnosis_record
from probpose.analysis.calibration.gather import gather
from probpose.analysis.calibration.judged import Judged
from probpose.analysis.calibration.outcome import Outcome, residuals_of
from probpose.analysis.calibration.quick import QuickLook
from probpose.analysis.calibration.source import Source
from probpose.analysis.calibration.split import PARTS, Split
from probpose.analysis.calibration.suspects import Suspects
from probpose.analysis.calibration.verdict import verdict_text


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
    fit, held = (gather(source, split, part, seed=settings.seed) for part in PARTS[:2])
    choice = choose(
        fit, held, settings.method, density=settings.density, per_joint=settings.per_joint, seed=settings.seed
    )
    chosen = choice.chosen
    questions = Questions.of(Judged.of(fit, settings.seed), source.joints, settings.radius_px)
    test = _Test(questions, choice, source.labels * 2 // 5, settings)
    done = 0
    for chunk in source.chunks():
        test.add(split.select(chunk, "test"))
        test.suspects.add(chunk, split)
        done += len(chunk)
        if progress is not None:
            progress(done)
    record = _record(source, split, test, chosen, settings)
    return _outcome(record, gather(source, split, "test", seed=settings.seed), choice), chosen


def _outcome(record: dict[str, Any], sample: Cases, choice: Choice) -> Outcome:
    image = sample.image[np.nonzero(sample.labelled)[0]]
    with_density = [c for c in choice.candidates if c.log_prob is not None]
    recalibrated = sample.under(choice.chosen.cure.apply(sample))
    return Outcome(
        record=record,
        before=residuals_of(sample),
        after=None if choice.chosen.log_prob is None else residuals_of(recalibrated),
        test=recalibrated,
        scores={c.name: (log_prob(c.cure, sample), image) for c in with_density},
    )


class _Test:
    """What is learnt from the test part: full diagnoses before and after, a quick look at every candidate."""

    def __init__(self, questions: Questions, choice: Choice, labels: int, settings: Settings) -> None:
        candidates, chosen = choice.candidates, choice.chosen
        self.failed = choice.failed
        known = {"replicates": settings.replicates, "seed": settings.seed}
        self.before = Diagnosis(questions, labels, **known)
        self.after = None if chosen.name == "none" else Diagnosis(questions, labels, **known)
        self.quick = {c.name: QuickLook(**known) for c in candidates}
        self.suspects = Suspects(next((c.cure for c in candidates if c.name == "density"), None))
        self._candidates, self._chosen = candidates, chosen

    def add(self, cases: Cases) -> None:
        if not cases.labelled.any():
            return
        doubted = self.suspects.of(cases)
        judged = self.before.add(cases, doubted)
        for candidate in self._candidates:
            if candidate.name == "none":
                self.quick[candidate.name].add(judged)
                continue
            recalibrated = cases.under(candidate.cure.apply(cases))
            if candidate is self._chosen and self.after is not None:
                self.quick[candidate.name].add(self.after.add(recalibrated, doubted))
            else:
                self.quick[candidate.name].add(Judged.of(recalibrated))

    def cures(self) -> list[dict[str, Any]]:
        """One row a candidate."""
        return [
            {
                "method": c.name,
                "nll_calibrate_nats": c.nll_calibrate_nats,
                **self.quick[c.name].record(has_density=c.log_prob is not None),
                "chosen": c is self._chosen,
            }
            for c in self._candidates
        ]


def _record(source: Source, split: Split, test: _Test, chosen: Candidate, settings: Settings) -> dict[str, Any]:
    before = diagnosis_record(test.before)
    after = None if test.after is None else diagnosis_record(test.after)
    last = before if after is None else after
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
        "cures": test.cures(),
        "not_fitted": test.failed,
        **test.suspects.record(),
        "before": before,
        "after": after,
    }


def _headline(diagnosis: dict[str, Any], *, has_density: bool) -> dict[str, Any]:
    nll = diagnosis["scores"]["nll_nats"]
    coverage = {content: found["value"] for content, found in diagnosis["hdr_coverage"].items()}
    return {"nll_nats": nll["value"] if has_density and nll else None, "hdr_coverage": coverage}
