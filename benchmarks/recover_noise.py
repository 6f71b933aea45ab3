"""Regression with known heteroscedastic noise: which likelihoods recover sigma and the residual density?

    python -m benchmarks.recover_noise --out docs/results/recover_noise

y = mu(x) + sigma(x) z, x uniform on [-1, 1]^4, z from a known density of mean 0 and unit variance: (a) a skewed mixture
of three Gaussians, (b) a skewed Student-t with 3 degrees of freedom. Every residual family gets the same network, the
same 20,000 points and the same number of steps, and is judged on 20,000 others.
"""

from __future__ import annotations

__all__ = ["Row", "fit", "judge", "main", "simulate"]

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.density_figure import draw_densities
from benchmarks.tables import report
from probpose.data.synthetic.annotate import GaussianMixtureNoise, KnownNoise, SkewedStudentNoise
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.models.densities import Residual, ResidualDensity
from probpose.models.densities.gauge import Gauge, quantile_gauge
from probpose.models.heads.base import Targets
from probpose.models.heads.location_scale import LocationScaleHeads
from probpose.models.keypoint_model import KeypointModel
from probpose.models.residual_families import RESIDUALS, build_residual, residual_family_of, scale_of

Array = npt.NDArray[np.float64]

NOISES: dict[str, type[KnownNoise]] = {"mixture": GaussianMixtureNoise, "student": SkewedStudentNoise}
CASES: tuple[tuple[str, Gauge | None], ...] = (("rle", "quantile"), *((name, None) for name in RESIDUALS))


@dataclass(frozen=True)
class Sample:
    """n points: input (n, 4), label (n, 1, 2), true mu and true sigma (n, 2)."""

    x: Tensor
    y: Tensor
    mu: Array
    sigma: Array


@dataclass(frozen=True)
class Row:
    """One line of the table; see its heading in `COLUMNS`."""

    noise: str
    family: str
    gauge: str
    sigma_x: float
    sigma_y: float
    std_x: float
    std_y: float
    nll: float
    nll_error: float
    excess: float
    excess_error: float
    coverage50: float
    coverage90: float
    divergence: float
    ess: float
    seconds: float


COLUMNS = {
    "noise": "noise",
    "family": "family",
    "gauge": "gauge",
    "sigma_x": "sigma / true, x",
    "sigma_y": "sigma / true, y",
    "std_x": "std of residual / sigma, x",
    "std_y": "std of residual / sigma, y",
    "nll": "held-out NLL",
    "excess": "NLL - best",
    "excess_error": "s.e.",
    "coverage50": "HDR 50%",
    "coverage90": "HDR 90%",
    "divergence": "KL(true, learned)",
    "ess": "ESS/N",
    "seconds": "s",
}


class PointNet(nn.Module):
    """The stand-in for an image network: 4 numbers -> mu, L and presence of one keypoint."""

    def __init__(self, family: str, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.loc = nn.Linear(width, 2)
        self.scale = scale_of(family, "diag")(width, 1)

    def forward(self, x: Tensor) -> LocationScaleHeads:
        """Heads of points (n, 4)."""
        features = self.body(x)
        return LocationScaleHeads(self.loc(features).unsqueeze(1), self.scale(features), features.new_zeros(len(x), 1))


def simulate(noise: KnownNoise, points: int, seed: int) -> Sample:
    """Draw points; sigma varies by a factor of about 6 and differs between the axes."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (points, 4))
    mu = 0.3 * np.stack(
        [0.5 * np.sin(2 * x[:, 0]) + 0.2 * x[:, 1], 0.4 * np.cos(1.5 * x[:, 1]) - 0.2 * x[:, 2]], axis=-1
    )
    log_sigma = np.stack([0.6 * x[:, 2] + 0.3 * x[:, 0], 0.5 * x[:, 3] - 0.3 * x[:, 1]], axis=-1)
    sigma = np.array([0.032, 0.02]) * np.exp(log_sigma)
    y = mu + sigma * noise.sample(points, rng)
    return Sample(torch.from_numpy(x).float(), torch.from_numpy(y).float().unsqueeze(1), mu, sigma)


def fit(
    family: str,
    gauge: Gauge | None,
    train: Sample,
    *,
    epochs: int,
    seed: int,
    build: Callable[..., ResidualDensity] = build_residual,
    batch: int = 512,
) -> KeypointModel:
    """Fit a family by the training loss of `probpose train`, Adam with warm-up and cosine decay.

    Args:
        family: a key of `RESIDUALS`.
        gauge: None takes the family's own.
        train: the points.
        epochs: passes over them.
        seed: of weights, order and nodes.
        build: makes the residual density from `family` and `gauge`.
        batch: points a step.
    """
    torch.manual_seed(seed)
    net = PointNet(family)
    targets = Targets.of(train.y, torch.ones(len(train.y), 1, dtype=torch.bool))
    nn.init.zeros_(net.loc.weight)
    net.loc.bias.data.copy_(targets.median[0])
    net.scale.start_at(targets.spread)
    model = KeypointModel(net, build(family, gauge=gauge), [0], residual_family_of(family).objective())  # type: ignore[arg-type]
    loss = negative_log_likelihood(model)
    optimizer = torch.optim.Adam(loss.parameters(), lr=2e-3)
    steps = epochs * (len(train.y) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    seen = torch.ones(batch, 1, dtype=torch.bool)
    for _ in range(epochs):
        for rows in torch.randperm(len(train.y)).split(batch):
            if len(rows) < batch:
                continue
            optimizer.zero_grad()
            loss(train.x[rows], None, train.y[rows], seen).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def judge(model: KeypointModel, noise: KnownNoise, test: Sample) -> tuple[dict[str, float | str], Array]:
    """Columns of the table, and the log density of every held-out label."""
    residual = model.residual.frozen()
    predictive = model(test.x, None, residual)
    labels = test.y.double()
    log_prob = predictive.log_prob(labels)[:, 0]
    level = predictive.hdr_level(labels)
    z = predictive.standardised(labels)[:, 0]
    scale = predictive.scale.diagonal(dim1=-2, dim2=-1)[:, 0].numpy()
    unit = noise.quantile_gauge()[1] if residual.gauge == "quantile" else np.ones(2)
    ratio = np.median(scale / (test.sigma * unit), axis=0)
    columns: dict[str, float | str] = {
        "gauge": residual.gauge,
        "sigma_x": float(ratio[0]),
        "sigma_y": float(ratio[1]),
        "std_x": float(z[:, 0].std()),
        "std_y": float(z[:, 1].std()),
        "nll": float(-log_prob.mean()),
        "nll_error": float(log_prob.std() / len(log_prob) ** 0.5),
        "coverage50": float((level <= 0.5).double().mean()),
        "coverage90": float((level <= 0.9).double().mean()),
        "divergence": divergence(residual, noise),
        "ess": float(residual.native.ess.min()),
    }
    return columns, log_prob.numpy()


def divergence(residual: Residual, noise: KnownNoise, draws: int = 200_000) -> float:
    """KL(true, learned) in nats, both densities moved to median 0 and half 16-84% width 1 per axis."""
    z = noise.sample(draws, np.random.default_rng(0))
    median, width = noise.quantile_gauge()
    own_median, own_width = own_quantiles(residual)
    learned = own_median + own_width * torch.from_numpy((z - median) / width)
    log_learned = residual.log_prob(learned)[0] + own_width.log().sum()
    log_true = noise.log_prob(z) + np.log(width).sum()
    return float(log_true.mean() - log_learned.mean())


def own_quantiles(residual: Residual) -> tuple[Tensor, Tensor]:
    """Median and half the 16-84% width per axis, (2,) each, of a shared residual density."""
    median, factor = quantile_gauge(residual.nodes, residual.native.weights)
    return median[0], factor[0].diagonal()


def run_case(
    noise: KnownNoise, family: str, gauge: Gauge | None, epochs: int, seed: int
) -> tuple[Row, Array, Residual]:
    """Fit and judge one family on one noise."""
    start = time.perf_counter()
    model = fit(family, gauge, simulate(noise, 20_000, seed + 1), epochs=epochs, seed=seed)
    seconds = time.perf_counter() - start
    columns, log_prob = judge(model, noise, simulate(noise, 20_000, seed + 1001))
    row = Row(noise=noise.name, family=family, excess=0, excess_error=0, seconds=seconds, **columns)  # type: ignore[arg-type]
    return row, log_prob, model.residual.frozen()


def against_best(rows: list[Row], log_probs: list[Array]) -> list[Row]:
    """Fill in the paired difference to the best family, with its standard error."""
    best = int(np.argmin([row.nll for row in rows]))
    filled = []
    for row, log_prob in zip(rows, log_probs, strict=True):
        difference = log_probs[best] - log_prob
        error = float(difference.std() / len(difference) ** 0.5)
        filled.append(Row(**{**asdict(row), "excess": float(difference.mean()), "excess_error": error}))
    return filled


@click.command()
@click.option("--epochs", default=80, show_default=True, help="Passes over the 20,000 points.")
@click.option("--seed", default=0, show_default=True)
@click.option("--noise", "noises", multiple=True, type=click.Choice(list(NOISES)), default=list(NOISES))
@click.option("--family", "families", multiple=True, type=click.Choice(list(RESIDUALS)), help="[all]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md, table.json and density.png.")
def main(epochs: int, seed: int, noises: tuple[str, ...], families: tuple[str, ...], out: Path | None) -> None:
    """Fit every residual family to regression with known noise and print the table."""
    rows: list[Row] = []
    learned: dict[str, dict[str, Residual]] = {}
    for name in noises:
        noise = NOISES[name]()
        found, log_probs = [], []
        for family, gauge in CASES:
            if families and family not in families:
                continue
            row, log_prob, residual = run_case(noise, family, gauge, epochs, seed)
            found.append(row)
            log_probs.append(log_prob)
            if family not in ("l1", "l2"):  # their densities are those of laplace and gaussian
                learned.setdefault(name, {})[f"{family} ({row.gauge})"] = residual
            click.echo(f"{name} {family} {row.gauge}: {row.nll:.4f} nats, {row.seconds:.0f} s", err=True)
        rows += against_best(found, log_probs)
    report([asdict(row) for row in rows], COLUMNS, out)
    if out is not None:
        draw_densities(learned, {name: NOISES[name]() for name in noises}, out / "density.png")


if __name__ == "__main__":
    main()
