"""The recalibrations side by side: log density and coverage of the test labels, with intervals over images."""

from __future__ import annotations

__all__ = ["compare_recalibrations"]

from collections.abc import Mapping

import numpy as np

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap, known
from probpose.analysis.calibration.diagnostics.coverage import Coverage, coverage_columns, coverage_names
from probpose.analysis.calibration.recalibration.choose import Candidate, Choice
from probpose.analysis.calibration.record import ElpdRecord, RecalibrationRecord
from probpose.analysis.posterior import elpd_table
from probpose.arrays import Array, Index
from probpose.models.scores import LabelScores


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
        _record(one, choice, scores[one.name], ImageBootstrap(_COLUMNS, replicates=replicates, seed=seed))
        for one in choice.candidates
    )
    dense = {one.name: scores[one.name] for one in choice.candidates if one.log_prob is not None}
    return rows, _elpd({name: (found.log_prob, found.image) for name, found in dense.items()})


_COLUMNS = [*coverage_names(()), "nll", "labels"]


def _record(candidate: Candidate, choice: Choice, scores: LabelScores, sums: ImageBootstrap) -> RecalibrationRecord:
    nll = {"nll": -scores.log_prob, "labels": np.ones(len(scores))}
    sums.add(scores.image, coverage_columns(scores.level, {}) | nll)
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
