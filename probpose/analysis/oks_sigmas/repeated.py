"""Sigma from repeated labels: E[d^2] of one label about the true location, as COCO's OKS has it.

d is the distance of a label by one of the annotators, taken at random, from the true location of a landmark in one of
the objects, so that biases count, tau is averaged over annotators and s_i^2 / area_i over objects:

    sigma_k^2 = mean_i[s_i^2 / area_i] (sum_a |b_ak|^2 / (A - 1) + mean_a[tau_ak^2] tr Sigma_k)

A - 1, because biases are relative to the mean of A annotators: of two it is half their squared difference.
"""

from __future__ import annotations

__all__ = ["ErrorVariance", "error_variance", "moment_variance", "summarise_repeated"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probpose.analysis.oks_sigmas.record import JointSigma, OksSigmas, curves, finite
from probpose.arrays import Array, Index
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior
from probpose.skeleton import Skeleton


@dataclass(frozen=True)
class ErrorVariance:
    """Draws of sigma squared.

    Attributes:
        draws: (chains S, K); infinite where Student-t noise has two degrees of freedom or fewer.
        relative: it is in units of the area; otherwise in squared units of the labels.
    """

    draws: Array
    relative: bool


def error_variance(posterior: AnnotationPosterior) -> ErrorVariance:
    """The posterior of sigma squared."""
    labels = posterior.labels
    bias, tau = (posterior.draws[name].reshape(-1, *posterior.draws[name].shape[2:]) for name in ("bias", "tau"))
    covariance = posterior.covariance()
    trace = np.trace(covariance.reshape(-1, *covariance.shape[2:]), axis1=-2, axis2=-1)
    own = (bias**2).sum(axis=(1, 3)) / (len(labels.annotators) - 1) + (tau**2).mean(axis=1) * trace
    return ErrorVariance(own * _size_factor(posterior), is_relative(labels))


def is_relative(labels: RepeatedLabels) -> bool:
    """The area of every object with labels is known."""
    return bool(np.isfinite(labels.area[np.unique(labels.object)]).all())


def _size_factor(posterior: AnnotationPosterior) -> Array:
    """Mean of s_i^2 / area_i over the objects with labels of a landmark, or of s_i^2, (n, K)."""
    labels = posterior.labels
    labelled = (labels.counts > 0).astype(np.float64)
    share = labelled / labelled.sum(axis=0)
    area = np.where(np.isfinite(labels.area), labels.area, np.nan)
    below = area if is_relative(labels) else np.ones(len(area))
    below = np.where(labelled.any(axis=1), below, 1.0)
    if "size_exponent" not in posterior.draws:
        return np.asarray((1 / below) @ share)
    exponent = posterior.draws["size_exponent"].reshape(-1, 1)
    log_size = np.nan_to_num(np.log(area) / 2 - np.log(posterior.reference_size))
    return np.asarray((np.exp(2 * exponent * log_size) / below) @ share)


def moment_variance(labels: RepeatedLabels, replicates: int, seed: int) -> tuple[Array, Index]:
    """Sigma squared by moments: the variance of the labels of a cell about their mean, averaged over cells.

    It weighs all cells (a landmark of an object) alike, takes no model, and is as sensitive to gross errors as any mean
    of squares.

    Args:
        labels: repeated labels; those alone have no say.
        replicates: B, of a bootstrap over images with Poisson(1) weights.
        seed: of the weights.

    Returns:
        (K, 1 + B), of the sample first, NaN for a landmark without repeated labels; and the number of labels (K,).
    """
    several, joints = labels.counts > 1, len(labels.landmarks)
    cell = labels.object * joints + labels.landmark
    count = labels.counts.ravel()
    mean = np.stack([np.bincount(cell, labels.xy[:, d], len(count)) for d in (0, 1)], -1)[cell] / count[cell, None]
    squares = np.bincount(cell, ((labels.xy - mean) ** 2).sum(axis=1), len(count))
    area = labels.area if is_relative(labels) else np.ones(len(labels.objects))
    own = np.where(several, (squares / np.maximum(count - 1, 1)).reshape(several.shape) / area[:, None], 0.0)
    drawn = np.random.default_rng(seed).poisson(1.0, (replicates, labels.image.max() + 1))[:, labels.image]
    weight = np.concatenate([np.ones((1, len(area))), drawn])
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (weight @ np.nan_to_num(own)) / (weight @ several)
    return np.asarray(variance.T), np.where(several, labels.counts, 0).sum(axis=0)


_MOST_DRAWS = 4000


def summarise_repeated(posterior: AnnotationPosterior, level: float, replicates: int, seed: int) -> OksSigmas:
    """The record of repeated labels: by the posterior, and beside it by moments.

    Args:
        posterior: of how annotators err.
        level: content of the credible intervals, and of the bootstrap's.
        replicates: of the bootstrap.
        seed: of it, and of the draws that are taken where there are very many.
    """
    labels, found = posterior.labels, error_variance(posterior)
    unit = "" if found.relative else labels.unit
    skeleton = Skeleton.from_names(labels.landmarks, flip_pairs=labels.pairs)
    rng = np.random.default_rng(seed)
    draws = found.draws if len(found.draws) <= _MOST_DRAWS else rng.choice(found.draws, _MOST_DRAWS, replace=False)
    middle = np.quantile(draws, 0.5, axis=0, method="inverted_cdf")
    curve = curves(np.concatenate([middle[None], draws]).T[..., None], skeleton, level)[:, 0]
    moments, count = moment_variance(labels, replicates, seed)
    check = curves(moments[..., None], skeleton, level)[:, 0]
    joints = [
        JointSigma(
            joint=name, labels=int(count[k]),
            sigma=finite(curve[k, 0]), low=finite(curve[k, 1]), high=finite(curve[k, 2]),
            moments=(check[k, 0], check[k, 1], check[k, 2]) if np.isfinite(check[k]).all() else None,
            usual=None if unit else skeleton.oks_sigmas[k],
        )
        for k, name in enumerate(labels.landmarks)
    ]  # fmt: skip
    return OksSigmas(
        name=labels.name,
        kind="repeated labels",
        unit=unit,
        level=level,
        joints=tuple(joints),
        converged=posterior.converged,
        remarks=tuple(_remarks(posterior, joints, unit)),
    )


def _remarks(posterior: AnnotationPosterior, joints: Sequence[JointSigma], unit: str) -> list[str]:
    heavy = [one.joint for one in joints if one.high is None]
    lines = [*posterior.labels.remarks, *posterior.problems, *posterior.unidentified]
    if unit:
        lines.append(f"no areas: sigma is in {unit}, and no OKS sigma; give the areas of the objects for that")
    if posterior.labels.pairs:
        lines.append("left and right joints are pooled, as mirror images have one sigma")
    if heavy:
        lines.append(
            f"tails of {', '.join(heavy)} are so heavy that E[d^2] may not exist: look at the labels furthest off"
        )
    return lines
