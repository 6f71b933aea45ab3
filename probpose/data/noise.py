"""Known annotation noise: residual densities with exact moments, quantiles and log density, to test against."""

from __future__ import annotations

__all__ = ["GaussianMixtureNoise", "KnownNoise", "SkewedStudentNoise"]

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

Array = npt.NDArray[np.float64]


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
        parts = [
            np.log(w) + stats.multivariate_normal(m, c).logpdf(z)
            for w, m, c in zip(self.weights, self.means, self.covariances, strict=True)
        ]
        return np.asarray(special.logsumexp(np.stack(parts), axis=0))

    def cdf(self, value: float, axis: int) -> float:
        parts = stats.norm.cdf(value, self.means[:, axis], self.scales[:, axis])
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
        per_axis = stats.t.logpdf(folded, self.df) + np.log(2 / (self.skew + 1 / self.skew) * self.std)
        return np.asarray(per_axis.sum(-1))

    def cdf(self, value: float, axis: int) -> float:
        g = self.skew[axis]
        x = value * self.std[axis] + self.mean[axis]
        if x < 0:
            return float(2 / (1 + g**2) * stats.t.cdf(x * g, self.df))
        return float(1 / (1 + g**2) + 2 * g**2 / (1 + g**2) * (stats.t.cdf(x / g, self.df) - 0.5))
