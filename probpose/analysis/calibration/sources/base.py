"""A source of cases: a stream of whole images that is split by image, and takes the recalibration back."""

from __future__ import annotations

__all__ = ["CHUNK", "MOST_LABELS", "Chunked", "MemorySource", "Source", "gather", "join_cases"]

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.recalibration.store import save_recalibration
from probpose.analysis.calibration.record import SourceRecord
from probpose.arrays import Index
from probpose.errors import DataError

CHUNK = 60_000
"""Keypoints handled at once, about: whole images only."""


class Chunked(Protocol):
    """Cases in chunks of whole units; none comes in two chunks."""

    def chunks(self) -> Iterator[Cases]:
        """All cases, in the same order at each call."""


class Source(ABC):
    """Cases in chunks of whole units, which are images unless the data name others; none comes in two chunks.

    Args:
        name: of the data.
        joints: names.
        record: what it is.
        left_out: one line for each thing, or kind of things, that is not used.
        remarks: what is to be said beside the numbers.
    """

    def __init__(
        self,
        name: str,
        joints: Sequence[str],
        record: SourceRecord,
        *,
        left_out: Sequence[str] = (),
        remarks: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.joints = tuple(joints)
        self.record = record
        self.left_out = tuple(left_out)
        self.remarks = tuple(remarks)

    @property
    @abstractmethod
    def images(self) -> Index:
        """(N,) image of each person."""

    @property
    def units(self) -> Index:
        """(N,) what is independent of each person, by which data are split: the image, unless the data name another."""
        return self.images

    @property
    @abstractmethod
    def labels(self) -> int:
        """Labelled keypoints in all."""

    @abstractmethod
    def chunks(self) -> Iterator[Cases]:
        """All cases, in the same order at each call."""

    def parts(self) -> list[tuple[Chunked, Index]]:
        """What may be counted apart, by other processes too, and its units, none of which is in two parts."""
        return [(self, self.units)]

    @property
    def folder(self) -> Path:
        """Where the outcome goes, unless told otherwise: beside the file."""
        file = Path(self.record.file)
        return file.with_name(f"{file.stem}-calibration")

    def hand_back(self, recalibration: Recalibration, folder: Path) -> list[Path]:
        """Save the chosen recalibration where it is used, and what has gone through it.

        Args:
            recalibration: chosen.
            folder: of the outcome.

        Returns:
            The files.

        Raises:
            DataError, TrainingError: the disk is full or not writable.
        """
        file = folder / "recalibration.safetensors"
        save_recalibration(file, recalibration, {"data": Path(self.record.file).name})
        return [file]


class MemorySource(Source):
    """Cases that are in memory.

    Args:
        cases: all of them.
        record: what they are.
        left_out: one line for each thing, or kind of things, that is not among them.
        remarks: what is to be said beside the numbers.
    """

    def __init__(
        self,
        cases: Cases,
        record: SourceRecord | None = None,
        *,
        left_out: Sequence[str] = (),
        remarks: Sequence[str] = (),
    ) -> None:
        record = record or SourceRecord("cases", cases.name)
        super().__init__(cases.name, cases.joints, record, left_out=left_out, remarks=remarks)
        self.cases = cases

    @property
    def images(self) -> Index:
        return self.cases.image

    @property
    def units(self) -> Index:
        return self.cases.units

    @property
    def labels(self) -> int:
        return int(self.cases.labelled.sum())

    def chunks(self) -> Iterator[Cases]:
        order = np.argsort(self.cases.units, kind="stable")
        image = self.cases.units[order]
        persons = max(1, CHUNK // max(1, len(self.joints)))
        start = 0
        while start < len(order):
            end = int(np.searchsorted(image, image[min(start + persons, len(order)) - 1], side="right"))
            yield self.cases.select(order[start:end])
            start = end


MOST_LABELS = 100_000
"""Labels at most that recalibrations are fitted on."""


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


def _chosen(source: Source, images: Index) -> Iterator[Cases]:
    for chunk in source.chunks():
        rows = np.flatnonzero(np.isin(chunk.units, images))
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
