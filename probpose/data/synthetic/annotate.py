"""Known annotation noise: residual densities with exact moments, quantiles and log density, to test against.

The annotator of the synthetic figures: a known error, whose scale follows from what can be seen.

A joint's scale is a fraction of the figure's stature between 2% and 10%, log-linear in a difficulty from 0 to 1, which
is the sum of

    0.78  softness: blur and pixel size together, sqrt(blur^2 + (0.7 px)^2) over the stature, 1 at 5.3%;
    0.16  if the joint is hidden;
    0.06  which joint it is: eyes 0, hips 1.

The two axes differ by a ratio that depends on the joint. label = true position + scale * z with z drawn from
`GaussianMixtureNoise`, which has mean 0, unit variance, skewness and heavy tails, in the picture's axes.
"""

from __future__ import annotations

__all__ = [
    "FIRST_FRACTION",
    "LAST_FRACTION",
    "GaussianMixtureNoise",
    "KnownNoise",
    "Labels",
    "SkewedStudentNoise",
    "annotate",
    "noise_scale",
]

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from probpose.arrays import Array
from probpose.data.synthetic.scene import SceneFigure


class KnownNoise(ABC):
    """A density on R^2 with mean 0 and unit variance per axis, whose truth is known in closed form.

    To add one, implement `sample`, `log_prob` and `cdf` (per axis), already standardised.
    """

    name: str

    @abstractmethod
    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """`count` draws, shape (count, 2)."""

    @abstractmethod
    def log_prob(self, z: Array) -> Array:
        """Log density in nats at z of shape (..., 2); shape (...)."""

    @abstractmethod
    def cdf(self, value: float, axis: int) -> float:
        """Marginal distribution function of one axis."""

    def quantile(self, probability: float, axis: int) -> float:
        """Marginal quantile of one axis, by bisection of `cdf`."""
        return float(optimize.brentq(lambda t: self.cdf(t, axis) - probability, -1e3, 1e3, xtol=1e-12))

    def quantile_gauge(self) -> tuple[Array, Array]:
        """Median and half the 16-84% width per axis, each of shape (2,)."""
        low, middle, high = (np.array([self.quantile(p, axis) for axis in (0, 1)]) for p in (0.16, 0.5, 0.84))
        return middle, (high - low) / 2


class GaussianMixtureNoise(KnownNoise):
    """Three Gaussians: a narrow core, a skewed shoulder and a broad tail; kurtosis 6 to 8 per axis."""

    name = "mixture"

    def __init__(self) -> None:
        weights = np.array([0.55, 0.30, 0.15])
        means = np.array([[-0.20, 0.10], [0.35, -0.35], [0.70, 0.85]])
        scales = np.array([[0.35, 0.45], [0.60, 0.55], [1.40, 1.45]])
        correlations = np.array([0.3, -0.2, 0.4])
        mean = weights @ means
        std = np.sqrt(weights @ (scales**2 + (means - mean) ** 2))
        self.weights = weights
        self.means = (means - mean) / std
        self.scales = scales / std
        off = correlations * self.scales.prod(-1)
        self.covariances = np.stack([np.diag(s**2) for s in self.scales])
        self.covariances[:, 0, 1] = self.covariances[:, 1, 0] = off

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        part = rng.choice(len(self.weights), size=count, p=self.weights)
        noise = rng.standard_normal((count, 2))
        factors = np.linalg.cholesky(self.covariances)[part]
        return np.asarray(self.means[part] + np.einsum("nij,nj->ni", factors, noise))

    def log_prob(self, z: Array) -> Array:
        centred = z[..., None, :] - self.means
        squared = (centred * np.linalg.solve(self.covariances, centred[..., None])[..., 0]).sum(-1)
        log_scale = np.log(2 * np.pi) + np.linalg.slogdet(self.covariances)[1] / 2
        return np.asarray(special.logsumexp(-squared / 2 - log_scale, axis=-1, b=self.weights))

    def cdf(self, value: float, axis: int) -> float:
        parts = special.ndtr((value - self.means[:, axis]) / self.scales[:, axis])
        return float(self.weights @ parts)


class SkewedStudentNoise(KnownNoise):
    """Two independent two-piece Student-t axes, skewed by `skew` (Fernandez and Steel, JASA 1998).

    The density of an axis is proportional to t(x / skew) for x >= 0 and t(x * skew) for x < 0.
    """

    name = "student"

    def __init__(self, df: float = 3.0, skew: tuple[float, float] = (1.5, 0.75)) -> None:
        self.df = df
        self.skew = np.asarray(skew)
        half_mean = 2 * np.sqrt(df) * special.gamma((df + 1) / 2) / (np.sqrt(np.pi) * (df - 1) * special.gamma(df / 2))
        g = self.skew
        self.mean = half_mean * (g**2 - g**-2) / (g + 1 / g)
        second = df / (df - 2) * (g**3 + g**-3) / (g + 1 / g)
        self.std = np.sqrt(second - self.mean**2)

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        size = np.abs(rng.standard_t(self.df, (count, 2)))
        right = rng.random((count, 2)) < self.skew**2 / (1 + self.skew**2)
        return np.asarray((np.where(right, size * self.skew, -size / self.skew) - self.mean) / self.std)

    def log_prob(self, z: Array) -> Array:
        x = z * self.std + self.mean
        folded = np.where(x >= 0, x / self.skew, x * self.skew)
        per_axis = self._log_t(folded) + np.log(2 / (self.skew + 1 / self.skew) * self.std)
        return np.asarray(per_axis.sum(-1))

    def _log_t(self, x: Array) -> Array:
        """Log density of Student's t."""
        half = (self.df + 1) / 2
        constant = special.gammaln(half) - special.gammaln(self.df / 2) - np.log(self.df * np.pi) / 2
        return np.asarray(constant - half * np.log1p(x**2 / self.df))

    def cdf(self, value: float, axis: int) -> float:
        g = self.skew[axis]
        x = value * self.std[axis] + self.mean[axis]
        if x < 0:
            return float(2 / (1 + g**2) * special.stdtr(self.df, x * g))
        return float(1 / (1 + g**2) + 2 * g**2 / (1 + g**2) * (special.stdtr(self.df, x / g) - 0.5))


FIRST_FRACTION, LAST_FRACTION = 0.0200, 0.0930
"""Scale over the stature at difficulty 0 and 1, before the ratio of the axes."""
_PIXEL = 0.7
_SOFTEST = 0.053
_SOFTNESS, _HIDDEN, _JOINT = 0.78, 0.16, 0.06

_DIFFICULTY = np.array([0.1, 0, 0, 0.2, 0.2, 0.6, 0.6, 0.5, 0.5, 0.4, 0.4, 1, 1, 0.7, 0.7, 0.6, 0.6])
"""Of each joint, 0 to 1, in COCO's order."""
_RATIO = np.array([1.0, 1.1, 1.1, 0.9, 0.9, 1.1, 1.1, 0.95, 0.95, 1, 1, 1.15, 1.15, 0.9, 0.9, 0.87, 0.87])
"""Horizontal over vertical scale of each joint."""
_NOISE = GaussianMixtureNoise()
_UNLABELLED = 0.03
_HIDDEN_UNLABELLED = 0.25


@dataclass(frozen=True)
class Labels:
    """What the annotator writes down for one figure, in pixels of the picture.

    Attributes:
        keypoints: (17, 2), rounded to 0.001; 0 where unlabelled.
        visibility: (17,) 0 unlabelled, 1 occluded, 2 visible.
        scale: (17, 2) true standard deviation of the label per axis.
        box: (4,) the silhouette's box with edges off by about 1% of its sides.
    """

    keypoints: Array
    visibility: npt.NDArray[np.int64]
    scale: Array
    box: Array


def noise_scale(figure: SceneFigure) -> Array:
    """(17, 2) standard deviation of the label per axis in pixels."""
    softness = np.hypot(figure.blur, _PIXEL) / figure.stature / _SOFTEST
    difficulty = _SOFTNESS * min(float(softness), 1.0) + _HIDDEN * figure.hidden + _JOINT * _DIFFICULTY
    scale = figure.stature * FIRST_FRACTION * (LAST_FRACTION / FIRST_FRACTION) ** difficulty
    return np.stack([scale * np.sqrt(_RATIO), scale / np.sqrt(_RATIO)], axis=-1)


def annotate(figure: SceneFigure, shape: tuple[int, int], rng: np.random.Generator) -> Labels:
    """Labels of a figure in a picture of `shape` (height, width); joints outside it are unlabelled."""
    scale = noise_scale(figure)
    keypoints = np.round(figure.joints + scale * _NOISE.sample(len(scale), rng), 3)
    inside = ((figure.joints > -0.5) & (figure.joints < np.array(shape[::-1]) - 0.5)).all(-1)
    chance = np.where(figure.hidden, _HIDDEN_UNLABELLED, _UNLABELLED)
    labelled = inside & (rng.random(len(scale)) >= chance)
    visibility = np.where(labelled, np.where(figure.hidden, 1, 2), 0).astype(np.int64)
    low, size = figure.box[:2], figure.box[2:]
    edges = np.concatenate([low, low + size]) + rng.normal(0, 0.01, 4) * np.tile(size, 2)
    box = np.round(np.concatenate([edges[:2], edges[2:] - edges[:2]]), 2)
    return Labels(np.where(labelled[:, None], keypoints, 0.0), visibility, scale, box)
