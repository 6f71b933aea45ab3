"""Labels with Gaussian or Student-t noise, given biases and true locations, which are sampled beside the rest.

Biases are b = Q e with e ~ Normal(0, omega^2 L L'), centred, because many labels determine each. The true location of n
labels with mean m is t = m + s L r / sqrt(n), where r is about a standard normal whatever the scale.
"""

from __future__ import annotations

__all__ = ["SampledLabels", "biases_density"]

import math
from dataclasses import dataclass

import numpy as np

from probpose.arrays import Array, Index
from probpose.inference.fitting.annotation_coordinates import Coordinates, Values
from probpose.inference.fitting.annotation_predictive import factors
from probpose.inference.fitting.nuts import mode
from probpose.models.annotation_model import Design
from probpose.models.residual_model import elliptical_t


@dataclass(frozen=True)
class SampledLabels:
    """The log density of a vector of coordinates, contrasts of biases (A-1, K, 2) and r (N, 2).

    Attributes:
        coordinates: of landmarks and annotators.
        design: whose label is which.
        rows: of each landmark's labels.
    """

    coordinates: Coordinates
    design: Design
    rows: tuple[Index, ...]

    @classmethod
    def of(cls, design: Design) -> SampledLabels:
        """The density of a design's labels."""
        landmark = design.landmark.numpy()
        return cls(
            Coordinates.of(design), design, tuple(np.flatnonzero(landmark == k) for k in range(len(design.group)))
        )

    @property
    def cells(self) -> int:
        """N."""
        return len(self.design.origin)

    @property
    def size(self) -> int:
        """D."""
        return self.coordinates.size + 2 * (self.design.annotators - 1) * len(self.rows) + 2 * self.cells

    def start(self) -> Array:
        """A place to begin: true locations at the mean of their labels, and the mode of the rest given those.

        The mode of all has an annotator who never errs, and locations at his labels.
        """
        truth = np.zeros(2 * self.cells)

        def rest(x: Array) -> tuple[float, Array]:
            value, gradient = self(np.concatenate([x, truth]), volume=0.5)
            return value, gradient[: len(x)]

        return np.concatenate([mode(rest, np.zeros(self.size - len(truth))), truth])

    def split(self, x: Array) -> tuple[Array, Array, Array]:
        """Coordinates (..., D0), contrasts e (..., A-1, K, 2) and r (..., N, 2)."""
        first, lead = self.coordinates.size, x.shape[:-1]
        e = x[..., first : x.shape[-1] - 2 * self.cells].reshape(*lead, self.design.annotators - 1, len(self.rows), 2)
        return x[..., :first], e, x[..., x.shape[-1] - 2 * self.cells :].reshape(*lead, self.cells, 2)

    def __call__(self, x: Array, *, volume: float = 1.0) -> tuple[float, Array]:
        """Log density and gradient (D,); see `Hierarchy.log_density`."""
        own, e, r = self.split(x)
        to_e, to_r = np.empty_like(e), np.empty_like(r)

        def likelihood(at: Values) -> tuple[float, Values]:
            basis = self.design.basis.numpy()
            value, slope, to_bias, to_truth = self._labels(at, basis, e, self.truth(at, r))
            prior, to_e[:] = biases_density(at, e, slope.landmark, volume)
            to_e[:] += np.einsum("af,akd->fkd", basis, to_bias)
            log_det, to_r[:], to_exponent = self._places(at, r, to_truth, slope.landmark)
            return value + prior + log_det, Values(slope.landmark, slope.log_tau, slope.exponent + to_exponent)

        found, gradient = self.coordinates.log_density(own, likelihood, volume=volume)
        return found, np.concatenate([gradient, to_e.ravel(), to_r.ravel()])

    def truth(self, at: Values, r: Array) -> Array:
        """True locations (N, 2), relative to the means of their labels."""
        apart = np.einsum("nij,nj->ni", factors(at.landmark)[self.design.cell_landmark.numpy()], r)
        return np.asarray(self._share(at)[:, None] * apart)

    def _share(self, at: Values) -> Array:
        """s / sqrt(n), (N,)."""
        count = np.bincount(self.design.cell.numpy(), minlength=self.cells)
        return np.asarray(np.exp(at.exponent * self.design.log_size.numpy()) / np.sqrt(count))

    def _places(self, at: Values, r: Array, to_truth: Array, to_landmark: Array) -> tuple[float, Array, float]:
        """log |dt / dr|, and gradients in r and gamma; that in the landmarks is added to `to_landmark`."""
        landmark, log_size = self.design.cell_landmark.numpy(), self.design.log_size.numpy()
        K, lower, share = len(at.landmark), factors(at.landmark), self._share(at)
        moved, log_det = self.truth(at, r), np.log(np.linalg.det(lower))
        cells: Array = np.bincount(landmark, minlength=K).astype(np.float64)
        tanh = np.tanh(at.landmark[:, 2])
        turned = np.exp(at.landmark[:, 1]) / np.cosh(at.landmark[:, 2])
        bent = (share * turned[landmark])[:, None] * np.stack(
            [1 / np.cosh(at.landmark[landmark, 2]), -tanh[landmark]], -1
        )
        parts = [to_truth[:, 0] * moved[:, 0], to_truth[:, 1] * moved[:, 1], to_truth[:, 1] * (bent * r).sum(-1)]
        grown = np.stack([cells, cells, -tanh * cells])
        for column, part in enumerate(parts):
            to_landmark[:, column] += np.bincount(landmark, part, minlength=K) + grown[column]
        value = float(log_det @ cells + 2 * np.log(share).sum())
        to_r = share[:, None] * np.einsum("nij,ni->nj", lower[landmark], to_truth)
        return value, to_r, float((log_size * ((to_truth * moved).sum(-1) + 2)).sum())

    def _labels(self, at: Values, basis: Array, e: Array, truth: Array) -> tuple[float, Values, Array, Array]:
        """Log likelihood, and gradients in the values, biases (A, K, 2) and true locations (N, 2)."""
        bias = np.einsum("af,fkd->akd", basis, e)
        design, A = self.design, self.design.annotators
        xy, cell, annotator = design.xy.numpy(), design.cell.numpy(), design.annotator.numpy()
        slope = Values(np.zeros_like(at.landmark), np.zeros_like(at.log_tau), np.zeros(()))
        to_bias, to_xy, value, to_exponent = np.zeros_like(bias), np.empty_like(xy), 0.0, 0.0
        log_size, df = design.log_size.numpy(), at.landmark.shape[1] > 4
        for k, rows in enumerate(self.rows):
            who, where = annotator[rows], cell[rows]
            size, tau = np.exp(at.exponent * log_size[where]), np.exp(at.log_tau[who, k])
            error = (xy[rows] - truth[where]) / size[:, None]
            z = (error - bias[who, k]) / tau[:, None]
            shape = np.append(at.landmark[k, :3], at.landmark[k, 4] if df else math.inf)
            own, to_shape, to_x, to_y = elliptical_t(
                np.ascontiguousarray(z[:, 0]), np.ascontiguousarray(z[:, 1]), shape
            )
            value += own - 2 * float(np.log(size * tau).sum())
            slope.landmark[k, :3] = to_shape[:3]
            if df:
                slope.landmark[k, 4] = to_shape[3]
            to_z = np.stack([to_x, to_y], -1)
            to_error = to_z / tau[:, None]
            slope.log_tau[:, k] = -np.bincount(who, (z * to_z).sum(-1) + 2, minlength=A)
            for d in (0, 1):
                to_bias[:, k, d] = -np.bincount(who, to_error[:, d], minlength=A)
            to_exponent -= float((log_size[where] * ((error * to_error).sum(-1) + 2)).sum())
            to_xy[rows] = to_error / size[:, None]
        to_truth = -np.stack([np.bincount(cell, to_xy[:, d], minlength=self.cells) for d in (0, 1)], -1)
        return value, Values(slope.landmark, slope.log_tau, np.array(to_exponent)), to_bias, to_truth.astype(np.float64)


def biases_density(at: Values, e: Array, to_landmark: Array, volume: float) -> tuple[float, Array]:
    """Log prior of contrasts (A-1, K, 2) and its gradient in them; that in the landmarks is added to `to_landmark`.

    Where `volume` is below 1, the normaliser is left out, as in `Hierarchy.log_density`: the mode would have no biases.
    """
    value, to_e, left = 0.0, np.empty_like(e), len(e) if volume < 1 else 0
    for k, own in enumerate(at.landmark):
        log_x, log_y = own[:2] + own[3]
        found, slope, to_e[:, k, 0], to_e[:, k, 1] = elliptical_t(
            e[:, k, 0], e[:, k, 1], np.array([log_x, log_y, own[2], math.inf])
        )
        value += found + left * (log_x + log_y - math.log(math.cosh(own[2])))
        slope[:3] += left * np.array([1.0, 1.0, -math.tanh(own[2])])
        to_landmark[k, :3] += slope[:3]
        to_landmark[k, 3] += slope[0] + slope[1]
    return value, to_e
