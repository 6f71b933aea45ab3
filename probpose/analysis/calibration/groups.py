"""Groups of labelled keypoints in which calibration is judged: joint, visibility, size of the box, predicted scale."""

from __future__ import annotations

__all__ = ["Groups"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.judged import Judged
from probpose.analysis.estimates import Array

Mask = npt.NDArray[np.bool_]

SIZES = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, np.inf)}
"""COCO's bins of size, by the square root of the box's area in pixels."""

VISIBILITY = {"occluded": 1, "visible": 2}

SCALE_BINS = 5


@dataclass(frozen=True)
class Groups:
    """The groups, fixed before the data that they judge are seen.

    Attributes:
        joints: names.
        scale_edges: predicted scales in pixels that divide the bins, increasing.
        present: names of the groups that had labels where the groups were chosen.
    """

    joints: tuple[str, ...]
    scale_edges: Array
    present: tuple[str, ...]

    @classmethod
    def of(cls, judged: Judged, joints: tuple[str, ...]) -> Groups:
        """Groups with bins of equal counts, from data that are not judged with them."""
        inner = np.linspace(0, 1, SCALE_BINS + 1)[1:-1]
        edges = np.unique(np.quantile(judged.scale_px, inner)) if len(judged) else np.zeros(0)
        candidates = cls(joints, edges, ())
        present = [name for name, mask in candidates.masks(judged).items() if mask.any() and not mask.all()]
        return cls(joints, edges, tuple(present))

    def masks(self, judged: Judged) -> dict[str, Mask]:
        """Membership (M,) by name of group, such as "joint: nose"; of the present groups, or of all possible ones."""
        found = {f"joint: {name}": judged.joint == k for k, name in enumerate(self.joints)}
        found |= {f"visibility: {name}": judged.visibility == flag for name, flag in VISIBILITY.items()}
        size = judged.size_px
        found |= {f"size: {name}": (size >= low) & (size < high) for name, (low, high) in SIZES.items()}
        bin_of = np.searchsorted(self.scale_edges, judged.scale_px)
        found |= {f"scale: {self._range(i)}": bin_of == i for i in range(len(self.scale_edges) + 1)}
        return {name: found[name] for name in self.present} if self.present else found

    def _range(self, index: int) -> str:
        """The predicted scales of a bin in words."""
        edges = [f"{edge:.3g}" for edge in self.scale_edges]
        if not edges:
            return "any"
        if index == 0:
            return f"up to {edges[0]} px"
        return f"over {edges[-1]} px" if index == len(edges) else f"{edges[index - 1]} to {edges[index]} px"
