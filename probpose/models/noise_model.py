"""A generative model of the errors that predictions make, given what they claim: location y, scale L and confidence c.

    log s_nk = a_k + b log(r_nk / r) - h(c_nk),    r_nk = |det L_nk|^(1/2)
    e_nk ~ R                                  residual density, with an outlier component
    x_nk = y_nk + L_nk diag(s_nk) (d_k + e_nk)

with a scale a_k and a shift d_k per joint and axis, and r the median of r_nk (`log_size`: far from it, a_k and b could
hardly be told apart while they are learned). A model that claims no scale gets an L in proportion to the square root of
its box's area, and L s is then a smooth function of joint, size and confidence; where L is a predicted sigma, s
corrects it. h is a sum of I-splines (Ramsay, "Monotone Regression Splines in Action", Statistical Science 1988) between
quantiles of the confidence and flat beyond them. Its weights have no sign: a confidence may also be a distance, or say
most in its middle. Confidences need not lie in [0, 1].
Maximum likelihood is SVI with an empty guide (`probpose.inference.fitting.noise`).
"""

from __future__ import annotations

__all__ = ["NoiseModel"]

from collections.abc import Sequence
from typing import cast

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from scipy.interpolate import BSpline
from torch import Tensor, nn

from probpose.models.densities import Residual, ResidualDensity
from probpose.models.densities.contaminated import ContaminatedResidual
from probpose.models.predictive.location_scale import LocationScale

DEGREE = 2


class NoiseModel(PyroModule):
    """The noise model.

    Args:
        joints: K.
        core: family of R without its outlier component, `batch` 1 or K.
        knots: confidences, increasing, between which h is learned; empty where there are none.
    """

    def __init__(self, joints: int, core: ResidualDensity, knots: Sequence[float] = ()) -> None:
        super().__init__()
        self.joints, self.knots = joints, tuple(float(knot) for knot in knots)
        self.residual = ContaminatedResidual(core)
        self.log_scale = nn.Parameter(torch.zeros(joints, 2))
        self.shift = nn.Parameter(torch.zeros(joints, 2))
        self.power = nn.Parameter(torch.tensor(0.0))
        self.log_size: Tensor
        self.register_buffer("log_size", torch.tensor(0.0))
        self.slopes = nn.Parameter(torch.zeros(self._splines)) if self._splines else None

    @property
    def _splines(self) -> int:
        return len(self.knots) + DEGREE - 2 if len(self.knots) > 1 else 0

    def confidence_basis(self, confidence: Tensor) -> Tensor:
        """I-splines (..., J) at confidences (...), each rising from 0 to 1; one that is NaN counts as the least."""
        edges = np.array([self.knots[0]] * DEGREE + list(self.knots) + [self.knots[-1]] * DEGREE)
        at = confidence.detach().cpu().double().nan_to_num(self.knots[0]).numpy().clip(self.knots[0], self.knots[-1])
        splines = BSpline.design_matrix(at.reshape(-1), edges, DEGREE).toarray()
        rising = splines[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        return torch.from_numpy(rising.reshape(*at.shape, -1).copy()).to(self.log_scale)

    def located(self, claimed: LocationScale, basis: Tensor | None, residual: Residual) -> LocationScale:
        """Where the labels of N persons are, pixels.

        Args:
            claimed: location and scale as predicted; its residual density does not matter.
            basis: (N, K, J), `confidence_basis`, or None without confidences.
            residual: `self.residual()`, or frozen.
        """
        log_size = claimed.log_abs_det.unsqueeze(-1).to(self.power) / 2 - self.log_size
        log_scale = self.log_scale + self.power * log_size
        if self.slopes is not None and basis is not None:
            log_scale = log_scale - (basis @ self.slopes).unsqueeze(-1)
        scale = claimed.scale * log_scale.exp().to(claimed.scale).unsqueeze(-2)
        loc = claimed.loc + (scale @ self.shift.to(claimed.scale).unsqueeze(-1)).squeeze(-1)
        return claimed.replace(loc=loc, scale=scale, residual=residual)

    def model(self, loc: Tensor, scale: Tensor, basis: Tensor | None, keypoints: Tensor, labelled: Tensor) -> None:
        """The generative program; the log density is the mean over labels.

        Args:
            loc: (N, K, 2) predicted, pixels.
            scale: (N, K, 2, 2), L, pixels.
            basis: (N, K, J) or None.
            keypoints: (N, K, 2) labels; unlabelled ones finite.
            labelled: (N, K) bool.
        """
        residual = self.residual()
        predictive = self.located(LocationScale(loc, scale, residual), basis, residual)
        persons, joints = labelled.shape
        kept = poutine.mask(mask=cast(torch.BoolTensor, labelled))
        mean = poutine.scale(scale=1 / max(1, int(labelled.sum())))
        with pyro.plate("person", persons, dim=-2), pyro.plate("joint", joints, dim=-1), kept, mean:
            pyro.sample("keypoints", predictive, obs=keypoints)

    def forward(self, *arguments: Tensor | None) -> None:
        """`model`, as the ELBO needs it."""
        self.model(*arguments)  # type: ignore[arg-type]
