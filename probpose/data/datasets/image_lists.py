"""Images to predict for, as COCO lists those of its test sets: without annotations."""

from __future__ import annotations

__all__ = ["IMAGE_SETS", "listed_images", "open_images", "read_image_info"]

from pathlib import Path

import numpy as np

from probpose.data.datasets.catalogue import dataset_root
from probpose.data.datasets.coco import image_names, keypoint_categories, load_json
from probpose.data.persons import Persons
from probpose.errors import ConfigError, DataError
from probpose.skeleton import Skeleton

IMAGE_SETS = {
    "val": ("annotations/person_keypoints_val2017.json", "val2017"),
    "test-dev": ("annotations/image_info_test-dev2017.json", "test2017"),
}
"""COCO 2017's list of images and their folder, by split."""

_HELP = """COCO's images are not in {root}: {missing} is missing. Download from https://cocodataset.org/#download
  test-dev: "2017 Test images" and "2017 Testing Image info"; val: "2017 Val images" and "2017 Train/Val annotations",
  and unpack them to {root}/{listing} and {root}/{folder}/*.jpg
Name another folder with --data-root or the environment variable PROBPOSE_DATA."""


def open_images(split: str, skeleton: Skeleton, root: Path | None = None) -> Persons:
    """The images of a split of COCO 2017, as `read_image_info` gives them.

    Args:
        split: a key of `IMAGE_SETS`.
        skeleton: what is to be predicted.
        root: COCO's folder; by default `$PROBPOSE_DATA` or `./data/coco`.

    Raises:
        ConfigError: no such split.
        DataError: the files are missing or cannot be read.
    """
    if split not in IMAGE_SETS:
        raise ConfigError(f"no images are called {split!r}: choose from {', '.join(IMAGE_SETS)}.")
    root = dataset_root("coco", root)
    listing, folder = IMAGE_SETS[split]
    for part in (listing, folder):
        if not (root / part).exists():
            raise DataError(_HELP.format(root=root, missing=part, listing=listing, folder=folder))
    return read_image_info(root / listing, root / folder, skeleton, name=f"coco {split}2017")


def read_image_info(file: Path, image_dir: Path, skeleton: Skeleton, name: str | None = None) -> Persons:
    """A table without persons whose `annotations` is the file, for `read_boxes` to find images and categories in.

    Args:
        file: a COCO file with `images` and `categories`, such as image_info_test-dev2017.json; an annotation file too.
        image_dir: folder of the images.
        skeleton: what is to be predicted.
        name: what messages call the images; by default the file's name.

    Raises:
        DataError: the file is missing or of another kind, its persons have other joints, or there is no such folder.
    """
    listed_images(file, len(skeleton))
    if not image_dir.is_dir():
        raise DataError(f"{image_dir} is not a folder: name the folder of the images with --image-dir.")
    return Persons(
        name=name or file.stem,
        skeleton=skeleton,
        image_dir=image_dir,
        annotations=file,
        image_id=np.empty(0, dtype=np.int64),
        file_name=(),
        annotation_id=np.empty(0, dtype=np.int64),
        box=np.empty((0, 4)),
        area=np.empty(0),
        keypoints=np.empty((0, len(skeleton), 2)),
        visibility=np.empty((0, len(skeleton)), dtype=np.int64),
    )


def listed_images(file: Path, joints: int) -> tuple[dict[int, str], set[int]]:
    """File name by image id, and the categories with keypoints; where there is none, the one called "person".

    The files of COCO's test sets list the 80 object categories, none of which has keypoints.

    Raises:
        DataError: the file lists no images or no such category, or one with another number of joints than `joints`.
    """
    document = load_json(file)
    lists = {key: document.get(key) if isinstance(document, dict) else None for key in ("images", "categories")}
    missing = [key for key, value in lists.items() if not isinstance(value, list)]
    if missing:
        raise DataError(f"{file} lists no {' and no '.join(missing)}: expected a COCO image-info or annotation file.")
    names, ids = image_names(document), keypoint_categories(document)
    records = [c for c in document["categories"] if isinstance(c, dict) and isinstance(c.get("id"), int)]
    other = [c for c in records if c["id"] in ids and len(c["keypoints"]) != joints]
    if other:
        found = f"category {other[0]['id']} has {len(other[0]['keypoints'])} joints, the run {joints}"
        raise DataError(f"{file}: {found}. Use a run that was trained for these joints.")
    ids = ids or {c["id"] for c in records if c.get("name") == "person"}
    if not names or not ids:
        what = "image with id and file_name" if not names else "category with keypoints and none called 'person'"
        raise DataError(f"{file} lists no {what}: is it the image-info file of a keypoint data set?")
    return names, ids
