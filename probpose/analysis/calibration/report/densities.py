"""The densities that are set against residuals: R itself, and the Gaussian and the Laplace of the same sigma."""

from __future__ import annotations

__all__ = ["log_density", "peers"]

import numpy as np
import torch

from probpose.analysis.calibration.outcome import Residuals
from probpose.analysis.estimates import Array, as_array
from probpose.models.densities import Residual
from probpose.models.residual_families import build_residual

CLOSED_FORMS = ("gaussian", "laplace")


def peers(residual: Residual) -> dict[str, Residual]:
    """Densities by name, R first; the closed forms in its gauge (in the quantile gauge where it has none)."""
    gauge = "quantile" if residual.gauge == "native" else residual.gauge
    return {"R": residual} | {name.capitalize(): build_residual(name, gauge=gauge).frozen() for name in CLOSED_FORMS}


@torch.no_grad()
def log_density(density: Residual, residuals: Residuals) -> Array:
    """(M,), nats, of each residual under a density that is shared, or the one of its joint."""
    z = torch.from_numpy(residuals.z).to(density.loc)
    if not density.batch_shape:
        return as_array(density.log_prob(z))
    found = np.full(len(residuals.z), np.nan)
    rows = [np.flatnonzero(residuals.joint == k) for k in range(density.batch_shape[0])]
    padded = z.new_zeros(max(map(len, rows), default=0), len(rows), 2)
    for k, own in enumerate(rows):
        padded[: len(own), k] = z[own]
    log_prob = as_array(density.log_prob(padded))
    for k, own in enumerate(rows):
        found[own] = log_prob[: len(own), k]
    return found
