"""Coverage of highest-density regions: overall and by group, with intervals over images, and a verdict.

The level of a label is the content of the smallest highest-density region that holds it; levels are uniform on (0, 1)
when the density is calibrated (Hyndman, The American Statistician 1996). Coverage at p is the share of levels up to p.
"""

from __future__ import annotations

__all__ = ["LEVELS", "Coverage", "Deviation", "Verdict"]

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.bootstrap import REPLICATES, Array, ImageBootstrap, Interval

LEVELS = (0.5, 0.9)
"""Contents at which coverage is judged."""

ACCEPTED = 0.02
"""Largest coverage error of what is called calibrated."""

EXCLUDED = 0.04
"""Coverage error that the interval must exclude."""

BINS = 200
"""Bins of the histogram of levels."""


@dataclass(frozen=True)
class Deviation:
    """A group whose coverage is off.

    Attributes:
        group: its name.
        level: nominal content.
        coverage: with the interval of its own, 95%.
        keypoints: labels in the group.
    """

    group: str
    level: float
    coverage: Interval
    keypoints: int


@dataclass(frozen=True)
class Verdict:
    """What is said of calibration: an effect with an interval, not a p-value.

    Attributes:
        calibrated: the coverage errors are under `ACCEPTED`, and their 95% intervals exclude `EXCLUDED`.
        refuted: an error is at least `ACCEPTED` and its interval excludes 0. Neither: there are too few images to tell.
        coverage: by level.
        deviations: groups that deviate, at a family-wise level of 5% over all groups and levels.
    """

    calibrated: bool
    refuted: bool
    coverage: dict[float, Interval]
    deviations: list[Deviation]


class Coverage:
    """Counts of labels inside regions, over a stream of keypoints.

    Args:
        groups: names of the groups, fixed beforehand.
        replicates: of the bootstrap over images.
        seed: of the bootstrap.

    Attributes:
        histogram: (BINS,) counts of levels, for the whole curve.
    """

    def __init__(self, groups: tuple[str, ...] = (), *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self.groups = groups
        self.histogram = np.zeros(BINS)
        self._columns = 1 + len(LEVELS)
        self._sums = ImageBootstrap((1 + len(groups)) * self._columns, replicates=replicates, seed=seed)

    def add(
        self, image: npt.NDArray[np.int64], level: Array, groups: Mapping[str, npt.NDArray[np.bool_]] | None = None
    ) -> None:
        """Add the keypoints of whole images.

        Args:
            image: (M,).
            level: (M,) in [0, 1].
            groups: (M,) membership by name, of any of `self.groups`.
        """
        self.histogram += np.histogram(level, BINS, (0, 1))[0]
        counted = np.column_stack([np.ones(len(level)), *(level <= nominal for nominal in LEVELS)])
        columns = [
            counted,
            *(counted * (groups or {}).get(name, np.zeros(len(level)))[:, None] for name in self.groups),
        ]
        self._sums.add(image, np.concatenate(columns, axis=1))

    def at(self, level: float, group: str | None = None, confidence: float = 0.95) -> Interval:
        """Coverage of the regions that should hold `level`, one of `LEVELS`."""
        first = self._first(group)
        return self._sums.interval(first + 1 + LEVELS.index(level), first, confidence)

    def curve(self) -> tuple[Array, Array]:
        """Nominal contents (BINS,), the right edges of the bins, and the coverage at each."""
        return np.arange(1, BINS + 1) / BINS, self.histogram.cumsum() / max(1.0, self.histogram.sum())

    def keypoints(self, group: str | None = None) -> int:
        """Labels so far."""
        return int(self._sums.total[self._first(group)])

    def verdict(self) -> Verdict:
        """The verdict on what has been added."""
        found = {level: self.at(level) for level in LEVELS}
        errors = {level: abs(interval.value - level) for level, interval in found.items()}
        small = all(error < ACCEPTED for error in errors.values())
        sure = all(level - EXCLUDED < i.low and i.high < level + EXCLUDED for level, i in found.items())
        off = [not i.low <= level <= i.high and errors[level] >= ACCEPTED for level, i in found.items()]
        return Verdict(small and sure, any(off), found, self.deviations())

    def deviations(self, family_level: float = 0.05) -> list[Deviation]:
        """Groups whose coverage is off; the chance to name any, if none is, is at most about `family_level`.

        Single-step maxT (Westfall and Young, 1993): errors in standard errors are compared with the largest that the
        bootstrap gives over all groups and levels. Groups with labels in fewer than two images are left out.
        """
        tests = [(group, level, *self._ratio(level, group)) for group in self.groups for level in LEVELS]
        usable = [
            (g, p, value, reps, reps.std()) for g, p, value, reps in tests if np.isfinite(reps).all() and reps.std() > 0
        ]
        if not usable:
            return []
        largest = np.max([np.abs(reps - value) / error for _, _, value, reps, error in usable], axis=0)
        critical = float(np.quantile(largest, 1 - family_level))
        return [
            Deviation(group, level, self.at(level, group), self.keypoints(group))
            for group, level, value, _, error in usable
            if abs(value - level) > critical * error
        ]

    def _ratio(self, level: float, group: str) -> tuple[float, Array]:
        first = self._first(group)
        return self._sums.ratio(first + 1 + LEVELS.index(level), first)

    def _first(self, group: str | None) -> int:
        return self._columns * (0 if group is None else 1 + self.groups.index(group))
