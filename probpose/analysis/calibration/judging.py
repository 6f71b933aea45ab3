"""Judging over chunks of cases: the part *test* before and after recalibration, and the outliers of all parts."""

from __future__ import annotations

__all__ = ["Counts", "Judge"]

from dataclasses import dataclass
from typing import ClassVar

from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.calibration.diagnostics.diagnosis import Diagnosis, Questions
from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.analysis.calibration.outliers import Outliers
from probpose.analysis.calibration.recalibration.base import Recalibration


@dataclass
class Counts(Mergeable):
    """What has been counted.

    Attributes:
        before: diagnosis of the prediction as it was.
        after: of the recalibrated one; None where nothing is changed.
        outliers: of all parts.
        persons: how many.
    """

    before: Diagnosis
    after: Diagnosis | None
    outliers: Outliers
    persons: int = 0

    summed: ClassVar[tuple[str, ...]] = ("before", "after", "outliers", "persons")


@dataclass(frozen=True)
class Judge:
    """What is counted of which images; several processes may count apart, each with the same judge.

    Attributes:
        split: by image.
        recalibration: that was chosen.
        density: a recalibration whose noise model has an outlier component; None where nothing of that kind was fitted.
        before: questions about the prediction as it was.
        after: about the recalibrated one; None where nothing is changed.
        labels: approximate number of labels to judge.
        replicates: of the bootstrap over images.
        seed: of the bootstrap, and of levels inside plateaus.
    """

    split: Split
    recalibration: Recalibration
    density: Recalibration | None
    before: Questions
    after: Questions | None
    labels: int
    replicates: int
    seed: int

    def nothing(self) -> Counts:
        """Counts of no cases."""
        after = None if self.after is None else self._diagnosis(self.after)
        return Counts(self._diagnosis(self.before), after, Outliers(self.density, self.split))

    def _diagnosis(self, questions: Questions) -> Diagnosis:
        return Diagnosis(questions, self.labels, replicates=self.replicates, seed=self.seed)

    def add(self, counts: Counts, cases: Cases) -> None:
        """Count all persons of some images."""
        outlier = counts.outliers.add(cases)
        rows = self.split.rows(cases.units, "test")
        test, outlier = cases.select(rows), None if outlier is None else outlier[rows]
        if test.labelled.any():
            counts.before.add(test, outlier)
            if counts.after is not None:
                counts.after.add(test.under(self.recalibration.apply(test)), outlier)
        counts.persons += len(cases)
