"""Residual densities R: what the annotator's error looks like in units of sigma."""

from probpose.models.densities.classical import GaussianResidual, LaplaceResidual, StudentTResidual
from probpose.models.densities.flows import FlowResidual
from probpose.models.densities.published import PublishedResidual
from probpose.models.densities.residual import Native, Residual, ResidualDensity
from probpose.models.densities.rle import RLEResidual, gaussian_log_q, laplace_log_q
from probpose.models.densities.vae import VAEResidual

__all__ = [
    "FlowResidual",
    "GaussianResidual",
    "LaplaceResidual",
    "Native",
    "PublishedResidual",
    "RLEResidual",
    "Residual",
    "ResidualDensity",
    "StudentTResidual",
    "VAEResidual",
    "gaussian_log_q",
    "laplace_log_q",
]
