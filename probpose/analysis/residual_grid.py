"""A residual density on a grid: what its contours and marginals are drawn from."""

from __future__ import annotations

__all__ = ["ResidualGrid"]

from dataclasses import dataclass

import numpy as np
import torch

from probpose.analysis.estimates import Array, as_array
from probpose.models.densities import Residual

REACH, STEPS = 10.0, 401


@dataclass(frozen=True)
class ResidualGrid:
    """B densities, one shared or one a joint.

    Attributes:
        density: R.
        side: (S,), in the units of R, symmetric about 0.
        log_density: (B, S, S), nats, indexed [x, y].
    """

    density: Residual
    side: Array
    log_density: Array

    @classmethod
    @torch.no_grad()
    def of(cls, density: Residual, *, reach: float = REACH, steps: int = STEPS) -> ResidualGrid:
        """The density on `steps` x `steps` points within `reach`."""
        side = np.linspace(-reach, reach, steps)
        points = torch.from_numpy(np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)).to(density.loc)
        if not density.batch_shape:
            return cls(density, side, as_array(density.log_prob(points))[None])
        return cls(density, side, np.moveaxis(as_array(density.log_prob(points.unsqueeze(-2))), -1, 0))

    def border(self, content: float) -> Array:
        """(B,), log density on the border of the highest-density region that holds `content`."""
        return as_array(self.density.hdr_threshold(content))

    def marginal(self, column: int) -> Array:
        """(B, S), density along x (0) or y (1), of what lies on the grid."""
        return np.asarray(np.exp(self.log_density).sum(axis=2 - column) * (self.side[1] - self.side[0]))
