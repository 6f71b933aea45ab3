"""Many draws of a predictive distribution at the price of few: residuals are taken again from the nodes of R."""

from __future__ import annotations

__all__ = ["from_nodes"]

import copy
from dataclasses import replace

import torch
from torch import Tensor

from probpose.models.densities import Residual
from probpose.models.located import Located
from probpose.models.mixture import EqualMixture
from probpose.models.predictive import Predictive
from probpose.models.recalibrated import Conformal


def from_nodes(predictive: Predictive) -> Predictive:
    """The same distribution, whose `sample` chooses each residual among the weighted nodes that represent R.

    Exact draws of a learned R pass through its flow, ten times over where levels are mapped; 2^16 nodes have passed
    through it already. Two draws have the same residual with a probability of 1 / (effective number of nodes).
    Families without a residual density are given back as they are.
    """
    if isinstance(predictive, Conformal):
        return Conformal(from_nodes(predictive.base), predictive.contents, predictive.levels)
    if isinstance(predictive, EqualMixture):
        return EqualMixture([from_nodes(component) for component in predictive.components])
    if not isinstance(predictive, Located):
        return predictive
    return Located(predictive.loc, predictive.scale, _drawn_from_nodes(predictive.residual))


def _drawn_from_nodes(residual: Residual) -> Residual:
    native = residual.native
    content = native.weights.cumsum(-1)

    def sample(count: int) -> Tensor:
        uniform = torch.rand(len(content), count, dtype=content.dtype, device=content.device) * content[:, -1:]
        chosen = torch.searchsorted(content, uniform).clamp_max(content.shape[-1] - 1)
        return native.nodes.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))

    clone = copy.copy(residual)
    clone.native = replace(native, sample=sample)
    return clone
