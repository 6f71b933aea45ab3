"""Calibration: split by image, fit recalibrations, choose one, and diagnose before and after on untouched images."""

from __future__ import annotations

__all__ = ["Outcome", "Settings", "calibrate", "compare_recalibrations"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from probpose.analysis.calibration.cases import PARTS, Cases, Residuals, Split, residuals_of
from probpose.analysis.calibration.cluster import Here, Workers
from probpose.analysis.calibration.diagnostics.bootstrap import REPLICATES, ImageBootstrap, known
from probpose.analysis.calibration.diagnostics.coverage import Coverage, coverage_columns, coverage_names
from probpose.analysis.calibration.diagnostics.diagnosis import Questions, diagnosis_record
from probpose.analysis.calibration.diagnostics.record import DiagnosisRecord
from probpose.analysis.calibration.judging import Counts, Judge
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.recalibration.choose import Candidate, Choice, Method, choose
from probpose.analysis.calibration.record import (
    FORMAT,
    CalibrationRecord,
    ElpdRecord,
    RecalibratedRecord,
    RecalibrationRecord,
    SampleRecord,
    SplitRecord,
    VerdictRecord,
    verdict_text,
)
from probpose.analysis.calibration.sources.base import Source, gather
from probpose.analysis.posterior import elpd_table
from probpose.arrays import Array, Index, as_array
from probpose.errors import DataError
from probpose.models.scores import LabelScores

MANY = 500_000
"""Labels from which on a learned density is read from a table."""


@dataclass(frozen=True)
class Settings:
    """How to calibrate.

    Attributes:
        method: of recalibration.
        density: fits a residual density with an outlier component to cases; None where that is impossible.
        per_joint: conformal guarantees by joint.
        radius_px: r of P(error <= r); the median error by default.
        replicates: of the bootstrap over images.
        seed: of the split, the bootstrap and all choices.
        workers: judge parts of the data; this process by default.
    """

    method: Method = "auto"
    density: Callable[[Cases], Recalibration] | None = None
    per_joint: bool = False
    radius_px: float | None = None
    replicates: int = REPLICATES
    seed: int = 0
    workers: Workers = field(default_factory=Here)


@dataclass(frozen=True)
class Outcome:
    """A calibration.

    Attributes:
        record: in numbers, the content of calibration.json.
        recalibration: the chosen one.
        before: residuals under the prediction as it was; None where it is not of the location-scale family.
        after: the same under the recalibrated prediction; None where nothing was changed, and without a density.
        test: the test persons under the recalibrated prediction, thinned to about 100,000 labels.
    """

    record: CalibrationRecord
    recalibration: Recalibration
    before: Residuals | None
    after: Residuals | None
    test: Cases


def calibrate(source: Source, settings: Settings, progress: Callable[[int], None] = lambda _: None) -> Outcome:
    """Diagnose predictions and recalibrate them.

    Args:
        source: of held-out cases.
        settings: how.
        progress: called with the number of persons diagnosed so far.

    Raises:
        DataError: too few images or labels, or a label's log density is not finite.
        ConfigError: a method that the predictions do not allow.
    """
    seed = settings.seed
    split = Split.of(source.units, seed=seed, name=source.name)
    parts = gather(source, split, seed=seed)
    density = settings.density
    if density is not None and source.labels > MANY:
        density = partial(_for_many, density)
    exact = _exact_joints(parts["fit"])
    choice = choose(
        parts["fit"].without(exact), parts["calibrate"].without(exact), settings.method, density=density,
        per_joint=settings.per_joint, seed=seed,
    )  # fmt: skip
    judge = _judge(source, split, choice, parts["fit"], settings)
    counts = settings.workers.count(judge, source.parts(), progress)
    compared = compare_recalibrations(choice, parts["test"], replicates=settings.replicates, seed=seed)
    recalibrated = parts["test"].under(choice.chosen.recalibration.apply(parts["test"]))
    has_density = choice.chosen.log_prob is not None
    return Outcome(
        record=_record(source, _split_record(source, split, parts), choice, counts, *compared, exact),
        recalibration=choice.chosen.recalibration,
        before=residuals_of(parts["test"]),
        after=residuals_of(recalibrated) if choice.is_change and has_density else None,
        test=recalibrated,
    )


def _exact_joints(cases: Cases) -> Index:
    """Joints most of whose labels equal the prediction, of which no density would be dense enough.

    Raises:
        DataError: all are.
    """
    exact = (cases.keypoints == as_array(cases.predictive.mean)).all(axis=-1) & cases.labelled
    mostly = 2 * exact.sum(axis=0) > cases.labelled.sum(axis=0)
    if not (cases.labelled & ~mostly).any():
        raise DataError(f"{cases.name}: {_EXACT}: are these the labels? There is no error to describe.")
    return np.flatnonzero(mostly)


_EXACT = "most predictions equal their labels to the last digit"


def _for_many(density: Callable[[Cases], Recalibration], cases: Cases) -> Recalibration:
    return density(cases).for_many()


def _judge(source: Source, split: Split, choice: Choice, fit: Cases, settings: Settings) -> Judge:
    """Before and after, each has the bins of its own scales, about the same radius."""
    before, recalibration = Questions.of(fit, settings.radius_px), choice.chosen.recalibration
    changed = fit.under(recalibration.apply(fit)) if choice.is_change else None
    return Judge(
        split=split,
        recalibration=recalibration,
        density=next((one.recalibration for one in choice.candidates if one.name == "density"), None),
        before=before,
        after=None if changed is None else Questions.of(changed, before.radius_px),
        labels=source.labels * 2 // 5,
        replicates=settings.replicates,
        seed=settings.seed,
    )


def _record(
    source: Source,
    split: SplitRecord,
    choice: Choice,
    counts: Counts,
    recalibrations: tuple[RecalibrationRecord, ...],
    elpd: tuple[ElpdRecord, ...],
    exact: Index,
) -> CalibrationRecord:
    before, outliers = diagnosis_record(counts.before), counts.outliers
    after = None if counts.after is None else diagnosis_record(counts.after)
    unfitted = f"{_EXACT}, so that nothing is fitted to them; they are judged like all others"
    return CalibrationRecord(
        source=source.record,
        gauge=before.gauge,
        left_out=(*source.left_out, *(f"joint {source.joints[k]}: {unfitted}" for k in exact)),
        format=FORMAT,
        name=source.name,
        joints=source.joints,
        split=split,
        verdict=VerdictRecord(
            before.calibrated, before.refuted, verdict_text(before, after, choice.chosen.name, split.sample)
        ),
        keypoints=before.keypoints,
        persons=before.persons,
        images=before.images,
        nll_nats=before.nll_nats,
        hdr_coverage=before.coverage,
        recalibrated=_recalibrated(choice, after or before),
        not_fitted=choice.failed,
        outliers=outliers.listed,
        outlier_count=outliers.count,
        outlier_share=outliers.share,
        before=before,
        after=after,
        recalibrations=recalibrations,
        elpd=elpd,
    )


def _split_record(source: Source, split: Split, parts: Mapping[str, Cases]) -> SplitRecord:
    used = {part: int(cases.labelled.sum()) for part, cases in parts.items()}
    sampled = sum(used.values()) < source.labels
    sample = SampleRecord(used["fit"], used["calibrate"], source.labels) if sampled else None
    images = {part: len(split.rows(split.images, part)) for part in PARTS}
    return SplitRecord(split.seed, images["fit"], images["calibrate"], images["test"], sample)


def _recalibrated(choice: Choice, found: DiagnosisRecord) -> RecalibratedRecord:
    return RecalibratedRecord(
        method=choice.chosen.recalibration.method,
        name=choice.chosen.name,
        calibrated=found.calibrated,
        nll_nats=None if choice.chosen.log_prob is None else found.nll_nats,
        hdr_coverage=found.coverage,
        reason=choice.reason,
        gauge=found.gauge,
        parameters=_parameters(choice.chosen),
    )


def _parameters(chosen: Candidate) -> dict[str, float]:
    return {name: value for name, value in chosen.recalibration.record().items() if isinstance(value, float)}


def _described(chosen: Candidate) -> str:
    """Its name, with its numbers where it has only a few."""
    said = ", ".join(f"{name} {value:.3g}" for name, value in _parameters(chosen).items())
    return f"{chosen.name}: {said}" if said else chosen.name


def compare_recalibrations(
    choice: Choice, test: Cases, *, replicates: int, seed: int
) -> tuple[tuple[RecalibrationRecord, ...], tuple[ElpdRecord, ...]]:
    """One record a recalibration, and the comparison by elpd of those that have a density, the best first.

    Args:
        choice: what was fitted.
        test: as predicted.
        replicates: of the bootstrap over images.
        seed: of the bootstrap, and of levels inside plateaus.
    """
    scores = {
        one.name: test.under(one.recalibration.apply(test)).scores("level", seed=seed) for one in choice.candidates
    }
    rows = tuple(
        _row(one, choice, scores[one.name], test.units, ImageBootstrap(_COLUMNS, replicates=replicates, seed=seed))
        for one in choice.candidates
    )
    dense = {one.name: scores[one.name] for one in choice.candidates if one.log_prob is not None}
    return rows, _elpd({name: (found.log_prob, test.units[found.person]) for name, found in dense.items()})


_COLUMNS = [*coverage_names(()), "nll", "labels"]


def _row(
    candidate: Candidate, choice: Choice, scores: LabelScores, units: Index, sums: ImageBootstrap
) -> RecalibrationRecord:
    nll = {"nll": -scores.log_prob, "labels": np.ones(len(scores))}
    sums.add(units[scores.person], coverage_columns(scores.level, {}) | nll)
    interval = None if candidate.log_prob is None else known(sums.interval(sums.ratio("nll", "labels")))
    gain, coverage = choice.gains.get(candidate.name), Coverage(sums)
    return RecalibrationRecord(
        name=candidate.name,
        nll_calibrate_nats=candidate.nll_calibrate_nats,
        gain_nats=None if gain is None else gain.mean,
        gain_se_nats=None if gain is None else gain.se_images,
        nll_nats=None if interval is None else interval.value,
        nll_interval=interval,
        coverage50=known(coverage.at(0.5)),
        coverage90=known(coverage.at(0.9)),
        chosen=candidate is choice.chosen,
    )


def _elpd(scores: Mapping[str, tuple[Array, Index]]) -> tuple[ElpdRecord, ...]:
    """Of log densities and images (M,) of the same labels; empty for one recalibration or image."""
    image = next(iter(scores.values()))[1]
    if len(scores) < 2 or len(np.unique(image)) < 2:
        return ()
    columns = ("elpd_loo", "elpd_diff", "dse", "difference", "difference_se")
    rows = elpd_table(scores).iterrows()
    return tuple(ElpdRecord(str(name), *(float(row[column]) for column in columns)) for name, row in rows)
