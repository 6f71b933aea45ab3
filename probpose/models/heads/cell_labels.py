"""Labels blurred over cells: what heatmaps and SimCC are usually trained to be.

With q the blurred label, a distribution over cells, and p_c their predicted probabilities, the objective is

    log pi + sum_c q_c log(p_c / area)        for a label inside the crop,

whose maximum over p is at p = E[q | image]: the labels' own density convolved with the blur. It is a likelihood only if
q is all on the label's cell; any blur trades nats for smoother maps. Blurs: the label's mass spread evenly in part
(`smoothed`), a Gaussian (`gaussian`, the field's habit), or the residual density that another run has learned from
labels (`density`): the blur that the data ask for.
"""

from __future__ import annotations

__all__ = ["Blur", "CellLabels", "GaussianBlur", "Smoothing", "labels_of"]

import math
from abc import ABC, abstractmethod

import pyro
import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.models.heads.heatmap import HeatmapOptions
from probpose.models.heads.simcc import SimCCOptions
from probpose.models.objectives import Objective
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.grids import HeatmapDensity, SimCCDensity, cell_centres


class Blur(ABC):
    """Turns labels into log weights over places. To add one, give `log_plane` and `log_axis`."""

    @abstractmethod
    def log_plane(self, offset: Tensor) -> Tensor:
        """Log weights (N, K, h, w) of cells whose centres are `offset` (N, K, h, w, 2) cells away from the label."""

    @abstractmethod
    def log_axis(self, offset: Tensor, axis: int) -> Tensor:
        """The same along one axis: (N, K, n) for `offset` (N, K, n) cells."""

    def size(self, cells: tuple[int, int]) -> Blur:
        """The blur on a grid of so many columns and rows; itself where it is measured in cells."""
        return self


class Smoothing(Blur):
    """A share of the mass spread evenly over all cells, the rest on the label's cell.

    Args:
        share: of the mass.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def log_plane(self, offset: Tensor) -> Tensor:
        height, width = offset.shape[2:4]
        return self._mixed((offset.abs() <= 0.5).all(-1), height * width)

    def log_axis(self, offset: Tensor, axis: int) -> Tensor:
        return self._mixed(offset.abs() <= 0.5, offset.shape[-1])

    def _mixed(self, here: Tensor, cells: int) -> Tensor:
        even = self.share / cells
        return torch.where(here, math.log(1 - self.share + even), math.log(max(even, 1e-30)))


class GaussianBlur(Blur):
    """A normal density about the label.

    Args:
        sigma: standard deviation, cells.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def log_plane(self, offset: Tensor) -> Tensor:
        return -0.5 * (offset / self.sigma).square().sum(-1)

    def log_axis(self, offset: Tensor, axis: int) -> Tensor:
        return -0.5 * (offset / self.sigma).square()


class CellLabels(Objective):
    """Cross-entropy with blurred labels, in nats of a density; labels outside the crop count by their likelihood.

    Args:
        blur: of the labels.
    """

    def __init__(self, blur: Blur) -> None:
        self.blur = blur

    def __call__(self, predictive: Predictive, keypoints: Tensor | None) -> None:
        if keypoints is None:
            pyro.sample("keypoints", predictive)
            return
        pyro.factor("cell_labels", self.score(predictive, keypoints))

    def score(self, predictive: Predictive, keypoints: Tensor) -> Tensor:
        """The objective (N, K) in nats at labels (N, K, 2)."""
        assert isinstance(predictive, HeatmapDensity | SimCCDensity)
        within = (keypoints.abs() < 0.5).all(-1)
        of = self._plane if isinstance(predictive, HeatmapDensity) else self._axes
        inside = F.logsigmoid(predictive.inside) + of(predictive, keypoints.clamp(-0.5, 0.5))
        return torch.where(within, inside, predictive.log_prob(keypoints))

    def _plane(self, predictive: HeatmapDensity, label: Tensor) -> Tensor:
        height, width = predictive.log_cells.shape[-2:]
        centres = cell_centres(predictive.log_cells)
        offset = (centres - label[:, :, None, None]) * label.new_tensor([width, height])
        q = self.blur.size((width, height)).log_plane(offset).flatten(-2).softmax(-1)
        return (q * predictive.log_cells.flatten(-2)).sum(-1) + math.log(height * width)

    def _axes(self, predictive: SimCCDensity, label: Tensor) -> Tensor:
        cells = (predictive.log_x.shape[-1], predictive.log_y.shape[-1])
        blur, total = self.blur.size(cells), label.new_zeros(label.shape[:2])
        for axis, (log, count) in enumerate(zip(predictive.axes, cells, strict=True)):
            centres = (torch.arange(count).to(label) + 0.5) / count - 0.5
            offset = (centres - label[..., axis, None]) * count
            q = blur.log_axis(offset, axis).softmax(-1)
            total = total + (q * log).sum(-1) + math.log(count)
        return total


def labels_of(options: HeatmapOptions | SimCCOptions) -> Objective | None:
    """The objective that the options ask for; None for the likelihood, and where a run's density blurs the labels."""
    if options.labels == "smoothed":
        return CellLabels(Smoothing(options.smoothing))
    if options.labels == "gaussian":
        return CellLabels(GaussianBlur(options.sigma))
    return None
