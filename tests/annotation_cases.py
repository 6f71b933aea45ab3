"""Made-up labels by several annotators, for the tests of the annotation model."""

from __future__ import annotations

import numpy as np

from probpose.arrays import Array, Mask
from probpose.data.repeated_labels import RepeatedLabels

PAIR = ((1, 2),)


def labels_of(
    xy: Array, *, area: Array | None = None, pairs: tuple[tuple[int, int], ...] = (), keep: Mask | None = None
) -> RepeatedLabels:
    """Labels (I, A, K, 2), of which those are there where `keep` (I, A, K) is True."""
    objects, A, K, _ = xy.shape
    rows = np.argwhere(np.ones((objects, A, K), dtype=bool) if keep is None else keep)
    return RepeatedLabels(
        name="made up",
        objects=tuple(f"object {i}" for i in range(objects)),
        annotators=tuple(f"annotator {a}" for a in range(A)),
        landmarks=tuple(f"landmark {k}" for k in range(K)),
        pairs=pairs,
        object=rows[:, 0],
        annotator=rows[:, 1],
        landmark=rows[:, 2],
        xy=xy[rows[:, 0], rows[:, 1], rows[:, 2]],
        area=np.full(objects, np.nan) if area is None else area,
    )


def made_up(objects: int, A: int, K: int, *, sized: bool = False, keep: float = 0.75, seed: int = 0) -> RepeatedLabels:
    """Labels about (100, 50) with errors of 3 and biases of 1, some missing; landmarks 1 and 2 are a pair."""
    rng = np.random.default_rng(seed)
    xy = [100, 50] + 20 * rng.standard_normal((objects, 1, K, 2)) + rng.standard_normal((A, K, 2))
    return labels_of(
        xy + 3 * rng.standard_normal((objects, A, K, 2)),
        area=np.exp(8 + rng.standard_normal(objects)) if sized else None,
        pairs=PAIR if K > 2 else (),
        keep=rng.uniform(size=(objects, A, K)) < keep,
    )
