"""Expected Object Keypoint Similarity: of a point under its predictive density, of the best point, and of a pose.

The OKS of a point c with a label x is k(x - c) = exp(-|x - c|^2 / (2 t^2)), t^2 = area (2 sigma_k)^2. Where x is drawn
from the predictive density, given by points x_i with weights w_i, its expectation is

    E(c) = sum_i w_i k(x_i - c),

a density smoothed by a Gaussian kernel. Its gradient vanishes where c = sum_i w_i k_i x_i / sum_i w_i k_i. To repeat
this is the mean shift, which never lowers E (Comaniciu and Meer, Mean shift, IEEE TPAMI 2002). Where t is much larger
than the density is wide it leads to the mean, where it is much smaller to a mode.

The area is that of the box, never the label's: nobody knows the label at test time. The points must resolve the kernel:
2048 of them gave E within 0.0002 of 65536 where the density was up to six times as wide as the kernel, and within
0.001 up to twelve times. Beyond, E is itself small, the best point follows single points, and more of them help.

Point estimates with their uncertainty, read off predictive distributions.
"""

from __future__ import annotations

__all__ = [
    "ESTIMATORS",
    "Estimates",
    "Estimator",
    "Score",
    "best_point",
    "expected_oks",
    "instance_score",
    "kernel_variance",
    "oks",
    "oks_kernel",
    "point_of",
]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.analysis.prediction.forward import Forward
from probpose.arrays import Array, Mask, as_array
from probpose.data.datasets.coco import AREA_OF_BOX
from probpose.data.persons import Persons
from probpose.models.predictive.contract import POINTS, Predictive
from probpose.models.predictive.decomposition import Decomposition, decompose

STEPS = 10
"""Mean shifts from each start; over random mixtures of two densities E is then within 0.2% of its maximum."""

CHUNK = 16
"""Persons at a time; with 17 joints, 2048 points each and three starts, a number for each takes 13 MB."""


def kernel_variance(box: Array, oks_sigmas: Sequence[float]) -> Array:
    """Variance t^2 of the OKS kernel per axis, (P, K) square pixels: area (2 sigma_k)^2, area = `AREA_OF_BOX` w h.

    Args:
        box: (P, 4) x, y, width, height in pixels.
        oks_sigmas: (K,), `Skeleton.oks_sigmas`.
    """
    area = AREA_OF_BOX * box[:, 2] * box[:, 3]
    return np.asarray(area[:, None] * (2 * np.asarray(oks_sigmas)) ** 2)


def expected_oks(predictive: Predictive, point: Tensor, variance: Tensor, count: int = POINTS) -> Tensor:
    """E[oks] of points, (N, K), in (0, 1]; 0 where every weighted point is beyond the kernel's reach.

    Args:
        predictive: density of N persons with K joints, pixels.
        point: (N, K, 2) pixels.
        variance: (N, K) square pixels, of the kernel.
        count: weighted points a keypoint.
    """

    def of(part: Predictive, rows: slice) -> Tensor:
        kernel = _Kernel.of(part, variance[rows], count)
        return kernel.expectation(kernel.coordinates(point[rows].unsqueeze(-2))).squeeze(-1)

    return _by_chunks(predictive, of)


def best_point(predictive: Predictive, variance: Tensor, count: int = POINTS) -> Tensor:
    """The point of greatest expected OKS, (N, K, 2): the best that mean shifts from mean, median and mode reach.

    None of the three has a greater E under the same points.

    Args:
        predictive: density of N persons with K joints, pixels.
        variance: (N, K) square pixels, of the kernel.
        count: weighted points a keypoint.
    """
    starts = torch.stack([predictive.mean, predictive.median, predictive.mode], -2)

    def of(part: Predictive, rows: slice) -> Tensor:
        kernel = _Kernel.of(part, variance[rows], count)
        found = kernel.coordinates(starts[rows])
        for _ in range(STEPS):
            found = kernel.shifted(found)
        highest = kernel.expectation(found).argmax(-1)[..., None, None].expand(*found.shape[:2], 1, 2)
        return kernel.pixels(found.gather(-2, highest)).squeeze(-2)

    return _by_chunks(predictive, of)


def instance_score(expected: Array, presence: Array) -> Array:
    """Expected OKS of N poses, (N,): the mean of E[oks_k] over joints, weighted by the probability of a label.

    OKS averages over the labelled joints; both sums of that quotient are replaced by their expectations.

    Args:
        expected: (N, K), E[oks] of each joint, given that it is labelled.
        presence: (N, K), probability that the joint is labelled.
    """
    return np.asarray((presence * expected).sum(-1) / np.maximum(presence.sum(-1), np.finfo(np.float64).tiny))


@dataclass(frozen=True)
class _Kernel:
    """The weighted points of n persons with K joints in units u of the kernel: u = (x - origin) / t.

    log(w_i k(u_i - c)) = log w_i - |u_i|^2 / 2 + c . u_i - |c|^2 / 2: a shift is a softmax over the points.

    Attributes:
        origin: (n, K, 1, 2) pixels, the mean of the points.
        width: t, (n, K, 1, 1) pixels.
        points: u_i, (n, K, S, 2).
        log_weights: log w_i - |u_i|^2 / 2, (n, K, 1, S).
    """

    origin: Tensor
    width: Tensor
    points: Tensor
    log_weights: Tensor

    @classmethod
    def of(cls, predictive: Predictive, variance: Tensor, count: int) -> _Kernel:
        points, weights = predictive.points(count)
        origin = (weights.unsqueeze(-1) * points).sum(-2, keepdim=True)
        width = variance.sqrt()[..., None, None]
        units = (points - origin) / width
        return cls(origin, width, units, (weights.log() - units.square().sum(-1) / 2).unsqueeze(-2))

    def coordinates(self, centre: Tensor) -> Tensor:
        """Centres (n, K, E, 2) in units of the kernel."""
        return (centre - self.origin) / self.width

    def pixels(self, centre: Tensor) -> Tensor:
        """The inverse of `coordinates`."""
        return self.origin + self.width * centre

    def expectation(self, centre: Tensor) -> Tensor:
        """E at centres (n, K, E, 2), (n, K, E)."""
        height = (self.log_weights + centre @ self.points.mT).logsumexp(-1)
        return (height - centre.square().sum(-1) / 2).exp()

    def shifted(self, centre: Tensor) -> Tensor:
        """The mean shift of centres (n, K, E, 2); one that no point is near to goes to the nearest."""
        return (self.log_weights + centre @ self.points.mT).softmax(-1) @ self.points


def _by_chunks(predictive: Predictive, of: Callable[[Predictive, slice], Tensor]) -> Tensor:
    """Apply `of` to `CHUNK` persons and their rows at a time, without gradient, and join the results."""
    with torch.no_grad():
        return torch.cat([of(predictive.rows(rows), rows) for rows in predictive.pieces(CHUNK)])


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
        aleatoric: of an ensemble, see `Decomposition`; None where it was not asked for.
        epistemic: likewise.
        mutual_information: likewise.
    """

    rows: npt.NDArray[np.int64]
    point: Array
    sigma_px: Array
    presence: Array
    confidence: Array
    expected_oks: Array | None = None
    score: Array | None = None
    aleatoric: Array | None = None
    epistemic: Array | None = None
    mutual_information: Array | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def decomposition(self) -> Decomposition[Array] | None:
        """All that is unsure, in two parts; None where it was not asked for."""
        aleatoric, epistemic, information = self.aleatoric, self.epistemic, self.mutual_information
        if aleatoric is None or epistemic is None or information is None:
            return None
        return Decomposition(aleatoric, epistemic, information)

    @classmethod
    def of(
        cls, forward: Forward, estimator: Estimator = "mean", kernel: Array | None = None, *, apart: bool = False
    ) -> Estimates:
        """The estimates of one batch.

        Args:
            forward: what is predicted.
            estimator: the point.
            kernel: (P, K), that of `oks_kernel`, one row a row of the table.
            apart: with both kinds of covariance, of an ensemble.

        Raises:
            ConfigError: both kinds of covariance of a single network.
        """
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
            **(_apart(forward.keypoints) if apart else {}),
        )

    @classmethod
    def none(cls, joints: int) -> Estimates:
        """Those of no person."""
        planar, flat = np.zeros((0, joints, 2)), np.zeros((0, joints))
        return cls(np.zeros(0, dtype=np.int64), planar, planar, flat, flat)

    @classmethod
    def join(cls, parts: Sequence[Estimates]) -> Estimates:
        """The estimates of several batches, one after the other."""
        known = [f.name for f in fields(cls) if getattr(parts[0], f.name) is not None]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in known})

    def select(self, chosen: Mask) -> Estimates:
        """The estimates of the persons where `chosen` (N,) is True."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen_columns: dict[str, Any] = {n: None if v is None else v[chosen] for n, v in columns.items()}
        return Estimates(**chosen_columns)

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


def _apart(predictive: Predictive) -> dict[str, Array]:
    return {name: as_array(value) for name, value in decompose(predictive)._asdict().items()}


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


def oks(estimate: Array, label: Array, labelled: npt.NDArray[np.bool_], area: Array, sigmas: Sequence[float]) -> Array:
    """Object Keypoint Similarity of N persons, (N,): the mean over labelled joints of exp(-d^2 / (2 area (2 sigma)^2)).

    Args:
        estimate: (N, K, 2) pixels.
        label: (N, K, 2) pixels.
        labelled: (N, K); a person without any labelled joint gets NaN.
        area: (N,) square pixels.
        sigmas: (K,), `Skeleton.oks_sigmas`.
    """
    squared = ((estimate - label) ** 2).sum(-1)
    spread = 2 * area[:, None] * (2 * np.asarray(sigmas)) ** 2
    count = labelled.sum(-1)
    total = np.where(labelled, np.exp(-squared / spread), 0.0).sum(-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
