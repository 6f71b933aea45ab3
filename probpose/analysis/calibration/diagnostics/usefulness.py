"""Usefulness of an uncertainty: whether it ranks errors, which predictions to keep, and whether scores mean OKS.

Sparsification: the mean error of the remaining labels when those with the largest predicted scale are removed first,
beside the oracle that removes the largest errors first. The area between both curves, in units of the mean error, is
AUSE (Ilg et al., "Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow", ECCV 2018).

Everything is counted in histograms, so that memory does not grow with the data. Those of scales and errors have
logarithmic cells: ranks and radii are exact to the width of a cell, 6%.
"""

from __future__ import annotations

__all__ = [
    "CutOff",
    "ErrorRadii",
    "OksBin",
    "OksByScore",
    "RankHistogram",
    "Sparsification",
    "WithinByConfidence",
    "spearman",
]

import math
from dataclasses import dataclass

import numpy as np

from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.arrays import Array
from probpose.models.scores import LabelScores

BINS_PER_OCTAVE = 12
OCTAVES = (-20, 20)

_COUNT = BINS_PER_OCTAVE * (OCTAVES[1] - OCTAVES[0])


@dataclass(frozen=True)
class Sparsification:
    """Mean error of the remaining labels, by the share that is removed.

    Attributes:
        removed: S shares in [0, 1).
        by_scale: S mean errors of the rest over that of all, where the largest predicted scales are removed.
        oracle: the same where the largest errors are removed.
    """

    removed: tuple[float, ...]
    by_scale: tuple[float, ...]
    oracle: tuple[float, ...]

    @property
    def ause(self) -> float:
        """Area between both curves."""
        return float(np.trapezoid(np.subtract(self.by_scale, self.oracle), self.removed))


class RankHistogram(Mergeable):
    """Counts and summed errors on a grid of predicted scale and error, over a stream of labels."""

    summed = ("counts", "errors")

    def __init__(self) -> None:
        self.counts = np.zeros((_COUNT, _COUNT))
        self.errors = np.zeros((_COUNT, _COUNT))

    def add(self, scale: Array, error: Array) -> None:
        """Add labels with predicted scales (M,) and errors (M,), both in pixels."""
        flat = _cell(scale) * _COUNT + _cell(error)
        self.counts += np.bincount(flat, minlength=_COUNT**2).reshape(_COUNT, _COUNT)
        self.errors += np.bincount(flat, error, minlength=_COUNT**2).reshape(_COUNT, _COUNT)

    def spearman(self) -> float | None:
        """Rank correlation of predicted scale and error; None where either is constant."""
        return spearman(self.counts)

    def sparsification(self, steps: int = 50) -> Sparsification | None:
        """Sparsification curves; None without labels or without errors."""
        total, error = self.counts.sum(), self.errors.sum()
        if not total or not error:
            return None
        removed = np.arange(steps) / steps
        by_scale = _remaining(self.counts.sum(axis=1), self.errors.sum(axis=1), removed)
        oracle = _remaining(self.counts.sum(axis=0), self.errors.sum(axis=0), removed)
        curves = (removed, by_scale / (error / total), oracle / (error / total))
        return Sparsification(*(tuple(curve.tolist()) for curve in curves))


def spearman(counts: Array) -> float | None:
    """Spearman's rank correlation with mean ranks in ties, from a table of counts; None where a margin is constant."""
    ranks = [_mean_ranks(counts.sum(axis=axis)) for axis in (1, 0)]
    margins = [counts.sum(axis=axis) for axis in (1, 0)]
    if not counts.sum():
        return None
    centred = [rank - np.average(rank, weights=margin) for rank, margin in zip(ranks, margins, strict=True)]
    spread = [float((margin * rank**2).sum()) for rank, margin in zip(centred, margins, strict=True)]
    product = float(centred[0] @ counts @ centred[1])
    return product / float(np.sqrt(spread[0] * spread[1])) if min(spread) > 0 else None


def _mean_ranks(margin: Array) -> Array:
    return np.asarray(margin.cumsum() - margin / 2)


def _cell(value: Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Index (M,) of the cell of each value; the first cell begins at 0, and the last has no end."""
    with np.errstate(divide="ignore"):
        octave = np.log2(np.maximum(value, 0.0))
    return ((octave.clip(*OCTAVES) - OCTAVES[0]) * BINS_PER_OCTAVE).astype(np.int64).clip(0, _COUNT - 1)


def _remaining(counts: Array, errors: Array, removed: Array) -> Array:
    """Mean error (S,) of the first share 1 - `removed` of the labels; labels of one cell count as equal."""
    content, error = np.concatenate([[0.0], counts.cumsum()]), np.concatenate([[0.0], errors.cumsum()])
    keep = (1 - removed) * content[-1]
    return np.asarray(np.interp(keep, content, error) / keep)


_EDGES = np.concatenate([[0.0], 2.0 ** np.arange(-20, 20, 1 / 12)])
_SCORE_CELLS = 200


class ErrorRadii(Mergeable):
    """Radii that hold a share of the errors, per joint.

    Args:
        joints: K.
    """

    summed = ("_counts",)

    def __init__(self, joints: int) -> None:
        self._counts = np.zeros((joints, len(_EDGES)))

    def add(self, scores: LabelScores) -> None:
        """Add labels."""
        cell = (np.searchsorted(_EDGES, scores.error_px, side="right") - 1).clip(0)
        flat = np.bincount(scores.joint * len(_EDGES) + cell, minlength=self._counts.size)
        self._counts += flat.reshape(self._counts.shape)

    def labels(self) -> Array:
        """(K,), number of labels so far."""
        return np.asarray(self._counts.sum(axis=1))

    def radius(self, share: float) -> Array:
        """(K,), pixels; NaN for a joint without labels."""
        return np.array([_quantile(row, share) for row in self._counts])

    def overall(self, share: float) -> float:
        """Radius over all joints in pixels; NaN without labels."""
        return _quantile(self._counts.sum(axis=0), share)


@dataclass(frozen=True)
class CutOff:
    """A suggested cut-off: predictions with a lower confidence are left out.

    Attributes:
        confidence: the least that is kept; None where all predictions may be kept.
        kept: share of the labelled keypoints that is kept.
        within: share of the kept keypoints within the radius.
    """

    confidence: float | None
    kept: float
    within: float


class WithinByConfidence(Mergeable):
    """P(error <= r) in bins of the model's own confidence.

    Args:
        radius_px: r.
        edges: confidences that divide the bins, increasing.
    """

    summed = ("counts", "within")

    def __init__(self, radius_px: float, edges: Array) -> None:
        self.radius_px = radius_px
        self.edges = edges
        self.counts = np.zeros(len(edges) + 1)
        self.within = np.zeros(len(edges) + 1)

    def add(self, confidence: Array, error_px: Array) -> None:
        """Add labels with confidences (M,) and errors (M,); those whose confidence is NaN do not count."""
        known = np.isfinite(confidence)
        bin_of = np.searchsorted(self.edges, confidence[known], side="right")
        inside = error_px[known] <= self.radius_px
        self.counts += np.bincount(bin_of, minlength=len(self.counts))
        self.within += np.bincount(bin_of, inside, minlength=len(self.counts))

    def shares(self) -> Array:
        """Share within the radius per bin; NaN where a bin is empty."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.within / self.counts)

    def cut_off(self, wanted: float = 0.9) -> CutOff | None:
        """The lowest edge that keeps labels of which a share `wanted` is within the radius; None without one."""
        kept, within = self.counts[::-1].cumsum()[::-1], self.within[::-1].cumsum()[::-1]
        for edge, count, inside in zip([-np.inf, *self.edges], kept, within, strict=True):
            if count and inside / count >= wanted:
                confidence = float(edge) if math.isfinite(edge) else None
                return CutOff(confidence, float(count / kept[0]), float(inside / count))
        return None


@dataclass(frozen=True)
class OksBin:
    """Persons with similar scores.

    Attributes:
        score: their mean score.
        oks: their mean OKS.
        persons: their number.
    """

    score: float
    oks: float
    persons: int


class OksByScore(Mergeable):
    """Counts of persons by score in [0, 1] and by the OKS that they reach."""

    summed = ("counts",)

    def __init__(self) -> None:
        self.counts = np.zeros((_SCORE_CELLS, _SCORE_CELLS))

    def add(self, score: Array, oks: Array) -> None:
        """Add persons with scores (N,), clipped to [0, 1], and OKS (N,)."""
        row, column = (
            (value.clip(0, 1) * _SCORE_CELLS).astype(int).clip(0, _SCORE_CELLS - 1) for value in (score, oks)
        )
        self.counts += np.bincount(row * _SCORE_CELLS + column, minlength=_SCORE_CELLS**2).reshape(self.counts.shape)

    def spearman(self) -> float | None:
        """Rank correlation of score and OKS; None where either is constant."""
        return spearman(self.counts)

    def bins(self, count: int = 10) -> list[OksBin]:
        """`count` equally wide bins of the score, without those that hold no person."""
        middle = (np.arange(_SCORE_CELLS) + 0.5) / _SCORE_CELLS
        found = []
        for rows in np.array_split(np.arange(_SCORE_CELLS), count):
            part = self.counts[rows]
            persons = part.sum()
            if persons:
                score, oks = part.sum(axis=1) @ middle[rows] / persons, part.sum(axis=0) @ middle / persons
                found.append(OksBin(float(score), float(oks), int(persons)))
        return found


def _quantile(counts: Array, share: float) -> float:
    total = counts.sum()
    if not total:
        return float("nan")
    content = counts.cumsum() / total
    upper = np.append(_EDGES[1:], _EDGES[-1])
    return float(np.interp(share, np.concatenate([[0.0], content]), np.concatenate([[0.0], upper])))
