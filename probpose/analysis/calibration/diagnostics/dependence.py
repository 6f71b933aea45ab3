"""Dependence: are the errors of one person's joints correlated?

Predictive distributions per keypoint do not describe it, but it matters to whoever uses several keypoints of a person.
The normal scores of the probability integral transforms, g = Phi^-1(PIT), are uncorrelated when errors are independent.
"""

from __future__ import annotations

__all__ = ["Correlations", "dependence", "dependence_columns", "dependence_names", "overdispersion"]

import numpy as np
import numpy.typing as npt
from scipy import special

from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap, Interval
from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.arrays import Array
from probpose.models.scores import LabelScores

_FURTHEST = 1e-4
_CONTENT = 0.9


def dependence_names() -> list[str]:
    """Names of the columns that `dependence_columns` gives."""
    moments = ["scores", "score x", "score y", "score squares"]
    return [*moments, "pair products", "pairs", "outside squares", "outside expected"]


def dependence_columns(labels: LabelScores) -> dict[str, npt.NDArray[np.generic]]:
    """The contribution of each of M labels to the sums over labels and over pairs of joints; persons must be whole.

    Args:
        labels: scored with `level` and `axes`.
    """
    scores = _normal_scores(labels.pit)
    _, person = np.unique(labels.person, return_inverse=True)
    count = np.bincount(person).astype(np.float64)
    sums = np.stack([np.bincount(person, column) for column in scores.T], axis=-1)
    excess = np.bincount(person, (labels.level > _CONTENT) - (1 - _CONTENT))
    return {
        "scores": np.ones(len(scores)),
        "score x": scores[:, 0],
        "score y": scores[:, 1],
        "score squares": (scores**2).mean(axis=-1),
        "pair products": (scores * (sums[person] - scores)).mean(axis=-1),
        "pairs": count[person] - 1,
        "outside squares": excess[person] ** 2 / count[person],
        "outside expected": np.full(len(scores), _CONTENT * (1 - _CONTENT)),
    }


def dependence(sums: ImageBootstrap) -> Array:
    """Mean correlation over pairs of joints of a person, and its replicates, (1 + B,); 0 when independent."""
    x, y, squares = (sums.ratio(name, "scores") for name in ("score x", "score y", "score squares"))
    level = (x**2 + y**2) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((sums.ratio("pair products", "pairs") - level) / (squares - level))


def overdispersion(sums: ImageBootstrap) -> Interval:
    """Variance of the number of a person's labels outside their 90% regions over the binomial's; 1 when independent.

    Above 1, misses cluster in some persons: coverage holds on average over persons, but not for each of them.
    """
    return sums.interval(sums.ratio("outside squares", "outside expected"))


class Correlations(Mergeable):
    """Correlation of normal scores between joints, over a stream.

    Args:
        joints: K.
    """

    summed = ("_pairs", "_products", "_squares")

    def __init__(self, joints: int) -> None:
        self._pairs = np.zeros((joints, joints))
        self._products = np.zeros((2, joints, joints))
        self._squares = np.zeros((2, joints, joints))

    def add(self, labels: LabelScores) -> None:
        """Add labels of whole persons, scored with `axes`."""
        _, person = np.unique(labels.person, return_inverse=True)
        shape = (int(person.max()) + 1 if len(person) else 0, len(self._pairs))
        known = np.zeros(shape)
        known[person, labels.joint] = 1
        self._pairs += known.T @ known
        for axis, column in enumerate(_normal_scores(labels.pit).T):
            scores = np.zeros(shape)
            scores[person, labels.joint] = column
            self._products[axis] += scores.T @ scores
            self._squares[axis] += (scores**2).T @ known

    def matrix(self) -> Array:
        """(2, K, K) per axis; NaN where two joints are never labelled together."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self._products / np.sqrt(self._squares * self._squares.transpose(0, 2, 1)))


def _normal_scores(pit: Array) -> Array:
    return np.asarray(special.ndtri(pit.clip(_FURTHEST, 1 - _FURTHEST)))
