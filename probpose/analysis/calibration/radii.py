"""Radii about the mean that hold a share of the labels, for many keypoints that have one residual density in common."""

from __future__ import annotations

__all__ = ["radii_of"]

from collections.abc import Sequence

import numpy as np
import torch

from probpose.analysis.estimates import Array, as_array
from probpose.models.located import Located
from probpose.models.predictive import Predictive

_ASPECTS = 33


def radii_of(predictive: Predictive, shares: Sequence[float]) -> Array:
    """Radii (S, N, K) about the mean that hold `shares`, pixels.

    With L = diag(a, b) a radius is sqrt(a b) times a function of b / a alone, which is computed at `_ASPECTS` values
    and interpolated; other predictions are computed keypoint by keypoint.

    Args:
        predictive: of N persons with K joints.
        shares: S, in (0, 1).
    """
    if not isinstance(predictive, Located) or predictive.residual.batch_shape != () or not predictive.is_aligned:
        return as_array(predictive.radius(shares))
    width = as_array(predictive.scale.diagonal(dim1=-2, dim2=-1))
    aspect, size = np.log(width[..., 1] / width[..., 0]), np.sqrt(width.prod(axis=-1))
    if not aspect.size:
        return np.zeros((len(shares), *aspect.shape))
    known = np.linspace(aspect.min(), aspect.max(), _ASPECTS)
    unit = torch.from_numpy(np.exp(np.stack([-known, known], axis=-1)[:, None] / 2))
    radius = as_array(Located(torch.zeros_like(unit), torch.diag_embed(unit), predictive.residual).radius(shares))
    return np.stack([size * np.exp(np.interp(aspect, known, np.log(row))) for row in radius[..., 0]])
