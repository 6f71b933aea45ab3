"""Point estimates with their uncertainty, read off predictive distributions."""

from __future__ import annotations

__all__ = ["ESTIMATORS", "Array", "Estimates", "Estimator", "Score", "as_array", "oks_kernel", "point_of"]

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.analysis.expected_oks import best_point, expected_oks, instance_score, kernel_variance
from probpose.analysis.forward import Forward
from probpose.data.persons import Persons
from probpose.models.predictive import Predictive

Array = npt.NDArray[np.float64]
Estimator = Literal["mean", "median", "mode", "oks"]
ESTIMATORS: tuple[Estimator, ...] = ("mean", "median", "mode")
"""Those that the density alone defines, by which losses are compared; "oks" needs the box as well."""

Score = Literal["usual", "expected-oks"]


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
        expected_oks: (N, K), expected OKS of `point` if the joint is labelled; None where no OKS kernel was given.
        score: (N,), what poses are ranked by, apart from the score of the box; None for the mean of `confidence`.
    """

    rows: npt.NDArray[np.int64]
    point: Array
    sigma_px: Array
    presence: Array
    confidence: Array
    expected_oks: Array | None = None
    score: Array | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, forward: Forward, estimator: Estimator = "mean", kernel: Array | None = None) -> Estimates:
        """The estimates of one batch; `kernel` (P, K) is that of `oks_kernel`, one row a row of the table."""
        confidence = (1 - forward.unit_sigma.mean(-1)).clamp_min(0)
        variance = None if kernel is None else torch.from_numpy(kernel[forward.rows]).to(forward.presence)
        point = point_of(forward.keypoints, estimator, variance)
        expected = None if variance is None else expected_oks(forward.keypoints, point, variance)
        return cls(
            rows=forward.rows,
            point=as_array(point),
            sigma_px=as_array(forward.keypoints.sigma),
            presence=as_array(forward.presence),
            confidence=as_array(confidence),
            expected_oks=None if expected is None else as_array(expected),
        )

    @classmethod
    def join(cls, parts: Sequence[Estimates]) -> Estimates:
        """The estimates of several batches, one after the other."""
        known = [f.name for f in fields(cls) if getattr(parts[0], f.name) is not None]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in known})

    def ranked_by(self, score: Score) -> Estimates:
        """The same estimates with the score of that name.

        Raises:
            ValueError: the expected OKS is asked for, and no OKS kernel was given to `of`.
        """
        if score == "usual":
            return replace(self, score=None)
        if self.expected_oks is None:
            raise ValueError("The expected OKS is unknown: give Estimates.of the kernel of oks_kernel.")
        return replace(self, score=instance_score(self.expected_oks, self.presence))


def oks_kernel(persons: Persons, estimator: Estimator, score: Score) -> Array | None:
    """Variance of the OKS kernel of a table's boxes, (P, K) square pixels; None where nothing asks for it."""
    if estimator != "oks" and score == "usual":
        return None
    return kernel_variance(persons.box, persons.skeleton.oks_sigmas)


def point_of(predictive: Predictive, estimator: Estimator, variance: Tensor | None = None) -> Tensor:
    """The mean, median (per axis), mode or point of greatest expected OKS of a predictive distribution, (N, K, 2).

    Args:
        predictive: of N persons with K joints, pixels.
        estimator: which of them.
        variance: (N, K) square pixels, of the OKS kernel (`kernel_variance`).

    Raises:
        ValueError: the estimator is "oks" and no kernel is given.
    """
    if estimator == "oks":
        if variance is None:
            raise ValueError('The estimator "oks" needs the variance of the OKS kernel: see kernel_variance.')
        return best_point(predictive, variance)
    point: Tensor = getattr(predictive, estimator)
    return point


def as_array(tensor: Tensor) -> Array:
    """A float64 array in main memory."""
    return np.asarray(tensor.detach().double().cpu().numpy())
