"""Recalibrations: what turns predictions as they are into predictions whose uncertainty can be believed."""

from __future__ import annotations

__all__ = ["LevelRecalibration", "NoRecalibration", "Recalibration", "ScaleRecalibration", "fit_level", "fit_scale"]

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import elementwise
from torch import Tensor

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.arrays import Array, Index, Mask, as_array
from probpose.models.densities import Residual
from probpose.models.densities.derived import tilted
from probpose.models.densities.gauge import weighted_quantile
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.folding import log_density

REACH = 4.0
"""Largest |log factor| of a scale, from that which the median of the residuals suggests."""

_STEP = 0.05

_TOLERANCES = {"xatol": 1e-5, "xrtol": 0.0, "fatol": 0.0, "frtol": 0.0}
"""Of a log factor."""


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


KEPT = 64
"""Residual densities whose mapped ones are kept: as many as members of an ensemble may have."""


@dataclass(frozen=True)
class LevelRecalibration(Recalibration):
    """A map of the levels on top of another recalibration.

    Attributes:
        base: applied first.
        level_map: of the levels under it.
    """

    base: Recalibration
    level_map: LevelMap
    _known: list[tuple[Residual, Residual]] = field(default_factory=list, compare=False, repr=False)
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
        """`residual` with its levels mapped; those of late are kept, because chunks of a stream share them."""
        for before, mapped in self._known:
            if before is residual:
                return mapped
        mapped = tilted(residual, self._log_g)
        self._known[:] = [(residual, mapped), *self._known][:KEPT]
        return mapped

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
    residual, z = predictive.residual, predictive.standardised(cases.filled)
    nodes, weights = residual.nodes.norm(dim=-1), residual.native.weights
    expected = float(weighted_quantile(nodes, weights, [0.5])[0].mean())
    labelled = cases.labelled if per_joint else cases.labelled.reshape(-1, 1)
    distance = as_array(z.norm(dim=-1)).reshape(labelled.shape)
    labels = labelled.sum(axis=0)

    def loss(log_factor: Array) -> Array:
        """Mean negative log density of the labels of each joint, or of all, at log factors of them (F,)."""
        scaled = z * torch.from_numpy(np.exp(-log_factor)).unsqueeze(-1)
        log_prob = as_array(log_density(residual, scaled)).reshape(labelled.shape)
        mean = np.where(labelled, log_prob, 0.0).sum(axis=0) / np.maximum(labels, 1)
        return np.asarray(2 * log_factor - mean)

    found = _minima(loss, _starts(distance, labelled, expected))
    curvature = (loss(found + _STEP) - 2 * loss(found) + loss(found - _STEP)) / _STEP**2
    variance = 1 / np.maximum(labels * curvature, 1e-12)
    shrunk = np.maximum(found**2 - variance, 0) / np.where(found, found, 1.0)
    return ScaleRecalibration(np.where(labels > 0, np.exp(shrunk), 1.0))


def _starts(distance: Array, labelled: Mask, expected: float) -> Array:
    """Log factors (F,) that give columns of distances (M, F) the median that is expected; 0 where all are 0."""
    known = [column[chosen & (column > 0)] for column, chosen in zip(distance.T, labelled.T, strict=True)]
    return np.array([np.log(np.median(column) / expected) if len(column) else 0.0 for column in known])


def _minima(loss: Callable[[Array], Array], start: Array) -> Array:
    """Where each of F losses (F,) is least, all searched at once; `start` (F,) where it has no minimum in `REACH`."""

    def of(x: Array, index: Index) -> Array:
        at = start.copy()
        at[index] = x
        return loss(at)[index]

    bracket = (start - REACH, start, start + REACH)
    found = elementwise.find_minimum(of, bracket, args=(np.arange(len(start)),), tolerances=_TOLERANCES)
    return np.where(found.success, found.x, start)


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
