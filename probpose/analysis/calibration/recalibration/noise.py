"""Recalibration by a refitted noise model: scale by joint, size and confidence, a learned density, and outliers."""

from __future__ import annotations

__all__ = ["NoiseRecalibration", "fit_noise_recalibration"]

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.arrays import Array, as_array
from probpose.errors import ConfigError, DataError
from probpose.inference.fitting.noise import NoiseData, fit_noise
from probpose.models.densities import Residual
from probpose.models.densities.contaminated import outlier_probability
from probpose.models.densities.derived import tabulated
from probpose.models.noise_model import NoiseModel
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.folding import fold, unfold
from probpose.models.residual_families import build_residual, refittable


@dataclass(frozen=True)
class NoiseRecalibration(Recalibration):
    """A noise model fitted to the errors that predictions made.

    Attributes:
        family: of the residual density.
        model: fitted.
        many: whether R is read from a table, as millions of labels need it.
    """

    family: str
    model: NoiseModel
    many: bool = False
    method = "density"

    def apply(self, cases: Cases) -> Predictive:
        basis = self._basis(cases)
        with torch.no_grad():
            return cases.predictive.map_location_scale(
                lambda claimed: self.model.located(claimed, basis, self._residual)
            )

    def outlier_probability(self, cases: Cases) -> Array | None:
        located = self.apply(cases).as_location_scale()
        z = fold(located.standardised(cases.filled), self._residual.batch)
        return as_array(unfold(outlier_probability(self.model.residual, self._residual, z), cases.labelled.shape))

    def for_many(self) -> Recalibration:
        return self if self.model.residual.core.standardised else replace(self, many=True)

    def record(self) -> dict[str, Any]:
        shape = {"joints": self.model.joints, "knots": list(self.model.knots), "batch": self.model.residual.batch}
        return {"method": self.method, "family": self.family, **shape}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.model.state_dict())

    @classmethod
    def restored(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> NoiseRecalibration:
        """The recalibration that `record` and `tensors` describe.

        Raises:
            KeyError, ValueError, RuntimeError: they do not belong together.
        """
        core = build_residual(record["family"], batch=int(record["batch"]))
        model = NoiseModel(int(record["joints"]), core, record["knots"])
        model.load_state_dict(dict(tensors))
        return cls(record["family"], model.requires_grad_(False).eval())

    @cached_property
    def _residual(self) -> Residual:
        residual = self.model.residual.frozen()
        return tabulated(residual) if self.many else residual

    def _basis(self, cases: Cases) -> Tensor | None:
        if not self.model.knots:
            return None
        if cases.confidence is None:
            raise DataError("this recalibration depends on the model's confidence: give it with the predictions.")
        return self.model.confidence_basis(torch.from_numpy(cases.confidence))


def fit_noise_recalibration(
    cases: Cases, family: str = "rle", *, per_joint: bool = False, seed: int = 0
) -> NoiseRecalibration:
    """Fit a noise model to cases.

    Args:
        cases: of the location-scale family.
        family: of the residual density, one of `refittable()`.
        per_joint: a residual density for each joint.
        seed: of the fit.

    Raises:
        ConfigError: the prediction has no scale, or the density cannot be refitted.
        DataError: too few labels.
    """
    if family not in refittable():
        raise ConfigError(f"residual {family} cannot be refitted: choose one of {', '.join(refittable())}.")
    confidence = None if cases.confidence is None else torch.from_numpy(cases.confidence)
    claimed = cases.predictive.as_location_scale()
    data = NoiseData(claimed, cases.filled, torch.from_numpy(cases.labelled), confidence)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        core = build_residual(family, batch=len(cases.joints) if per_joint else 1)
    return NoiseRecalibration(family, fit_noise(data, core, seed=seed))
