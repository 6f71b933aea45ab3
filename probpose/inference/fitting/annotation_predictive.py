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

__all__ = ["Draw", "Law", "Predicted", "StudentLaw", "factors", "located", "predicted"]

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from probpose.arrays import Array, Index
from probpose.inference.fitting.annotation_coordinates import Values
from probpose.inference.fitting.warp_table import WarpTable, place
from probpose.models.annotation_model import Design

_CORE = (12, 10)
"""Nodes about each centre, radii by angles."""
_CORE_DF = 5.0
_LEAST_DF = 2.1
"""With two degrees of freedom the variance is infinite; a location with one label has that of 2.1 then."""
_CHUNK = 500


class Law(Protocol):
    """Density of the noise z, one for each landmark."""

    def log_prob(self, z: Array, landmark: Index) -> Array:
        """(n, ...) nats at z (n, ..., 2) in landmarks (n,)."""

    def nodes(self, uniform: Array, landmark: Index) -> Array:
        """Points (n, G, 2) that represent the density, from points of the unit square (G, 2)."""

    def moments(self, landmark: Index) -> tuple[Array, Array]:
        """Mean (n, 2) and covariance (n, 2, 2)."""

    def sample(self, landmark: Index, rng: np.random.Generator) -> Array:
        """A draw for each of landmarks (n,), (n, 2)."""


@dataclass(frozen=True)
class StudentLaw:
    """Spherical Student-t on the plane, or what a warp makes of it.

    Attributes:
        df: (K,).
        warp: None for Student-t.
    """

    df: Array
    warp: WarpTable | None = None

    def log_prob(self, z: Array, landmark: Index) -> Array:
        if self.warp is not None:
            return self._on_grid(z, landmark)
        df = self.df[landmark].reshape(-1, *(1,) * (z.ndim - 2))
        square = z[..., 0] ** 2 + z[..., 1] ** 2
        return np.asarray(-math.log(2 * math.pi) - (df / 2 + 1) * np.log1p(square / df))

    def nodes(self, uniform: Array, landmark: Index) -> Array:
        df = self.df[landmark][:, None]
        radius = np.sqrt(df * np.expm1(-2 / df * np.log(uniform[:, 0])))
        angle = 2 * math.pi * uniform[:, 1]
        return self._image(np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1))

    def moments(self, landmark: Index) -> tuple[Array, Array]:
        df = np.maximum(self.df[landmark], _LEAST_DF)
        if self.warp is not None:
            return self.warp.moments(df)
        return np.zeros((len(landmark), 2)), (df / (df - 2))[:, None, None] * np.eye(2)

    def sample(self, landmark: Index, rng: np.random.Generator) -> Array:
        df = self.df[landmark]
        return self._image(rng.standard_normal((len(df), 2)) * np.sqrt(df / rng.chisquare(df))[:, None])

    def _image(self, w: Array) -> Array:
        return w if self.warp is None else self.warp.image(w)

    @cached_property
    def _heights(self) -> Array:
        """Log densities at the points of the warp's grid, (K, n, n)."""
        assert self.warp is not None
        return self.warp.heights(self.df)

    def _on_grid(self, z: Array, landmark: Index) -> Array:
        """Between the points of the grid linearly, which errs by a thousandth of a nat."""
        side = self._heights.shape[-1]
        cell, f = place(z)
        corner = (landmark.reshape(-1, *(1,) * (z.ndim - 2)) * side + cell[..., 0]) * side + cell[..., 1]
        flat, (x, y) = self._heights.ravel(), np.moveaxis(f, -1, 0)
        low = flat[corner] * (1 - y) + flat[corner + 1] * y
        high = flat[corner + side] * (1 - y) + flat[corner + side + 1] * y
        return np.asarray(low * (1 - x) + high * x)


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
    """Cells (n,) with the same number of labels, a chunk at a time, and the rows of those, (n, labels)."""
    cell = design.cell.numpy()
    count = np.bincount(cell, minlength=len(design.origin))
    order, start = np.argsort(cell, kind="stable"), count.cumsum() - count
    groups = []
    for labels in np.unique(count):
        for cells in np.array_split(np.flatnonzero(count == labels), -(-(count == labels).sum() // _CHUNK)):
            groups.append((cells, order[start[cells][:, None] + np.arange(labels)]))
    return groups


@dataclass(frozen=True)
class _Whitened:
    """Labels y = L^-1 (x / s - b), (M, 2), tau (M,) of each, sizes s (N,) and L (K, 2, 2)."""

    y: Array
    tau: Array
    size: Array
    lower: Array

    @classmethod
    def of(cls, design: Design, draw: Draw) -> _Whitened:
        landmark, who, cell = design.landmark.numpy(), design.annotator.numpy(), design.cell.numpy()
        lower = factors(draw.values.landmark)
        size = np.exp(draw.values.exponent * design.log_size.numpy())
        shifted = design.xy.numpy() / size[cell][:, None] - draw.bias[who, landmark]
        y = np.einsum("mij,mj->mi", np.linalg.inv(lower)[landmark], shifted)
        return cls(y, np.exp(draw.values.log_tau[who, landmark]), size, lower)


def _one(design: Design, draw: Draw, groups: list[tuple[Index, Index]]) -> tuple[Array, Array, Array]:
    """Log densities (M,), and means (N, 2) and covariances (N, 2, 2) of locations, in units of `typical`."""
    white, of_cell = _Whitened.of(design, draw), design.cell_landmark.numpy()
    y, tau, size, lower = white.y, white.tau, white.size, white.lower
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
    log_density -= (2 * np.log(size) + np.log(np.linalg.det(lower))[of_cell])[design.cell.numpy()]
    return log_density, np.einsum("nij,nj->ni", factor, mean), factor @ covariance @ factor.transpose(0, 2, 1)


def located(design: Design, draw: Draw, rng: np.random.Generator) -> tuple[Array, Array]:
    """True locations drawn given a draw and all labels, (N, 2) in units of `typical`, and the noise z (M, 2) then.

    For other noise than Gaussian a location is one of the nodes, chosen by their weights.
    """
    white, of_cell = _Whitened.of(design, draw), design.cell_landmark.numpy()
    truth = np.empty((len(white.size), 2))
    for cells, rows in _by_count(design):
        y, tau = white.y[rows], white.tau[rows]
        if draw.law is None:
            _, mean, covariance = _gaussian(y, tau)
            truth[cells] = mean + np.sqrt(covariance[:, 0, 0])[:, None] * rng.standard_normal(mean.shape)
        elif rows.shape[1] == 1:
            truth[cells] = y[:, 0] - tau * draw.law.sample(of_cell[cells], rng)
        else:
            nodes = _nodes(y, tau, draw.law, of_cell[cells])
            content = np.exp(nodes.log_weight - nodes.log_weight.max(1, keepdims=True)).cumsum(1)
            chosen = (content < rng.random((len(cells), 1)) * content[:, -1:]).sum(1)
            truth[cells] = nodes.t[np.arange(len(cells)), chosen]
    z = (white.y - truth[design.cell.numpy()]) / white.tau[:, None]
    return white.size[:, None] * np.einsum("nij,nj->ni", white.lower[of_cell], truth), z


def factors(landmark: Array) -> Array:
    """L, (..., K, 2, 2)."""
    scale, atanh_rho = np.exp(landmark[..., :2]), landmark[..., 2]
    lower = np.zeros((*atanh_rho.shape, 2, 2))
    lower[..., 0, 0] = scale[..., 0]
    lower[..., 1, 0] = np.tanh(atanh_rho) * scale[..., 1]
    lower[..., 1, 1] = scale[..., 1] / np.cosh(atanh_rho)
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


@dataclass(frozen=True)
class _Nodes:
    """Places t (n, G, 2) for locations, log densities of the labels there (n, m, G), and log weights (n, G)."""

    t: Array
    log_f: Array
    log_weight: Array


def _nodes(y: Array, tau: Array, law: Law, landmark: Index) -> _Nodes:
    """For cells with the same number of labels: y (n, m, 2), tau (n, m)."""
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
    return _Nodes(t, log_f, log_f.sum(1) - np.log(proposal))


def _by_nodes(y: Array, tau: Array, law: Law, landmark: Index) -> tuple[Array, Array, Array]:
    """By importance sampling on nodes, for cells with the same number of labels: y (n, m, 2), tau (n, m)."""
    nodes = _nodes(y, tau, law, landmark)
    t, log_weight = nodes.t, nodes.log_weight
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    rest = log_weight[:, None] - nodes.log_f
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
