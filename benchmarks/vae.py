"""The variational autoencoder as residual density: beside its rivals, its bounds under its density, and its quadrature.

    python -m benchmarks.vae --out docs/results/vae

`densities` is the regression of `benchmarks.recover_noise`: both noises, the same network, points and steps for every
density, seconds as processor time. `EM mixture of K` is a mixture of K Gaussians with free covariances that learns by
the gradient of its likelihood, which at any step is that of EM's expected log likelihood (Neal and Hinton, "A view of
the EM algorithm", 1998: generalised EM), because mu and L learn at the same time. `vae, exact` is `vae` trained by its
quadrature, without a guide.

`bounds` and `quadrature` fit the noise alone, where the truth is known: held-out bounds of k draws of the guide, the
density, and the truth; and how far sums over fewer points are from the integral.
"""

from __future__ import annotations

__all__ = ["GaussianMixtureResidual", "main"]

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from benchmarks.recover_noise import NOISES, fit, judge, simulate
from benchmarks.tables import report
from probpose.arrays import Array
from probpose.data.synthetic.annotate import KnownNoise
from probpose.models.densities import Native, ResidualDensity, VAEResidual
from probpose.models.densities.couplings import LOG_2PI
from probpose.models.densities.gauge import Gauge
from probpose.models.densities.nodes import normal_nodes, pick
from probpose.models.densities.residual import closed_form
from probpose.models.densities.vae import Mixture
from probpose.models.residual_families import build_residual

Row = dict[str, Any]

DRAWS = (1, 5, 50)
FINEST = (321, 8.0)
"""Points along an axis and reach of the quadrature that stands for the integral."""


class GaussianMixtureResidual(ResidualDensity):
    """R is a mixture of Gaussians with free means and covariances, standardised by its own draws.

    Args:
        components: K.
    """

    def __init__(self, batch: int = 1, *, gauge: Gauge = "moment", full: bool = False, components: int = 3) -> None:
        super().__init__(batch, gauge=gauge, full=full)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(0.5 * torch.randn(components, 2))
        self.raw = nn.Parameter(torch.tensor([0.0, 0.0, 0.0]).repeat(components, 1))

    def native(self, uniform: Tensor, replicates: int) -> Native:
        (first, second), below = self.raw[:, :2].exp().unbind(-1), self.raw[:, 2]
        factor = torch.stack([first, torch.zeros_like(first), below, second], -1).view(-1, 2, 2)
        log_share = self.logits.log_softmax(-1)

        def log_prob(w: Tensor) -> Tensor:
            x, y = (w.unsqueeze(-2) - self.loc).unbind(-1)
            u = x / first
            v = (y - below * u) / second
            return (log_share - first.log() - second.log() - LOG_2PI - 0.5 * (u**2 + v**2)).logsumexp(-1)

        def draw(points: Tensor) -> Tensor:
            which, rest = pick(log_share.detach().exp(), points[..., 0])
            normal = normal_nodes(torch.stack([rest.clamp(1e-9, 1 - 1e-9).to(points), points[..., 1]], -1))
            return self.loc[which] + (factor[which] @ normal.unsqueeze(-1)).squeeze(-1)

        return closed_form(log_prob, draw, uniform, self.batch)


def autoencoder(particles: int | None) -> Callable[..., ResidualDensity]:
    """`vae` trained by its bound of so many draws, or by its likelihood (None)."""

    def build(_: str, gauge: Gauge | None) -> ResidualDensity:
        density = VAEResidual()
        density.particles = particles or 1
        return density.eval() if particles is None else density

    return build


def mixture(components: int) -> Callable[..., ResidualDensity]:
    """A mixture of so many Gaussians."""
    return lambda _, gauge: GaussianMixtureResidual(components=components)


DENSITIES: Mapping[str, tuple[str, Callable[..., ResidualDensity]]] = {
    "laplace": ("laplace", build_residual),
    "student_t": ("student_t", build_residual),
    "EM mixture of 3": ("vae", mixture(3)),
    "EM mixture of 8": ("vae", mixture(8)),
    "flow": ("flow", build_residual),
    "rle": ("rle", build_residual),
    "vae, ELBO": ("vae", autoencoder(1)),
    "vae": ("vae", build_residual),
    "vae, exact": ("vae", autoencoder(None)),
}
"""Name, and the family whose scale head and objective it takes."""


def judged(name: str, noise: KnownNoise, epochs: int, seed: int) -> tuple[Row, Array]:
    """A density fitted with mu and L, and its regret: nats that the true density has more of, a held-out label each."""
    family, build = DENSITIES[name]
    start = time.process_time()
    model = fit(family, None, simulate(noise, 20_000, seed + 1), epochs=epochs, seed=seed, build=build)
    seconds, test = time.process_time() - start, simulate(noise, 20_000, seed + 1001)
    columns, log_prob = judge(model, noise, test)
    true = noise.log_prob((test.y[:, 0].double().numpy() - test.mu) / test.sigma) - np.log(test.sigma).sum(-1)
    click.echo(f"{noise.name} {name} seed {seed}: {(true - log_prob).mean():.4f} nats, {seconds:.0f} s", err=True)
    return columns | {"seconds": seconds}, true - log_prob


def densities(epochs: int, repetitions: int, seed: int) -> Iterator[Row]:
    """A row a noise and density, means over the seeds."""
    for kind, noise in ((kind, NOISES[kind]()) for kind in NOISES):
        found = {name: [judged(name, noise, epochs, seed + i) for i in range(repetitions)] for name in DENSITIES}
        regret = {name: np.stack([one for _, one in runs]) for name, runs in found.items()}
        best = min(regret, key=lambda name: float(regret[name].mean()))
        for name, runs in found.items():
            behind = regret[name] - regret[best]
            row = {key: np.mean([float(one[key]) for one, _ in runs]) for key in MEANS}
            error, seeds = behind.std() / behind.size**0.5, np.ptp(behind.mean(1))
            nats = {"regret": regret[name].mean(), "behind": behind.mean(), "error": error, "between": seeds}
            yield {"noise": kind, "density": name} | {key: float(value) for key, value in (row | nats).items()}


MEANS = ("divergence", "coverage50", "coverage90", "seconds")
DENSITY_COLUMNS = {
    "noise": "noise", "density": "density", "regret": "NLL - truth's", "behind": "NLL - best", "error": "s.e.",
    "between": "range over seeds", "divergence": "KL(true, learned)", "coverage50": "HDR 50%",
    "coverage90": "HDR 90%", "seconds": "s",
}  # fmt: skip


def fitted(noise: KnownNoise, particles: int, steps: int, seed: int) -> Iterator[tuple[int, VAEResidual]]:
    """The autoencoder of 20,000 draws of a noise after some of its steps, for evaluation in float64."""
    torch.manual_seed(seed)
    draws = torch.from_numpy(noise.sample(20_000, np.random.default_rng(seed))).float()
    density = VAEResidual()
    density.particles = particles
    adam = torch.optim.Adam(density.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, total_steps=steps, pct_start=0.1)
    shown = {int(step) for step in np.geomspace(20, steps, 8).round()} | {steps}
    for step in range(1, steps + 1):
        adam.zero_grad()
        (-density.bound(draws[torch.randint(len(draws), (512,))].unsqueeze(0)).mean()).backward()
        adam.step()
        schedule.step()
        if step in shown:
            yield step, copy.deepcopy(density).double().eval()


@torch.no_grad()
def nats(density: VAEResidual, unseen: Tensor, draws: tuple[int, ...] = DRAWS) -> dict[str, float]:
    """Means over held-out points: the bounds of k draws, and the log density."""
    found = {"exact": float(density.mixture().log_prob(unseen.unsqueeze(0)).mean())}
    for k in draws:
        blocks = [density.log_weights(some.unsqueeze(0), k).logsumexp(0) for some in unseen.split(1000)]
        found[f"k{k}"] = float(torch.cat(blocks, 1).mean()) - math.log(k)
    return found


@torch.no_grad()
def rules(density: VAEResidual, unseen: Tensor) -> Iterator[Row]:
    """How far sums by two rules are from the integral over h: mean and largest difference in nats."""
    integral = density.mixture(*FINEST).log_prob(unseen.unsqueeze(0))
    for side in (7, 11, 15, 21, 31, 41):
        at, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(side))
        loc, scale = density.decoder(torch.cartesian_prod(at, at).unsqueeze(0))
        sums = {"trapezoidal": density.mixture(side), "Gauss-Hermite": Mixture(loc, scale, weights / weights.sum())}
        for rule, total in sums.items():
            error = total.log_prob(unseen.unsqueeze(0)) - integral
            mean, largest = 1e6 * float(error.mean().abs()), float(error.abs().max())
            yield {"rule": rule, "side": side, "mean": mean, "largest": largest}


BOUND_COLUMNS = {"noise": "noise", "trained": "trained by", **{f"k{k}": f"k = {k}" for k in DRAWS}, "exact": "density"}
RULE_COLUMNS = {
    "noise": "noise", "trained": "trained by", "rule": "rule", "side": "points an axis",
    "mean": "error of the mean, 1e-6", "largest": "largest error",
}  # fmt: skip


def alone(steps: int, seed: int, out: Path | None) -> tuple[list[Row], list[Row]]:
    """Rows of bounds, in nats below the truth, and of quadrature; the picture of both over the steps."""
    bounds, quadrature = [], []
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    for row, kind in zip(figure.subplots(2, 2, sharey="row"), NOISES, strict=True):
        noise = NOISES[kind]()
        unseen = noise.sample(4000, np.random.default_rng(seed + 1000))
        truth, points = float(noise.log_prob(unseen).mean()), torch.from_numpy(unseen)
        for axis, k in zip(row, (1, 8), strict=True):
            known = {"noise": kind, "trained": "ELBO" if k == 1 else f"bound of {k} draws"}
            curves = {}
            for step, density in fitted(noise, k, steps, seed):
                curves[step] = {name: truth - value for name, value in nats(density, points).items()}
            bounds.append(known | curves[steps])
            quadrature += [known | one for one in rules(density, points)]
            _draw(axis, curves, f"{kind}, trained by {known['trained']}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(out / "bounds.png", dpi=110)
    return bounds, quadrature


def _draw(axis: Any, curves: Mapping[int, Mapping[str, float]], title: str) -> None:
    labels = {f"k{k}": "ELBO" if k == 1 else f"bound of {k} draws" for k in DRAWS} | {"exact": "density by quadrature"}
    for i, (name, label) in enumerate(labels.items()):
        style = {"color": "black", "linewidth": 2} if name == "exact" else {"color": f"C{i}"}
        axis.loglog(list(curves), [max(one[name], 1e-4) for one in curves.values()], label=label, **style)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("steps")
    axis.set_ylabel("held-out nats below the truth")
    axis.legend(fontsize=7, frameon=False)


@click.command()
@click.option("--epochs", default=40, show_default=True, help="Of the regression: passes over the 20,000 points.")
@click.option("--steps", default=3000, show_default=True, help="Of fits to the noise alone.")
@click.option("--repetitions", default=2, show_default=True, help="Seeds of the regression.")
@click.option("--seed", default=0, show_default=True, help="The first of them.")
@click.option("--part", "parts", multiple=True, type=click.Choice(["alone", "densities"]), help="[both]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of bounds.png and of a folder for each table.")
def main(epochs: int, steps: int, repetitions: int, seed: int, parts: tuple[str, ...], out: Path | None) -> None:
    """Fit the autoencoder and its rivals to known noise and print the tables."""
    if not parts or "alone" in parts:
        bounds, quadrature = alone(steps, seed, out)
        report(bounds, BOUND_COLUMNS, out and out / "bounds")
        report(quadrature, RULE_COLUMNS, out and out / "quadrature")
    if not parts or "densities" in parts:
        report(list(densities(epochs, repetitions, seed)), DENSITY_COLUMNS, out and out / "densities")


if __name__ == "__main__":
    main()
