"""A source of cases: a stream of whole images that is split by image, and takes the recalibration back."""

from __future__ import annotations

__all__ = ["CHUNK", "MOST_LABELS", "Chunked", "MemorySource", "Part", "Source", "gather", "join_cases"]

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from probpose.analysis.calibration.cases import PARTS, Cases, Split
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.recalibration.store import save_recalibration
from probpose.analysis.calibration.record import SourceRecord
from probpose.arrays import Index
from probpose.errors import DataError
from probpose.keyed_uniform import keyed_uniform

CHUNK = 60_000
"""Keypoints handled at once, about: whole images only."""


class Chunked(Protocol):
    """Cases in chunks of whole units; none comes in two chunks."""

    def chunks(self) -> Iterator[Cases]:
        """All cases, in the same order at each call."""


@dataclass(frozen=True)
class Part:
    """Part of a source, that may be counted apart, by another process too.

    Attributes:
        cases: its cases.
        units: that they are of, each at least once; in no other part.
        persons: their number.
    """

    cases: Chunked
    units: Index
    persons: int


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
    def units(self) -> Index:
        """What is independent, by which data are split, each at least once: images, unless the data name another."""

    @property
    @abstractmethod
    def persons(self) -> int:
        """Number of persons."""

    @property
    @abstractmethod
    def labels(self) -> int:
        """Labelled keypoints in all."""

    @abstractmethod
    def chunks(self) -> Iterator[Cases]:
        """All cases, in the same order at each call."""

    def sample(self) -> Iterator[Cases]:
        """Cases to fit recalibrations to: all, or of so many that it does not matter those of units by a hash."""
        return self.chunks()

    def parts(self) -> list[Part]:
        """What may be counted apart."""
        return [Part(self, self.units, self.persons)]

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
    def units(self) -> Index:
        return self.cases.units

    @property
    def persons(self) -> int:
        return len(self.cases)

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


def gather(source: Source, split: Split, *, most: int = MOST_LABELS, seed: int = 0) -> dict[str, Cases]:
    """Cases of each part by its name, of the source's sample, thinned by unit to about `most` labels a part.

    Args:
        source: of all cases.
        split: of its units.
        most: labels.
        seed: of the thinning.

    Raises:
        DataError: a part has no labels.
    """
    found: dict[str, list[Cases]] = {part: [] for part in PARTS}
    for cases in source.sample():
        for part, chosen in found.items():
            rows = split.rows(cases.units, part)
            if len(rows):
                chosen.append(cases.select(rows))
    return {part: _thinned(join_cases(chosen), part, source.name, most, seed) for part, chosen in found.items()}


def _thinned(cases: Cases | None, part: str, name: str, most: int, seed: int) -> Cases:
    labels = 0 if cases is None else int(cases.labelled.sum())
    if cases is None or not labels:
        raise DataError(f"{name}: there is no labelled keypoint in the part {part!r}: more labels are needed.")
    if labels <= most:
        return cases
    return cases.select(np.flatnonzero(keyed_uniform(seed, cases.units, np.array(_THINNING)) < most / labels))


_THINNING = 1
"""Tells this hash of units from others."""


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
