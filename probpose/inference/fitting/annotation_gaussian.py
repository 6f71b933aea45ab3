"""Gaussian labels with true locations and biases integrated out; biases are drawn afterwards from their conditional.

In landmark k, in coordinates whitened by L_k and divided by the size s_i, both axes are independent, the labels y_ia of
object i have weights w_a = tau_ak^-2, W_i is their sum over those who labelled it, and with a flat prior of t

    log p(y_i | b) = -(n_i - 1) (log det L + log 2 pi + 2 log s_i) + sum_a log w_a - log W_i
                     - tr (y_i - b)' P_i (y_i - b) / 2,        P_i = diag(w) - w w' / W_i.

Biases b = omega Q c with c ~ Normal(0, I) follow by completing the square: with M the sum of P_i, h that of P_i y_i and
Lambda = I + omega^2 Q' M Q, their integral adds omega^2 h' Q Lambda^-1 Q' h / 2 - log det Lambda / 2 for each axis.

Quadratic forms of n objects with the same annotators do not change when their labels, beside a column of ones, are
replaced by the triangular factor of a QR decomposition: then 2 A + 1 rows stand for them, and the cost does not grow
with the number of objects. Objects whose sizes are known stay as they are.
"""

from __future__ import annotations

__all__ = ["GaussianLabels"]

import math
from dataclasses import dataclass

import numpy as np

from probpose.arrays import Array, Mask
from probpose.inference.fitting.annotation_coordinates import Values
from probpose.models.annotation_model import Design


@dataclass(frozen=True)
class GaussianLabels:
    """Labels by landmark, in R rows of objects or of what stands for them; units of `typical`.

    Attributes:
        xy: (K, R, A, 2); 0 where there is none.
        known: (K, R, A), 1 where there is a label.
        ones: (K, R), what stands for the column of ones.
        objects: (K, R), how many objects the row counts for.
        log_size: (K, R).
        basis: (A, A-1), Q.
    """

    xy: Array
    known: Array
    ones: Array
    objects: Array
    log_size: Array
    basis: Array

    @classmethod
    def of(cls, design: Design) -> GaussianLabels:
        """Labels of a design, compressed where sizes are not known; those that are alone are left out."""
        N, A = len(design.origin), design.annotators
        xy, known = np.zeros((N, A, 2)), np.zeros((N, A), dtype=bool)
        xy[design.cell, design.annotator] = design.xy
        known[design.cell, design.annotator] = True
        landmark, log_size = design.cell_landmark.numpy(), design.log_size.numpy()
        blocks = []
        for k in range(len(design.group)):
            own = np.flatnonzero((landmark == k) & (known.sum(-1) > 1))
            compress = _as_they_are if design.sized else _compressed
            blocks.append(compress(xy[own], known[own], log_size[own]))
        xy_, known_, ones, objects, log_sizes = (_padded(list(column)) for column in zip(*blocks, strict=True))
        return cls(xy_, known_, ones, objects, log_sizes, design.basis.numpy())

    def __call__(self, at: Values) -> tuple[float, Values]:
        """log p(labels | at) in nats, and its gradient.

        The gradient is the mean, over biases given the labels, of the gradient given both (Fisher's identity).
        """
        forms = _Forms.of(self, at)
        labels = self.known.sum(-1)
        contrasts = self.objects * (labels - 1)
        log_tau = at.log_tau.T[:, None]
        each = -contrasts * (forms.log_det[:, None] + math.log(2 * math.pi) + 2 * at.exponent * self.log_size)
        each = each - self.objects * (2 * (self.known * log_tau).sum(-1) + np.log(forms.total))
        value = float(each.sum() - 0.5 * forms.square + 0.5 * (forms.h * forms.c).sum() - forms.log_det_inner)
        return value, self._gradient(at, forms, contrasts)

    def draw_bias(self, at: Values, rng: np.random.Generator) -> Array:
        """A draw of L^-1 b given the labels, (A, K, 2)."""
        forms = _Forms.of(self, at)
        values, vectors = np.linalg.eigh(forms.inverse)
        root = (
            vectors * np.sqrt(np.clip(values, 0, 1))[:, None]
        )  # the prior's is 1: more is rounding, and so is less than 0
        c = forms.c + root @ rng.standard_normal(forms.c.shape)
        return np.asarray((forms.omega * (self.basis @ c)).transpose(1, 0, 2))

    def _gradient(self, at: Values, forms: _Forms, contrasts: Array) -> Values:
        """See `__call__`. `square` are mean squares of labels about location and bias, both axes together."""
        beta = forms.omega * (self.basis @ forms.c)
        covariance = forms.omega**2 * (self.basis @ forms.inverse @ self.basis.T)
        share = forms.w / forms.total[..., None]
        apart = beta[:, None] - (share @ beta)[:, :, None]
        residual = forms.centred - self.ones[..., None, None] * apart
        mixed = share @ covariance
        spread = np.diagonal(covariance, axis1=1, axis2=2)[:, None] - 2 * mixed + (mixed * share).sum(-1, keepdims=True)
        square = (residual**2).sum(-1) + 2 * self.ones[..., None] ** 2 * spread
        to_tau = forms.w * square - 2 * self.objects[..., None] * (self.known - share)
        weighted = forms.w[..., None] * residual
        xx, yx, yy = (
            (weighted[..., i] * forms.white[..., j]).sum((1, 2)) for i, j in ((0, 0), (1, 0), (1, 1))
        )  # fmt: skip
        sinh, cosh = np.sinh(at.landmark[:, 2]), np.cosh(at.landmark[:, 2])
        number = contrasts.sum(-1)
        along = yy + sinh * yx
        inverse_trace = np.trace(forms.inverse, axis1=1, axis2=2)
        to_landmark = np.zeros_like(at.landmark)
        to_landmark[:, 0] = xx - sinh * yx - number
        to_landmark[:, 1] = along - number
        to_landmark[:, 2] = cosh * yx + sinh / cosh * (number - along)
        to_landmark[:, 3] = (forms.c**2).sum((1, 2)) + 2 * inverse_trace - 2 * self.basis.shape[1]
        grown = (weighted * forms.white).sum((2, 3)) - 2 * contrasts
        return Values(to_landmark, to_tau.sum(1).T, np.asarray((self.log_size * grown).sum()))


@dataclass(frozen=True)
class _Forms:
    """What value and gradient are made of.

    Attributes:
        w: (K, R, A), weights; 0 where there is no label.
        total: (K, R), W; 1 where there is none.
        white: (K, R, A, 2), labels whitened by L and divided by the size.
        centred: (K, R, A, 2), those about their weighted mean.
        square: sum of w times squares of the centred labels.
        log_det: (K,), of L.
        omega: (K, 1, 1).
        h: (K, A-1, 2), omega Q' h.
        inverse: (K, A-1, A-1), of Lambda.
        log_det_inner: sum over landmarks of log det Lambda.
        c: (K, A-1, 2), mean of c given the labels.
    """

    w: Array
    total: Array
    white: Array
    centred: Array
    square: float
    log_det: Array
    omega: Array
    h: Array
    inverse: Array
    log_det_inner: float
    c: Array

    @classmethod
    def of(cls, labels: GaussianLabels, at: Values) -> _Forms:
        w = labels.known * np.exp(-2 * at.log_tau).T[:, None]
        total = w.sum(-1)
        total = total + (total == 0)
        white = _whitened(labels.xy * np.exp(-at.exponent * labels.log_size)[..., None, None], at.landmark)
        centred = white - (w[:, :, None] @ white) / total[..., None, None]
        weighted = w[..., None] * centred
        seen = w * labels.ones[..., None]
        M = -seen.transpose(0, 2, 1) @ (seen / total[..., None])
        M += np.eye(M.shape[-1]) * (seen * labels.ones[..., None]).sum(1)[:, None]
        Q, omega = labels.basis, np.exp(at.landmark[:, 3])[:, None, None]
        inner = omega**2 * (Q.T @ M @ Q) + np.eye(Q.shape[1])
        h = omega * (Q.T @ np.einsum("kr,krad->kad", labels.ones, weighted))
        inverse = np.linalg.inv(inner)
        log_det = at.landmark[:, :2].sum(-1) - np.log(np.cosh(at.landmark[:, 2]))
        return cls(
            w, total, white, centred, float((weighted * centred).sum()), log_det, omega, h, inverse,
            float(np.linalg.slogdet(inner)[1].sum()), inverse @ h,
        )  # fmt: skip


def _whitened(x: Array, landmark: Array) -> Array:
    """L^-1 x, (K, R, A, 2)."""
    log_x, log_y, atanh_rho = (landmark[:, i, None, None] for i in range(3))
    u = x[..., 0] * np.exp(-log_x)
    return np.stack([u, x[..., 1] * (np.cosh(atanh_rho) * np.exp(-log_y)) - u * np.sinh(atanh_rho)], -1)


Block = tuple[Array, Array, Array, Array, Array]
"""Labels, which are known, ones, objects and log sizes of one landmark, by row."""


def _as_they_are(xy: Array, known: Mask, log_size: Array) -> Block:
    one = np.ones(len(xy))
    return xy, known.astype(np.float64), one, one, log_size


def _compressed(xy: Array, known: Mask, log_size: Array) -> Block:
    """The labels of one landmark, (n, A, 2), by rows that stand for all objects with the same annotators."""
    if not len(xy):
        return _as_they_are(xy, known, log_size)
    patterns, member = np.unique(known, axis=0, return_inverse=True)
    rows = []
    for number, pattern in enumerate(patterns):
        own = xy[member == number].reshape(-1, 2 * xy.shape[1])
        factor = np.asarray(np.linalg.qr(np.column_stack([np.ones(len(own)), own]), mode="r"))
        objects = np.zeros(len(factor))
        objects[0] = len(own)
        known_by = np.broadcast_to(pattern.astype(np.float64), (len(factor), len(pattern)))
        rows.append((factor[:, 1:].reshape(len(factor), -1, 2), known_by, factor[:, 0], objects))
    joined = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return joined[0], joined[1], joined[2], joined[3], np.zeros(len(joined[2]))


def _padded(blocks: list[Array]) -> Array:
    most = max(len(block) for block in blocks)
    table = np.zeros((len(blocks), most, *blocks[0].shape[1:]))
    for k, block in enumerate(blocks):
        table[k, : len(block)] = block
    return table
