"""Gaussian labels by the hundred thousand: stochastic variational inference, with the guide's k-hat.

True locations are integrated out object by object given the biases, which are sampled beside the rest, so that the log
likelihood is a sum over objects and a minibatch estimates it. The guide is Pyro's `AutoLowRankMultivariateNormal`, in
coordinates where the posterior is about a standard normal, by the mode of all labels and the curvature of a part. So
the guide begins as Laplace's approximation, and minibatches are left to learn how the posterior differs from it.

Whether draws of the guide represent the posterior is the Pareto shape k-hat of their importance ratios, on all labels:
Yao et al., "Yes, but Did It Work? Evaluating Variational Inference", ICML 2018; its estimate is that of Zhang and
Stephens, "A New and Efficient Estimation Method for the Generalized Pareto Distribution", Technometrics 2009.
"""

from __future__ import annotations

__all__ = ["MarginalLabels", "fit_guide", "pareto_k"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyro
import torch
from pyro.distributions import ImproperUniform
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoLowRankMultivariateNormal
from pyro.infer.autoguide.initialization import init_to_value
from torch import Tensor
from torch.distributions import constraints

from probpose.arrays import Array, Index
from probpose.inference.fitting.annotation_coordinates import Coordinates, Values
from probpose.inference.fitting.annotation_sampled import biases_density
from probpose.inference.fitting.nuts import Metric, mode
from probpose.models.annotation_model import Design

_CHUNK = 4096
_PART = 1500
"""Objects of a landmark that say what the curvature is, at most."""
_RANK = 8
_JUDGED = 200
"""Draws of the guide whose importance ratios are looked at."""

Block = tuple[Array, Array, Array]
"""Of one landmark: labels (n, A, 2), which there are (n, A), and log sizes (n,)."""


@dataclass(frozen=True)
class MarginalLabels:
    """The log density of a vector of coordinates and contrasts of biases (A-1, K, 2), true locations integrated out.

    Attributes:
        coordinates: of landmarks and annotators.
        basis: (A, A-1), Q.
        blocks: labels by landmark, those that are alone left out.
    """

    coordinates: Coordinates
    basis: Array
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, design: Design) -> MarginalLabels:
        """The density of a design's labels."""
        xy, known = (
            np.zeros((len(design.origin), design.annotators, 2)),
            np.zeros((len(design.origin), design.annotators)),
        )
        xy[design.cell, design.annotator] = design.xy
        known[design.cell, design.annotator] = 1.0
        landmark, log_size = design.cell_landmark.numpy(), design.log_size.numpy()
        own = [np.flatnonzero((landmark == k) & (known.sum(1) > 1)) for k in range(len(design.group))]
        blocks = tuple((xy[rows], known[rows], log_size[rows]) for rows in own)
        return cls(Coordinates.of(design), design.basis.numpy(), blocks)

    @property
    def size(self) -> int:
        """D."""
        return self.coordinates.size + 2 * int(self.basis.shape[1]) * len(self.blocks)

    def split(self, x: Array) -> tuple[Array, Array]:
        """Coordinates (..., D0) and contrasts e (..., A-1, K, 2)."""
        first = self.coordinates.size
        return x[..., :first], x[..., first:].reshape(*x.shape[:-1], self.basis.shape[1], len(self.blocks), 2)

    def batch(self, size: int, rng: np.random.Generator) -> list[Index]:
        """At most `size` objects of each landmark, at random."""
        return [rng.integers(len(block[0]), size=min(size, len(block[0]))) for block in self.blocks]

    def __call__(self, x: Array, batch: Sequence[Index] | None = None, *, volume: float = 1.0) -> tuple[float, Array]:
        """Log density and gradient (D,), of all objects or estimated from a batch; see `Hierarchy.log_density`."""
        own, e = self.split(x)
        to_e = np.empty_like(e)

        def likelihood(at: Values) -> tuple[float, Values]:
            value, slope, to_bias = self._labels(at, np.einsum("af,fkd->akd", self.basis, e), batch)
            prior, to_e[:] = biases_density(at, e, slope.landmark, volume)
            to_e[:] += np.einsum("af,akd->fkd", self.basis, to_bias)
            return value + prior, slope

        found, gradient = self.coordinates.log_density(own, likelihood, volume=volume)
        return found, np.concatenate([gradient, to_e.ravel()])

    def _labels(self, at: Values, bias: Array, batch: Sequence[Index] | None) -> tuple[float, Values, Array]:
        """Log likelihood, and gradients in the values and in biases (A, K, 2)."""
        value, to_exponent, to_bias = 0.0, 0.0, np.zeros_like(bias)
        to_landmark, to_tau = np.zeros_like(at.landmark), np.zeros_like(at.log_tau)
        for k, block in enumerate(self.blocks):
            rows = np.arange(len(block[0])) if batch is None else batch[k]
            scale = len(block[0]) / max(len(rows), 1)
            for start in range(0, len(rows), _CHUNK):
                chosen = slice(start, start + _CHUNK) if batch is None else rows[start : start + _CHUNK]
                found = _block(at, k, bias[:, k], block[0][chosen], block[1][chosen], block[2][chosen])
                value += scale * found[0]
                to_landmark[k, :3] += scale * found[1]
                to_tau[:, k] += scale * found[2]
                to_exponent += scale * found[3]
                to_bias[:, k] += scale * found[4]
        return value, Values(to_landmark, to_tau, np.array(to_exponent)), to_bias


def _block(
    at: Values, k: int, bias: Array, xy: Array, known: Array, log_size: Array
) -> tuple[float, Array, Array, float, Array]:
    """Log likelihood of objects of a landmark, and gradients in log scales and atanh rho, log tau, gamma and bias."""
    log_x, log_y, atanh_rho = at.landmark[k, :3].tolist()
    sinh, cosh = math.sinh(atanh_rho), math.cosh(atanh_rho)
    scaled = xy * np.exp(-at.exponent * log_size)[:, None, None]
    error = scaled - bias
    u = error[..., 0] * math.exp(-log_x)
    v = error[..., 1] * (cosh * math.exp(-log_y)) - u * sinh
    w = known * np.exp(-2 * at.log_tau[:, k])
    total = w.sum(1)
    share = w / total[:, None]
    du, dv = u - (share * u).sum(1, keepdims=True), v - (share * v).sum(1, keepdims=True)
    wu, wv, square = w * du, w * dv, w * (du * du + dv * dv)
    contrasts = known.sum(1) - 1
    number, log_det = float(contrasts.sum()), log_x + log_y - math.log(cosh)
    sizes = float(contrasts @ log_size)
    value = -0.5 * float(square.sum()) - number * (log_det + math.log(2 * math.pi)) - float(np.log(total).sum())
    value -= 2 * (float(at.exponent) * sizes + float(known.sum(0) @ at.log_tau[:, k]))
    uu, vu, vv = float((wu * u).sum()), float((wv * u).sum()), float((wv * v).sum())
    along = vv + sinh * vu
    to_landmark = np.array([uu - sinh * vu - number, along - number, cosh * vu + sinh / cosh * (number - along)])
    to_error = -np.stack([(wu - sinh * wv) * math.exp(-log_x), wv * (cosh * math.exp(-log_y))], -1)
    grown = float((log_size[:, None, None] * to_error * scaled).sum()) + 2 * sizes
    return value, to_landmark, (square - 2 * (known - share)).sum(0), -grown, -to_error.sum(0)


@dataclass(frozen=True)
class Guided:
    """Draws (S, D) of the guide, in the coordinates of the labels, and k-hat."""

    points: Array
    k_hat: float


def fit_guide(
    labels: MarginalLabels,
    draws: int,
    *,
    steps: int,
    batch: int,
    seed: int,
    step: Callable[[], None] = lambda: None,
) -> Guided:
    """Fit the guide, draw from it, and judge it by all labels.

    Args:
        labels: to be fitted.
        draws: S.
        steps: of Adam, whose rate falls to zero along a cosine.
        batch: objects of each landmark a step.
        seed: of minibatches and draws.
        step: called after each step.
    """
    metric = _laplace(labels, np.random.default_rng([seed, 0]))
    rng = np.random.default_rng([seed, 1])

    def model() -> None:
        flat: Any = ImproperUniform(constraints.real_vector, (), (labels.size,))  # type: ignore[no-untyped-call]
        z = pyro.sample("z", flat)
        estimate = _LogDensity.apply(z, metric, labels, labels.batch(batch, rng))  # type: ignore[no-untyped-call]
        pyro.factor("labels", estimate)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pyro.clear_param_store()
        start = init_to_value(values={"z": torch.zeros(labels.size, dtype=torch.float64)})
        guide: Any = AutoLowRankMultivariateNormal(model, init_loc_fn=start, init_scale=1.0, rank=_RANK)  # type: ignore[no-untyped-call]
        guide()
        with torch.no_grad():
            guide.cov_factor *= 0.01
            guide.scale = torch.ones_like(guide.scale)
        rates = {"lr": 0.02, "betas": (0.9, 0.999)}
        schedule = pyro.optim.PyroLRScheduler(
            torch.optim.lr_scheduler.CosineAnnealingLR,
            {"optimizer": torch.optim.Adam, "optim_args": rates, "T_max": steps},
        )
        svi: Any = SVI(model, guide, schedule, Trace_ELBO())  # type: ignore[no-untyped-call]
        for _ in range(steps):
            svi.step()
            schedule.step()
            step()
        with torch.no_grad():
            law = guide.get_posterior()
            z = law.sample((max(draws, _JUDGED),))
            log_guide = law.log_prob(z[:_JUDGED]).numpy()
    points = metric.points(z.numpy())
    log_density = np.array([labels(x)[0] for x in points[:_JUDGED]])
    return Guided(points[:draws], pareto_k(log_density - log_guide))


def _laplace(labels: MarginalLabels, rng: np.random.Generator) -> Metric:
    """Mode and curvature of a part of the objects, and with that curvature the mode of all."""
    part = [rng.permutation(len(block[0]))[:_PART] for block in labels.blocks]
    start = mode(lambda x: labels(x, part, volume=0.5), np.zeros(labels.size))
    metric = Metric.at(lambda x: labels(x, part), start[None])
    exact = mode(metric.of(lambda x: labels(x, volume=0.5)), np.zeros(labels.size))
    return replace(metric, centre=metric.points(exact))


class _LogDensity(torch.autograd.Function):
    """The log density of z with its own gradient."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, metric: Metric, labels: MarginalLabels, batch: list[Index]) -> Tensor:
        value, slope = metric.of(lambda x: labels(x, batch))(z.detach().numpy())
        ctx.save_for_backward(torch.from_numpy(slope))
        return z.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None, None


def pareto_k(log_ratios: Array) -> float:
    """Shape of a generalised Pareto law of the largest importance ratios (S,), with the weak prior of Vehtari et al."""
    tail = int(min(0.2 * len(log_ratios), 3 * math.sqrt(len(log_ratios))))
    ordered = np.sort(np.exp(log_ratios - log_ratios.max()))
    x = ordered[-tail:] - ordered[-tail - 1]
    if not x[0] > 0:
        return math.inf
    grid = 30 + int(math.sqrt(tail))
    quarter = x[int(tail / 4 + 0.5) - 1]
    b = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quarter)
    shape = np.log1p(-b[:, None] * x).mean(1)
    likelihood = tail * (np.log(-b / shape) - shape - 1)
    weight = np.exp(likelihood - likelihood.max())
    k = float(np.log1p(-(b @ weight / weight.sum()) * x).mean())
    return (tail * k + 5) / (tail + 10)
