"""Coverage of highest-density regions: overall and by group, with intervals over images, and a verdict.

The level of a label is the content of the smallest highest-density region that holds it; levels are uniform on (0, 1)
when the density is calibrated (Hyndman, The American Statistician 1996). Coverage at p is the share of levels up to p.

Coverage is reported by joint, visibility, size of the box and predicted scale.
"""

from __future__ import annotations

__all__ = ["CURVE", "LEVELS", "Coverage", "Groups", "Verdict", "coverage_columns", "coverage_names"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap, Interval
from probpose.arrays import Array, Mask
from probpose.models.scores import LabelScores

LEVELS = (0.5, 0.9)
"""Nominal contents of the regions whose coverage is reported overall and by group."""

CURVE = (*np.linspace(0.05, 0.95, 19).round(2).tolist(), 0.99)
"""Nominal contents of the regions whose coverage is reported overall."""

ACCEPTED = 0.02
"""Coverage errors below this count as calibrated."""

EXCLUDED = 0.04
"""Coverage error that the interval of a calibrated prediction must exclude."""


def coverage_names(groups: Iterable[str]) -> list[str]:
    """Names of the columns that `coverage_columns` gives, for `ImageBootstrap`."""
    by_group = [_name(part, group) for group in groups for part in ("labels", *LEVELS)]
    return [_name("labels"), *map(_name, CURVE), *by_group]


def coverage_columns(level: Array, groups: Mapping[str, Mask]) -> dict[str, npt.NDArray[np.generic]]:
    """For each of M labels: a one, and whether it lies in the region of each content, overall and by group.

    Args:
        level: (M,) in [0, 1].
        groups: (M,) membership by name.
    """
    columns: dict[str, npt.NDArray[np.generic]] = {_name("labels"): np.ones(len(level), dtype=bool)}
    columns |= {_name(content): level <= content for content in CURVE}
    for group, mask in groups.items():
        columns[_name("labels", group)] = mask
        columns |= {_name(content, group): mask & (level <= content) for content in LEVELS}
    return columns


def _name(part: str | float, group: str | None = None) -> str:
    return f"coverage {part}" if group is None else f"coverage {part} | {group}"


@dataclass(frozen=True)
class Verdict:
    """Whether the prediction is calibrated: coverage errors with intervals, not a p-value.

    Attributes:
        calibrated: the coverage errors are under `ACCEPTED`, and their 95% intervals exclude `EXCLUDED`.
        refuted: an error is at least `ACCEPTED` and its interval excludes 0. Where neither holds, there are too few
            images to decide.
        coverage: by content of the region, one of `LEVELS`.
    """

    calibrated: bool
    refuted: bool
    coverage: dict[float, Interval]


@dataclass(frozen=True)
class Coverage:
    """Coverage from the sums of `coverage_columns`.

    Args:
        sums: with the columns of `coverage_names`.
    """

    sums: ImageBootstrap

    def at(self, content: float, group: str | None = None, confidence: float = 0.95) -> Interval:
        """Coverage of the regions that should hold `content`: one of `CURVE`, of `LEVELS` for a group."""
        return self.sums.interval(self.ratio(content, group), confidence)

    def ratio(self, content: float, group: str | None = None) -> Array:
        """Coverage of the data and of the bootstrap replicates, (1 + B,)."""
        return self.sums.ratio(_name(content, group), _name("labels", group))

    def keypoints(self, group: str | None = None) -> int:
        """Number of labels so far."""
        return int(self.sums.sum(_name("labels", group)))

    def verdict(self) -> Verdict:
        """The verdict from all labels so far."""
        found = {content: self.at(content) for content in LEVELS}
        errors = {content: abs(interval.value - content) for content, interval in found.items()}
        small = all(error < ACCEPTED for error in errors.values())
        sure = all(content - EXCLUDED < i.low and i.high < content + EXCLUDED for content, i in found.items())
        off = [not i.low <= content <= i.high and errors[content] >= ACCEPTED for content, i in found.items()]
        return Verdict(small and sure, any(off), found)


SIZES = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, np.inf)}
"""COCO's bins of size, by the square root of the box's area in pixels."""

VISIBILITY = {"occluded": 1, "visible": 2}

SCALE_BINS = 5


@dataclass(frozen=True)
class Groups:
    """The groups, chosen on other labels than those that they divide.

    Attributes:
        joints: names.
        scale_edges: predicted scales in pixels that divide the bins, increasing.
        present: names of the groups that had labels, and not all of them, where the groups were chosen.
    """

    joints: tuple[str, ...]
    scale_edges: Array
    present: tuple[str, ...]

    @classmethod
    def of(cls, scores: LabelScores, size_px: Array, joints: tuple[str, ...]) -> Groups:
        """Groups whose bins of predicted scale hold equal counts of these labels; see `masks`."""
        inner = np.linspace(0, 1, SCALE_BINS + 1)[1:-1]
        edges = np.unique(np.quantile(scores.scale_px, inner)) if len(scores) else np.zeros(0)
        candidates = cls(joints, edges, ())
        present = [name for name, mask in candidates.masks(scores, size_px).items() if mask.any() and not mask.all()]
        return cls(joints, edges, tuple(present))

    def masks(self, scores: LabelScores, size_px: Array) -> dict[str, Mask]:
        """Membership (M,) by name of group, such as "joint: nose"; all possible groups where `present` is empty.

        Args:
            scores: of M labels.
            size_px: (M,), square root of the area of each one's box; NaN where unknown.
        """
        found = {f"joint: {name}": scores.joint == k for k, name in enumerate(self.joints)}
        found |= {f"visibility: {name}": scores.visibility == flag for name, flag in VISIBILITY.items()}
        found |= {f"size: {name}": (size_px >= low) & (size_px < high) for name, (low, high) in SIZES.items()}
        bin_of = np.searchsorted(self.scale_edges, scores.scale_px)
        found |= {f"scale: {self._range(i)}": bin_of == i for i in range(len(self.scale_edges) + 1)}
        return {name: found[name] for name in self.present} if self.present else found

    def _range(self, index: int) -> str:
        """The range of predicted scales of a bin, as text."""
        edges = [f"{edge:.3g}" for edge in self.scale_edges]
        if not edges:
            return "any"
        if index == 0:
            return f"up to {edges[0]} px"
        return f"over {edges[-1]} px" if index == len(edges) else f"{edges[index - 1]} to {edges[index]} px"
