"""Skeletons: joint names, edges, left/right pairs and the OKS scale of each joint."""

from __future__ import annotations

__all__ = ["COCO", "DEFAULT_OKS_SIGMA", "Skeleton", "pairs_from_names"]

import math
import re
import unicodedata
from collections import Counter
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
        DataError: an index is out of range, a joint is in two flip pairs or paired with itself, `oks_sigmas` has the
            wrong length or holds a number that is not positive, or a name cannot be written.
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
        for joint, sigma in zip(self.joints, self.oks_sigmas, strict=True):
            if not (math.isfinite(sigma) and sigma > 0):
                raise DataError(f"the OKS sigma of {joint} is {sigma}: give a positive number.")
        times = Counter(i for pair in self.flip_pairs for i in pair)
        if several := [i for i, count in times.items() if count > 1]:
            of_it = ", ".join(f"{a}-{b}" for a, b in self.flip_pairs if several[0] in (a, b))
            raise DataError(
                f"joint {several[0]} ({self.joints[several[0]]}) is in the flip pairs {of_it}: a joint has one mirror "
                "image, and is in one pair at most; leave out joints that are their own."
            )

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """Index of each joint's mirror image; an involution, the identity on joints without a partner."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)

    @property
    def pair_names(self) -> list[str]:
        """The flip pairs by name, such as "left_eye - right_eye"."""
        return [f"{self.joints[left]} - {self.joints[right]}" for left, right in self.flip_pairs]

    @property
    def default_sigmas(self) -> list[str]:
        """Joints whose OKS sigma is `DEFAULT_OKS_SIGMA` for want of a better one."""
        pairs = zip(self.joints, self.oks_sigmas, strict=True)
        return [name for name, sigma in pairs if sigma == DEFAULT_OKS_SIGMA and _body_part(name) not in _COCO_SIGMAS]

    def index(self, name: str) -> int | None:
        """Index of the joint called `name`, or None."""
        return self.joints.index(name) if name in self.joints else None

    @classmethod
    def from_names(
        cls,
        joints: Sequence[str],
        edges: Sequence[tuple[int, int]] = (),
        flip_pairs: Sequence[tuple[int, int]] | None = None,
        oks_sigmas: Sequence[float] | None = None,
    ) -> Skeleton:
        """Skeleton from joint names: flip pairs and OKS sigmas are read off the names where not given.

        Args:
            joints: joint names.
            edges: pairs of 0-based joint indices.
            flip_pairs: pairs of 0-based joint indices; None takes those of `pairs_from_names`.
            oks_sigmas: one a joint; None takes COCO's by name, and `DEFAULT_OKS_SIGMA` of joints that it does not name.
        """
        pairs = pairs_from_names(joints) if flip_pairs is None else tuple(flip_pairs)
        sigmas = map(oks_sigma_of, joints) if oks_sigmas is None else oks_sigmas
        return cls(tuple(joints), tuple(edges), tuple(pairs), tuple(sigmas))


def pairs_from_names(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Left/right pairs (left first) that the names tell of, each joint in one pair at most.

    The sides of a name are exchanged, all at once, so that left_eye_right_corner belongs to right_eye_left_corner, and
    two joints are a pair where each has the other's name then. Sides are the words left and right anywhere, the letters
    L and R that stand alone (`hip.L`, `F_L_paw`, `paw_L1`, `LHip`, `wingL`, `lEye`), two capitals of which the first or
    the last is one (`LF_paw`), or the first or last letter (`lhip`), tried in this order. Case, blanks and what
    separates words do not matter.
    """
    words = [_words(name) for name in joints]
    spelt = [_spelt(parts) for parts in words]
    partner: dict[int, int] = {}
    for exchanged in _SPELLINGS:
        free = {spelt[i]: i for i in range(len(joints)) if i not in partner and spelt.count(spelt[i]) == 1}
        found = {i: j for i in free.values() if (j := free.get(exchanged(words[i]), i)) != i}
        partner |= {i: j for i, j in found.items() if found.get(j) == i}
    return tuple((i, j) for i, j in sorted(partner.items()) if _is_left(joints[i], joints[j]))


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_SIDE_WORD = re.compile("left|right")
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l", "lt": "rt", "rt": "lt"}


def _words(name: str) -> list[str]:
    """The words of a name: what separators, blanks, digits and capitals tell apart; the name if there are none."""
    return _WORD.findall(unicodedata.normalize("NFC", name)) or [name]


def _spelt(words: Sequence[str]) -> str:
    return "".join(words).lower()


def _side_words(words: Sequence[str]) -> str:
    return _SIDE_WORD.sub(lambda found: _OTHER[found[0]], _spelt(words))


def _side_letters(words: Sequence[str]) -> str:
    return "".join(_OTHER.get(word.lower(), word.lower()) for word in words)


def _side_capitals(words: Sequence[str]) -> str:
    def exchanged(word: str) -> str:
        if len(word) != 2 or not word.isupper():
            return word.lower()
        at = 0 if word[0] in "LR" else 1
        return (word[:at] + _OTHER.get(word[at].lower(), word[at]) + word[at + 1 :]).lower()

    return "".join(map(exchanged, words))


def _first_letter(words: Sequence[str]) -> str:
    name = _spelt(words)
    return _OTHER.get(name[:1], name[:1]) + name[1:]


def _last_letter(words: Sequence[str]) -> str:
    name = _spelt(words)
    return name[:-1] + _OTHER.get(name[-1:], name[-1:])


_SPELLINGS = (_side_words, _side_letters, _side_capitals, _first_letter, _last_letter)
"""Words of a name to the name of the other side, in small letters without separators; each undoes itself."""


def _is_left(one: str, other: str) -> bool:
    """Whether the first of two partners is the left one: where they differ first, it has an l."""
    mine, its = (_spelt(_words(name)) for name in (one, other))
    return next(a == "l" for a, b in zip(mine, its, strict=False) if a != b)


def oks_sigma_of(name: str) -> float:
    """OKS sigma of a joint by name: COCO's where COCO knows the body part, `DEFAULT_OKS_SIGMA` otherwise."""
    return _COCO_SIGMAS.get(_body_part(name), DEFAULT_OKS_SIGMA)


def _body_part(name: str) -> str:
    """The name without its side, in small letters without separators."""
    words = [word for word in _words(name) if word.lower() not in _OTHER]
    return _SIDE_WORD.sub("", _spelt(words))


_SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")

COCO = Skeleton.from_names(
    ("nose", *(f"{side}_{part}" for part in _SIDED for side in ("left", "right"))),
    edges=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
        *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
)
"""The 17 joints of COCO keypoints, in the dataset's order."""
