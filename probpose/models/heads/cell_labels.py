"""Labels blurred over cells: what heatmaps and SimCC are usually trained to be.

With q the blurred label, a distribution over cells, and p_c their predicted probabilities, the objective is

    log pi + sum_c q_c log(p_c / area)        for a label inside the crop,

whose maximum over p is at p = E[q | image]: the labels' own density convolved with the blur. It is a likelihood only if
q is all on the label's cell; any blur trades nats for smoother maps. Blurs are those of
`probpose.models.predictive.blur`, or the residual density that another run has learned from labels
(`probpose.experimental.learned_blur`): the blur that the data ask for.
"""

from __future__ import annotations

__all__ = ["CellLabels", "labels_of"]

import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.models.heads.heatmap import HeatmapOptions
from probpose.models.heads.simcc import SimCCOptions
from probpose.models.objectives import Objective
from probpose.models.predictive.blur import Blur, GaussianBlur, Smoothing
from probpose.models.predictive.crop import CropDensity


class CellLabels(Objective[CropDensity]):
    """Cross-entropy with blurred labels, in nats of a density; labels outside the crop count by their likelihood.

    Args:
        blur: of the labels.
    """

    def __init__(self, blur: Blur) -> None:
        self.blur = blur

    def score(self, predictive: CropDensity, keypoints: Tensor) -> Tensor:
        """The objective (N, K) in nats at labels (N, K, 2)."""
        within = (keypoints.abs() < 0.5).all(-1)
        expected = predictive.expected_log_crop(keypoints.clamp(-0.5, 0.5), self.blur)
        return torch.where(within, F.logsigmoid(predictive.inside) + expected, predictive.log_prob(keypoints))


def labels_of(options: HeatmapOptions | SimCCOptions) -> CellLabels | None:
    """The objective that the options ask for; None for the likelihood, and where a run's density blurs the labels."""
    if options.labels == "smoothed":
        return CellLabels(Smoothing(options.smoothing))
    if options.labels == "gaussian":
        return CellLabels(GaussianBlur(options.sigma))
    return None
