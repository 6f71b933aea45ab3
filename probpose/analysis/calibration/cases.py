"""Cases: what was predicted and what was labelled, from a run, a results file or a table of points."""

from __future__ import annotations

__all__ = ["Cases"]

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.analysis.estimates import Array
from probpose.models.predictive import Predictive

Index = npt.NDArray[np.int64]

_ROWS = ("image", "instance", "keypoints", "visibility", "area", "box", "confidence", "score", "presence")


@dataclass(frozen=True)
class Cases:
    """N persons with K joints, in pixels of the original images.

    Attributes:
        name: of the data, for messages.
        joints: K names.
        oks_sigmas: (K,), or None where OKS is not defined.
        image: (N,) image id.
        instance: (N,) annotation id.
        keypoints: (N, K, 2) labels; unlabelled joints hold anything finite.
        visibility: (N, K): 0 unlabelled, 1 labelled but occluded, 2 visible.
        area: (N,) the labelled object's area in square pixels; NaN where unknown.
        box: (N, 4) x, y, width, height that the prediction was made from; NaN where unknown.
        predictive: of the N persons, float64.
        confidence: (N, K), the model's own, or None.
        score: (N,), the model's own for the person, or None.
        presence: (N, K), probability that an annotator labels the joint, or None.
    """

    name: str
    joints: tuple[str, ...]
    oks_sigmas: Array | None
    image: Index
    instance: Index
    keypoints: Array
    visibility: Index
    area: Array
    box: Array
    predictive: Predictive
    confidence: Array | None = None
    score: Array | None = None
    presence: Array | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """(N, K), True where the joint has a label."""
        return self.visibility > 0

    @property
    def filled(self) -> Tensor:
        """(N, K, 2), the labels, with the predicted mean where there is none."""
        labelled, labels = torch.from_numpy(self.labelled)[..., None], torch.from_numpy(self.keypoints)
        return torch.where(labelled, labels, self.predictive.mean.to(labels))

    def select(self, rows: Index) -> Cases:
        """The persons in `rows`, in that order."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in _ROWS}
        chosen = {name: column[rows] for name, column in columns.items() if column is not None}
        return replace(self, predictive=self.predictive.rows(torch.from_numpy(rows)), **chosen)

    def under(self, predictive: Predictive) -> Cases:
        """The same persons under another predictive distribution."""
        return replace(self, predictive=predictive)
