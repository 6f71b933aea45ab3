"""Coordinates in which NUTS moves through a hierarchy of normals without small steps.

With centre c, log spread l and members theta of a hierarchy theta_k ~ Normal(c, exp l), and rough values of all three
(index 0) with standard errors, the coordinates x are of about unit scale under the posterior:

    c = c0 + u_c x_c,    l = l0 + u_l x_l,    y = theta0 + u x_theta
    theta = c + exp(l - l0)^(1 - w) (y - c0 - w (c - c0))

w = 1 is the centred and w = 0 the non-centred form. In between, w = s^2 / (s^2 + e^2), with s the spread and e the
standard error of theta0, suits a member with many labels as well as one with few (Papaspiliopoulos, Roberts and Skoeld,
"A General Framework for the Parametrization of Hierarchical Models", Statistical Science 2007). The posterior does not
depend on the rough values.

The log density of x is that of (c, l, theta) plus log |d theta / d x|, where with r = (theta - c) / exp l each member
adds -r^2 / 2 - w l. Its gradient is written out: autograd would cost more than the likelihood.
"""

from __future__ import annotations

__all__ = ["Hierarchy", "Prior"]

import math
from dataclasses import dataclass

import numpy as np

from probpose.arrays import Array


@dataclass(frozen=True)
class Prior:
    """Normal priors of the centre and of the log spread, for C columns.

    Attributes:
        centre: (C,), mean.
        centre_scale: (C,), standard deviation; 0 where the centre is known, and then it is no coordinate.
        spread: (C,), median.
        spread_scale: standard deviation of the log spread.
    """

    centre: Array
    centre_scale: Array
    spread: Array
    spread_scale: float

    @classmethod
    def of(
        cls, centre: tuple[float, ...], centre_scale: tuple[float, ...], spread: tuple[float, ...], spread_scale: float
    ) -> Prior:
        """The prior from numbers."""
        return cls(np.array(centre), np.array(centre_scale), np.array(spread), spread_scale)

    @classmethod
    def about_zero(cls, spread: tuple[float, ...], spread_scale: float) -> Prior:
        """The prior of members about zero."""
        return cls.of((0.0,) * len(spread), (0.0,) * len(spread), spread, spread_scale)


@dataclass(frozen=True)
class Hierarchy:
    """Prior, rough values and units. A vector of coordinates holds x_c (if it is free), x_l and x_theta, in this order.

    Attributes:
        prior: of centre and spread.
        theta: (K, C), rough values.
        unit: (K, C), about the posterior's standard deviation of theta.
        centred: (K, C), w.
        centre: (C,).
        centre_unit: (C,).
        log_spread: (C,).
        log_spread_unit: one for all.
    """

    prior: Prior
    theta: Array
    unit: Array
    centred: Array
    centre: Array
    centre_unit: Array
    log_spread: Array
    log_spread_unit: float

    @classmethod
    def of_estimates(cls, prior: Prior, estimate: Array, error: Array) -> Hierarchy:
        """The hierarchy with estimates of each member by itself, and their standard errors, (K, C) each."""
        weight = error**-2
        centre = (weight * estimate).sum(0) / weight.sum(0)
        scatter = (weight * (estimate - centre) ** 2).sum(0) / weight.sum(0)
        spread = np.sqrt(np.maximum(scatter, (prior.spread / 4) ** 2))
        centred = spread**2 / (spread**2 + error**2)
        return cls(
            prior=prior,
            theta=centre + centred * (estimate - centre),
            unit=(spread**-2 + weight) ** -0.5,
            centred=centred,
            centre=centre,
            centre_unit=(1 / (spread**2 + error**2)).sum(0) ** -0.5,
            log_spread=np.log(spread),
            log_spread_unit=1 / math.sqrt(2 * len(estimate) + prior.spread_scale**-2),
        )

    @classmethod
    def of_errors(cls, prior: Prior, error: Array) -> Hierarchy:
        """The hierarchy where nothing but the standard errors (K, C) of each member by itself are known."""
        return cls(
            prior=prior,
            theta=np.broadcast_to(prior.centre, error.shape),
            unit=(prior.spread**-2 + error**-2) ** -0.5,
            centred=prior.spread**2 / (prior.spread**2 + error**2),
            centre=prior.centre,
            centre_unit=prior.centre_scale,
            log_spread=np.log(prior.spread),
            log_spread_unit=prior.spread_scale,
        )

    @property
    def free(self) -> bool:
        """The centre is a coordinate."""
        return bool(self.prior.centre_scale.any())

    @property
    def size(self) -> int:
        """Length of the vector of coordinates."""
        return self.theta.size + (2 if self.free else 1) * len(self.centre)

    def latent(self, x: Array) -> tuple[Array, Array, Array]:
        """Centre (..., C), log spread (..., C) and theta (..., K, C) at coordinates x (..., D)."""
        moved, log_spread, offset = self._parts(x)
        stretch = np.exp((1 - self.centred) * (log_spread - self.log_spread)[..., None, :])
        centre = self.centre + moved
        return centre, log_spread, centre[..., None, :] + stretch * offset

    def log_density(self, x: Array, slope: Array, *, volume: float = 1.0) -> tuple[float, Array]:
        """Log density of x under the prior up to a constant, and the gradient of all.

        Args:
            x: (D,).
            slope: (K, C), gradient of the log likelihood in theta.
            volume: share of -w l that counts. Without it the density is that of non-centred coordinates, whose mode has
                a spread that is too large; the mode of the whole may lie where all members are equal. The mode with
                one half is a typical point.

        Returns:
            The log density, and the gradient (D,) of its sum with the log likelihood.
        """
        moved, log_spread, offset = self._parts(x)
        w = self.centred
        stretch = np.exp((1 - w) * (log_spread - self.log_spread))
        narrow = stretch * np.exp(-log_spread)
        r = narrow * offset
        pull = slope * stretch - r * narrow
        l_error = (log_spread - np.log(self.prior.spread)) / self.prior.spread_scale
        value = -0.5 * float((r * r).sum() + (l_error * l_error).sum()) - volume * float((w * log_spread).sum())
        to_spread = w * (r * r - volume) + (1 - w) * slope * stretch * offset
        parts = [self.log_spread_unit * (to_spread.sum(0) - l_error / self.prior.spread_scale)]
        if self.free:
            c_error = (self.centre + moved - self.prior.centre) / self.prior.centre_scale
            value -= 0.5 * float((c_error * c_error).sum())
            parts.insert(0, self.centre_unit * ((slope - w * pull).sum(0) - c_error / self.prior.centre_scale))
        return value, np.concatenate([*parts, (self.unit * pull).ravel()])

    def _parts(self, x: Array) -> tuple[Array, Array, Array]:
        """c - c0, l and y - c0 - w (c - c0)."""
        C = len(self.centre)
        moved = self.centre_unit * x[..., :C] if self.free else np.zeros(C)
        rest = x[..., C:] if self.free else x
        log_spread = self.log_spread + self.log_spread_unit * rest[..., :C]
        y = self.theta + self.unit * rest[..., C:].reshape(*x.shape[:-1], *self.theta.shape)
        return moved, log_spread, y - self.centre - self.centred * moved[..., None, :]
