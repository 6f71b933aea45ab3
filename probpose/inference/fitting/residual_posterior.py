"""Residuals of labels, thinned and put side by side joint by joint.

Whether chains have converged: split R-hat, effective sample size, divergences.

Posterior of how annotators err, joint by joint, by NUTS on standardised residuals.

The model is `probpose.models.residual_model`; the chains run one after the other. What they evaluate is the log density
of that program with its gradient, written out (`tests/test_residual_posterior.py` compares it with the program's
trace).
"""

from __future__ import annotations

__all__ = [
    "LARGEST_R_HAT",
    "LEAST_ESS",
    "Convergence",
    "ResidualPosterior",
    "by_joint",
    "sample_residual_posterior",
    "thin",
]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from scipy import stats
from torch import Tensor

from probpose.arrays import Array, Index, Mask
from probpose.errors import DataError
from probpose.inference.fitting.hierarchy import Hierarchy, Prior
from probpose.inference.fitting.joint_modes import joint_modes
from probpose.inference.fitting.nuts import Metric, mode, run_chains
from probpose.models.densities.gauge import QUANTILE_LEVELS
from probpose.models.residual_model import CENTRE, CENTRE_SCALE, SPREAD, SPREAD_SCALE, EllipticalT, elliptical_t


def thin(joint: Index, joints: int, most: int, rng: np.random.Generator) -> Index:
    """Rows in ascending order, at most `most` of each joint, chosen at random.

    Args:
        joint: (M,).
        joints: K.
        most: rows of a joint.
        rng: that chooses.
    """
    rows = [np.flatnonzero(joint == k) for k in range(joints)]
    return np.sort(np.concatenate([rng.choice(own, most, replace=False) if len(own) > most else own for own in rows]))


def by_joint(z: Array, joint: Index, joints: int) -> tuple[Tensor, Tensor]:
    """Residuals side by side, (m, K, 2) with 0 where there is none, and where there is one, (m, K) bool.

    Args:
        z: (M, 2).
        joint: (M,).
        joints: K.
    """
    order = np.argsort(joint, kind="stable")
    count = np.bincount(joint, minlength=joints)
    place = np.arange(len(joint)) - np.repeat(count.cumsum() - count, count)
    padded, known = np.zeros((int(count.max()), joints, 2)), np.zeros((int(count.max()), joints), dtype=bool)
    padded[place, joint[order]], known[place, joint[order]] = z[order], True
    return torch.from_numpy(padded), torch.from_numpy(known)


LARGEST_R_HAT = 1.05
"""Above that, chains or their halves do not agree."""

LEAST_ESS = 100
"""Effective draws a chain under which quantiles of the posterior are not settled (Vehtari et al., "Rank-Normalization,
Folding, and Localization: An Improved R-hat", Bayesian Analysis 2021, advise as much for four chains)."""


@dataclass(frozen=True)
class Convergence:
    """Diagnostics of all chains together.

    Attributes:
        r_hat: largest split R-hat of any number, by variable (Gelman et al., "Bayesian Data Analysis", 2013).
        ess: least effective sample size of any number, by variable.
        divergences: draws after warm-up whose trajectory diverged.
        chains: number of chains.
    """

    r_hat: dict[str, float]
    ess: dict[str, float]
    divergences: int
    chains: int

    @classmethod
    def of(cls, draws: Mapping[str, Tensor], divergences: int) -> Convergence:
        """Diagnose draws (chains, S, ...) by name, at least 4 a chain."""
        return cls(
            r_hat={
                name: float(split_gelman_rubin(value).max())  # type: ignore[no-untyped-call]
                for name, value in draws.items()
            },
            ess={name: _least_ess(value) for name, value in draws.items()},
            divergences=divergences,
            chains=next(iter(draws.values())).shape[0],
        )

    @property
    def warnings(self) -> list[str]:
        """What is wrong and what to do; empty when nothing is."""
        lines = [
            f"R-hat of {name} is {value:.3f}, over {LARGEST_R_HAT}: chains have not converged. Sample longer."
            for name, value in self.r_hat.items()
            if not value <= LARGEST_R_HAT
        ]
        least = LEAST_ESS * self.chains
        lines += [
            f"{name} has {value:.0f} effective draws, under {least}: its intervals are not settled. Sample longer."
            for name, value in self.ess.items()
            if not value >= least
        ]
        if self.divergences:
            lines.append(f"{self.divergences} draws diverged, with small steps too: do not trust the tails.")
        return lines


def _least_ess(draws: Tensor) -> float:
    """Least effective sample size of draws (chains, S, ...).

    Where draws are so antithetic that the estimate of their autocorrelation time is not positive, it is N log10 N of
    all N draws, the bound that Stan sets.
    """
    total = draws.shape[0] * draws.shape[1]
    bound = total * math.log10(total)
    ess = torch.as_tensor(effective_sample_size(draws))  # type: ignore[no-untyped-call]
    return float(torch.where(ess > 0, ess, bound).clamp_max(bound).min())


@dataclass(frozen=True)
class ResidualPosterior:
    """Draws, S a chain, for K joints; and the P residuals whose log density is kept.

    Attributes:
        joints: K names.
        draws: by name, each (chains, S, ...): `location`, `scale` and `half_width` (half the 16-84% width), (K, 2) in
            units of the predicted sigma; `rho` (K,), the correlation of both axes; `df` (K,); `centre` and `spread`
            (6,), of which the columns are `COLUMNS` of the model.
        diverging: (chains, S) bool.
        log_likelihood: (chains, S, P), nats in units of the predicted sigma.
        point: (P, 2), the residuals behind `log_likelihood`.
        point_row: (P,), their rows in the data.
        point_joint: (P,).
        labels: (K,), the residuals of each joint that were used.
        available: (K,), those that there were.
        seed: of thinning and chains.
        convergence: R-hat, effective sample size and divergences.
    """

    joints: tuple[str, ...]
    draws: dict[str, Array]
    diverging: Mask
    log_likelihood: Array
    point: Array
    point_row: Index
    point_joint: Index
    labels: Index
    available: Index
    seed: int
    convergence: Convergence


def sample_residual_posterior(
    z: Array,
    joint: Index,
    joints: tuple[str, ...],
    *,
    draws: int = 500,
    warmup: int = 300,
    chains: int = 2,
    per_joint: int = 2000,
    points: int = 3000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> ResidualPosterior:
    """Sample the posterior of location, scale, correlation and tails of each joint's residuals.

    Labels of one person are taken as independent: intervals are too narrow where they are not.

    Args:
        z: (M, 2), label minus prediction in units of the predicted sigma, per axis.
        joint: (M,).
        joints: K names.
        draws: S, kept in each chain.
        warmup: draws of each chain that adapt and are dropped.
        chains: run one after the other.
        per_joint: at most so many residuals of a joint are used, chosen at random.
        points: log densities are kept for about so many of them, equally many a joint where there are enough.
        seed: of thinning and chains.
        progress: called after each draw, warm-up included, with the number of draws so far.

    Raises:
        DataError: there is no residual, or one is not finite.
    """
    _check(z, joint, joints)
    rng = np.random.default_rng(seed)
    used = thin(joint, len(joints), per_joint, rng)
    log_density = ResidualDensity.of(z[used], joint[used], len(joints))
    latent, diverging = log_density.sample(draws, warmup, chains, seed, progress)
    kept = used[thin(joint[used], len(joints), max(1, points // len(joints)), rng)]
    return ResidualPosterior(
        joints=joints,
        draws=_named(latent),
        diverging=diverging,
        log_likelihood=_log_likelihood(latent["theta"], z[kept], joint[kept]),
        point=z[kept],
        point_row=kept,
        point_joint=joint[kept],
        labels=np.bincount(joint[used], minlength=len(joints)),
        available=np.bincount(joint, minlength=len(joints)),
        seed=seed,
        convergence=Convergence.of(latent, int(diverging.sum())),
    )


def _check(z: Array, joint: Index, joints: tuple[str, ...]) -> None:
    if not len(z):
        raise DataError("There is no residual, so the posterior of the residuals cannot be sampled. Check the labels.")
    broken = np.flatnonzero(~np.isfinite(z).all(axis=-1))
    if len(broken):
        row = broken[0]
        raise DataError(
            f"Residual {row} ({joints[joint[row]]}) is ({z[row, 0]:g}, {z[row, 1]:g}), and {len(broken)} of {len(z)} "
            "are not finite. Check label, prediction and predicted sigma."
        )


@dataclass(frozen=True)
class ResidualDensity:
    """The log density of the latent variables given residuals, in the coordinates of a `Hierarchy`.

    Attributes:
        hierarchy: of the joints' parameters.
        residuals: x and y of each joint, (n_k,).
    """

    hierarchy: Hierarchy
    residuals: list[tuple[Array, Array]]

    @classmethod
    def of(cls, z: Array, joint: Index, joints: int) -> ResidualDensity:
        """Of residuals (M, 2) of K joints."""
        estimate, error = joint_modes(*by_joint(z, joint, joints))
        prior = Prior.of(CENTRE, CENTRE_SCALE, SPREAD, SPREAD_SCALE)
        own = [z[joint == k] for k in range(joints)]
        columns = [(np.ascontiguousarray(part[:, 0]), np.ascontiguousarray(part[:, 1])) for part in own]
        return cls(Hierarchy.of_estimates(prior, estimate.numpy(), error.numpy()), columns)

    def __call__(self, x: Array, *, volume: float = 1.0) -> tuple[float, Array]:
        """Log density and gradient at coordinates (D,); see `Hierarchy.log_density`."""
        theta = self.hierarchy.latent(x)[2]
        slope, likelihood = np.empty_like(theta), 0.0
        for own, to, (x_k, y_k) in zip(theta, slope, self.residuals, strict=True):
            value, to[2:], to_x, to_y = elliptical_t(x_k - own[0], y_k - own[1], own[2:])
            to[:2] = -to_x.sum(), -to_y.sum()
            likelihood += value
        prior, gradient = self.hierarchy.log_density(x, slope, volume=volume)
        return likelihood + prior, gradient

    def sample(
        self, draws: int, warmup: int, chains: int, seed: int, progress: Callable[[int], None] | None
    ) -> tuple[dict[str, Tensor], Mask]:
        """Draws of `centre`, `log_spread` and `theta`, (chains, S, ...), and which diverged, (chains, S)."""
        typical = mode(lambda x: self(x, volume=0.5), np.zeros(self.hierarchy.size))
        metric = Metric.adapted(self, typical, seed)
        z, diverging = run_chains(metric.of(self), self.hierarchy.size, draws, warmup, chains, seed, progress)
        latent = self.hierarchy.latent(metric.points(z))
        return dict(zip(("centre", "log_spread", "theta"), map(torch.from_numpy, latent), strict=True)), diverging


def _named(latent: dict[str, Tensor]) -> dict[str, Array]:
    """The draws by the names that `ResidualPosterior` explains."""
    theta = latent["theta"].numpy()
    scale, df = np.exp(theta[..., 2:4]), np.exp(theta[..., 5])
    return {
        "location": theta[..., :2],
        "scale": scale,
        "half_width": scale * stats.t.ppf(QUANTILE_LEVELS[2], df)[..., None],  # the marginal is t with df too
        "rho": np.tanh(theta[..., 4]),
        "df": df,
        "centre": latent["centre"].numpy(),
        "spread": latent["log_spread"].exp().numpy(),
    }


def _log_likelihood(theta: Tensor, z: Array, joint: Index) -> Array:
    """(chains, S, P), chain by chain."""
    value, of = torch.from_numpy(z), torch.from_numpy(joint)
    return np.stack([EllipticalT(chain[:, of]).log_prob(value).numpy() for chain in theta])
