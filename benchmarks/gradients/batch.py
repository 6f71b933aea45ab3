"""Draws of gradients on one batch of crops against the exact one: bias, variance, and a picture of them.

Bias squared and variance are in units of the exact gradient's squared length; the bias squared is the mean inner
product of different draws' deviations, so that the variance does not add to it.
"""

from __future__ import annotations

__all__ = ["COLUMNS", "Gradients", "draw", "on_one_batch"]

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.gradients.estimators import DRAWS, TEMPERATURES, USUAL_DRAWS, Estimate, cases, over_all_parts
from probpose.data.loading import CropDataset, loader
from probpose.data.persons import Persons
from probpose.inference.training.runs import LoadedRun
from probpose.models.expected_metric import OKS, PCK, over_metric

LAST_LAYERS = {"laplace": ("loc.", "scale."), "heatmap": ("maps.6.",)}
"""How the names of their weights begin."""

REFERENCES = 400
REFERENCE_NODES = 256

COLUMNS = {
    "model": "model", "metric": "metric", "estimator": "estimator", "draws": "draws", "temperature": "temperature",
    "bias2_shown": "bias²", "bias2_se_shown": "±", "variance_shown": "variance", "verdict": "verdict",
    "cost": "time",
}  # fmt: skip


@dataclass(frozen=True)
class Gradients:
    """Draws of a gradient against the exact one, in units of its squared length.

    Attributes:
        bias2: squared length of the bias, without what variance adds to it: about 0 for unbiased ones, on either side.
        bias2_se: its standard error, rather too large than too small where there is no bias.
        variance: expected squared distance of a draw from the mean of all.
    """

    bias2: float
    bias2_se: float
    variance: float

    @classmethod
    def of(cls, draws: Tensor, exact: Tensor, exact_error2: float = 0.0) -> Gradients:
        """From draws (R, P) and the exact gradient (P,), itself known up to a squared error of this expectation."""
        draws, exact = draws.double(), exact.double()
        deviation, count, unit = draws - exact, len(draws), float(exact.square().sum())
        products = deviation @ deviation.T
        others = (products.sum(1) - products.diagonal()) / (count - 1)
        return cls(
            bias2=(float(others.mean()) - exact_error2) / unit,
            bias2_se=math.hypot(2 * float(others.std()) / count**0.5, 2 * exact_error2) / unit,
            variance=float((draws - draws.mean(0)).square().sum()) / (count - 1) / unit,
        )

    @property
    def biased(self) -> bool:
        """Beyond chance: bias squared is more than three standard errors above 0."""
        return self.bias2 > 3 * self.bias2_se + 1e-12


class Batch:
    """The gradients of one network on one batch of crops.

    Args:
        run: of the network.
        persons: of the batch.
        names: how the names of the weights begin that gradients are with respect to.
    """

    def __init__(self, run: LoadedRun, persons: Persons, names: tuple[str, ...]) -> None:
        self.model = run.model.eval()
        batch = next(iter(loader(CropDataset(persons, run.input_size), len(persons))))
        self.keypoints, self.labelled = batch.keypoints.nan_to_num(), batch.labelled
        self.weights = [w.requires_grad_() for n, w in self.model.regressor.named_parameters() if n.startswith(names)]
        self.heads = self.model.heads(batch.image)
        aspect = run.input_size[1] / run.input_size[0]
        self.metrics = {
            "OKS": OKS.of_crop(persons.skeleton.oks_sigmas, aspect),
            "PCK": PCK.of_crop(len(persons.skeleton), aspect),
        }

    def gradient(self, estimate: Estimate, metric: str) -> Tensor:
        """One draw of the gradient, (P,), of the mean over the labelled keypoints."""
        expected = estimate(self.heads.density(self.model.residual()), self.keypoints, self.metrics[metric])
        mean = expected[self.labelled].mean()
        if not mean.requires_grad:
            return torch.cat([torch.zeros_like(weight).flatten() for weight in self.weights])
        found = torch.autograd.grad(
            mean, self.weights, retain_graph=True, allow_unused=True, materialize_grads=True
        )  # fmt: skip
        return torch.cat([part.flatten() for part in found])

    def exact(self, metric: str) -> tuple[Tensor, float]:
        """The mean of many gradients by the best of what is exact, and its squared error."""
        by = over_all_parts if metric == "OKS" else partial(over_metric, nodes=REFERENCE_NODES)
        draws = torch.stack([self.gradient(by, metric) for _ in range(REFERENCES)]).double()
        return draws.mean(0), float(draws.var(0).sum()) / REFERENCES


def on_one_batch(runs: Mapping[str, LoadedRun], persons: Persons, repetitions: int, seed: int) -> list[dict[str, Any]]:
    """A row for every case."""
    batches = {name: Batch(run, persons, LAST_LAYERS[name]) for name, run in runs.items()}
    truths: dict[tuple[str, str], tuple[Tensor, float]] = {}
    rows = []
    for case in cases():
        torch.manual_seed(seed)
        batch = batches[case.model]
        if (case.model, case.metric) not in truths:
            truths[case.model, case.metric] = batch.exact(case.metric)
        begun = time.process_time()
        draws = torch.stack([batch.gradient(case.estimate, case.metric) for _ in range(repetitions)])
        seconds = (time.process_time() - begun) / repetitions
        found = Gradients.of(draws, *truths[case.model, case.metric])
        verdict = "no gradient" if not draws.any() else "biased" if found.biased else "no bias found"
        facts = {name: value for name, value in asdict(case).items() if name != "estimate"}
        rows.append(facts | asdict(found) | {"verdict": verdict, "seconds": seconds})
        click.echo(f"{case.model} {case.metric} {case.estimator} {case.draws} {case.temperature}: {found}", err=True)
    for row in rows:
        row |= {f"{name}_shown": f"{row[name]:.2g}" for name in ("bias2", "bias2_se", "variance")}
        row["cost"] = row["seconds"] / next(r["seconds"] for r in rows if r["model"] == row["model"])
    return rows


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Variance and bias squared: of the heatmap against temperature, and against the number of draws; of laplace."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    against_temperature, against_draws, of_laplace = figure.subplots(1, 3, sharey=True)
    oks = [row for row in rows if row["metric"] == "OKS"]
    heatmap, laplace = ([row for row in oks if row["model"] == name] for name in ("heatmap", "laplace"))
    usual = next(row for row in heatmap if (row["estimator"], row["draws"]) == ("score", USUAL_DRAWS))
    against_temperature.axhline(usual["variance"], color="C2", lw=1, label="score")
    for name in ("gumbel", "straight-through"):
        some = [row for row in heatmap if row["estimator"] == name]
        _lines(against_temperature, [r for r in some if r["draws"] == USUAL_DRAWS], "temperature", name)
        for temperature in (1.0, 0.2):
            at_one = [row for row in some if row["temperature"] == temperature]
            _lines(against_draws, at_one, "draws", f"{name}, {temperature:g}")
    for axes, some, names in (
        (against_draws, heatmap, ("score",)),
        (of_laplace, laplace, ("score", "pathwise")),
    ):
        for name in names:
            _lines(axes, [row for row in some if row["estimator"] == name], "draws", name)
        for name, style in (("over the parts", "-"), ("over the metric", ":")):
            level = next(row["variance"] for row in some if row["estimator"] == name)
            axes.axhline(level, color="0.2", lw=1, ls=style, label=name)
    titles = (f"heatmap, {USUAL_DRAWS} draws a keypoint", "heatmap", "laplace")
    for axes, title in zip((against_temperature, against_draws, of_laplace), titles, strict=True):
        axes.set(title=title, xlabel="draws a keypoint", xscale="log", yscale="log")
        places = TEMPERATURES if axes is against_temperature else DRAWS
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
        axes.legend(fontsize=7, loc="lower left")
    against_temperature.set(xlabel="temperature", ylabel="over the exact gradient's squared length")
    figure.supxlabel("solid: variance; dashed, squares: bias squared, where it is told from none", fontsize=8)
    figure.savefig(file, dpi=120)


def _lines(axes: Axes, rows: list[dict[str, Any]], by: str, label: str) -> None:
    """Variance, and bias squared where there is one."""
    rows = sorted(rows, key=lambda row: float(row[by]))
    (line,) = axes.plot([row[by] for row in rows], [row["variance"] for row in rows], "o-", label=label, ms=4)
    told = [row for row in rows if row["verdict"] == "biased"]
    axes.errorbar(
        [row[by] for row in told], [row["bias2"] for row in told], [row["bias2_se"] for row in told],
        fmt="s--", color=line.get_color(), ms=4,
    )  # fmt: skip
