"""Datasets by name.

`register_dataset` adds one (docs/extend/add_a_dataset.md); anything in COCO's format needs none, see `annotations` of
`open_dataset`.
"""

from __future__ import annotations

__all__ = [
    "DATASETS",
    "Reader",
    "Split",
    "dataset_root",
    "examine_dataset",
    "examine_splits",
    "make_figures",
    "open_dataset",
    "register_dataset",
]

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from probpose.arrays import numbers
from probpose.data.datasets.coco import CocoOptions, examine_coco
from probpose.data.datasets.lsp import LSP, LSPET, Leeds, examine_leeds
from probpose.data.datasets.pack import examine_packed
from probpose.data.datasets.reading import Reading
from probpose.data.persons import Persons
from probpose.data.synthetic import SyntheticSpec, read_spec, truth_file, write_synthetic
from probpose.errors import ConfigError, DataError
from probpose.files import reading

Split = Literal["train", "val"]
_SPLITS: tuple[Split, ...] = ("train", "val")

Reader = Callable[[Split, Path | None], Reading]
"""Reads a split of a dataset, given the folder that a user names, or None."""

FIGURES = Path("data/synthetic")
"""Where the synthetic figures are by default."""

_COCO_HELP = """COCO is not in {root}: {missing} is missing. Download from https://cocodataset.org/#download
  "2017 Train images", "2017 Val images" and "2017 Train/Val annotations", and unpack them to
  {root}/annotations/person_keypoints_train2017.json and person_keypoints_val2017.json
  {root}/train2017/*.jpg
  {root}/val2017/*.jpg
Name another folder with --data-root or the environment variable PROBPOSE_DATA."""


def open_dataset(
    name: str,
    split: Split,
    *,
    root: Path | None = None,
    annotations: Path | None = None,
    image_dir: Path | None = None,
    options: CocoOptions | None = None,
) -> Persons:
    """Persons of a dataset, or of any COCO-format keypoint file.

    Args:
        name: a key of `DATASETS`; not looked at when `annotations` is given.
        split: "train" or "val".
        root: the dataset's folder; by default `$PROBPOSE_DATA` or `./data/NAME`, and `./data/synthetic` for the
            synthetic figures.
        annotations: a COCO-format keypoint file to read in place of a named dataset.
        image_dir: where its images are; by default the folder of `annotations`.
        options: how that file is read.

    Raises:
        ConfigError: no such dataset or split, or options that do not go together.
        DataError: the data are missing or cannot be read, or no person can be used.
    """
    reading = examine_dataset(name, split, root=root, annotations=annotations, image_dir=image_dir, options=options)
    return reading.usable()


def examine_dataset(
    name: str,
    split: Split,
    *,
    root: Path | None = None,
    annotations: Path | None = None,
    image_dir: Path | None = None,
    options: CocoOptions | None = None,
) -> Reading:
    """What `open_dataset` opens, with every record that it leaves out; no person need be usable.

    Raises:
        ConfigError: as `open_dataset`.
        DataError: the data are missing or cannot be read.
    """
    if split not in ("train", "val"):
        raise ConfigError(f"split is {split!r}: expected 'train' or 'val'.")
    if annotations is not None:
        folder = annotations.parent if image_dir is None else image_dir
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder: name the folder of the images with --image-dir.")
        return examine_coco(annotations, folder, options)
    if image_dir is not None or options not in (None, CocoOptions()):
        raise ConfigError(
            "image_dir, flip_pairs, category and boxes go with an annotation file: name one, or leave them out."
        )
    if name not in DATASETS:
        raise ConfigError(f"no dataset is called {name!r}: choose from {', '.join(DATASETS)}, or name annotations.")
    return DATASETS[name](split, root)


def examine_splits(name: str, *, root: Path | None = None) -> list[Reading]:
    """Both splits of a dataset, training first.

    Raises:
        ConfigError: no such dataset.
        DataError: a split cannot be read; where the other one can, the message says so.
    """
    readings: list[Reading] = []
    errors: dict[Split, DataError] = {}
    for split in _SPLITS:
        try:
            readings.append(examine_dataset(name, split, root=root))
        except DataError as error:
            errors[split] = error
    if len(errors) == 1:
        ((split, fault),) = errors.items()
        other = "val" if split == "train" else "train"
        raise DataError(f"{fault}\nThe other split can be read: choose it alone with --split {other}.") from fault
    if errors:
        raise errors["train"]
    return readings


def _coco(split: Split, root: Path | None) -> Reading:
    root = dataset_root("coco", root)
    for part in (f"annotations/person_keypoints_{split}2017.json", f"{split}2017"):
        if not (root / part).exists():
            raise DataError(_COCO_HELP.format(root=root, missing=part))
    return _read_layout("coco", split, root)


def _leeds(spec: Leeds) -> Reader:
    return lambda split, root: examine_leeds(spec, split, dataset_root(spec.name, root))


def dataset_root(name: str, root: Path | None) -> Path:
    """The folder of a dataset: `root`, or by default `$PROBPOSE_DATA` or `./data/NAME`."""
    return root or Path(os.environ.get("PROBPOSE_DATA") or f"data/{name}")


def _synthetic(split: Split, root: Path | None) -> Reading:
    root = root or FIGURES
    if not root.exists():
        raise DataError(f"{root} does not exist: make synthetic figures with `probpose data synth --out {root}`.")
    read_spec(root)
    reading = _read_layout("synthetic", split, root)
    truth = _truth(truth_file(root, split), reading.persons)
    return replace(reading, persons=replace(reading.persons, truth=truth))


def make_figures() -> None:
    """Render the synthetic figures into their default folder, unless it is there.

    Raises:
        DataError: it cannot be written.
    """
    if not FIGURES.exists():
        spec = SyntheticSpec()
        write_synthetic(FIGURES, spec.images, spec.seed)


def _read_layout(name: str, split: Split, root: Path) -> Reading:
    annotations = root / "annotations" / f"person_keypoints_{split}2017.json"
    return examine_coco(annotations, root / f"{split}2017", name=f"{name} {split}2017")


def _truth(file: Path, persons: Persons) -> npt.NDArray[np.float64]:
    """(P, 17, 4) true x, y and scale of the persons, matched by annotation id."""
    with (
        reading(
            file,
            "cannot be read as the truth of a data set",
            advice="make the data set again with `probpose data synth`.",
        ),
        file.open("rb") as stream,
        np.load(stream, allow_pickle=False) as arrays,
    ):
        ids = numbers(arrays["annotation_id"], "annotation_id", (None,))
        shape = (len(ids), len(persons.skeleton), 2)
        parts = [numbers(arrays[name], name, shape) for name in ("position", "scale")]
    rows, places = np.concatenate(parts, axis=-1), {int(number): i for i, number in enumerate(ids)}
    missing = [int(number) for number in persons.annotation_id if int(number) not in places]
    if missing:
        raise DataError(f"{file} lacks annotation {missing[0]}: remove the data set's folder to make it again.")
    return np.asarray(rows[[places[int(number)] for number in persons.annotation_id]], dtype=np.float64)


def register_dataset(name: str, reader: Reader) -> None:
    """Let a dataset be opened by name, and be chosen by the option `--dataset`.

    Args:
        name: for `open_dataset` and configurations.
        reader: (split, root) -> Reading; raises DataError where the files are missing or cannot be read.

    Raises:
        ConfigError: the name is taken.
    """
    if name in _READERS:
        raise ConfigError(f"a dataset is already called {name!r}: register yours under another name.")
    _READERS[name] = reader


_READERS: dict[str, Reader] = {
    "coco": _coco,
    "lsp": _leeds(LSP),
    "lspet": _leeds(LSPET),
    "packed": lambda split, root: examine_packed(split, dataset_root("packed", root)),
    "synthetic": _synthetic,
}

DATASETS: Mapping[str, Reader] = MappingProxyType(_READERS)
"""Readers by dataset name; `register_dataset` adds to them."""
