"""Batches: labels and pixels agree, flips mirror, faults are listed, and workers change nothing."""

from __future__ import annotations

import os
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from probpose.data.crops import Augmentation
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.loading import Batch, CropDataset, loader, make_loader
from probpose.data.persons import Persons
from tests.conftest import blob, make_persons, save_image

STRONG = Augmentation(flip=0.5, scale=(0.7, 1.4), shift=0.15, rotation=40.0, half_body=0.5, colour=0.4)
PLACE = (61.3, 47.8)


@pytest.fixture
def one_blob(tmp_path: Path) -> Persons:
    """Eight persons in one picture, all of whose joints are on a blob of light."""
    save_image(tmp_path / "blob.png", blob((100, 120), PLACE, 3.0))
    return make_persons(tmp_path, ["blob.png"] * 8, [30, 20, 60, 55], [list(PLACE)] * 17)


def same(one: Batch, other: Batch) -> bool:
    names = ("image", "keypoints", "labelled", "visibility", "flipped", "to_image", "person")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def light(image: torch.Tensor) -> torch.Tensor:
    """Centroid (x, y), in network coordinates, of the light in an image (3, H, W)."""
    weight = image[0].double()
    height, width = weight.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = torch.stack([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    return (centre + 0.5) / torch.tensor([width, height]) - 0.5


def test_shapes_and_types(one_blob: Persons) -> None:
    batch = next(iter(make_loader(one_blob, (48, 32), 5)))
    assert batch.image.shape == (5, 3, 48, 32)
    assert batch.image.dtype == torch.uint8
    assert batch.keypoints.shape == (5, 17, 2)
    assert batch.keypoints.dtype == torch.float32
    assert batch.labelled.dtype == torch.bool
    assert batch.visibility.dtype == torch.int64
    assert batch.to_image.shape == (5, 2, 3)
    assert batch.to_image.dtype == torch.float64
    assert batch.person.tolist() == [0, 1, 2, 3, 4]
    assert len(batch) == 5


@pytest.mark.parametrize("input_size", [(64, 64), (64, 48)])
def test_pixels_labels_and_affine_agree(one_blob: Persons, input_size: tuple[int, int]) -> None:
    """Augmented crops: the light is at the keypoint, mirrored where flipped, to a tenth of a pixel."""
    settings = replace(STRONG, half_body=0.0, scale=(0.9, 1.4), colour=0.0)
    tolerance = 0.1 / min(input_size)
    flips = set()
    for epoch in range(3):
        for batch in make_loader(one_blob, input_size, 8, augmentation=settings, epoch=epoch):
            for i in range(len(batch)):
                flips.add(bool(batch.flipped[i]))
                sign = torch.tensor([-1.0 if batch.flipped[i] else 1.0, 1.0])
                seen = light(batch.image[i]) * sign
                assert (seen - batch.keypoints[i, 0]).abs().max() < tolerance
                affine = batch.to_image[i]
                place = affine[:, :2] @ batch.keypoints[i, 0].double() + affine[:, 2]
                np.testing.assert_allclose(place, PLACE, atol=1e-4)
    assert flips == {True, False}


def test_a_flip_mirrors_the_pixels_and_nothing_else(one_blob: Persons) -> None:
    plain = next(iter(make_loader(one_blob, (64, 48), 8)))
    flip = replace(Augmentation.none(), flip=1.0)
    flipped = next(iter(make_loader(one_blob, (64, 48), 8, augmentation=flip)))
    assert torch.equal(flipped.image, plain.image.flip(-1))
    assert torch.equal(flipped.keypoints, plain.keypoints)
    assert torch.equal(flipped.to_image, plain.to_image)
    assert flipped.flipped.all()
    assert not plain.flipped.any()


def test_unlabelled_joints_are_zero(one_blob: Persons) -> None:
    visibility = one_blob.visibility.copy()
    visibility[:, 3] = 0
    visibility[:, 4] = 1
    batch = next(iter(make_loader(replace(one_blob, visibility=visibility), (64, 48), 8)))
    assert not batch.labelled[:, 3].any()
    assert not batch.keypoints[:, 3].any()
    assert batch.labelled[:, 4].all()
    assert batch.keypoints[:, 4].all()


def test_half_body_looks_closer(figures: Path) -> None:
    persons = open_dataset("synthetic", "train", root=figures)
    whole = next(iter(make_loader(persons, (64, 64), 40)))
    half = replace(Augmentation.none(), half_body=1.0)
    closer = next(iter(make_loader(persons, (64, 64), 40, augmentation=half)))
    ratio = closer.to_image[:, 0, 0] / whole.to_image[:, 0, 0]
    assert ratio.median() < 0.8


def test_workers_change_nothing(figures: Path) -> None:
    persons = open_dataset("synthetic", "train", root=figures)
    runs = [
        list(make_loader(persons, (32, 24), 8, augmentation=STRONG, shuffle=True, seed=4, epoch=2, workers=workers))
        for workers in (0, 2)
    ]
    assert len(runs[0]) == len(runs[1]) == -(-len(persons) // 8)
    assert all(same(one, other) for one, other in zip(*runs, strict=True))


def test_no_more_workers_than_cores_are_started(one_blob: Persons) -> None:
    """Of more, torch warns, which is an error in tests."""
    batches = make_loader(one_blob, (16, 16), 4, workers=1000)
    assert 1 <= batches.num_workers <= (os.cpu_count() or 1)
    assert sum(map(len, batches)) == len(one_blob)


def test_order_and_augmentation_follow_seed_and_epoch(figures: Path) -> None:
    persons = open_dataset("synthetic", "train", root=figures)
    dataset = CropDataset(persons, (32, 24), augmentation=STRONG, seed=1)

    def rows(epoch: int, shuffle: bool = True) -> list[int]:
        return [row for batch in loader(dataset, 8, shuffle=shuffle, epoch=epoch) for row in batch.person.tolist()]

    assert rows(0) == rows(0)
    assert rows(0) != rows(1)
    assert sorted(rows(1)) == rows(0, shuffle=False) == list(range(len(persons)))
    first, again, other = (dataset.at_epoch(epoch)[[3, 5]] for epoch in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)
    assert same(dataset.at_epoch(1)[[5]], CropDataset(persons, (32, 24), augmentation=STRONG, seed=1).at_epoch(1)[[5]])
    assert torch.equal(dataset.at_epoch(0)[[5]].image[0], first.image[1])


def test_a_loader_keeps_its_epoch(figures: Path) -> None:
    dataset = CropDataset(open_dataset("synthetic", "val", root=figures), (32, 24), augmentation=STRONG)
    early = loader(dataset, 4, epoch=1)
    loader(dataset, 4, epoch=2)
    assert same(next(iter(early)), dataset.at_epoch(1)[[0, 1, 2, 3]])


def test_cache_lasts_and_changes_nothing(tmp_path: Path, one_blob: Persons) -> None:
    dataset = CropDataset(one_blob, (32, 32), augmentation=STRONG)
    fresh = CropDataset(one_blob, (32, 32), augmentation=STRONG, cache=False)
    kept = next(iter(loader(dataset, 8, epoch=3)))
    assert same(kept, fresh.at_epoch(3)[list(range(8))])
    (tmp_path / "blob.png").unlink()
    assert same(next(iter(loader(dataset, 8, epoch=3))), kept)
    assert len(fresh[[0]]) == 0


def test_unreadable_images_are_dropped_and_listed(tmp_path: Path) -> None:
    picture = blob((60, 60), (30, 30), 5)
    save_image(tmp_path / "good.png", picture)
    save_image(tmp_path / "cut.jpg", picture)
    data = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    files = ["text.jpg", "good.png", "missing.jpg", "cut.jpg", "good.png", "empty.jpg"]
    persons = make_persons(tmp_path, files, [10, 10, 40, 40], [[30.0, 30.0]] * 17)
    batch = next(iter(make_loader(persons, (32, 32), 6, augmentation=STRONG)))
    assert batch.person.tolist() == [1, 4]
    assert batch.image.shape[0] == batch.keypoints.shape[0] == 2
    listed = dict(line.split(": ", 1) for line in batch.unreadable)
    assert {Path(file).name for file in listed} == set(files) - {"good.png"}
    assert "No such file" in listed[str(tmp_path / "missing.jpg")]
    assert "truncated" in listed[str(tmp_path / "cut.jpg")]


def test_a_batch_without_readable_images_is_empty(tmp_path: Path) -> None:
    persons = make_persons(tmp_path, ["a.jpg", "b.jpg"], [0, 0, 9, 9], [[1.0, 1.0]] * 17)
    batch = next(iter(make_loader(persons, (32, 24), 2, augmentation=STRONG)))
    assert len(batch) == 0
    assert batch.image.shape == (0, 3, 32, 24)
    assert batch.keypoints.shape == (0, 17, 2)
    assert batch.to_image.shape == (0, 2, 3)
    assert len(batch.unreadable) == 2


def test_to_device(one_blob: Persons) -> None:
    batch = next(iter(make_loader(one_blob, (32, 32), 2))).to("meta")
    assert batch.image.device.type == batch.person.device.type == "meta"
    assert batch.unreadable == []


def test_real_coco_sample_loads(shared_data: Path) -> None:
    persons = open_dataset("coco", "val", root=shared_data / "coco")
    total = 0
    for batch in make_loader(persons, (64, 48), 64, augmentation=STRONG):
        assert batch.unreadable == []
        total += len(batch)
    assert total == 217


def test_an_image_of_several_persons_is_decoded_once_and_let_go(
    one_blob: Persons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most one image is in memory at a time, and each is decoded once a batch."""
    for i in range(3):
        save_image(one_blob.image_dir / f"{i}.png", blob((100, 120), PLACE, 3.0))
    names = tuple(f"{i % 3}.png" for i in range(len(one_blob)))
    persons = replace(one_blob, file_name=names, image_id=np.arange(len(names)) % 3)
    alive: list[weakref.ref[object]] = []
    sound = Persons.reduced_picture

    def picture(table: Persons, name: str, block: int) -> object:
        assert not any(one() is not None for one in alive)
        image = sound(table, name, block)
        alive.append(weakref.ref(image))
        return image

    expected = CropDataset(persons, (32, 32))[range(8)]
    monkeypatch.setattr(Persons, "reduced_picture", picture)
    found = CropDataset(persons, (32, 32), cache=False)[range(8)]
    assert len(alive) == 3
    assert same(found, expected)


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ([200.0, 10, 20, 20], r"does not meet the image"),
        ([-50.0, 10, 50, 20], r"does not meet the image"),
        ([10.0, 1e30, 20, 20], r"does not meet the image"),
        ([0.0, 0, 3e4, 3e4], "more than 100 images wide"),
        ([-1e18, -1e18, 2e18, 2e18], "more than 100 images wide"),
    ],
)
def test_a_box_that_its_image_cannot_have_is_named_and_left_out(
    one_blob: Persons, box: list[float], fault: str
) -> None:
    boxes = one_blob.box.copy()
    boxes[3] = box
    batch = CropDataset(replace(one_blob, box=boxes), (32, 32))[range(8)]
    assert batch.person.tolist() == [0, 1, 2, 4, 5, 6, 7]
    (line,) = batch.unreadable
    assert line.startswith(f"{one_blob.path(3)}: box [")
    assert "in 120 x 100 pixels" in line
    assert fault in line


def test_boxes_larger_than_the_image_are_cut(one_blob: Persons) -> None:
    batch = CropDataset(replace(one_blob, box=one_blob.box * 0 + [-900, -900, 2000, 2000]), (32, 32))[[0]]
    assert batch.unreadable == []
    assert batch.image.any()
