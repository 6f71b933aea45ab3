"""What draws say: each label predicted from the others of its landmark and object, and where the true location is.

Given a draw, a label of a landmark of an object is predicted from the other labels of the same:

    p(x_j | x_others) = integral of p(x_j | t) p(x_others | t) dt / integral of p(x_others | t) dt,

with a flat prior of t. For Gaussian noise both integrals are in closed form. Otherwise they are sums over the same
nodes, which are spread about the mean and the robust centre of the labels and about each label by its own noise, a
deterministic mixture (Owen and Zhou, "Safe and Effective Importance Sampling", JASA 2000): labels that are far apart
leave t with several modes, and each has its nodes.

Everything is in coordinates whitened by L_k and divided by the object's size, where y = L^-1 (x / s - b) = t' + tau z.
"""

from __future__ import annotations

__all__ = ["Draw", "Law", "Predicted", "StudentLaw", "factors", "predicted"]

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from probpose.arrays import Array, Index
from probpose.inference.fitting.annotation_coordinates import Values
from probpose.models.annotation_model import Design

_CORE = (12, 10)
"""Nodes about each centre, radii by angles."""
_CORE_DF = 5.0
_LEAST_DF = 2.1
"""With two degrees of freedom the variance is infinite; a location with one label has that of 2.1 then."""


class Law(Protocol):
    """Density of the noise z, one for each landmark."""

    def log_prob(self, z: Array, landmark: Index) -> Array:
        """(n, ...) nats at z (n, ..., 2) in landmarks (n,)."""

    def nodes(self, uniform: Array, landmark: Index) -> Array:
        """Points (n, G, 2) that represent the density, from points of the unit square (G, 2)."""

    def moments(self, landmark: Index) -> tuple[Array, Array]:
        """Mean (n, 2) and covariance (n, 2, 2)."""


@dataclass(frozen=True)
class StudentLaw:
    """Spherical Student-t on the plane.

    Attributes:
        df: (K,).
    """

    df: Array

    def log_prob(self, z: Array, landmark: Index) -> Array:
        df = self.df[landmark].reshape(-1, *(1,) * (z.ndim - 2))
        square = z[..., 0] ** 2 + z[..., 1] ** 2
        return np.asarray(-math.log(2 * math.pi) - (df / 2 + 1) * np.log1p(square / df))

    def nodes(self, uniform: Array, landmark: Index) -> Array:
        df = self.df[landmark][:, None]
        radius = np.sqrt(df * np.expm1(-2 / df * np.log(uniform[:, 0])))
        angle = 2 * math.pi * uniform[:, 1]
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)

    def moments(self, landmark: Index) -> tuple[Array, Array]:
        df = np.maximum(self.df[landmark], _LEAST_DF)
        return np.zeros((len(landmark), 2)), (df / (df - 2))[:, None, None] * np.eye(2)


@dataclass(frozen=True)
class Draw:
    """One draw: values, biases (A, K, 2) in units of `typical`, and the law of the noise, None for Gaussian."""

    values: Values
    bias: Array
    law: Law | None


@dataclass(frozen=True)
class Predicted:
    """What S draws say.

    Attributes:
        log_density: (S, P), nats in the labels' unit, of the scored labels given the others; NaN for a label alone.
        mean: (N, 2) of the cells' true locations over draws, in the labels' unit.
        covariance: (N, 2, 2), by the law of total variance.
    """

    log_density: Array
    mean: Array
    covariance: Array


def predicted(
    design: Design, draws: Iterable[Draw], scored: Index, step: Callable[[], None] = lambda: None
) -> Predicted:
    """Predict labels and locations by each draw.

    Args:
        design: M labels of N cells.
        draws: S.
        scored: (P,), the labels whose predictive density is kept.
        step: called after each draw.
    """
    groups = _by_count(design)
    kept, means, seconds = [], np.zeros((len(design.origin), 2)), np.zeros((len(design.origin), 2, 2))
    for draw in draws:
        log_density, mean, covariance = _one(design, draw, groups)
        kept.append(log_density[scored] - 2 * math.log(design.typical))
        means += mean
        seconds += covariance + mean[:, :, None] * mean[:, None]
        step()
    mean = means / len(kept)
    covariance = seconds / len(kept) - mean[:, :, None] * mean[:, None]
    located = design.origin.numpy() + design.typical * mean
    return Predicted(np.stack(kept), located, design.typical**2 * covariance)


def _by_count(design: Design) -> list[tuple[Index, Index]]:
    """Cells (n,) with the same number of labels, and the rows of those, (n, labels)."""
    cell = design.cell.numpy()
    count = np.bincount(cell, minlength=len(design.origin))
    order, start = np.argsort(cell, kind="stable"), count.cumsum() - count
    groups = []
    for labels in np.unique(count):
        cells = np.flatnonzero(count == labels)
        groups.append((cells, order[start[cells][:, None] + np.arange(labels)]))
    return groups


def _one(design: Design, draw: Draw, groups: list[tuple[Index, Index]]) -> tuple[Array, Array, Array]:
    """Log densities (M,), and means (N, 2) and covariances (N, 2, 2) of locations, in units of `typical`."""
    landmark, who, cell = design.landmark.numpy(), design.annotator.numpy(), design.cell.numpy()
    values, of_cell = draw.values, design.cell_landmark.numpy()
    lower = factors(values.landmark)
    size = np.exp(values.exponent * design.log_size.numpy())
    shifted = design.xy.numpy() / size[cell][:, None] - draw.bias[who, landmark]
    y = np.einsum("mij,mj->mi", np.linalg.inv(lower)[landmark], shifted)
    tau = np.exp(values.log_tau[who, landmark])
    log_density, mean, covariance = np.empty(len(y)), np.empty((len(size), 2)), np.empty((len(size), 2, 2))
    for cells, rows in groups:
        if draw.law is None:
            found = _gaussian(y[rows], tau[rows])
        elif rows.shape[1] == 1:
            found = _alone(y[rows], tau[rows], draw.law, of_cell[cells])
        else:
            found = _by_nodes(y[rows], tau[rows], draw.law, of_cell[cells])
        log_density[rows], mean[cells], covariance[cells] = found
    factor = size[:, None, None] * lower[of_cell]
    log_density -= (2 * np.log(size) + np.log(np.linalg.det(lower))[of_cell])[cell]
    return log_density, np.einsum("nij,nj->ni", factor, mean), factor @ covariance @ factor.transpose(0, 2, 1)


def factors(landmark: Array) -> Array:
    """L, (K, 2, 2)."""
    scale, atanh_rho = np.exp(landmark[:, :2]), landmark[:, 2]
    lower = np.zeros((len(landmark), 2, 2))
    lower[:, 0, 0] = scale[:, 0]
    lower[:, 1, 0] = np.tanh(atanh_rho) * scale[:, 1]
    lower[:, 1, 1] = scale[:, 1] / np.cosh(atanh_rho)
    return lower


def _gaussian(y: Array, tau: Array) -> tuple[Array, Array, Array]:
    """In closed form, for cells with the same number of labels: y (n, m, 2), tau (n, m)."""
    w = tau**-2
    total, weighted = w.sum(1), (w[..., None] * y).sum(1)
    mean, covariance = weighted / total[:, None], np.eye(2) / total[:, None, None]
    if y.shape[1] == 1:
        return np.full(tau.shape, np.nan), mean, covariance
    rest = total[:, None] - w
    error = y - (weighted[:, None] - w[..., None] * y) / rest[..., None]
    variance = 1 / w + 1 / rest
    return -np.log(2 * math.pi * variance) - (error**2).sum(-1) / (2 * variance), mean, covariance


def _alone(y: Array, tau: Array, law: Law, landmark: Index) -> tuple[Array, Array, Array]:
    """Of cells with one label."""
    mean, covariance = law.moments(landmark)
    return np.full(tau.shape, np.nan), y[:, 0] - tau * mean, tau[..., None] ** 2 * covariance


def _by_nodes(y: Array, tau: Array, law: Law, landmark: Index) -> tuple[Array, Array, Array]:
    """By importance sampling on nodes, for cells with the same number of labels: y (n, m, 2), tau (n, m)."""
    n, m = tau.shape
    radii = int(np.clip(24 // m, 4, 12))
    core, first, to_core = StudentLaw(np.array([_CORE_DF])), np.zeros(1, dtype=np.int64), _points(*_CORE)
    to_label = _points(radii, max(6, radii))
    around = y[:, :, None] - tau[:, :, None, None] * law.nodes(to_label, landmark)[:, None]
    places = [_centre(y, tau, robust) for robust in (False, True)]
    about = [centre[:, None] + width[:, None, None] * core.nodes(to_core, first) for centre, width in places]
    t = np.concatenate([*about, around.reshape(n, -1, 2)], 1)
    log_f = law.log_prob((y[:, :, None] - t[:, None]) / tau[:, :, None, None], landmark) - 2 * np.log(tau)[..., None]
    proposal = len(to_label) * np.exp(log_f).sum(1)
    for centre, width in places:
        z = (t - centre[:, None]) / width[:, None, None]
        proposal += len(to_core) * np.exp(core.log_prob(z, first)) / width[:, None] ** 2
    joint = log_f.sum(1)
    log_weight = joint - np.log(proposal)
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    rest = log_weight[:, None] - log_f
    top = rest.max(-1, keepdims=True)
    log_rest = np.log(np.exp(rest - top).sum(-1)) + top[..., 0]
    log_all = np.log(weight.sum(1)) + log_weight.max(1)
    share = weight / weight.sum(1, keepdims=True)
    mean = (share[..., None] * t).sum(1)
    apart = t - mean[:, None]
    covariance = np.einsum("ng,ngi,ngj->nij", share, apart, apart)
    return log_all[:, None] - log_rest, mean, covariance


def _centre(y: Array, tau: Array, robust: bool) -> tuple[Array, Array]:
    """Weighted mean (n, 2) and its standard error (n,); `robust` weights fall with the distance from the median."""
    w = tau**-2
    centre = np.median(y, axis=1)
    if robust:
        for _ in range(2):
            square = ((y - centre[:, None]) ** 2).sum(-1) / tau**2
            w = tau**-2 * 6 / (4 + square)
            centre = (w[..., None] * y).sum(1) / w.sum(1, keepdims=True)
    return (w[..., None] * y).sum(1) / w.sum(1, keepdims=True), 1 / np.sqrt(w.sum(1))


def _points(radii: int, angles: int) -> Array:
    """Points of the unit square (radii * angles, 2) in rows, every other of which is shifted by half a step."""
    i, j = np.divmod(np.arange(radii * angles), angles)
    return np.stack([(i + 0.5) / radii, (j + 0.5 * (i % 2)) / angles], -1)
