"""Skeletons: joint names, edges, left/right pairs and the OKS scale of each joint."""

from __future__ import annotations

__all__ = ["COCO", "DEFAULT_OKS_SIGMA", "Skeleton"]

from collections.abc import Sequence
from dataclasses import dataclass

from probpose.errors import DataError
from probpose.text import is_text, shown

DEFAULT_OKS_SIGMA = 0.079
"""OKS sigma of a joint that COCO does not name: the median of COCO's body joints (shoulder)."""

_COCO_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}


@dataclass(frozen=True)
class Skeleton:
    """The joints of one category.

    Attributes:
        joints: names, in the order of the keypoint arrays.
        edges: pairs of joint indices (0-based) to draw.
        flip_pairs: pairs of joint indices (0-based) that a left/right flip exchanges.
        oks_sigmas: per-joint constant of the Object Keypoint Similarity
            (https://cocodataset.org/#keypoints-eval), relative to the square root of the area.

    Raises:
        DataError: an index is out of range, `oks_sigmas` has the wrong length, or a name cannot be written.
    """

    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    oks_sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.oks_sigmas) != len(self.joints):
            raise DataError(f"{len(self.joints)} joints but {len(self.oks_sigmas)} OKS sigmas: give one per joint.")
        unwritable = [name for name in self.joints if not is_text(name)]
        if unwritable:
            raise DataError(f"the joint {shown(unwritable[0])!r} holds half a letter: write its name in Unicode.")
        for pair in (*self.edges, *self.flip_pairs):
            if not all(0 <= i < len(self.joints) for i in pair):
                raise DataError(f"joint pair {pair} is out of range: the skeleton has {len(self.joints)} joints.")

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """Index of each joint's mirror image; an involution, the identity on joints without a partner."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)

    def index(self, name: str) -> int | None:
        """Index of the joint called `name`, or None."""
        return self.joints.index(name) if name in self.joints else None

    @classmethod
    def from_names(
        cls,
        joints: Sequence[str],
        edges: Sequence[tuple[int, int]] = (),
        flip_pairs: Sequence[tuple[int, int]] | None = None,
    ) -> Skeleton:
        """Skeleton from joint names: flip pairs and OKS sigmas are read off the names where not given.

        Args:
            joints: joint names.
            edges: pairs of 0-based joint indices.
            flip_pairs: pairs of 0-based joint indices; None pairs each `left*` name with its `right*` partner.
        """
        pairs = pairs_from_names(joints) if flip_pairs is None else tuple(flip_pairs)
        sigmas = tuple(oks_sigma_of(name) for name in joints)
        return cls(tuple(joints), tuple(edges), tuple(pairs), sigmas)


def pairs_from_names(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Left/right pairs found by exchanging the words left and right (also L/R as a prefix or suffix) in the names."""
    lookup = {name.lower(): i for i, name in enumerate(joints)}
    pairs = []
    for i, name in enumerate(joints):
        for partner in _partners(name.lower()):
            if partner in lookup and lookup[partner] != i:
                pairs.append((i, lookup[partner]))
                break
    return tuple(pairs)


def _partners(name: str) -> list[str]:
    """Names that the right-hand partner of the left joint `name` may have."""
    found = [name.replace("left", "right")] if "left" in name else []
    if name.startswith(("l_", "l-")):
        found.append("r" + name[1:])
    if name.endswith(("_l", "-l")):
        found.append(name[:-1] + "r")
    return found


def oks_sigma_of(name: str) -> float:
    """OKS sigma of a joint by name: COCO's where COCO knows the body part, `DEFAULT_OKS_SIGMA` otherwise."""
    bare = name.lower().removeprefix("left").removeprefix("right").strip("_- ")
    return _COCO_SIGMAS.get(bare, DEFAULT_OKS_SIGMA)


_SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")

COCO = Skeleton.from_names(
    ("nose", *(f"{side}_{part}" for part in _SIDED for side in ("left", "right"))),
    edges=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
        *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
)
"""The 17 joints of COCO keypoints, in the dataset's order."""
