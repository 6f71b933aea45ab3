"""The estimators of an expected metric's gradient that are compared on one batch, those that are wrong among them."""

from __future__ import annotations

__all__ = [
    "DRAWS",
    "TEMPERATURES",
    "USUAL_DRAWS",
    "Case",
    "Estimate",
    "SmoothPCK",
    "cases",
    "over_all_parts",
    "over_points",
]

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from probpose.experimental.gradient_estimators import Gumbel, Pathwise, Score
from probpose.models.expected_metric import PCK, POINTS_OF_PART, Metric, over_metric, over_parts
from probpose.models.predictive.contract import Predictive

Estimate = Callable[[Predictive, Tensor, Metric], Tensor]

TEMPERATURES = (4.0, 2.0, 1.0, 0.5, 0.2, 0.1)
DRAWS = (1, 4, 8)
USUAL_DRAWS = 4


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
class Case:
    """One estimator of one expectation.

    Attributes:
        model: key of `benchmarks.gradients.training.MODELS`.
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
