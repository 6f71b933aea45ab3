"""Images to predict for, as COCO lists those of its test sets: without annotations."""

from __future__ import annotations

__all__ = ["IMAGE_SETS", "Listing", "open_images", "read_image_info", "read_listing"]

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probpose.data.datasets.catalogue import dataset_root
from probpose.data.datasets.coco import sift_images
from probpose.data.datasets.document import Key, id_key, keypoint_categories, load_json, tidy
from probpose.data.datasets.file_names import by_name, find_image
from probpose.data.joints import JointMap, match_joints
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


def read_image_info(
    file: Path,
    image_dir: Path,
    skeleton: Skeleton,
    name: str | None = None,
    *,
    category: str | None = None,
    joint_map: JointMap | None = None,
    common: bool = False,
) -> Persons:
    """A table without persons whose `annotations` is the file, for `read_boxes` to find images and categories in.

    Args:
        file: a COCO file with `images` and `categories`, such as image_info_test-dev2017.json; an annotation file too.
        image_dir: folder of the images.
        skeleton: what is to be predicted.
        name: what messages call the images; by default the file's name.
        category: id or name of the category that counts; by default all with keypoints.
        joint_map: see `match_joints`.
        common: likewise.

    Raises:
        DataError: the file is missing or of another kind, its persons have other joints, or there is no such folder.
    """
    listing = read_listing(file, category)
    if not image_dir.is_dir():
        raise DataError(f"{image_dir} is not a folder: name the folder of the images with --image-dir.")
    own = skeleton if listing.joints is None else Skeleton.from_names(listing.joints)
    images = Persons(
        name=name or file.stem,
        skeleton=own,
        image_dir=image_dir,
        annotations=file,
        image_id=np.empty(0, dtype=np.int64),
        file_name=(),
        annotation_id=np.empty(0, dtype=np.int64),
        box=np.empty((0, 4)),
        area=np.empty(0),
        keypoints=np.empty((0, len(own), 2)),
        visibility=np.empty((0, len(own)), dtype=np.int64),
        category=category,
    )
    return match_joints(images, skeleton, joint_map, common=common)


@dataclass(frozen=True)
class Listing:
    """What a COCO file lists.

    Attributes:
        names: file name by image id.
        stated: image id by what the file calls it, where that is another than the id.
        categories: id by name of the categories whose persons count; None: all count.
        joints: of these categories; None where the file names none.
    """

    names: dict[int, str]
    stated: dict[Key, int]
    categories: dict[str, int] | None
    joints: tuple[str, ...] | None = None

    @classmethod
    def of(cls, persons: Persons) -> Listing:
        """Of the file of a table, so that images without persons are listed too; of the table where it has none."""
        if persons.annotations is None:
            return cls(dict(zip(persons.image_id.tolist(), persons.file_name, strict=True)), {}, None)
        return read_listing(persons.annotations, persons.category)

    def image(self, value: object) -> int | None:
        """The id of the image that another file calls `value` (`find_image`)."""
        return find_image(value, self.names, self.stated, self._index)

    @cached_property
    def _index(self) -> dict[str, dict[str, list[int]]]:
        return by_name(self.names)

    def counts(self, category: object) -> bool:
        """Whether persons count that another file puts into `category`, by id or name."""
        if self.categories is None:
            return True
        key = id_key(category)
        return key in self.categories or key in self.categories.values()

    @property
    def category(self) -> int:
        """The id that predicted persons get."""
        return 1 if self.categories is None else min(self.categories.values())


def read_listing(file: Path, category: str | None = None) -> Listing:
    """The images of a COCO file, and its categories with keypoints; where there is none, the one called "person".

    The files of COCO's test sets list the 80 object categories, none of which has keypoints.

    Raises:
        DataError: the file lists no images or no such category, or several with different joints.
    """
    document = load_json(file)
    lists = {key: document.get(key) if isinstance(document, dict) else None for key in ("images", "categories")}
    missing = [key for key, value in lists.items() if not isinstance(value, list)]
    if missing:
        raise DataError(f"{file} lists no {' and no '.join(missing)}: expected a COCO image-info or annotation file.")
    tidy(document, file, category)
    names, ids = sift_images(document, file)[0], keypoint_categories(document)
    records = [c for c in document["categories"] if isinstance(c, dict) and type(c.get("id")) is int]
    ids = ids or {c["id"] for c in records if c.get("name") == "person"}
    if not names or not ids:
        what = "image with id and file_name" if not names else "category with keypoints and none called 'person'"
        raise DataError(f"{file} lists no {what}: is it the image-info file of a keypoint data set?")
    records = [c for c in records if c["id"] in ids]
    joints = {
        tuple(map(str, c["keypoints"])) for c in records if isinstance(c.get("keypoints"), list) and c["keypoints"]
    }
    if len(joints) > 1:
        called = ", ".join(str(c.get("name")) for c in records)
        raise DataError(f"{file}: the categories {called} have different joints; choose one of them with --category.")
    known = {str(c.get("name", c["id"])): c["id"] for c in records}
    return Listing(names, _stated(document["images"]), known, next(iter(joints), None))


def _stated(records: list[Any]) -> dict[Key, int]:
    """Id of an image by what the file calls it, where that is another."""
    keyed = [(id_key(r["stated id"]), r["id"]) for r in records if isinstance(r, dict) and "stated id" in r]
    return {key: image for key, image in keyed if key is not None}
