"""Coordinates of unit scale for landmarks and annotators: hierarchies side by side in a vector.

Where each of them is between centred and non-centred comes from the standard errors of its members by themselves, and
those from counts: with n residuals per axis log sigma is known to 1 / sqrt(2 n), atanh rho to 1 / sqrt(n), and the log
degrees of freedom to about 3 / sqrt(n).
"""

from __future__ import annotations

__all__ = ["Coordinates", "Likelihood", "Values"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from probpose.arrays import Array, Index
from probpose.inference.fitting.hierarchy import Hierarchy, Prior
from probpose.models.annotation_model import (
    CENTRE,
    CENTRE_SCALE,
    EXPONENT,
    PAIR_SPREAD,
    SPREAD,
    SPREAD_SCALE,
    TAU_SPREAD,
    Design,
)


@dataclass(frozen=True)
class Values:
    """What the likelihood depends on, of any leading shape; or a gradient in it.

    Attributes:
        landmark: (..., K, C), columns as `COLUMNS` of the model, in units of `typical`.
        log_tau: (..., A, K).
        exponent: (...), gamma; 0 where sizes are not known.
    """

    landmark: Array
    log_tau: Array
    exponent: Array


Likelihood = Callable[[Values], tuple[float, Values]]
"""The log likelihood in nats, and its gradient."""


@dataclass(frozen=True)
class Coordinates:
    """The map from a vector to the program's sites but `c` and `truth`.

    Attributes:
        parts: hierarchies by name: `mean` of groups of landmarks, `difference` of pairs where there are some, and `u`
            and `v` of annotators where there are three or more.
        group: (K,).
        side: (K,).
        pair: (K,).
        basis: (A, A-1).
        sized: the exponent is a coordinate, the last one.
    """

    parts: dict[str, Hierarchy]
    group: Index
    side: Array
    pair: Index
    basis: Array
    sized: bool

    @classmethod
    def of(cls, design: Design) -> Coordinates:
        """The coordinates for the labels of a design."""
        C, A, K = design.columns, design.annotators, len(design.group)
        group, side, pair = design.group.numpy(), design.side.numpy(), design.pair.numpy()
        error = _standard_errors(design)
        mean = Prior.of(CENTRE[:C], CENTRE_SCALE[:C], SPREAD[:C], SPREAD_SCALE)
        parts = {"mean": Hierarchy.of_errors(mean, error)}
        if design.pairs:
            about = Prior.about_zero(PAIR_SPREAD[:C], SPREAD_SCALE)
            parts["difference"] = Hierarchy.of_errors(about, error[group[side > 0]][pair[side > 0].argsort()])
        if A > 2:
            each = np.sqrt(A / (4 * len(design.xy)))
            u, v = (Prior.about_zero((spread,), SPREAD_SCALE) for spread in TAU_SPREAD)
            parts["u"] = Hierarchy.of_errors(u, np.full((A - 1, 1), each))
            parts["v"] = Hierarchy.of_errors(v, np.full(((A - 1) * K, 1), np.sqrt(K) * each))
        return cls(parts, group, side, pair, design.basis.numpy(), design.sized)

    @property
    def size(self) -> int:
        """Length of the vector, D."""
        return sum(part.size for part in self.parts.values()) + self.sized

    def sites(self, x: Array) -> dict[str, Array]:
        """The program's sites at vectors x (..., D)."""
        found: dict[str, Array] = {}
        for name, (part, own) in self._blocks(x).items():
            centre, log_spread, found[name] = part.latent(own)
            if name == "mean":
                found |= {"centre": centre, "log_spread": log_spread}
            elif name == "difference":
                found["log_pair_spread"] = log_spread
            else:
                found[f"log_spread_{name}"] = log_spread
        if "u" in found:
            spreads = [found.pop("log_spread_u"), found.pop("log_spread_v")]
            found["log_tau_spread"] = np.concatenate(spreads, -1)
            found["v"] = found["v"].reshape(*x.shape[:-1], self.basis.shape[1], len(self.group))
        if self.sized:
            found["exponent"] = EXPONENT[0] + EXPONENT[1] * x[..., -1]
        return found

    def values(self, sites: dict[str, Array]) -> Values:
        """What the likelihood depends on, as `parts_of` of the model has it."""
        mean = sites["mean"]
        landmark = mean[..., self.group, :]
        if "difference" in sites:
            landmark = landmark + self.side[:, None] * sites["difference"][..., self.pair, :]
        if "u" in sites:
            log_tau = self.basis @ (sites["u"] + sites["v"])
        else:
            log_tau = np.zeros((*mean.shape[:-2], len(self.basis), len(self.group)))
        return Values(landmark * self._mirror, log_tau, sites.get("exponent", np.zeros(mean.shape[:-2])))

    def log_density(self, x: Array, likelihood: Likelihood, *, volume: float = 1.0) -> tuple[float, Array]:
        """Log density of x (D,) given the labels, up to a constant, and its gradient; see `Hierarchy.log_density`."""
        found, slope = likelihood(self.values(self.sites(x)))
        to = self._pulled(slope)
        gradient = []
        for name, (part, own) in self._blocks(x).items():
            value, own_gradient = part.log_density(own, to[name], volume=volume)
            found += value
            gradient.append(own_gradient)
        if self.sized:
            found -= 0.5 * float(x[-1] ** 2)
            gradient.append(np.array([EXPONENT[1] * float(slope.exponent) - x[-1]]))
        return found, np.concatenate(gradient)

    @property
    def _mirror(self) -> Array:
        """(K, C), -1 for rho of a right side."""
        mirror = np.ones((len(self.group), len(self.parts["mean"].centre)))
        mirror[self.side < 0, 2] = -1.0
        return mirror

    def _pulled(self, slope: Values) -> dict[str, Array]:
        """Gradients in the members of each hierarchy."""
        landmark = slope.landmark * self._mirror
        to: dict[str, Array] = {name: np.zeros(part.theta.shape) for name, part in self.parts.items()}
        np.add.at(to["mean"], self.group, landmark)
        if "difference" in to:
            sided = self.side != 0
            np.add.at(to["difference"], self.pair[sided], (self.side[:, None] * landmark)[sided])
        if "u" in to:
            contrast = self.basis.T @ slope.log_tau
            to |= {"u": contrast.sum(1, keepdims=True), "v": contrast.reshape(-1, 1)}
        return to

    def _blocks(self, x: Array) -> dict[str, tuple[Hierarchy, Array]]:
        blocks, start = {}, 0
        for name, part in self.parts.items():
            blocks[name] = (part, x[..., start : start + part.size])
            start += part.size
        return blocks


def _standard_errors(design: Design) -> Array:
    """Of each group's parameters by itself, (G, C)."""
    K = len(design.group)
    landmark, of_cell = design.landmark.numpy(), design.cell_landmark.numpy()
    free = np.bincount(landmark, minlength=K) - np.bincount(of_cell, minlength=K)
    residuals = np.bincount(design.group.numpy(), free, minlength=design.groups) + 0.5
    variance = np.array([0.5, 0.5, 1.0, 0.0, 9.0])[: design.columns] / residuals[:, None]
    variance[:, 3] = 1 / (4 * (design.annotators - 1))  # of A - 1 contrasts with two axes
    return np.asarray(np.sqrt(variance))
