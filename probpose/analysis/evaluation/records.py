"""One record per labelled keypoint: the label, what was predicted for it, and how well that did."""

from __future__ import annotations

__all__ = ["Records"]

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.prediction.estimates import Estimates
from probpose.analysis.prediction.forward import Forward
from probpose.arrays import Array, as_array
from probpose.data.persons import Persons
from probpose.errors import DataError


@dataclass(frozen=True)
class Records:
    """M labelled keypoints, in pixels of the original images.

    Attributes:
        person: (M,) int64, row in the table of persons.
        joint: (M,) int64.
        label: (M, 2).
        estimate: (M, 2).
        error_px: (M,), distance from the estimate to the label.
        log_prob: (M,), log density of the label in nats.
        hdr_level: (M,), content of the smallest highest-density region that holds the label.
        sigma_px: (M, 2), scale per axis.
        r50_px: (M,), radius about the mean that holds 50%.
        r90_px: (M,), radius about the mean that holds 90%.
    """

    person: npt.NDArray[np.int64]
    joint: npt.NDArray[np.int64]
    label: Array
    estimate: Array
    error_px: Array
    log_prob: Array
    hdr_level: Array
    sigma_px: Array
    r50_px: Array
    r90_px: Array

    def __len__(self) -> int:
        return len(self.person)

    @classmethod
    def of(cls, forward: Forward, estimates: Estimates, persons: Persons) -> Records:
        """The records of one batch.

        Raises:
            DataError: the log density of a label is not finite.
        """
        predictive = forward.keypoints
        labels = persons.keypoints[forward.rows]
        value = torch.from_numpy(labels).to(predictive.mean)
        radii = predictive.radius([0.5, 0.9])
        index, joint = np.nonzero(persons.labelled[forward.rows])
        at = (index, joint)
        records = cls(
            person=forward.rows[index],
            joint=joint,
            label=labels[at],
            estimate=estimates.point[at],
            error_px=np.linalg.norm(estimates.point[at] - labels[at], axis=-1),
            log_prob=as_array(predictive.log_prob(value))[at],
            hdr_level=as_array(predictive.hdr_level(value))[at],
            sigma_px=estimates.sigma_px[at],
            r50_px=as_array(radii[0])[at],
            r90_px=as_array(radii[1])[at],
        )
        records.check_finite(persons)
        return records

    @classmethod
    def join(cls, parts: Sequence[Records]) -> Records:
        """The records of several batches, one after the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def select(self, chosen: npt.NDArray[np.bool_]) -> Records:
        """The records where `chosen` (M,) is True."""
        return Records(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def check_finite(self, persons: Persons) -> None:
        """Raise a DataError that names the first label whose log density is not finite."""
        broken = np.flatnonzero(~np.isfinite(self.log_prob))
        if len(broken):
            i = int(broken[0])
            row, joint = int(self.person[i]), persons.skeleton.joints[self.joint[i]]
            x, y = self.label[i]
            raise DataError(
                f"{persons.path(row)}, annotation {persons.annotation_id[row]}, {joint}: the log density of the label "
                f"({x:g}, {y:g}) is {self.log_prob[i]} ({len(broken)} such labels in this batch). Check the label; if "
                "it is right, the model's density is broken: use another checkpoint."
            )
