"""The saved posterior: predicted and labelled keypoints as an ArviZ InferenceData in a netCDF file.

HDF5 may read a damaged file for ever. So the file ends with a digest of what is before it, which other readers of
netCDF pass over; one without a digest is first read by another process, for a limited time.
"""

from __future__ import annotations

__all__ = ["load_posterior", "save_last_layer", "save_posterior", "write_groups"]

import hashlib
import subprocess
import sys
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from xarray import DataTree

from probpose import __version__
from probpose.analysis.calibration.cases import Cases
from probpose.analysis.posterior.groups import Groups, groups_of_cases, groups_of_posterior
from probpose.analysis.posterior.library import az
from probpose.arrays import Index
from probpose.errors import DataError
from probpose.files import read_bytes, reading, write_atomically
from probpose.inference.fitting.last_layer_posterior import LastLayerPosterior
from probpose.inference.fitting.residual_posterior import ResidualPosterior
from probpose.models.scores import LabelScores

_NEEDED = ("posterior_predictive", "log_likelihood", "observed_data", "constant_data")
_MARK = b"\nprobpose sha256 "
_LIMIT_S = 30
"""Seconds that a file without a digest may take."""

_PROBE = """
import sys, h5py
with h5py.File(sys.argv[1]) as file:
    file.visititems(lambda _, found: found[()] if isinstance(found, h5py.Dataset) and found.shape is not None else None)
"""


def save_posterior(
    file: Path,
    cases: Cases,
    scores: LabelScores,
    *,
    draws: int = 100,
    persons: int = 2000,
    seed: int = 0,
    posterior: ResidualPosterior | None = None,
    attrs: dict[str, str | int | float] | None = None,
) -> None:
    """Write what was predicted and what was labelled, whole or not at all.

    Groups, with coordinates person (row of the data), joint and axis; unlabelled joints are NaN:

    - `posterior_predictive`: keypoints (chain 1, draw S, person, joint, axis), single precision, pixels.
    - `log_likelihood`: keypoints (chain 1, draw 1, person, joint), nats in pixels, as there is one draw with maximum
      likelihood; with `posterior` instead residual (chain, draw, label), nats in units of sigma.
    - `observed_data`: keypoints (person, joint, axis); with `posterior` also residual (label, axis).
    - `constant_data`: mean, sigma_px, log_prob, hdr_level, pit, visibility, image, instance, box.
    - with `posterior`: `posterior` and `sample_stats`.

    Args:
        file: such as posterior.nc; one that exists is replaced.
        cases: N persons.
        scores: of all their labels, with `level` and `axes`.
        draws: S of each keypoint.
        persons: of more persons, that many are kept, chosen at random.
        seed: of the choice and of the draws.
        posterior: of the shape of the residuals.
        attrs: further attributes of the file, which has data, persons, persons_available, thinned (0 or 1) and seed.

    Raises:
        DataError: the file cannot be written, such as on a full disk.
        ValueError: `scores` are not of the labels of `cases`.
    """
    rows = _choose(len(cases), persons, seed)
    groups = groups_of_cases(cases, scores, rows, draws, seed)
    stated: dict[str, str | int | float] = {
        "created_by": f"probpose {__version__}",
        "data": cases.name,
        "persons": len(rows),
        "persons_available": len(cases),
        "thinned": int(len(rows) < len(cases)),
        "seed": seed,
        "draws": draws,
    }
    groups.attrs = stated | (attrs or {})
    write_groups(file, groups if posterior is None else groups.join(groups_of_posterior(posterior)))


def save_last_layer(file: Path, posterior: LastLayerPosterior) -> None:
    """Write draws of a network's last layer: group `posterior`, a variable (chain 1, draw M, ...) for each parameter.

    What else is known of the posterior is in the file's attributes (`LastLayerPosterior.facts`).

    Raises:
        DataError: the file cannot be written.
    """
    draws = {name: values.numpy(force=True)[None] for name, values in posterior.draws.items()}
    attrs = {"created_by": f"probpose {__version__}", **posterior.facts()}
    write_groups(file, Groups({"posterior": draws}, {}, attrs))


def load_posterior(file: str | PathLike[str]) -> Any:
    """Read a saved posterior into memory as `arviz.InferenceData`.

    Args:
        file: posterior.nc, as `save_posterior`, a calibration or `draw_last_layer` wrote it.

    Raises:
        DataError: the file is missing, damaged, not netCDF, or not written by probpose.
    """
    if not Path(file).is_file():
        raise DataError(f"{file} does not exist. `probpose calibrate` and `probpose annotators` write posterior.nc.")
    _check_whole(Path(file))
    try:
        with az.rc_context({"data.load": "eager"}):
            found = az.from_netcdf(str(file))
    except Exception as error:  # h5py and xarray raise OSError, RuntimeError, KeyError and ValueError on broken files
        raise DataError(
            f"{file} cannot be read as netCDF ({error}): it is truncated or another kind of file."
        ) from None
    needed = ("posterior",) if "last_layer" in found.attrs else _NEEDED
    missing = [group for group in needed if group not in found.groups()]
    if missing:
        raise DataError(f"{file} has no group {', '.join(missing)}: it is not a posterior that probpose saved.")
    return found


def _check_whole(file: Path) -> None:
    """Refuse a file that is not what was written, or that cannot be read in a while.

    Raises:
        DataError: it is damaged.
    """
    with reading(file, "cannot be read"):
        content, found, digest = read_bytes(file).rpartition(_MARK)
    if found:
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise DataError(f"{file} is damaged: its content is not what was written (SHA-256 differs). Make it again.")
        return
    command = [sys.executable, "-c", _PROBE, str(file)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_LIMIT_S)
    except (subprocess.SubprocessError, OSError) as error:
        said = "it takes for ever" if isinstance(error, subprocess.TimeoutExpired) else "by h5py"
        raise DataError(
            f"{file} cannot be read as netCDF ({said}): it is truncated, damaged or another kind of file."
        ) from None


def _choose(available: int, most: int, seed: int) -> Index:
    """Rows in ascending order, at most `most`, chosen at random."""
    if available <= most:
        return np.arange(available, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(available, most, replace=False))


def write_groups(file: Path, groups: Groups) -> None:
    """Write an InferenceData, whole or not at all, with a digest at its end.

    Raises:
        DataError: the file cannot be written, such as on a full disk.
    """
    content = _netcdf(groups)  # in memory, because HDF5 may crash the process where it meets a full disk
    try:
        write_atomically(file, content + _MARK + hashlib.sha256(content).hexdigest().encode())
    except OSError as error:
        raise DataError(
            f"{file} could not be written ({error}). Make room or choose another folder; nothing has been replaced."
        ) from None


def _netcdf(groups: Groups) -> bytes:
    """A netCDF file with one dataset a group, compressed."""
    datasets = {
        name: az.dict_to_dataset(
            columns,
            coords={dim: groups.coords[dim] for dims in groups.dims(name).values() for dim in dims},
            dims=groups.dims(name),
            default_dims=[] if name in ("observed_data", "constant_data") else ["chain", "draw"],
        )
        for name, columns in groups.arrays.items()
    }
    tree: DataTree = az.InferenceData(**datasets).to_datatree()
    tree.attrs.update(groups.attrs)
    encoding = {
        f"/{name}": {variable: {"zlib": True} for variable in data.data_vars} for name, data in datasets.items()
    }
    return bytes(tree.to_netcdf(engine="h5netcdf", encoding=encoding))
