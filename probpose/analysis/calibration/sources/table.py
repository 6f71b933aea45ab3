"""Cases of a table of points, which may be larger than memory."""

from __future__ import annotations

__all__ = ["TableSource"]

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np

from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.calibration.export import MOST_ROWS, Columns, recalibrated_columns
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.record import SourceRecord
from probpose.analysis.calibration.sources.base import CHUNK, Part, Source
from probpose.analysis.calibration.sources.baseline import gaussian, one_scale, spread, squares
from probpose.arrays import Array, Index
from probpose.data.predictions.columns import whole
from probpose.data.predictions.people import People, people_of
from probpose.data.predictions.shards import Shard
from probpose.data.predictions.tables import PointsTable
from probpose.files import write_atomically
from probpose.models.densities import GaussianResidual, Residual

_NAMES = ("unit", "image", "instance", "joint")


class TableSource(Source):
    """Read in chunks of whole images: memory grows with the images, not with the points.

    What is fitted is fitted to the table's sample.

    Without a column `joint` every row is a person with the one joint "point". With it, the rows of one image and
    `instance` (of one image, where there are no instances) are a person with all joints of the table; joints without a
    row are unlabelled. `instance` is that of the file, otherwise the person's first row in it, from 0. The width and
    height of a box are the square root of `area`, its place is unknown. The predictive distribution is Gaussian.

    It is handed back as recalibrated.npz, unless it is very large: its rows in their order, named as they were.

    Args:
        table: checked.
        seed: of the split by image (`Split`), on whose part *fit* the baseline is fitted where there are no scales.

    Raises:
        DataError: without scales, as `baseline`.
    """

    def __init__(self, table: PointsTable, *, seed: int = 0) -> None:
        scale = "scales of the file" if table.has_scale else "one Gaussian scale"
        record = SourceRecord("table", str(table.file), scale=scale)
        super().__init__(table.file.name, table.joints or ("point",), record, remarks=table.remarks)
        self._table = table
        self._files = [_FileCases(shard, self.name, self.joints) for shard in table.shards]
        if not table.has_scale:
            scale_px = self._fitted(Split.of(self.units, seed=seed, name=self.name))
            self._files = [replace(file, scale_px=scale_px, sized=table.sized) for file in self._files]

    @cached_property
    def units(self) -> Index:
        return np.concatenate(self._table.units)

    @property
    def persons(self) -> int:
        return sum(self._table.persons)

    @property
    def labels(self) -> int:
        return self._table.labels

    @property
    def folder(self) -> Path:
        """Beside the file; in the folder of several."""
        first, *others = (shard.file for shard in self._table.shards)
        if others:
            return Path(os.path.commonpath([first.parent, *(file.parent for file in others)]), "calibration")
        return first.with_name(f"{first.stem}-calibration")

    def chunks(self) -> Iterator[Cases]:
        return chain.from_iterable(file.chunks() for file in self._files)

    def sample(self) -> Iterator[Cases]:
        return (file.cases(part) for file, part in self._sampled())

    def parts(self) -> list[Part]:
        return list(map(Part, self._files, self._table.units, self._table.persons))

    def _fitted(self, split: Split) -> float:
        total, count = 0.0, 0
        for _, part in self._sampled():
            rows = split.rows(part.image if part.unit is None else part.unit, "fit")
            labelled, size = part.visibility > 0, _used_size(part, self._table.sized)
            sums = squares(part.point[rows], part.label[rows], labelled[rows], size[rows])
            total, count = total + sums[0], count + sums[1]
        return one_scale(total, count)

    def _sampled(self) -> Iterator[tuple[_FileCases, People]]:
        for file, points in zip(self._files, self._table.sample, strict=True):
            if len(points):
                yield file, people_of(points, self.joints, file.shard.file, before=file.shard.first_row)

    def hand_back(self, recalibration: Recalibration, folder: Path) -> list[Path]:
        saved = super().hand_back(recalibration, folder)
        if self._table.rows > MOST_ROWS:
            return saved
        parts = [
            recalibrated_columns(file.cases(part), recalibration, part.row_person, part.row_joint)
            for file in self._files
            for part in file.people()
        ]
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **self._names(), **_joined(parts))
        write_atomically(folder / "recalibrated.npz", buffer.getvalue())
        return [folder / "recalibrated.npz", *saved]

    def _names(self) -> Columns:
        """What tells the rows of the file apart, as it has it."""
        shards = [shard.columns for shard in self._table.shards]
        present = [name for name in _NAMES if name in shards[0]]
        names = {name: np.concatenate([whole(columns[name]) for columns in shards]) for name in present}
        # numbers of a .csv are read as floats
        return {name: values.astype(np.int64) if values.dtype.kind == "f" else values for name, values in names.items()}


@dataclass(frozen=True)
class _FileCases:
    """Cases of one file of a table.

    Attributes:
        shard: the file.
        name: of the data.
        joints: K names.
        scale_px: where the table has no scales; times the size of the box, where every one is known (`sized`).
        sized: whether it is.
    """

    shard: Shard
    name: str
    joints: tuple[str, ...]
    scale_px: float | None = None
    sized: bool = False

    def chunks(self) -> Iterator[Cases]:
        return map(self.cases, self.people())

    def people(self) -> Iterator[People]:
        for points in self.shard.chunks(CHUNK):
            yield people_of(points, self.joints, self.shard.file, before=self.shard.first_row)

    def cases(self, part: People) -> Cases:
        scale = part.scale
        if self.scale_px is not None:
            scale = spread(self.scale_px, _used_size(part, self.sized), part.point.shape)
        return Cases(
            name=self.name,
            joints=self.joints,
            oks_sigmas=None,
            image=part.image,
            instance=part.instance,
            keypoints=part.label,
            visibility=part.visibility,
            area=part.size**2,
            box=np.stack([*np.full((2, len(part.size)), np.nan), part.size, part.size], axis=-1),
            predictive=gaussian(part.point, scale, _residual()),
            confidence=part.confidence,
            unit=part.unit,
        )


@cache
def _residual() -> Residual:
    """Of the Gaussian prediction; once a process, for its nodes are too large to be sent with each file."""
    return GaussianResidual().frozen()


def _used_size(part: People, sized: bool) -> Array:
    return part.size if sized else np.ones(len(part.size))


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
