"""Held-out data split by image: what cures are fitted on, what they are chosen on, and what judges them."""

from __future__ import annotations

__all__ = ["PARTS", "SHARES", "Split"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.cases import Cases
from probpose.errors import DataError

PARTS = ("fit", "calibrate", "test")
SHARES = (0.4, 0.2, 0.4)

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The part of each image.

    Attributes:
        images: (I,) image ids, increasing.
        part: (I,) index into `PARTS`.
        seed: of the choice.
    """

    images: Index
    part: Index
    seed: int

    @classmethod
    def of(cls, images: Index, *, shares: tuple[float, ...] = SHARES, seed: int = 0, name: str = "the data") -> Split:
        """Split images at random.

        Args:
            images: ids, which may repeat.
            shares: of the images in each part, summing to 1; each part gets at least one image.
            seed: of the choice.
            name: of the data, for the message.

        Raises:
            DataError: there are fewer images than parts.
        """
        unique = np.unique(images)
        if len(unique) < len(shares):
            raise DataError(
                f"{name}: {len(unique)} images with labels cannot be split into {', '.join(PARTS[: len(shares)])}: "
                "calibration needs more labelled images."
            )
        borders = _borders(len(unique), shares)
        part = np.zeros(len(unique), dtype=np.int64)
        part[np.random.default_rng(seed).permutation(len(unique))] = np.searchsorted(
            borders, np.arange(len(unique)), side="right"
        )
        return cls(unique, part, seed)

    def rows(self, image: Index, part: str) -> Index:
        """Rows of `image` (N,) that belong to a part."""
        return np.flatnonzero(self.part[np.searchsorted(self.images, image)] == PARTS.index(part))

    def select(self, cases: Cases, part: str) -> Cases:
        """The cases of a part."""
        return cases.select(self.rows(cases.image, part))


def _borders(count: int, shares: tuple[float, ...]) -> Index:
    """Where to cut `count` images, so that no part is empty."""
    cuts = np.round(count * np.cumsum(shares[:-1])).astype(np.int64)
    first = np.arange(len(cuts)) + 1
    return np.asarray(np.clip(cuts, first, first + count - len(shares)), dtype=np.int64)
