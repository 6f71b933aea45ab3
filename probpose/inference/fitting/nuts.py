"""The No-U-Turn sampler on a vector, with a curvature as metric.

Pyro's NUTS spends more than a millisecond a leapfrog step on bookkeeping, more than a gradient of most posteriors here
costs (`benchmarks/posterior_speed.py`). This one is for log densities that come with their gradient. Its metric is
minus the Hessian at a typical point, dense, so that warm-up has the step size alone to find and trees stay small.

Multinomial sampling of trajectories and the U-turn criterion by summed momenta are those of Betancourt, "A Conceptual
Introduction to Hamiltonian Monte Carlo", arXiv 1701.02434, appendix A; step sizes adapt by dual averaging: Hoffman and
Gelman, "The No-U-Turn Sampler", JMLR 2014, algorithm 6.
"""

from __future__ import annotations

__all__ = ["MAX_DEPTH", "Chain", "LogDensity", "Metric", "mode", "run_chain", "run_chains"]

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from probpose.arrays import Array, Mask

LogDensity = Callable[[Array], tuple[float, Array]]
"""A point (D,) -> the log density there, up to a constant, and its gradient (D,)."""

MAX_DEPTH = 8
_ACCEPTANCES = (0.7, 0.9, 0.97)
"""Of a trajectory on average; the next where a chain diverged. With a metric that fits, 0.8 takes twice the gradients
for an effective draw."""
_DIVERGENCE = 1000.0
_DIFFERENCE = 1e-4
_LEAST_CURVATURE = 0.05
"""Of the metric, in coordinates of about unit scale: what is flatter at one point is not flat further out."""

_POINTS, _APART = 6, 8
"""Points whose Hessians make the metric, and draws from one to the next."""


_LOCAL = (0.5, 2.0)
"""Scales of local coordinates, of unit scale by themselves, from the draws of one short chain."""


def _finite(log_density: LogDensity, x: Array) -> tuple[float, Array]:
    """Log density and gradient; minus infinity and 0 where they overflow, far from where the mass is."""
    try:
        with np.errstate(all="ignore"):
            value, gradient = log_density(x)
    except (ArithmeticError, np.linalg.LinAlgError):
        return -math.inf, np.zeros_like(x)
    finite = math.isfinite(value) and bool(np.isfinite(gradient).all())
    return (value, gradient) if finite else (-math.inf, np.zeros_like(x))


def mode(log_density: LogDensity, start: Array) -> Array:
    """The mode (D,) that L-BFGS finds from `start`."""

    def cost(x: Array) -> tuple[float, Array]:
        value, gradient = _finite(log_density, x)
        return -max(value, -1e100), -gradient  # the line search needs a number

    found = optimize.minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return np.asarray(found.x)


@dataclass(frozen=True)
class Metric:
    """Coordinates z of about unit covariance, x = centre + factor z, from the mean Hessian of typical points.

    Attributes:
        centre: (D,).
        factor: (G, G); factor factor' is the covariance of the first G coordinates.
        scale: (D - G,), of the others, which are nearly independent of those and of each other.
    """

    centre: Array
    factor: Array
    scale: Array

    @classmethod
    def at(cls, log_density: LogDensity, points: Array, local: int = 0) -> Metric:
        """The metric from typical points (n, D), by central differences of the gradient.

        Args:
            log_density: to be sampled.
            points: the mean of their Hessians is taken.
            local: so many coordinates at the end are of about unit scale, and nearly independent of the others.
        """
        first = points.shape[1] - local
        steps = _DIFFERENCE * np.eye(first, points.shape[1])
        curvature = np.mean([[_bend(log_density, x, step)[:first] for step in steps] for x in points], 0)
        values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
        return cls(points.mean(0), vectors / np.sqrt(np.maximum(values, _LEAST_CURVATURE)), np.ones(local))

    @classmethod
    def adapted(cls, log_density: LogDensity, start: Array, seed: int, local: int = 0) -> Metric:
        """The metric from draws of a short chain whose own metric is that at one point (D,)."""
        first = cls.at(log_density, start[None], local)
        chain = run_chain(first.of(log_density), np.zeros_like(start), _POINTS * _APART, _APART, seed)
        found = cls.at(log_density, first.points(chain.draws[_APART - 1 :: _APART]), local)
        low, high = np.quantile(chain.draws[:, len(start) - local :], [0.16, 0.84], axis=0)
        return replace(found, scale=np.clip((high - low) / 2, *_LOCAL))

    def points(self, z: Array) -> Array:
        """x, (..., D), of z (..., D)."""
        G = len(self.factor)
        return np.asarray(self.centre + np.concatenate([z[..., :G] @ self.factor.T, self.scale * z[..., G:]], -1))

    def of(self, log_density: LogDensity) -> LogDensity:
        """The log density as a function of z."""
        G = len(self.factor)

        def value(z: Array) -> tuple[float, Array]:
            found, slope = log_density(self.points(z))
            return found, np.concatenate([slope[:G] @ self.factor, self.scale * slope[G:]])

        return value


def _bend(log_density: LogDensity, x: Array, step: Array) -> Array:
    """Minus the derivative of the gradient along a step, (D,)."""
    return np.asarray((log_density(x - step)[1] - log_density(x + step)[1]) / (2 * _DIFFERENCE))


@dataclass(frozen=True)
class Chain:
    """Draws after warm-up.

    Attributes:
        draws: (S, D).
        diverging: (S,), the trajectory diverged.
        gradients: evaluations, warm-up included.
        step_size: after warm-up.
    """

    draws: Array
    diverging: Mask
    gradients: int
    step_size: float


def run_chain(
    log_density: LogDensity, start: Array, draws: int, warmup: int, seed: int, step: Callable[[], None] = lambda: None,
    acceptance: float = _ACCEPTANCES[0],
) -> Chain:  # fmt: skip
    """Sample a density whose covariance is about the identity.

    Args:
        log_density: in coordinates of about unit covariance, such as those of a `Metric`.
        start: (D,).
        draws: S, kept.
        warmup: draws that adapt the step size and are dropped.
        seed: of the chain.
        step: called after each draw.
        acceptance: of a trajectory on average, that the step size adapts to.
    """
    sampler = _Sampler(log_density, np.random.default_rng(seed))
    point = _Point(start, np.zeros_like(start), *log_density(start))
    adaptation = _StepSize(_first_step(sampler, point), acceptance)
    kept, diverging = np.empty((draws, len(start))), np.zeros(draws, dtype=bool)
    for i in range(warmup + draws):
        size = adaptation.now if i < warmup else adaptation.settled
        with np.errstate(all="ignore"):  # far from the mass numbers overflow, which ends a trajectory
            point, accepted, diverged = sampler.draw(point, size)
        if i < warmup:
            adaptation.learn(accepted)
        else:
            kept[i - warmup], diverging[i - warmup] = point.x, diverged
        step()
    return Chain(kept, diverging, sampler.gradients, adaptation.settled)


def run_chains(
    log_density: LogDensity,
    size: int,
    draws: int,
    warmup: int,
    chains: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Array, Mask]:
    """Chains one after the other, from standard normal starts: draws (chains, S, D), and which diverged (chains, S).

    A chain in which a trajectory diverged is drawn again with smaller steps, twice at most (Betancourt, "A Conceptual
    Introduction to Hamiltonian Monte Carlo", 2017, section 6.2).

    Args:
        log_density: in coordinates of about unit covariance, about 0.
        size: D.
        draws: S, kept in each chain.
        warmup: dropped in each chain.
        chains: their number.
        seed: of starts and chains.
        progress: called after each draw, warm-up included, with the number of draws so far; those that are drawn again
            do not count.
    """
    counter = itertools.count(1)

    def step() -> None:
        done = next(counter)
        if progress is not None:
            progress(done)

    starts = [np.random.default_rng([seed, chain]).standard_normal(size) for chain in range(chains)]
    runs = [_steady(log_density, start, draws, warmup, seed + 1000 * i, step) for i, start in enumerate(starts)]
    return np.stack([run.draws for run in runs]), np.stack([run.diverging for run in runs])


def _steady(
    log_density: LogDensity, start: Array, draws: int, warmup: int, seed: int, step: Callable[[], None]
) -> Chain:
    """The chain with the largest steps at which nothing diverges, or that with the smallest."""
    first, *smaller = _ACCEPTANCES
    chain = run_chain(log_density, start, draws, warmup, seed, step, first)
    for acceptance in smaller:
        if not chain.diverging.any():
            break
        chain = run_chain(log_density, start, draws, warmup, seed, acceptance=acceptance)
    return chain


@dataclass(frozen=True)
class _Point:
    """A place, a momentum, and log density and gradient there."""

    x: Array
    p: Array
    log_density: float
    gradient: Array

    @property
    def energy(self) -> float:
        """Potential and kinetic."""
        return 0.5 * float(self.p @ self.p) - self.log_density


@dataclass
class _Tree:
    """A trajectory: its ends, a point drawn from it, log of its weight, and the sum of its momenta."""

    left: _Point
    right: _Point
    chosen: _Point
    log_weight: float
    momentum: Array
    stop: bool
    diverged: bool
    acceptance: float
    leaves: int


class _Sampler:
    def __init__(self, log_density: LogDensity, rng: np.random.Generator) -> None:
        self.log_density, self.rng, self.gradients = log_density, rng, 0

    def thrown(self, point: _Point) -> _Point:
        """The point with a new momentum."""
        return _Point(point.x, self.rng.standard_normal(len(point.x)), point.log_density, point.gradient)

    def draw(self, point: _Point, size: float) -> tuple[_Point, float, bool]:
        """The next point, the mean acceptance along its trajectory, and whether that diverged."""
        here = self.thrown(point)
        tree = _Tree(here, here, here, 0.0, here.p, False, False, 0.0, 0)
        for depth in range(MAX_DEPTH):
            forward = self.rng.random() < 0.5
            grown = self._grow(tree.right if forward else tree.left, size if forward else -size, depth, here.energy)
            tree = self._join(tree, grown, forward, biased=True)
            if tree.stop:
                break
        return tree.chosen, tree.acceptance / max(tree.leaves, 1), tree.diverged

    def leap(self, point: _Point, size: float) -> _Point:
        """One leapfrog step."""
        half = point.p + 0.5 * size * point.gradient
        x = point.x + size * half
        log_density, gradient = _finite(self.log_density, x)
        self.gradients += 1
        return _Point(x, half + 0.5 * size * gradient, log_density, gradient)

    def _grow(self, end: _Point, size: float, depth: int, start: float) -> _Tree:
        """2^depth steps onwards from an end; `start` is the energy at which the trajectory began."""
        if depth == 0:
            leaf = self.leap(end, size)
            gain = start - leaf.energy
            gain = gain if math.isfinite(gain) else -math.inf
            wild = gain < -_DIVERGENCE
            return _Tree(leaf, leaf, leaf, gain, leaf.p, wild, wild, math.exp(min(0.0, gain)), 1)
        first = self._grow(end, size, depth - 1, start)
        if first.stop:
            return first
        forward = size > 0
        second = self._grow(first.right if forward else first.left, size, depth - 1, start)
        return self._join(first, second, forward, biased=False)

    def _join(self, old: _Tree, new: _Tree, forward: bool, *, biased: bool) -> _Tree:
        """Both as one; the point is the new one's with a probability by weight, `biased` towards it at the top."""
        left, right = (old, new) if forward else (new, old)
        log_weight = float(np.logaddexp(old.log_weight, new.log_weight))
        chance = new.log_weight - (old.log_weight if biased else log_weight)
        take = not new.stop and math.log(1 - self.rng.random()) < chance
        momentum = old.momentum + new.momentum
        stop = new.stop or _turns(left.left.p, right.right.p, momentum)
        if not stop:  # nor may the halves turn where they meet (Stan's further criterion)
            stop = _turns(left.left.p, right.left.p, left.momentum + right.left.p) or _turns(
                left.right.p, right.right.p, right.momentum + left.right.p
            )
        return _Tree(
            left.left,
            right.right,
            new.chosen if take else old.chosen,
            log_weight,
            momentum,
            stop,
            old.diverged or new.diverged,
            old.acceptance + new.acceptance,
            old.leaves + new.leaves,
        )


def _turns(first: Array, last: Array, momentum: Array) -> bool:
    return bool(first @ momentum <= 0) or bool(last @ momentum <= 0)


class _StepSize:
    """Dual averaging of the logarithm towards a mean acceptance."""

    def __init__(self, first: float, acceptance: float) -> None:
        self.acceptance = acceptance
        self.centre, self.now, self.log_mean, self.error, self.count = (
            math.log(10 * first),
            first,
            math.log(first),
            0.0,
            0,
        )

    @property
    def settled(self) -> float:
        """The average, to sample with."""
        return math.exp(self.log_mean)

    def learn(self, acceptance: float) -> None:
        """Adapt to the acceptance of a trajectory."""
        self.count += 1
        share = 1 / (self.count + 10)
        self.error += share * (self.acceptance - acceptance - self.error)
        log_size = self.centre - math.sqrt(self.count) / 0.05 * self.error
        weight = self.count**-0.75
        self.log_mean += weight * (log_size - self.log_mean)
        self.now = math.exp(log_size)


def _first_step(sampler: _Sampler, point: _Point) -> float:
    """A step size at which a leapfrog step is accepted about half of the time, by halving from 1."""
    size = 1.0
    for _ in range(50):
        here = sampler.thrown(point)
        with np.errstate(all="ignore"):
            gain = here.energy - sampler.leap(here, size).energy
        if gain > math.log(0.5):
            break
        size /= 2
    return size
