"""Predictions beside labels as a table in Parquet shards, which `calibrate` reads again, on many machines too."""

from __future__ import annotations

__all__ = ["ROWS", "ShardWriter"]

from pathlib import Path

import numpy as np

from probpose.analysis.prediction.estimates import Estimates
from probpose.analysis.prediction.forward import Forward
from probpose.arrays import as_array
from probpose.data.persons import Persons
from probpose.data.predictions.parquet import Values, write_parquet
from probpose.errors import DataError

ROWS = 250_000
"""Keypoints of a shard, about: whole images only."""


class ShardWriter:
    """Writes what is predicted for a table of persons while it is predicted, a row a keypoint.

    Columns: x, y (mean), sigma_x, sigma_y (in the gauge of the run), label_x, label_y (NaN where there is none),
    visibility, image, instance, joint, confidence (`Estimates`) and the box's area.

    Args:
        folder: made where missing; it may hold no shard yet.
        persons: predicted for in the order of the table, in which the persons of an image are adjacent.
        rows: keypoints of a shard, about.

    Raises:
        DataError: there are shards in the folder, or it cannot be made.
    """

    def __init__(self, folder: Path, persons: Persons, rows: int = ROWS) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder} cannot be made: {error.strerror or error}.") from error
        if any(folder.glob("*.parquet")):
            raise DataError(f"{folder} holds .parquet files already: name another folder, or remove them.")
        self.files: list[Path] = []
        self._folder, self._persons, self._rows = folder, persons, rows
        self._held: list[dict[str, Values]] = []

    def add(self, forward: Forward) -> None:
        """Add a batch; shards that are full are written, up to where the last image begins.

        Raises:
            DataError: pyarrow is missing, or the disk is full or not writable.
        """
        if not len(forward.rows):
            return
        self._held.append(_columns(forward, self._persons))
        if sum(len(part["image"]) for part in self._held) >= self._rows:
            columns = self._joined()
            begins = int(np.searchsorted(columns["image"] == columns["image"][-1], True))
            if begins:
                self._write({name: values[:begins] for name, values in columns.items()})
                self._held = [{name: values[begins:] for name, values in columns.items()}]

    def close(self) -> list[Path]:
        """Write what is left, and give all files."""
        if self._held:
            self._write(self._joined())
            self._held = []
        return self.files

    def _joined(self) -> dict[str, Values]:
        return {name: np.concatenate([part[name] for part in self._held]) for name in self._held[0]}

    def _write(self, columns: dict[str, Values]) -> None:
        file = self._folder / f"{len(self.files):05d}.parquet"
        try:
            write_parquet(file, columns)
        except OSError as error:
            raise DataError(f"{file} cannot be written: {error.strerror or error}.") from error
        self.files.append(file)


def _columns(forward: Forward, persons: Persons) -> dict[str, Values]:
    """(N K,) by name."""
    rows, joints = forward.rows, np.array(persons.skeleton.joints)
    mean, sigma = as_array(forward.keypoints.mean), as_array(forward.keypoints.sigma)
    visibility = persons.visibility[rows]
    label = np.where((visibility > 0)[..., None], persons.keypoints[rows], np.nan)
    pairs: dict[str, Values] = {
        "x": mean[..., 0],
        "y": mean[..., 1],
        "sigma_x": sigma[..., 0],
        "sigma_y": sigma[..., 1],
    }
    pairs |= {"label_x": label[..., 0], "label_y": label[..., 1], "visibility": visibility}
    pairs["confidence"] = Estimates.of(forward).confidence
    box = persons.box[rows]
    each: dict[str, Values] = {
        "image": persons.image_id[rows],
        "instance": persons.annotation_id[rows],
        "area": box[:, 2] * box[:, 3],
    }
    columns = {name: values.ravel() for name, values in pairs.items()}
    columns |= {name: np.repeat(values, len(joints)) for name, values in each.items()}
    return columns | {"joint": np.tile(joints, len(rows))}
