"""Recalibration by the size of the object: sigma times c size^p, size being the square root of the box's area.

It mends a sigma in the wrong unit, such as one that was divided by the object's size (p = 1), or one that grows with it
too slowly or too fast. c and p are those of greatest likelihood.
"""

from __future__ import annotations

__all__ = ["SizeRecalibration", "fit_size", "sizes_vary"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.recalibration.base import REACH, Recalibration
from probpose.arrays import Array, Mask, as_array
from probpose.errors import DataError
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.folding import log_density

MOST_LABELS = 20_000
"""Labels that two numbers are fitted to."""

_LEAST_SPREAD = 0.05
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class SizeRecalibration(Recalibration):
    """A factor on sigma that is a power of the size.

    Attributes:
        factor: at the size `size_px`.
        power: of the size.
        size_px: geometric mean of the sizes that it was fitted to.
    """

    factor: float
    power: float
    size_px: float
    method = "size"

    def apply(self, cases: Cases) -> Predictive:
        size = cases.size_px
        if not _known(size):
            raise DataError("this recalibration depends on the size of objects: give boxes with the predictions.")
        factor = torch.from_numpy(self.factor * (size / self.size_px) ** self.power)[:, None, None]
        return cases.predictive.map_location_scale(lambda located: located.rescaled(factor))

    def record(self) -> dict[str, Any]:
        return {"method": self.method, "factor": self.factor, "power": self.power, "size_px": self.size_px}


def sizes_vary(cases: Cases) -> bool:
    """Whether the sizes of all objects are known, and those of the labelled ones vary."""
    person = np.nonzero(cases.labelled)[0]
    return _known(cases.size_px) and len(person) > 1 and float(np.log(cases.size_px[person]).std()) > _LEAST_SPREAD


def _known(size_px: Array) -> bool:
    return bool(np.isfinite(size_px).all() and (size_px > 0).all())


def fit_size(cases: Cases) -> SizeRecalibration:
    """The factor and the power of greatest likelihood, each drawn towards no change as `fit_scale` does.

    With q twice its gain in log density over all labels, which is chi^2 with one degree of freedom where there is
    nothing to mend, log factor and power are taken times 1 - 1 / q, or 0. Sizes are relative to their geometric mean,
    so that both are nearly independent.

    Args:
        cases: of the location-scale family.

    Raises:
        ConfigError: the prediction has no scale.
        DataError: sizes are unknown or all alike.
    """
    predictive, size = cases.predictive.as_location_scale(), cases.size_px
    if not sizes_vary(cases):
        raise DataError("the sizes of the boxes are unknown or all alike.")
    middle = float(np.exp(np.log(size).mean()))
    rows = np.linspace(0, len(cases) - 1, min(len(cases), max(1, MOST_LABELS // len(cases.joints)))).astype(np.int64)
    some = cases.select(rows)
    z = predictive.rows(torch.from_numpy(rows)).standardised(some.filled)
    log_size, labelled = np.log(size[rows] / middle)[:, None], some.labelled

    def loss(parameters: Array) -> float:
        log_factor = np.clip(parameters[0] + parameters[1] * log_size, -3 * REACH, 3 * REACH)
        scaled = z * torch.from_numpy(np.exp(-log_factor)).unsqueeze(-1)
        log_prob = as_array(log_density(predictive.residual, scaled)) - 2 * log_factor
        return -float(log_prob[labelled].mean())

    found = minimize(loss, _start(as_array(z.norm(dim=-1)), log_size, labelled), method="BFGS", options=_OPTIONS)
    gains = [2 * labelled.sum() * (loss(found.x * keep) - found.fun) for keep in (np.array([0, 1]), np.array([1, 0]))]
    log_factor, power = (found.x * np.maximum(0.0, 1 - 1 / np.maximum(gains, 1e-12))).tolist()
    return SizeRecalibration(float(np.exp(log_factor)), power, middle)


_OPTIONS = {"gtol": _TOLERANCE, "maxiter": 50}


def _start(distance: Array, log_size: Array, labelled: Mask) -> Array:
    """The line through log distances by least squares; its constant is that of a median distance of one."""
    used = labelled & (distance > 0)
    x, y = np.broadcast_to(log_size, distance.shape)[used], np.log(distance[used])
    power = float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else 0.0
    return np.array([float(np.median(y - power * x)), power]) if len(x) else np.zeros(2)
