"""Labels judged under a predictive distribution: one row a labelled keypoint."""

from __future__ import annotations

__all__ = ["Judged", "Levels"]

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.axes import axis_scores
from probpose.arrays import Array, Index, as_array
from probpose.errors import DataError


@dataclass(frozen=True)
class Levels:
    """What most is judged by, of M labelled keypoints; rows go person by person.

    Attributes:
        image: (M,) image id.
        joint: (M,).
        log_prob: (M,), nats, in pixels.
        level: (M,), content of the smallest highest-density region that holds the label, drawn at random inside a
            plateau; uniform when calibrated.
    """

    image: Index
    joint: Index
    log_prob: Array
    level: Array

    @classmethod
    @torch.no_grad()
    def of(cls, cases: Cases, seed: int = 0) -> Levels:
        """Those of the labels of cases.

        Args:
            cases: of any predictive distribution.
            seed: of the levels inside plateaus.

        Raises:
            DataError: the log density of a label is not finite.
        """
        value, at = cases.filled, np.nonzero(cases.labelled)
        denser, as_dense = (as_array(bound)[at] for bound in cases.predictive.hdr_bounds(value))
        log_prob = as_array(cases.predictive.log_prob(value))[at]
        _check_finite(log_prob, at, cases)
        level = denser + (as_dense - denser) * np.random.default_rng(seed).uniform(size=len(log_prob))
        return cls(cases.image[at[0]], at[1], log_prob, level)


@dataclass(frozen=True)
class Judged:
    """M labelled keypoints.

    Attributes:
        person: (M,) row in the cases.
        image: (M,) image id.
        joint: (M,).
        visibility: (M,), 1 or 2.
        size_px: (M,), square root of the box's area; NaN where unknown.
        error: (M, 2), label minus mean, pixels.
        scale_px: (M,), geometric mean of sigma over both axes.
        sigma_px: (M, 2).
        half_width_px: (M, 2), half the predicted 16-84% width.
        log_prob, level: (M,), as in `Levels`.
        pit: (M, 2), probability integral transform per image axis; uniform when calibrated.
        crps_px: (M, 2).
        interval_px: (M, 2), score of the central 90% interval.
        confidence: (M,), the model's own; NaN where unknown.
    """

    person: Index
    image: Index
    joint: Index
    visibility: Index
    size_px: Array
    error: Array
    scale_px: Array
    sigma_px: Array
    half_width_px: Array
    log_prob: Array
    level: Array
    pit: Array
    crps_px: Array
    interval_px: Array
    confidence: Array

    def __len__(self) -> int:
        return len(self.person)

    @property
    def error_px(self) -> Array:
        """(M,), distance from the mean to the label."""
        return np.asarray(np.linalg.norm(self.error, axis=-1))

    @classmethod
    @torch.no_grad()
    def of(cls, cases: Cases, seed: int = 0) -> Judged:
        """Judge the labels of cases; rows go person by person.

        Args:
            cases: of any predictive distribution.
            seed: of the levels inside plateaus.

        Raises:
            DataError: the log density of a label is not finite.
        """
        predictive, at = cases.predictive, np.nonzero(cases.labelled)
        value = cases.filled
        axes = axis_scores(predictive, value)
        sigma = as_array(predictive.sigma)[at]
        levels = Levels.of(cases, seed)
        return cls(
            person=at[0],
            image=levels.image,
            joint=at[1],
            visibility=cases.visibility[at],
            size_px=np.sqrt(cases.box[:, 2] * cases.box[:, 3])[at[0]],
            error=as_array(value - predictive.mean)[at],
            scale_px=np.sqrt(sigma.prod(axis=-1)),
            sigma_px=sigma,
            half_width_px=as_array(predictive.half_width)[at],
            log_prob=levels.log_prob,
            level=levels.level,
            pit=axes.pit[at],
            crps_px=axes.crps_px[at],
            interval_px=axes.interval_px[at],
            confidence=np.full(len(at[0]), np.nan) if cases.confidence is None else cases.confidence[at],
        )

    def select(self, chosen: npt.NDArray[np.bool_] | Index) -> Judged:
        """The rows that `chosen` (M,) picks."""
        return Judged(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def _check_finite(log_prob: Array, at: tuple[Index, ...], cases: Cases) -> None:
    broken = np.flatnonzero(~np.isfinite(log_prob))
    if len(broken):
        row, joint = (int(index[broken[0]]) for index in at)
        x, y = cases.keypoints[row, joint]
        raise DataError(
            f"{cases.name}, image {cases.image[row]}, annotation {cases.instance[row]}, {cases.joints[joint]}: the log "
            f"density of the label ({x:g}, {y:g}) is {log_prob[broken[0]]} ({len(broken)} such labels). Check label "
            "and prediction; if both are right, the predicted density is broken."
        )
