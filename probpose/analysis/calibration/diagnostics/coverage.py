"""Coverage of highest-density regions: overall and by group, with intervals over images, and a verdict.

The level of a label is the content of the smallest highest-density region that holds it; levels are uniform on (0, 1)
when the density is calibrated (Hyndman, The American Statistician 1996). Coverage at p is the share of levels up to p.

Coverage is reported by joint, visibility, size of the box, predicted scale and the model's own confidence.
"""

from __future__ import annotations

__all__ = ["CURVE", "LEAST_IMAGES", "LEVELS", "Coverage", "Groups", "Verdict", "coverage_columns", "coverage_names"]

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap, Interval
from probpose.arrays import Array, Mask
from probpose.models.scores import LabelScores

LEVELS = (0.5, 0.9)
"""Nominal contents of the regions whose coverage is reported overall and by group."""

CURVE = (*np.linspace(0.05, 0.95, 19).round(2).tolist(), 0.99)
"""Nominal contents of the regions whose coverage is reported overall."""

LEAST_IMAGES = 20
"""Images below which there is no verdict: what the labels of an image have in common cannot be told from fewer."""

CONFIDENCE = 0.975
"""Of the interval of each of both contents, so that both hold at 95%."""

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
        calibrated: the coverage errors are under `ACCEPTED`, and their intervals at `CONFIDENCE` exclude `EXCLUDED`.
        refuted: an error is at least `ACCEPTED` and its interval excludes 0. Where neither holds, there are too few
            images to decide; of fewer than `LEAST_IMAGES` neither ever holds.
        coverage: by content of the region, one of `LEVELS`, with 95% intervals.
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
        return self.sums.share(self.ratio(content, group), self.keypoints(group), confidence)

    def ratio(self, content: float, group: str | None = None) -> Array:
        """Coverage of the data and of the bootstrap replicates, (1 + B,)."""
        return self.sums.ratio(_name(content, group), _name("labels", group))

    def keypoints(self, group: str | None = None) -> int:
        """Number of labels so far."""
        return int(self.sums.sum(_name("labels", group)))

    def verdict(self) -> Verdict:
        """The verdict from all labels so far."""
        coverage = {content: self.at(content) for content in LEVELS}
        if self.sums.images < LEAST_IMAGES:
            return Verdict(False, False, coverage)
        found = {content: self.at(content, confidence=CONFIDENCE) for content in LEVELS}
        errors = {content: abs(interval.value - content) for content, interval in found.items()}
        small = all(error < ACCEPTED for error in errors.values())
        sure = all(content - EXCLUDED < i.low and i.high < content + EXCLUDED for content, i in found.items())
        off = [not i.low <= content <= i.high and errors[content] >= ACCEPTED for content, i in found.items()]
        return Verdict(small and sure, any(off), coverage)


SIZES = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, np.inf)}
"""COCO's bins of size, by the square root of the box's area in pixels."""

VISIBILITY = {"occluded": 1, "visible": 2}

BINS = 5
"""Of the predicted scale, and of the model's own confidence."""


@dataclass(frozen=True)
class Groups:
    """The groups, chosen on other labels than those that they divide.

    Bins of the predicted scale and of the confidence are called by their place, so that those before and after a
    recalibration, each of equal counts of its own scales, have the same names.

    Attributes:
        joints: names.
        scale_edges: predicted scales in pixels that divide the bins, increasing.
        present: names of the groups that had labels, and not all of them, where the groups were chosen.
        confidence_edges: confidences that divide the bins, increasing; empty where there are none.
    """

    joints: tuple[str, ...]
    scale_edges: Array
    present: tuple[str, ...]
    confidence_edges: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(
        cls, scores: LabelScores, size_px: Array, joints: tuple[str, ...], confidence: Array | None = None
    ) -> Groups:
        """Groups whose bins of predicted scale and of confidence hold equal counts of these labels; see `masks`."""
        known = np.zeros(0) if confidence is None else confidence[np.isfinite(confidence)]
        edges, confidence_edges = _edges(scores.scale_px), _edges(known)
        candidates = cls(joints, edges, (), confidence_edges)
        masks = candidates.masks(scores, size_px, confidence)
        present = [name for name, mask in masks.items() if mask.any() and not mask.all()]
        return cls(joints, edges, tuple(present), confidence_edges)

    def masks(self, scores: LabelScores, size_px: Array, confidence: Array | None = None) -> dict[str, Mask]:
        """Membership (M,) by name of group, such as "joint: nose"; all possible groups where `present` is empty.

        Args:
            scores: of M labels.
            size_px: (M,), square root of the area of each one's box; NaN where unknown.
            confidence: (M,), the model's own, NaN where unknown; None where there is none.
        """
        found = {f"joint: {name}": scores.joint == k for k, name in enumerate(self.joints)}
        found |= {f"visibility: {name}": scores.visibility == flag for name, flag in VISIBILITY.items()}
        found |= {f"size: {name}": (size_px >= low) & (size_px < high) for name, (low, high) in SIZES.items()}
        found |= _bins("scale", self.scale_edges, scores.scale_px)
        found |= _bins(
            "confidence", self.confidence_edges, np.full(len(scores), np.nan) if confidence is None else confidence
        )
        return {name: found[name] for name in self.present} if self.present else found

    @property
    def ranges(self) -> dict[str, str]:
        """What the bins reach from and to, by name of group, as text."""
        return _ranges("scale", self.scale_edges, " px") | _ranges("confidence", self.confidence_edges)


_SAME = 1e-6


def _edges(values: Array) -> Array:
    """Numbers that divide values (M,) into `BINS` equal counts; fewer where many values are equal, none without any."""
    if not len(values):
        return np.zeros(0)
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    # scales that are the same but for rounding are not told apart
    return np.asarray(edges[np.append(np.diff(edges) > _SAME * np.abs(edges[1:]), True)])


def _bin_names(kind: str, edges: Array) -> list[str]:
    return [f"{kind}: {i} of {len(edges) + 1}" for i in range(1, len(edges) + 2)]


def _bins(kind: str, edges: Array, values: Array) -> dict[str, Mask]:
    """Membership (M,) of values, by name of the bin; those that are NaN are in none."""
    bin_of = np.where(np.isfinite(values), np.searchsorted(edges, values), -1)
    return {name: bin_of == i for i, name in enumerate(_bin_names(kind, edges))}


def _ranges(kind: str, edges: Array, unit: str = "") -> dict[str, str]:
    shown = [f"{edge:.4g}{unit}" for edge in edges]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(shown)]
    texts = [f"up to {shown[0]}", *between, f"over {shown[-1]}"] if shown else ["any"]
    return dict(zip(_bin_names(kind, edges), texts, strict=True))
