"""The parts of held-out data that cures are fitted on, gathered from a stream and thinned to what memory allows."""

from __future__ import annotations

__all__ = ["MOST_LABELS", "gather"]

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.source import Source
from probpose.analysis.calibration.split import Split
from probpose.errors import DataError

MOST_LABELS = 100_000
"""Labels at most that cures are fitted on."""


def gather(source: Source, split: Split, part: str, *, most: int = MOST_LABELS, seed: int = 0) -> Cases:
    """The cases of a part, thinned by image to about `most` labels.

    Args:
        source: of all cases.
        split: of its images.
        part: one of `PARTS`.
        most: labels.
        seed: of the thinning.

    Raises:
        DataError: the part has no labels.
    """
    share = len(split.rows(split.images, part)) / len(split.images)
    kept = min(1.0, most / max(1.0, share * source.labels))
    images = split.images[split.rows(split.images, part)]
    chosen = images[np.random.default_rng(seed).uniform(size=len(images)) < kept] if kept < 1 else images
    cases = join_cases(list(_chosen(source, chosen)))
    if cases is None or not cases.labelled.any():
        raise DataError(f"{source.name}: there is no labelled keypoint in the part {part!r}: more labels are needed.")
    return cases


def _chosen(source: Source, images: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[Cases]:
    for chunk in source.chunks():
        rows = np.flatnonzero(np.isin(chunk.image, images))
        if len(rows):
            yield chunk.select(rows)


def join_cases(parts: Sequence[Cases]) -> Cases | None:
    """Cases one after the other; None for no parts."""
    if not parts:
        return None
    first = parts[0]
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(Cases)
        if isinstance(getattr(first, f.name), np.ndarray) and f.name != "oks_sigmas"
    }
    predictive = type(first.predictive).join([part.predictive for part in parts])
    return replace(first, predictive=predictive, **columns)  # type: ignore[arg-type]
