"""Variance of labels from their differences to models that err independently: triple collocation.

Label L, model A and model B say of the same place t that it is t + e_L, t + e_A, t + e_B. Of their differences

    Cov(L - A, L - B) = V_L + Cov(e_A, e_B),  Var(L - A) = V_L + V_A,  Var(L - B) = V_L + V_B,

so that errors which are independent give V_L = Cov(L - A, L - B) = (V_LA + V_LB - V_AB) / 2: nobody need know t. It is
how oceanographers calibrate buoys, models and satellites against each other (Stoffelen, "Toward the True Near-Surface
Wind Speed: Error Modeling and Calibration Using Triple Collocation", J. Geophysical Research 1998). Models that were
trained on the same data share errors; with correlation rho between e_A and e_B,

    (Cov(L - A, L - B) - V)^2 = rho^2 (Var(L - A) - V) (Var(L - B) - V),

whose smaller root is V_L. The data do not tell rho: the answer is a function of it. What the labels and the models
share is not seen at all, such as a habit of annotators that the models have learned.
"""

from __future__ import annotations

__all__ = ["Judged", "LabelVariance", "label_variance", "labels_beside_models"]

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.oks_sigmas.scatter import Statistic, scatter
from probpose.arrays import Array, Index, Mask
from probpose.data.predictions.results import Predictions
from probpose.errors import DataError
from probpose.skeleton import Skeleton

LEAST_LABELS = 20
"""Labels of a joint under which nothing is estimated."""


@dataclass(frozen=True)
class Judged:
    """Labels of N persons with K joints beside the predictions of M models, in pixels.

    Attributes:
        name: of the labels.
        models: M names.
        skeleton: of the joints.
        image: (N,), by which persons are resampled.
        size: (N,), square root of the area.
        label: (N, K, 2).
        point: (M, N, K, 2).
        known: (M, N, K), whether there are both label and prediction.
    """

    name: str
    models: tuple[str, ...]
    skeleton: Skeleton
    image: Index
    size: Array
    label: Array
    point: Array
    known: Mask

    @classmethod
    def of(cls, predictions: Sequence[Predictions]) -> Judged:
        """Predictions of the same annotations; a person that a model misses has none of its points.

        Raises:
            DataError: there are none, or they are of other annotations.
        """
        if not predictions:
            raise DataError("no predictions: give the results of at least one model.")
        first = predictions[0].persons
        for one in predictions[1:]:
            if one.persons.annotations != first.annotations or one.persons.skeleton != first.skeleton:
                raise DataError(f"{one.name} was matched with other annotations than {predictions[0].name}.")
        ids = np.unique(np.concatenate([one.persons.annotation_id for one in predictions]))
        shape = (len(predictions), len(ids), len(first.skeleton))
        point, known = np.zeros((*shape, 2)), np.zeros(shape, dtype=np.bool_)
        image, size, label = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids)), np.zeros((*shape[1:], 2))
        for m, one in enumerate(predictions):
            row = np.searchsorted(ids, one.persons.annotation_id)
            point[m, row], known[m, row] = one.point, one.persons.labelled
            image[row], size[row] = one.persons.image_id, np.sqrt(one.persons.area)
            label[row] = np.where(one.persons.labelled[..., None], one.persons.keypoints, label[row])
        models = tuple(one.name for one in predictions)
        return cls(first.name, models, first.skeleton, image, size, label, point, known)

    @property
    def pairs(self) -> list[tuple[int, ...]]:
        """All pairs of models; the one model where there is no other."""
        return list(itertools.combinations(range(len(self.models)), 2)) or [(0,)]

    def errors(self, joint: int, models: Sequence[int]) -> tuple[Array, Index]:
        """Label - prediction over size, (n, 2 len(models)), of the persons (n,) whom all these models predict."""
        rows = np.flatnonzero(self.known[list(models), :, joint].all(axis=0))
        parts = [(self.label[rows, joint] - self.point[m, rows, joint]) / self.size[rows, None] for m in models]
        return np.concatenate(parts, axis=1), rows


def label_variance(covariance: Array, correlation: Array) -> Array:
    """V_L along x plus along y, from the covariance of (L - A, L - B).

    Never below zero, and never above the variance of either difference.

    Args:
        covariance: (..., 4, 4) of x, y of L - A and x, y of L - B.
        correlation: (G,), of the errors of A and B along an axis, in [0, 1).

    Returns:
        (..., G).
    """
    rho2 = correlation**2
    total = np.zeros((*covariance.shape[:-2], len(correlation)))
    for axis in range(2):
        a, b, c = (covariance[..., i, j, None] for i, j in ((axis,) * 2, (axis + 2,) * 2, (axis, axis + 2)))
        half = c - rho2 * (a + b) / 2
        root = np.sqrt(np.maximum(half**2 - (1 - rho2) * (c**2 - rho2 * a * b), 0.0))
        total += np.clip((half - root) / (1 - rho2), 0.0, np.minimum(a, b))
    return total


@dataclass(frozen=True)
class LabelVariance:
    """Variance of labels in units of the area, of the sample first and then of each bootstrap replicate over images.

    Attributes:
        name: of the labels.
        skeleton: of the K joints.
        pairs: P names of pairs of models; or of the one model, whose residual's variance V_L + V_A is a bound of V_L.
        several: whether there are pairs.
        statistic: of the errors.
        correlation: (G,), of the errors of two models.
        variance: (P, K, 1 + B, G), NaN for joints with fewer than `LEAST_LABELS` labels.
        kept: (P, K), share of the errors that were not trimmed.
        labels: (P, K), their number.
    """

    name: str
    skeleton: Skeleton
    pairs: tuple[str, ...]
    several: bool
    statistic: Statistic
    correlation: Array
    variance: Array
    kept: Array
    labels: Index


def labels_beside_models(
    judged: Judged,
    statistic: Statistic,
    correlation: Array,
    replicates: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> LabelVariance:
    """The variance of labels as a function of the correlation of the models' errors.

    Args:
        judged: labels and predictions.
        statistic: of the errors.
        correlation: (G,), of the errors of two models.
        replicates: B, each with Poisson(1) weights of the images.
        seed: of the weights.
        progress: called with the number of joints done so far, each as often as there are pairs.

    Raises:
        DataError: labels of a joint are copies of predictions.
    """
    shape = (len(judged.pairs), len(judged.skeleton))
    variance = np.full((*shape, 1 + replicates, len(correlation)), np.nan)
    kept, labels = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    images, image = np.unique(judged.image, return_inverse=True)
    weight = np.random.default_rng(seed).poisson(1.0, (replicates, len(images))).astype(np.uint8)[:, image]
    for done, (p, k) in enumerate(np.ndindex(shape), 1):
        errors, rows = judged.errors(k, judged.pairs[p])
        labels[p, k] = len(errors)
        if len(errors) >= LEAST_LABELS:
            try:
                covariance, kept[p, k] = _resampled(errors, weight[:, rows], statistic)
            except DataError as error:
                raise DataError(f"{judged.name}, {judged.skeleton.joints[k]}: {error}") from error
            variance[p, k] = _variance(covariance, correlation)
        if progress is not None:
            progress(done)
    pairs = tuple(" & ".join(judged.models[m] for m in pair) for pair in judged.pairs)
    several = len(judged.models) > 1
    return LabelVariance(judged.name, judged.skeleton, pairs, several, statistic, correlation, variance, kept, labels)


def _resampled(errors: Array, weight: npt.NDArray[np.uint8], statistic: Statistic) -> tuple[Array, float]:
    """Covariances (1 + B, p, p) of the sample and of its replicates, and the share that was kept of the sample."""
    found = scatter(errors, statistic)
    again = [scatter(errors, statistic, own.astype(np.float64), found).covariance for own in weight]
    return np.stack([found.covariance, *again]), found.kept


def _variance(covariance: Array, correlation: Array) -> Array:
    """(1 + B, G), of the label, or of the residual where there is one model."""
    if covariance.shape[-1] == 2:
        trace = covariance[..., 0, 0] + covariance[..., 1, 1]
        return np.repeat(trace[:, None], len(correlation), axis=1)
    return label_variance(covariance, correlation)
