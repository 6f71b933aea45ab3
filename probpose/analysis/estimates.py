"""Point estimates with their uncertainty, read off predictive distributions."""

from __future__ import annotations

__all__ = ["ESTIMATORS", "Array", "Estimates", "Estimator", "as_array", "point_of"]

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from probpose.analysis.forward import Forward
from probpose.models.predictive import Predictive

Array = npt.NDArray[np.float64]
Estimator = Literal["mean", "median", "mode"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)


@dataclass(frozen=True)
class Estimates:
    """One point for every joint of N persons, labelled or not.

    Attributes:
        rows: (N,) int64, rows in the table of persons.
        point: (N, K, 2), pixels of the original image.
        sigma_px: (N, K, 2), scale per image axis in pixels.
        presence: (N, K), probability that an annotator labels the joint.
        confidence: (N, K), max(0, 1 - sigma averaged over both axes, in units of the crop's width and height), the
            score of regression codes (Li et al., ICCV 2021).
    """

    rows: npt.NDArray[np.int64]
    point: Array
    sigma_px: Array
    presence: Array
    confidence: Array

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, forward: Forward, estimator: Estimator = "mean") -> Estimates:
        """The estimates of one batch."""
        confidence = (1 - forward.unit_sigma.mean(-1)).clamp_min(0)
        return cls(
            rows=forward.rows,
            point=as_array(point_of(forward.keypoints, estimator)),
            sigma_px=as_array(forward.keypoints.sigma),
            presence=as_array(forward.presence),
            confidence=as_array(confidence),
        )

    @classmethod
    def join(cls, parts: Sequence[Estimates]) -> Estimates:
        """The estimates of several batches, one after the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})


def point_of(predictive: Predictive, estimator: Estimator) -> Tensor:
    """The mean, median (per axis) or mode of a predictive distribution, (N, K, 2)."""
    point: Tensor = getattr(predictive, estimator)
    return point


def as_array(tensor: Tensor) -> Array:
    """A float64 array in main memory."""
    return np.asarray(tensor.detach().double().cpu().numpy())
