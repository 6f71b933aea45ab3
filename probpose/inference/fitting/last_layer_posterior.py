"""Draws of a last layer's posterior: Laplace's approximation, or stochastic variational inference that starts from it.

The prior is Gaussian, about 0 for weights and about the trained values for biases, with one precision a layer. The data
choose it by their marginal likelihood under Laplace's approximation, which is greatest where

    tau |w|^2 = sum along / (along + tau)

(MacKay, "Bayesian interpolation", Neural Computation 1992), `along` as in `probpose.inference.fitting.last_layer`.

Both posteriors live in coordinates z in which Laplace's approximation is a standard normal: along the eigenvectors of
the information, in units of its standard deviation. There Pyro's `AutoNormal`, whose coordinates are independent, is
a Gaussian with correlations among the weights, and minibatches are left to learn where the posterior differs from
Laplace's.
"""

from __future__ import annotations

__all__ = [
    "Kind", "LastLayerPosterior", "Whitened", "balanced", "evidence_precision", "fit_guide", "held_out_nll",
    "sample_last_layer",
]  # fmt: skip

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.infer.autoguide.initialization import init_to_value
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from probpose.inference.fitting.last_layer import Encoded, Information, LastLayer, information
from probpose.models.ensemble import LastLayerDraws
from probpose.progress import Counting, silent

Kind = Literal["laplace", "svi"]

STEPS = 1500
LR = 0.01
_ROUNDS = 100
"""Of the prior's precision."""
_LEAST_SQUARE = 1e-12
"""Of weights that are all 0."""
_LEAST_PRECISION = 1e-6
"""Of a prior where labels say nothing: of joints that are always there."""
_JUDGED = 8
"""Draws that the expected log likelihood is the mean of."""


@dataclass(frozen=True)
class LastLayerPosterior:
    """Draws of a network's last layer.

    Attributes:
        kind: how it was approximated.
        draws: by parameter of the regressor, (M, ...).
        precision: of the prior, by layer.
        persons: that were learned from.
        labels: of their keypoints.
        kl_nats: from the prior to the posterior, of all layers together.
        elbo_nats: lower bound on the log evidence, nats per label: expected log likelihood less `kl_nats` / `labels`.
        selection_nll_nats: of held-out labels, per label in network units, by the draws' mixture.
        trained_nll_nats: likewise, by the trained values alone.
    """

    kind: Kind
    draws: dict[str, Tensor]
    precision: dict[str, float]
    persons: int
    labels: int
    kl_nats: float
    elbo_nats: float
    selection_nll_nats: float
    trained_nll_nats: float

    def facts(self) -> dict[str, str | int | float]:
        """Everything but the draws, flat."""
        precision = {f"prior_precision.{name}": value for name, value in self.precision.items()}
        named = {name: value for name, value in vars(self).items() if name not in ("draws", "precision", "kind")}
        return {"last_layer": self.kind, **named, **precision}


@dataclass(frozen=True)
class Whitened:
    """Coordinates z (..., O, I) of each matrix of a last layer in which Laplace's approximation is a standard normal.

    Attributes:
        layer: with its trained values.
        information: of each matrix.
        precision: of the prior of each matrix.
    """

    layer: LastLayer
    information: Mapping[str, Information]
    precision: Mapping[str, float]

    def deviation(self, name: str) -> Tensor:
        """(O, I), the unit of z."""
        return self.information[name].deviation(self.precision[name])

    def matrices(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The matrices at z."""
        trained, known = self.layer.trained, self.information
        return {name: trained[name] + known[name].turned_back(z[name] * self.deviation(name)) for name in known}

    @cached_property
    def prior(self) -> dict[str, Normal]:
        """The prior of z."""
        found = {}
        for name, known in self.information.items():
            unit = self.deviation(name)
            mean = -known.turned(self.layer.weights[name]) / unit
            found[name] = Normal(mean, self.precision[name] ** -0.5 / unit)
        return found

    @property
    def laplace(self) -> dict[str, Normal]:
        """Laplace's approximation."""
        return {name: Normal(torch.zeros_like(prior.loc), 1.0) for name, prior in self.prior.items()}


def evidence_precision(layer: LastLayer, known: Mapping[str, Information]) -> dict[str, float]:
    """The precision of each matrix's prior that the data choose."""
    found = {}
    for name, weights in layer.weights.items():
        along, square = known[name].along, weights.double().square().sum().clamp_min(_LEAST_SQUARE)
        tau = weights.numel() / square
        for _ in range(_ROUNDS):
            tau = ((along / (along + tau)).sum() / square).clamp_min(_LEAST_PRECISION)
        found[name] = float(tau)
    return found


def sample_last_layer(
    layer: LastLayer,
    data: Iterable[Encoded],
    judged: Iterable[Encoded],
    kind: Kind,
    draws: int,
    *,
    precision: float | None = None,
    steps: int = STEPS,
    seed: int = 0,
    counting: Counting = silent,
) -> LastLayerPosterior:
    """Draw the last layer.

    Args:
        layer: with its trained values.
        data: of the persons that it was trained on, the same at each pass.
        judged: of others.
        kind: `laplace` or `svi`.
        draws: M.
        precision: of the prior; the data's choice for each layer by default.
        steps: of SVI.
        seed: of everything.
        counting: shows how far it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        known = information(layer, data)
        chosen = evidence_precision(layer, known) if precision is None else dict.fromkeys(known, precision)
        place = Whitened(layer, known, chosen)
        guide = place.laplace
        if kind == "svi":
            with counting("fitting the guide", steps) as move:
                guide = fit_guide(place, data, steps=steps, progress=move)
        matrices = place.matrices({name: balanced(law, draws) for name, law in guide.items()})
    kl = float(sum(kl_divergence(guide[name], place.prior[name]).sum() for name in guide))
    persons, labels = _counted(data)
    parameters = layer.parameters(matrices)
    return LastLayerPosterior(
        kind=kind,
        draws=parameters,
        precision=chosen,
        persons=persons,
        labels=labels,
        kl_nats=kl,
        elbo_nats=(_expected_log_likelihood(layer, matrices, data) - kl) / max(labels, 1),
        selection_nll_nats=held_out_nll(layer, parameters, judged),
        trained_nll_nats=held_out_nll(layer, layer.parameters(_one(layer.trained)), judged),
    )


def balanced(law: Normal, draws: int) -> Tensor:
    """Draws (M, ...) whose mean is that of the law.

    Each is an exact draw, and any two have correlation -1 / (M - 1): a mixture over few draws that are independent errs
    by their mean, which costs it more nats than it gains by their spread.
    """
    z = torch.randn(draws, *law.loc.shape, dtype=law.loc.dtype, device=law.loc.device)
    z = (z - z.mean(0)) * (draws / (draws - 1)) ** 0.5
    found: Tensor = law.loc + law.scale * z
    return found


def fit_guide(
    place: Whitened,
    data: Iterable[Encoded],
    *,
    steps: int = STEPS,
    lr: float = LR,
    start: Mapping[str, Tensor] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Normal]:
    """The posterior of z by stochastic variational inference on batches of persons.

    Args:
        place: the coordinates.
        data: the same at each pass.
        steps: of Adam, whose rate falls to zero along a cosine.
        lr: its rate at first.
        start: mean of the guide at first; 0, the trained values, by default.
        progress: told after each step how many are done.
    """
    (persons, labels), prior = _counted(data), place.prior
    first = {name: torch.zeros_like(law.loc) for name, law in prior.items()} if start is None else dict(start)

    def program(batch: Encoded) -> None:
        z = {name: pyro.sample(_site(name), _matrix_normal(law)) for name, law in prior.items()}
        with poutine.scale(scale=persons / len(batch)):
            pyro.factor("labels", place.layer.log_likelihood(place.matrices(z), batch).sum())

    with pyro.get_param_store().scope():  # the guide's parameters are no one else's
        values = {_site(name): value for name, value in first.items()}
        start_at = init_to_value(values=values)
        autoguide: Any = AutoNormal(program, init_loc_fn=start_at, init_scale=1.0)  # type: ignore[no-untyped-call]
        model, guide = (poutine.scale(part, 1 / max(labels, 1)) for part in (program, autoguide))
        batches = _again(data)
        autoguide(next(batches))
        elbo: Any = Trace_ELBO()  # type: ignore[no-untyped-call]
        optimiser = torch.optim.Adam(autoguide.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            optimiser.zero_grad()
            elbo.differentiable_loss(model, guide, next(batches)).backward()
            optimiser.step()
            schedule.step()
            progress(step + 1)
        return {name: _fitted(autoguide, _site(name)) for name in prior}


def _matrix_normal(law: Normal) -> pyro.distributions.TorchDistribution:
    found: pyro.distributions.TorchDistribution = pyro.distributions.Normal(law.loc, law.scale).to_event(2)  # type: ignore[no-untyped-call]
    return found


def _site(name: str) -> str:
    return name.replace(".", "_")


def _fitted(guide: Any, site: str) -> Normal:
    return Normal(getattr(guide.locs, site).detach(), getattr(guide.scales, site).detach())


def _again(data: Iterable[Encoded]) -> Iterator[Encoded]:
    """Its batches, over and over."""
    while True:
        yield from data


def _one(matrices: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: matrix.unsqueeze(0) for name, matrix in matrices.items()}


def _counted(data: Iterable[Encoded]) -> tuple[int, int]:
    """How many persons, and labelled keypoints, there are; in one pass, which may run the backbone."""
    counts = [(len(batch), int(batch.labelled.sum())) for batch in data]
    return sum(persons for persons, _ in counts), sum(labels for _, labels in counts)


@torch.no_grad()
def _expected_log_likelihood(layer: LastLayer, matrices: Mapping[str, Tensor], data: Iterable[Encoded]) -> float:
    """Nats of all labels, the mean over the first draws."""
    draws = min(_JUDGED, len(next(iter(matrices.values()))))
    each = [{name: matrix[draw] for name, matrix in matrices.items()} for draw in range(draws)]
    return sum(float(layer.log_likelihood(one, batch).double().sum()) for batch in data for one in each) / draws


@torch.no_grad()
def held_out_nll(layer: LastLayer, draws: Mapping[str, Tensor], data: Iterable[Encoded]) -> float:
    """Nats per labelled keypoint in network units under the mixture over draws (M, ...) of parameters."""
    model = LastLayerDraws(layer.model, draws)
    total, labels = 0.0, 0
    for batch in data:
        predictive = model.predictive(model.heads_of(batch.maps), layer.residual)
        keypoints = torch.where(batch.labelled.unsqueeze(-1), batch.keypoints.to(predictive.mean), predictive.mean)
        total -= float(predictive.log_prob(keypoints)[batch.labelled].sum())
        labels += int(batch.labelled.sum())
    return total / max(labels, 1)
