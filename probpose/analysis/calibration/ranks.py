"""Does sigma rank the errors? Spearman correlation and sparsification, from one histogram of scale against error.

Scales and errors are counted in cells of a logarithmic grid, so that memory does not grow with the data: ranks are
exact up to the width of a cell, 6%. Sparsification: the mean error of what is left when the labels with the largest
predicted scale are removed first, beside the oracle that removes the largest errors; the area between both curves, in
units of the mean error, is AUSE (Ilg et al., "Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow",
ECCV 2018).
"""

from __future__ import annotations

__all__ = ["RankHistogram", "Sparsification", "spearman"]

from dataclasses import dataclass

import numpy as np

from probpose.analysis.estimates import Array

BINS_PER_OCTAVE = 12
OCTAVES = (-20, 20)

_COUNT = BINS_PER_OCTAVE * (OCTAVES[1] - OCTAVES[0])


@dataclass(frozen=True)
class Sparsification:
    """Curves over the share of labels that is removed.

    Attributes:
        removed: (S,) in [0, 1).
        by_scale: (S,) mean error of the rest over that of all, the largest predicted scales removed.
        oracle: (S,) the same, the largest errors removed.
        ause: area between both.
    """

    removed: Array
    by_scale: Array
    oracle: Array
    ause: float


class RankHistogram:
    """Counts and summed errors on a grid of (predicted scale, error), over a stream."""

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
        unit = error / total
        curves = by_scale / unit, oracle / unit
        return Sparsification(removed, *curves, float(np.trapezoid(curves[0] - curves[1], removed)))


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
    """Index (M,) of the cell of each value, the first and the last reaching out to 0 and infinity."""
    with np.errstate(divide="ignore"):
        octave = np.log2(np.maximum(value, 0.0))
    return ((octave.clip(*OCTAVES) - OCTAVES[0]) * BINS_PER_OCTAVE).astype(np.int64).clip(0, _COUNT - 1)


def _remaining(counts: Array, errors: Array, removed: Array) -> Array:
    """Mean error (S,) of the share 1 - `removed` of the labels that come first; inside a cell labels are alike."""
    content, error = np.concatenate([[0.0], counts.cumsum()]), np.concatenate([[0.0], errors.cumsum()])
    keep = (1 - removed) * content[-1]
    return np.asarray(np.interp(keep, content, error) / keep)
