"""JPEGs decoded at a part of their size: the crop that the whole image gives, faster, whatever else is in the batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from probpose.data.crops import Augmentation, crop_from_box, cut, picture_frame, reductions
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.images import REDUCTIONS, read_image, read_picture
from probpose.data.loading import CropDataset, loader
from probpose.data.persons import Persons
from tests.conftest import blob, make_persons, save_image

SIZE = (64, 48)
PLACE = (333.0, 251.0)


@pytest.fixture
def large(tmp_path: Path) -> Persons:
    """Persons from the input's size to eight times of it, beside each other in a JPEG of odd size."""
    save_image(tmp_path / "a.jpg", blob((601, 803), PLACE, 30.0))
    persons = make_persons(tmp_path, ["a.jpg"] * 5, [0, 0, 1, 1], [list(PLACE)] * 17)
    side = np.array([50, 105, 215, 430, 860]) / 1.25
    box = np.stack([PLACE[0] - side / 3, PLACE[1] - side / 2, side * 0.75, side], -1)
    return replace(persons, box=box)


def whole(persons: Persons) -> Persons:
    """The same persons with their images in memory, which are cut from as they are."""
    names = set(persons.file_name)
    return replace(persons, pictures={name: persons.picture(name) for name in names})  # type: ignore[misc]


def test_a_crop_asks_for_what_it_shrinks_by(large: Persons) -> None:
    assert reductions(crop_from_box(large.box, SIZE).to_image, SIZE).tolist() == [1, 1, 2, 4, 8]
    nothing = np.full((3, 2, 3), [[[np.nan]], [[np.inf]], [[0.0]]])
    assert reductions(nothing, SIZE).tolist() == [1, 8, 1]


@pytest.mark.parametrize("block", REDUCTIONS)
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_stand_for_blocks(large: Persons, block: int, progressive: bool) -> None:
    """Those of the mean over the block, which has no shift."""
    file = large.image_dir / "a.jpg"
    cv2.imwrite(str(file), np.asarray(read_image(file))[..., ::-1], [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])
    image, picture = read_image(file), read_picture(file, block)
    assert not isinstance(image, str)
    assert not isinstance(picture, str)
    assert (picture.block, picture.size) == (block, (803, 601))
    rows, columns = 601 // block, 803 // block
    means = image[: rows * block, : columns * block].reshape(rows, block, columns, block, 3).mean((1, 3))
    assert np.abs(picture.pixels[:rows, :columns] - means).mean() < 1


def test_what_is_no_jpeg_as_stored_is_read_whole(large: Persons) -> None:
    file = large.image_dir / "a.png"
    save_image(file, blob((60, 80), (30, 30), 5.0))
    for picture in (read_picture(file, 4), read_picture(large.image_dir / "a.jpg", 4, upright=True)):
        assert not isinstance(picture, str)
        assert picture.block == 1
        assert picture.pixels.shape[1::-1] == picture.size


def test_a_header_that_says_nothing_is_no_harm(large: Persons) -> None:
    """Filling bytes before a marker are allowed, and hide the size from a simple reader: the image is read whole."""
    file = large.image_dir / "a.jpg"
    data = file.read_bytes()
    file.write_bytes(data[:2] + b"\xff\xff" + data[2:])
    picture = read_picture(file, 4)
    assert not isinstance(picture, str)
    assert (picture.block, picture.size) == (1, (803, 601))


@pytest.mark.parametrize("block", REDUCTIONS)
def test_a_truncated_jpeg_stays_a_fault(large: Persons, block: int) -> None:
    file = large.image_dir / "a.jpg"
    file.write_bytes(file.read_bytes()[:-2000])
    assert read_picture(file, block) == "truncated JPEG"


def test_crops_are_those_of_the_whole_image(large: Persons) -> None:
    """Within a grey level on a smooth image, and the light is where it was."""
    reduced, full = CropDataset(large, SIZE)[range(5)], CropDataset(whole(large), SIZE)[range(5)]
    difference = (reduced.image.double() - full.image.double()).abs().mean((1, 2, 3))
    assert difference.max() < 1, difference
    assert (difference[:2] == 0).all()


def test_photos_give_the_same_crop_within_two_grey_levels(shared_data: Path) -> None:
    """On average over each crop's pixels and the persons that are shrunk; no shade is lost or won."""
    persons = open_dataset("coco", "val", root=shared_data / "coco")
    frames = crop_from_box(persons.box, (256, 192)).to_image
    differences = []
    for row, block in enumerate(reductions(frames, (256, 192)).tolist()):
        if block > 1:
            picture, image = read_picture(persons.path(row), block), read_image(persons.path(row))
            assert not isinstance(picture, str)
            assert not isinstance(image, str)
            assert picture.block == block
            reduced = cut(picture.pixels, picture_frame(frames[row], picture), (256, 192))
            differences.append(reduced.astype(float) - cut(image, frames[row], (256, 192)))
    assert len(differences) > 10
    assert np.mean([np.abs(one).mean() for one in differences]) < 2
    assert abs(np.mean(differences)) < 0.25


def test_neither_batch_nor_cache_nor_workers_change_a_crop(large: Persons) -> None:
    strong = Augmentation(scale=(0.5, 2.0), shift=0.1)
    kept = CropDataset(large, SIZE, augmentation=strong)
    together = kept.at_epoch(2)[range(5)].image
    alone = CropDataset(large, SIZE, augmentation=strong, cache=False).at_epoch(2)
    for row in range(5):
        assert (alone[[row]].image[0] == together[row]).all()
    (batch,) = loader(CropDataset(large, SIZE, augmentation=strong), 5, epoch=2, workers=1)
    assert (batch.image == together).all()


def test_workers_share_what_was_decoded_before(large: Persons) -> None:
    """With the file gone, they still have the image at every size that the epoch needs."""
    strong = Augmentation(scale=(0.5, 2.0))
    batches = loader(CropDataset(large, SIZE, augmentation=strong), 5, epoch=1, workers=1)
    (large.image_dir / "a.jpg").unlink()
    (batch,) = batches
    assert batch.unreadable == []
