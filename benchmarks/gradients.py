"""Gradients of an expected metric: bias and variance on one batch, and what each is worth in training.

    python -m benchmarks.gradients --out docs/results/gradients

Two networks are trained by likelihood on the synthetic figures (64x64 pixels): `laplace`, location and scale, and
`heatmap`, bilinear. *One batch*: the gradient of the mean E[OKS] or E[PCK] of some validation crops with respect to the
weights of the last layers is drawn many times by every estimator, and compared with the exact one, the mean of many
quadratures. Bias squared and variance are in units of the exact gradient's squared length; the bias squared is the mean
inner product of different draws' deviations, so that the variance does not add to it. *Training*: the same networks
with lambda E[metric] beside the likelihood, by every estimator, with the same seed and number of epochs.
"""

from __future__ import annotations

__all__ = ["Gradients", "SmoothPCK", "main"]

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.synthetic_runs import finished_run, run_options
from benchmarks.tables import report
from probpose.analysis.evaluation.scores import Scores, score_run
from probpose.analysis.evaluation.statistics import paired_difference
from probpose.analysis.prediction.estimates import ESTIMATORS, kernel_variance
from probpose.arrays import Array
from probpose.data.loading import CropDataset, loader
from probpose.data.persons import Persons
from probpose.experimental.gradient_estimators import Gumbel, Pathwise, Score
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.runs import LoadedRun
from probpose.inference.training.train import open_split
from probpose.models.expected_metric import OKS, PCK, POINTS_OF_PART, Metric, over_metric, over_parts
from probpose.models.predictive.contract import Predictive
from probpose.text import slug

Estimate = Callable[[Predictive, Tensor, Metric], Tensor]

MODELS: dict[str, dict[str, Any]] = {
    "laplace": {"residual": "laplace"},
    "heatmap": {"family": "heatmap", "options": {"layers": 2, "width": 32, "surface": "bilinear"}},
}
LAST_LAYERS = {"laplace": ("loc.", "scale."), "heatmap": ("maps.6.",)}
"""How the names of their weights begin."""

LAMBDA = 10.0
TEMPERATURES = (4.0, 2.0, 1.0, 0.5, 0.2, 0.1)
DRAWS = (1, 4, 8)
USUAL_DRAWS = 4
REFERENCES = 400
REFERENCE_NODES = 256

BATCH_COLUMNS = {
    "model": "model", "metric": "metric", "estimator": "estimator", "draws": "draws", "temperature": "temperature",
    "bias2_shown": "bias²", "bias2_se_shown": "±", "variance_shown": "variance", "verdict": "verdict",
    "cost": "time",
}  # fmt: skip
TRAINING_COLUMNS = {
    "model": "model", "trained": "trained", "seeds": "seeds", "nll": "NLL", "d_nll": "NLL - without", "d_nll_se": "±",
    "oks": "OKS", "d_oks": "OKS - without", "d_oks_se": "±", "pck": "PCK@0.2", "d_pck": "PCK - without",
    "d_pck_se": "±", "ap": "AP", "coverage90": "in 90%",
}  # fmt: skip


class SmoothPCK(PCK):
    """1 - h to 1 + h radii from the label the indicator falls to 0 in a straight line: biased, and with a gradient.

    Args:
        scale: see `Metric`.
        h: half the width of the ramp, radii.
    """

    smooth = True

    def __init__(self, scale: Tensor, h: float) -> None:
        super().__init__(scale)
        self.h = h

    def of_square(self, square: Tensor) -> Tensor:
        return ((1 + self.h - square.clamp_min(1e-12).sqrt()) / (2 * self.h)).clamp(0, 1)


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


@dataclass(frozen=True)
class Case:
    """One estimator of one expectation.

    Attributes:
        model: key of `MODELS`.
        metric: `OKS` or `PCK`, which it is judged by.
        estimator: its name.
        draws: S, or nodes of a quadrature.
        estimate: it.
        temperature: of Gumbel-softmax.
    """

    model: str
    metric: str
    estimator: str
    draws: int
    estimate: Estimate
    temperature: float | None = None


def cases() -> Iterator[Case]:
    """All that are compared on one batch."""
    for model, metric in (("laplace", "OKS"), ("laplace", "PCK"), ("heatmap", "OKS"), ("heatmap", "PCK")):
        points = 256 if model == "laplace" else POINTS_OF_PART
        yield Case(model, metric, "over the parts", points, over_all_parts)
        yield Case(model, metric, "over the metric", 64, over_metric)
        for draws in DRAWS:
            yield Case(model, metric, "score", draws, Score(draws))
        yield Case(model, metric, "score without baseline", USUAL_DRAWS, Score(USUAL_DRAWS, baseline=False))
    yield Case("heatmap", "OKS", "over points that jump", 256, over_points)
    for draws in DRAWS:
        yield Case("laplace", "OKS", "pathwise", draws, Pathwise(draws))
    for h in (0.8, 0.4, 0.1):
        yield Case("laplace", "PCK", f"over the parts, indicator smoothed by {h:g} r", 256, partial(smoothed, h=h))
    for temperature in TEMPERATURES:
        for hard, name in ((False, "gumbel"), (True, "straight-through")):
            for draws in DRAWS if temperature in (1.0, 0.2) else (USUAL_DRAWS,):
                estimate = Gumbel(draws, straight_through=hard, start=temperature, end=temperature)
                yield Case("heatmap", "OKS", name, draws, estimate, temperature)


def over_all_parts(predictive: Predictive, keypoints: Tensor, metric: Metric, points: int = POINTS_OF_PART) -> Tensor:
    """E over the parts of a density, whether the metric is smooth or not."""
    strata = predictive.strata(points)
    assert strata is not None, "both models have parts"
    return over_parts(strata, keypoints, metric)


def over_points(predictive: Predictive, keypoints: Tensor, metric: Metric) -> Tensor:
    """E over the points of a density, whose gradient is wrong where they jump."""
    points, weights = predictive.points(256)
    worth = metric((points - keypoints.unsqueeze(-2)).movedim(-2, 0)).movedim(0, -1)
    return (worth * weights).sum(-1)


def smoothed(predictive: Predictive, keypoints: Tensor, metric: Metric, h: float) -> Tensor:
    """E over the parts of an indicator that is smoothed."""
    return over_all_parts(predictive, keypoints, SmoothPCK(metric.scale, h))


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


TRAININGS: dict[str, dict[str, dict[str, Any]]] = {
    "laplace": {
        "without": {},
        "OKS, exact": {"oks_weight": LAMBDA},
        "OKS, pathwise": {"oks_weight": LAMBDA, "expected_by": "pathwise"},
        "OKS, score": {"oks_weight": LAMBDA, "expected_by": "score"},
        "PCK, exact": {"pck_weight": LAMBDA},
        "PCK, score": {"pck_weight": LAMBDA, "expected_by": "score"},
    },
    "heatmap": {
        "without": {},
        "OKS, exact": {"oks_weight": LAMBDA},
        "OKS, gumbel": {"oks_weight": LAMBDA, "expected_by": "gumbel"},
        "OKS, straight-through": {"oks_weight": LAMBDA, "expected_by": "straight-through"},
        "OKS, score": {"oks_weight": LAMBDA, "expected_by": "score"},
    },
}
"""What is trained besides; *without* is likelihood alone."""

POINT = {"laplace": "mean", "heatmap": "mode"}
"""The point estimate of each that metrics are of."""


@dataclass(frozen=True)
class Judged:
    """One run on the validation figures, by keypoint."""

    scores: Scores
    nll: Array
    oks: Array
    pck: Array

    @classmethod
    def of(cls, run: LoadedRun, persons: Persons, point: str) -> Judged:
        """From a run's scores."""
        scores, column = score_run(run, persons), ESTIMATORS.index(point)
        variance = kernel_variance(persons.box, persons.skeleton.oks_sigmas)[scores.person, scores.joint]
        oks = np.exp(-(scores.error_px[:, column] ** 2) / (2 * variance))
        return cls(scores, -scores.log_prob, oks, scores.pck(0.2)[:, column])


def in_training(
    config: TrainConfig, runs: Path, persons: Persons, seeds: Sequence[int], only: str | None
) -> Iterator[dict[str, Any]]:
    """A row for every training, with differences from that without the metric, paired by keypoint and seed."""
    for model, trainings in TRAININGS.items():
        wanted = {name: changes for name, changes in trainings.items() if only is None or only in f"{model}, {name}"}
        plain: list[Judged] = []
        chosen: dict[str, dict[str, Any]] = {"without": {}} | wanted if wanted else {}
        for name, changes in chosen.items():
            base = config.changed(**MODELS[model], **changes)
            paths = {seed: runs / slug(f"{model} {name} {seed}") for seed in seeds}
            judged = [
                Judged.of(finished_run(base.changed(seed=seed), path), persons, POINT[model])
                for seed, path in paths.items()
            ]
            plain = plain or judged
            yield {"model": model, "trained": name} | _means(judged) | (_differences(judged, plain) if changes else {})


def _means(judged: Sequence[Judged]) -> dict[str, Any]:
    """Over keypoints and seeds."""
    means = {what: float(np.mean([getattr(one, what) for one in judged])) for what in ("nll", "oks", "pck")}
    precision = [one.scores.facts.AP or 0.0 for one in judged]
    held = [one.scores.coverage(0.9) for one in judged]
    return means | {"seeds": len(judged), "ap": float(np.mean(precision)), "coverage90": float(np.mean(held))}


def _differences(judged: Sequence[Judged], plain: Sequence[Judged]) -> dict[str, float]:
    found: dict[str, float] = {}
    for what in ("nll", "oks", "pck"):
        ours, theirs = ([getattr(one, what) for one in some] for some in (judged, plain))
        difference = paired_difference(ours, theirs, plain[0].scores.image)
        found |= {f"d_{what}": difference.mean, f"d_{what}_se": difference.se}
    return found


@click.command()
@run_options("gradients")
@click.option("--repetitions", default=200, show_default=True, help="Draws of each gradient.")
@click.option("--persons", default=16, show_default=True, help="Of the one batch.")
@click.option("--seeds", default=1, show_default=True, help="Trainings of each kind, from --seed on.")
@click.option("--part", type=click.Choice(["batch", "training"]), help="One of the two.")
@click.option("--only", help="Part of the name of trainings, such as `laplace, OKS`.")
def main(
    epochs: int, seed: int, runs: Path, data_root: str | None, out: Path | None, repetitions: int, persons: int,
    seeds: int, part: str | None, only: str | None,
) -> None:  # fmt: skip
    """Draw gradients on one batch; train by each estimator."""
    config = default_config("synthetic", epochs=epochs, data_root=data_root)
    judged_on = open_split(config, "val")
    if part != "training":
        plain = {
            name: finished_run(config.changed(seed=seed, **changes), runs / slug(f"{name} without {seed}"))
            for name, changes in MODELS.items()
        }
        rows = on_one_batch(plain, judged_on.select(np.arange(persons)), repetitions, seed)
        report(rows, BATCH_COLUMNS, None if out is None else out / "batch")
        if out is not None:
            draw(rows, out / "batch" / "gradients.png")
    if part != "batch":
        rows = []
        for row in in_training(config, runs, judged_on, range(seed, seed + seeds), only):
            click.echo(str(row), err=True)
            rows.append(dict.fromkeys(TRAINING_COLUMNS) | row)
        report(rows, TRAINING_COLUMNS, None if out is None else out / "training")


if __name__ == "__main__":
    main()
