"""Recalibrations: what turns predictions as they are into predictions whose uncertainty can be believed."""

from __future__ import annotations

__all__ = ["LevelRecalibration", "NoRecalibration", "Recalibration", "ScaleRecalibration", "fit_level", "fit_scale"]

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.arrays import Array, as_array
from probpose.models.densities import Residual
from probpose.models.densities.derived import tilted
from probpose.models.densities.gauge import weighted_quantile
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.folding import log_density

REACH = 4.0
"""Largest |log factor| of a scale, from that which the median of the residuals suggests."""

_STEP = 0.05


class Recalibration(ABC):
    """A recalibration. To add one, give `apply` and `record`, and name it in `store`, beside this module."""

    method: ClassVar[str]

    @abstractmethod
    def apply(self, cases: Cases) -> Predictive:
        """The recalibrated predictive distribution of cases as they were predicted."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Plain JSON from which the recalibration is made again, tensors left out."""

    def tensors(self) -> dict[str, Tensor]:
        """What does not go into JSON."""
        return {}

    def outlier_probability(self, cases: Cases) -> Array | None:
        """(N, K), probability that a label is a gross error, anything where there is no label; None where unknown."""
        return None

    def for_many(self) -> Recalibration:
        """The same for millions of labels: slower at first, then faster, and exact to about 1e-3 nats."""
        return self


@dataclass(frozen=True)
class NoRecalibration(Recalibration):
    """The prediction as it is."""

    method = "none"

    def apply(self, cases: Cases) -> Predictive:
        return cases.predictive

    def record(self) -> dict[str, Any]:
        return {"method": self.method}


@dataclass(frozen=True)
class ScaleRecalibration(Recalibration):
    """Factors on sigma.

    Attributes:
        factor: (K,) one a joint, or (1,) for all.
    """

    factor: Array
    method = "scale"

    def apply(self, cases: Cases) -> Predictive:
        factor = torch.from_numpy(self.factor).unsqueeze(-1)
        return cases.predictive.map_location_scale(lambda located: located.rescaled(factor))

    def record(self) -> dict[str, Any]:
        return {"method": self.method, "factor": self.factor.tolist()}


@dataclass(frozen=True)
class LevelRecalibration(Recalibration):
    """A map of the levels on top of another recalibration.

    Attributes:
        base: applied first.
        level_map: of the levels under it.
    """

    base: Recalibration
    level_map: LevelMap
    _known: list[Residual] = field(default_factory=list, compare=False, repr=False)
    method = "level"

    def apply(self, cases: Cases) -> Predictive:
        predictive = self.base.apply(cases)
        return predictive.map_location_scale(lambda located: located.replace(residual=self._mapped(located.residual)))

    def record(self) -> dict[str, Any]:
        knots = {"knots": self.level_map.knots.tolist(), "values": self.level_map.values.tolist()}
        return {"method": self.method, "base": self.base.record(), **knots}

    def tensors(self) -> dict[str, Tensor]:
        return self.base.tensors()

    def _mapped(self, residual: Residual) -> Residual:
        """`residual` with its levels mapped; that of the last call is kept, because chunks of a stream share it."""
        if not self._known or self._known[0] is not residual:
            self._known[:] = [residual, tilted(residual, self._log_g)]
        return self._known[1]

    def _log_g(self, level: Tensor) -> Tensor:
        return torch.from_numpy(self.level_map.log_density(as_array(level))).to(level)


def fit_scale(cases: Cases, *, per_joint: bool) -> ScaleRecalibration:
    """The factors on sigma of greatest likelihood, drawn towards 1 by as much as few labels leave them uncertain.

    With log factor f and standard error e, from the curvature of the likelihood, f (1 - e^2 / f^2) where that is
    positive, and otherwise 0 (James and Stein, 1961): what chance alone may have made is no change.

    Args:
        cases: of the location-scale family.
        per_joint: one factor a joint, 1 where a joint has no label; otherwise one for all.

    Raises:
        ConfigError: the prediction has no scale.
    """
    predictive = cases.predictive.as_location_scale()
    z, labelled = predictive.standardised(cases.filled), torch.from_numpy(cases.labelled)
    nodes, weights = predictive.residual.nodes.norm(dim=-1), predictive.residual.native.weights
    expected = weighted_quantile(nodes, weights, [0.5])[0].mean()

    def best(joints: Tensor) -> float:
        counted = labelled & joints
        if not counted.any():
            return 1.0

        distance = z.norm(dim=-1)[counted]
        start = float((distance[distance > 0].median() / expected).log()) if bool((distance > 0).any()) else 0.0

        def loss(log_factor: float) -> float:
            log_prob = log_density(predictive.residual, z * np.exp(-log_factor))
            return float(2 * log_factor - log_prob[counted].mean())

        found = float(minimize_scalar(loss, bounds=(start - REACH, start + REACH), method="bounded").x)
        curvature = (loss(found + _STEP) - 2 * loss(found) + loss(found - _STEP)) / _STEP**2
        variance = 1 / max(len(distance) * curvature, 1e-12)
        return float(np.exp(found * max(0.0, 1 - variance / max(found**2, 1e-300))))

    eye = torch.eye(len(cases.joints), dtype=torch.bool)
    return ScaleRecalibration(np.array([best(row) for row in (eye if per_joint else eye.any(0, keepdim=True))]))


def fit_level(base: Recalibration, cases: Cases, *, seed: int = 0) -> LevelRecalibration:
    """The map of the levels under `base` of greatest likelihood.

    Args:
        base: applied first.
        cases: as predicted, held out from what fitted `base`.
        seed: of levels inside plateaus.

    Raises:
        DataError: too few labels.
    """
    return LevelRecalibration(base, LevelMap.fit(cases.under(base.apply(cases)).scores("level", seed=seed).level))
