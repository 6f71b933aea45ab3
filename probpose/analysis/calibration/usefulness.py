"""What an uncertainty is good for: which predictions to keep, how far errors reach, and whether scores mean OKS.

Everything is counted in histograms, so that memory does not grow with the data; radii are exact to 6%.
"""

from __future__ import annotations

__all__ = ["CutOff", "ErrorRadii", "OksByScore", "WithinByConfidence"]

from dataclasses import dataclass

import numpy as np

from probpose.analysis.calibration.judged import Judged
from probpose.analysis.calibration.ranks import spearman
from probpose.analysis.estimates import Array

_EDGES = np.concatenate([[0.0], 2.0 ** np.arange(-20, 20, 1 / 12)])
_SCORE_CELLS = 200


class ErrorRadii:
    """Radii that hold a share of the errors, per joint.

    Args:
        joints: K.
    """

    def __init__(self, joints: int) -> None:
        self._counts = np.zeros((joints, len(_EDGES)))

    def add(self, judged: Judged) -> None:
        """Add labels."""
        cell = (np.searchsorted(_EDGES, judged.error_px, side="right") - 1).clip(0)
        flat = np.bincount(judged.joint * len(_EDGES) + cell, minlength=self._counts.size)
        self._counts += flat.reshape(self._counts.shape)

    def labels(self) -> Array:
        """(K,), labels so far."""
        return np.asarray(self._counts.sum(axis=1))

    def radius(self, share: float) -> Array:
        """(K,), pixels; NaN for a joint without labels."""
        return np.array([_quantile(row, share) for row in self._counts])

    def overall(self, share: float) -> float:
        """Radius over all joints in pixels; NaN without labels."""
        return _quantile(self._counts.sum(axis=0), share)


@dataclass(frozen=True)
class CutOff:
    """A suggested confidence below which predictions are left out.

    Attributes:
        confidence: keep what is at least this.
        kept: share of the labelled keypoints that is kept.
        within: share of the kept ones within the radius.
    """

    confidence: float
    kept: float
    within: float


class WithinByConfidence:
    """P(error <= r) by the model's own confidence.

    Args:
        radius_px: r.
        edges: confidences that divide the bins, increasing.
    """

    def __init__(self, radius_px: float, edges: Array) -> None:
        self.radius_px = radius_px
        self.edges = edges
        self.counts = np.zeros(len(edges) + 1)
        self.within = np.zeros(len(edges) + 1)

    def add(self, judged: Judged) -> None:
        """Add labels; those without a confidence do not count."""
        known = np.isfinite(judged.confidence)
        bin_of = np.searchsorted(self.edges, judged.confidence[known], side="right")
        inside = judged.error_px[known] <= self.radius_px
        self.counts += np.bincount(bin_of, minlength=len(self.counts))
        self.within += np.bincount(bin_of, inside, minlength=len(self.counts))

    def shares(self) -> Array:
        """Share within the radius per bin; NaN where a bin is empty."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.within / self.counts)

    def cut_off(self, wanted: float = 0.9) -> CutOff | None:
        """The lowest edge from which on at least `wanted` of what is kept is within the radius; None without one."""
        kept, within = self.counts[::-1].cumsum()[::-1], self.within[::-1].cumsum()[::-1]
        for edge, count, inside in zip([-np.inf, *self.edges], kept, within, strict=True):
            if count and inside / count >= wanted:
                return CutOff(float(edge), float(count / kept[0]), float(inside / count))
        return None


class OksByScore:
    """Instance scores in [0, 1] against the OKS that the instance reaches."""

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

    def bins(self, count: int = 10) -> list[tuple[float, float, int]]:
        """Mean score, mean OKS and number of persons in `count` equally wide bins of the score."""
        middle = (np.arange(_SCORE_CELLS) + 0.5) / _SCORE_CELLS
        found = []
        for rows in np.array_split(np.arange(_SCORE_CELLS), count):
            part = self.counts[rows]
            persons = part.sum()
            if persons:
                found.append(
                    (
                        float(part.sum(axis=1) @ middle[rows] / persons),
                        float(part.sum(axis=0) @ middle / persons),
                        int(persons),
                    )
                )
        return found


def _quantile(counts: Array, share: float) -> float:
    total = counts.sum()
    if not total:
        return float("nan")
    content = counts.cumsum() / total
    upper = np.append(_EDGES[1:], _EDGES[-1])
    return float(np.interp(share, np.concatenate([[0.0], content]), np.concatenate([[0.0], upper])))
