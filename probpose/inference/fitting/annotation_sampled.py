"""Labels with Gaussian, Student-t or warped noise, given biases and true locations, which are sampled beside the rest.

Biases are b = Q e with e ~ Normal(0, omega^2 L L'), centred, because many labels determine each. With weights
w_a = g_ia / tau_a^2, W_i their sum and q_a = w_a / W_i the true location is

    t_i = sum_a q_a (x_ia - s_i b_a) + s_i L r_i / sqrt(W_i)

where r is a standard normal, independent of all else, if the noise is Gaussian and g = 1, and nearly so otherwise: an
annotator who may never err (tau_a near 0) takes the location along. g is fixed, and small for labels that lie far off.
"""

from __future__ import annotations

__all__ = ["Places", "SampledLabels", "biases_density"]

import math
from dataclasses import dataclass, replace

import numpy as np

from probpose.arrays import Array, Index
from probpose.inference.fitting.annotation_coordinates import Coordinates, Values
from probpose.inference.fitting.annotation_predictive import factors
from probpose.inference.fitting.nuts import mode
from probpose.inference.fitting.warp_table import WarpTable, warped_t
from probpose.models.annotation_model import Design
from probpose.models.residual_model import elliptical_t


@dataclass(frozen=True)
class Places:
    """True locations and what they are made of, in units of `typical` and relative to the cells' origins.

    Attributes:
        without_bias: (M, 2), labels minus biases.
        mean: (N, 2), of those, weighted.
        moved: (N, 2), the location from there.
        size: (N,), s.
        share: (M,), q.
        unit: (N,), s / sqrt(W).
    """

    without_bias: Array
    mean: Array
    moved: Array
    size: Array
    share: Array
    unit: Array

    @property
    def truth(self) -> Array:
        """(N, 2)."""
        return self.mean + self.moved


@dataclass(frozen=True)
class SampledLabels:
    """The log density of a vector of coordinates, contrasts of biases (A-1, K, 2) and r (N, 2).

    Attributes:
        coordinates: of landmarks and annotators.
        design: whose label is which.
        rows: of each landmark's labels.
        trust: (M,), g. The density of biases and locations does not depend on it.
        warp: of the noise, where it was learned.
    """

    coordinates: Coordinates
    design: Design
    rows: tuple[Index, ...]
    trust: Array
    warp: WarpTable | None

    @classmethod
    def of(cls, design: Design) -> SampledLabels:
        """The density of a design's labels."""
        landmark = design.landmark.numpy()
        rows = tuple(np.flatnonzero(landmark == k) for k in range(len(design.group)))
        warp = None if design.warp is None else WarpTable.of(design.warp)
        return cls(Coordinates.of(design), design, rows, np.ones(len(landmark)), warp)

    def trusting(self, x: Array) -> SampledLabels:
        """The same with g by how far labels lie off at a vector (D,)."""
        if self.design.noise == "gaussian":
            return self
        own, e, r = self.split(x)
        at = self.coordinates.values(self.coordinates.sites(own))
        bias, design = np.einsum("af,fkd->akd", self.design.basis.numpy(), e), self.design
        place, who, cell = self.places(at, bias, r), design.annotator.numpy(), design.cell.numpy()
        error = place.without_bias - place.truth[cell]
        landmark = design.landmark.numpy()
        unit = place.size[cell] * np.exp(at.log_tau[who, landmark])
        z = np.einsum("mij,mj->mi", np.linalg.inv(factors(at.landmark))[landmark], error) / unit[:, None]
        df = np.exp(at.landmark[landmark, 4])
        return replace(self, trust=(df + 2) / (df + (z**2).sum(-1)))

    @property
    def cells(self) -> int:
        """N."""
        return len(self.design.origin)

    @property
    def size(self) -> int:
        """D."""
        return self.coordinates.size + 2 * (self.design.annotators - 1) * len(self.rows) + 2 * self.cells

    def start(self) -> Array:
        """A place to begin: the mode of all but r, which is 0 (for Gaussian noise: true locations integrated out)."""
        r = np.zeros(2 * self.cells)

        def rest(x: Array) -> tuple[float, Array]:
            value, gradient = self(np.concatenate([x, r]), volume=0.5)
            return value, gradient[: len(x)]

        return np.concatenate([mode(rest, np.zeros(self.size - len(r))), r])

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
            bias = np.einsum("af,fkd->akd", basis, e)
            place = self.places(at, bias, r)
            value, slope, to_bias, to_truth = self._labels(at, bias, place.truth)
            prior, to_e[:] = biases_density(at, e, slope.landmark, volume)
            log_det, to_r[:], to_exponent = self._moved(at, r, place, to_truth, slope, to_bias)
            to_e[:] += np.einsum("af,akd->fkd", basis, to_bias)
            return value + prior + log_det, Values(slope.landmark, slope.log_tau, slope.exponent + to_exponent)

        found, gradient = self.coordinates.log_density(own, likelihood, volume=volume)
        return found, np.concatenate([gradient, to_e.ravel(), to_r.ravel()])

    def places(self, at: Values, bias: Array, r: Array) -> Places:
        """True locations, given biases (A, K, 2) and r (N, 2)."""
        design, cell, N = self.design, self.design.cell.numpy(), self.cells
        who, landmark = design.annotator.numpy(), design.landmark.numpy()
        size = np.exp(at.exponent * design.log_size.numpy())
        w = self.trust * np.exp(-2 * at.log_tau[who, landmark])
        total: Array = np.bincount(cell, w, N).astype(np.float64)
        share, unit = w / total[cell], size / np.sqrt(total)
        y = design.xy.numpy() - size[cell, None] * bias[who, landmark]
        mean = np.stack([np.bincount(cell, share * y[:, d], N) for d in (0, 1)], -1).astype(np.float64)
        apart = np.einsum("nij,nj->ni", factors(at.landmark)[design.cell_landmark.numpy()], r)
        return Places(y, mean, unit[:, None] * apart, size, share, unit)

    def _moved(
        self, at: Values, r: Array, place: Places, to_truth: Array, slope: Values, to_bias: Array
    ) -> tuple[float, Array, float]:
        """log |dt / dr|, and gradients in r and gamma by way of t; those in the rest are added to what there is."""
        design, cell, of_cell = self.design, self.design.cell.numpy(), self.design.cell_landmark.numpy()
        (A, K), log_size, lower = at.log_tau.shape, design.log_size.numpy(), factors(at.landmark)
        pull, moved = to_truth[cell], place.moved
        pair = design.annotator.numpy() * K + design.landmark.numpy()
        apart = ((moved[cell] - 2 * (place.without_bias - place.mean[cell])) * pull).sum(-1)
        slope.log_tau[:] += np.bincount(pair, place.share * (apart + 2), A * K).reshape(A, K)
        by_share = (place.share * place.size[cell])[:, None] * pull
        for d in (0, 1):
            to_bias[..., d] -= np.bincount(pair, by_share[:, d], A * K).reshape(A, K)
        cells: Array = np.bincount(of_cell, minlength=K).astype(np.float64)
        tanh = np.tanh(at.landmark[:, 2])
        turned = (np.exp(at.landmark[:, 1]) / np.cosh(at.landmark[:, 2]))[of_cell] * place.unit
        bent = turned * (r[:, 0] / np.cosh(at.landmark[of_cell, 2]) - r[:, 1] * tanh[of_cell])
        parts = [to_truth[:, 0] * moved[:, 0], to_truth[:, 1] * moved[:, 1], to_truth[:, 1] * bent]
        grown = np.stack([cells, cells, -tanh * cells])
        for column, part in enumerate(parts):
            slope.landmark[:, column] += np.bincount(of_cell, part, minlength=K) + grown[column]
        value = float(np.log(np.linalg.det(lower)) @ cells + 2 * np.log(place.unit).sum())
        to_r = place.unit[:, None] * np.einsum("nij,ni->nj", lower[of_cell], to_truth)
        labels = np.stack([np.bincount(cell, place.share * design.xy.numpy()[:, d], self.cells) for d in (0, 1)], -1)
        grow = (to_truth * (moved + place.mean - labels)).sum(-1) + 2
        return value, to_r, float(log_size @ grow)

    def _labels(self, at: Values, bias: Array, truth: Array) -> tuple[float, Values, Array, Array]:
        """Log likelihood, and gradients in the values, biases (A, K, 2) and true locations (N, 2)."""
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
            x, y = np.ascontiguousarray(z.T)
            own, to_shape, to_x, to_y = (
                elliptical_t(x, y, shape) if self.warp is None else warped_t(x, y, shape, self.warp)
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
