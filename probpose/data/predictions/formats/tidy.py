"""Poses for those who go on with them: rows in Parquet, and a data set as the package movement has it."""

from __future__ import annotations

__all__ = ["rows_of", "to_movement", "write_movement", "write_rows"]

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array
from probpose.data.predictions.instances import Instances
from probpose.data.predictions.parquet import write_parquet
from probpose.errors import DataError
from probpose.files import write_atomically

if TYPE_CHECKING:
    import xarray as xr


def rows_of(found: Instances) -> dict[str, npt.NDArray[Any]]:
    """A row a predicted joint, in columns that are named as in a table of points.

    They are image, instance, joint, x, y, and where there are such individual, confidence, cov_xx, cov_xy, cov_yy.
    """
    row, joint = np.nonzero(found.predicted)
    columns: dict[str, npt.NDArray[Any]] = {
        "image": np.array(found.image)[row],
        "instance": found.record[row],
        "joint": np.array(found.joints)[joint],
        "x": found.point[row, joint, 0],
        "y": found.point[row, joint, 1],
    }
    if found.individual is not None:
        columns["individual"] = np.array(found.individual)[row]
    if found.confidence is not None:
        columns["confidence"] = found.confidence[row, joint]
    if found.covariance_px is not None:
        at = {"cov_xx": (0, 0), "cov_xy": (0, 1), "cov_yy": (1, 1)}
        columns |= {name: found.covariance_px[row, joint, i, j] for name, (i, j) in at.items()}
    return columns


def write_rows(file: Path, found: Instances) -> None:
    """Write `rows_of` as Parquet.

    Raises:
        DataError: pyarrow is missing.
        OSError: the disk is full or the folder is not writable.
    """
    write_parquet(file, rows_of(found))


def to_movement(found: Instances) -> xr.Dataset:
    """A data set in the convention of movement (https://movement.neuroinformatics.dev), and covariances.

    `position` is (time, space, keypoints, individuals), `confidence` (time, keypoints, individuals), and `covariance`
    (time, space, space2, keypoints, individuals) in square pixels.

    Time is the number of the frame; images with names are numbered by their place, and `image` has their names.

    Args:
        found: such as `read_predictions` or `Calibration.apply` gave.

    Raises:
        DataError: two instances of one frame are of the same individual.
    """
    import xarray as xr

    listed = list(found.listed or dict.fromkeys(found.image))
    names = found.individual or _numbered(found)
    animals = list(dict.fromkeys(names))
    place = {image: i for i, image in enumerate(listed)}
    frame, animal = np.array([place[image] for image in found.image]), np.array([animals.index(name) for name in names])
    if len(np.unique(frame * len(animals) + animal)) < len(found):
        raise DataError(f"{found.name}: an individual stands twice in one frame: give each a name of its own.")

    def spread(values: Array) -> Array:
        """(time, individuals, ...)."""
        full = np.full((len(listed), len(animals), *values.shape[1:]), np.nan)
        full[frame, animal] = values
        return full

    point = np.where(found.predicted[..., None], found.point, np.nan)
    variables: dict[str, Any] = {
        "position": (("time", "space", "keypoints", "individuals"), spread(point).transpose(0, 3, 2, 1))
    }
    if found.confidence is not None:
        variables["confidence"] = (
            ("time", "keypoints", "individuals"),
            spread(found.confidence).transpose(0, 2, 1),
            {"meaning": found.meaning or "the model's own"},
        )
    if found.covariance_px is not None:
        variables["covariance"] = (
            ("time", "space", "space2", "keypoints", "individuals"),
            spread(found.covariance_px).transpose(0, 3, 4, 2, 1),
            {"units": "square pixels"},
        )
    coords: dict[str, Any] = {
        "time": listed if found.frames else np.arange(len(listed)),
        "space": ["x", "y"],
        "keypoints": list(found.joints),
        "individuals": animals,
    }
    if found.covariance_px is not None:
        coords["space2"] = ["x", "y"]
    if not found.frames:
        coords["image"] = ("time", [str(image) for image in listed])
    facts = {"source_software": "probpose", "ds_type": "poses", "time_unit": "frames", "source_file": found.name}
    return xr.Dataset(variables, coords, facts)


def _numbered(found: Instances) -> tuple[str, ...]:
    """id_0, id_1, ... in each image, as movement calls who has no name."""
    seen: dict[int | str, int] = {}
    names = []
    for image in found.image:
        seen[image] = seen.get(image, -1) + 1
        names.append(f"id_{seen[image]}")
    return tuple(names)


def write_movement(file: Path, found: Instances) -> None:
    """Write `to_movement` as NetCDF.

    Raises:
        DataError: as `to_movement`.
        OSError: the disk is full or the folder is not writable.
    """
    content = to_movement(found).to_netcdf(engine="h5netcdf")
    write_atomically(file, bytes(content))
