"""Crops that are cut all at once, on the device: those that are cut one by one, from the same draws."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from probpose.data.crops import Augmentation, Crop, crop_from_box
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.datasets.pack import pack_persons
from probpose.data.loading import Batch, CropDataset, loader
from probpose.data.persons import Persons
from probpose.data.surroundings import room, seen
from probpose.inference.feeding import moved_ahead
from probpose.inference.training.config import default_config, save_config
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import resume_training, start_training

SIZE = (64, 48)
STRONG = Augmentation(flip=0.5, scale=(0.4, 2.2), shift=0.3, rotation=60, half_body=0.4, colour=0.4)


@pytest.fixture(scope="module")
def original(figures: Path) -> Persons:
    return open_dataset("synthetic", "train", root=figures)


@pytest.fixture(scope="module")
def packed(original: Persons, tmp_path_factory: pytest.TempPathFactory) -> Persons:
    folder = tmp_path_factory.mktemp("packed")
    pack_persons(original, folder, input_size=SIZE)
    return open_dataset("packed", "train", root=folder)


def both(persons: Persons, augmentation: Augmentation, epoch: int = 2) -> tuple[Batch, Batch]:
    """The batch of all persons cut by the loader, and cut by `to`."""
    sets = (CropDataset(persons, SIZE, augmentation=augmentation, seed=3, uncut=uncut) for uncut in (False, True))
    one, other = (dataset.at_epoch(epoch)[range(len(persons))] for dataset in sets)
    return one, other.to("cpu")


def difference(one: Tensor, other: Tensor) -> Tensor:
    return (one.double() - other.double()).abs()


@pytest.mark.parametrize("augmentation", [Augmentation.none(), Augmentation(), STRONG], ids=["none", "usual", "strong"])
@pytest.mark.parametrize("kind", ["original", "packed"])
def test_crops_are_those_of_the_loader(kind: str, augmentation: Augmentation, request: pytest.FixtureRequest) -> None:
    """Within the fractions of a pixel and of a grey level that OpenCV rounds to; labels exactly."""
    expected, found = both(request.getfixturevalue(kind), augmentation)
    for name in ("keypoints", "labelled", "visibility", "flipped", "to_image", "person"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.unreadable == expected.unreadable
    assert found.image.shape == expected.image.shape
    assert found.image.dtype == torch.uint8
    levels = difference(found.image, expected.image)
    assert levels.mean() < 0.3
    assert (levels > 2).double().mean() < 2e-3
    assert difference(found.image.roll(1, -1), expected.image).mean() > 5 * levels.mean()  # no shift goes unnoticed


def test_real_photographs_too(shared_data: Path) -> None:
    persons = open_dataset("coco", "val", root=shared_data / "coco").select(np.arange(40))
    expected, found = both(persons, STRONG)
    levels = difference(found.image, expected.image)
    assert levels.mean() < 0.3
    assert (levels > 2).double().mean() < 2e-3


@pytest.mark.parametrize("rotation", [0.0, 20.0, 60.0, 180.0])
def test_what_crops_see_has_room(original: Persons, rotation: float) -> None:
    """Sizes from far below to far above the image's resolution; the room is of use, and never too small."""
    sizes = np.geomspace(0.3, 8, len(original))
    at = crop_from_box(original.box, SIZE)
    turns = np.linspace(-rotation, rotation, len(original))
    parts = [
        seen(np.ones((2000, 2000, 3), dtype=np.uint8), frame, SIZE)
        for frame in Crop(at.centre + 900, at.size * sizes[:, None], turns).to_image
    ]
    high, wide = np.array([part.pixels.shape[:2] for part in parts]).max(0)
    space = room(SIZE, rotation)
    assert 0.85 * space[0] < high <= space[0]
    assert 0.85 * space[1] < wide <= space[1]


def test_a_crop_beside_its_image_is_black(original: Persons) -> None:
    """Its box meets the image, and the crop, shifted, does not."""
    away = replace(Augmentation.none(), shift=1.0, scale=(0.05, 0.05))
    expected, found = both(original, away)
    beside = (expected.image == 0).flatten(1).all(1)
    assert beside.any()
    assert not found.image[beside].count_nonzero()


def test_a_crop_that_has_no_pixels_is_left_out(original: Persons) -> None:
    names = tuple("missing.png" if i in (0, 3) else name for i, name in enumerate(original.file_name))
    expected, found = both(replace(original, file_name=names), Augmentation())
    assert found.person.tolist() == expected.person.tolist()
    assert found.unreadable == expected.unreadable
    assert len(found.unreadable) == 2
    assert len(found.image) == len(original) - 2
    nothing = CropDataset(replace(original, file_name=("missing.png",) * len(original)), SIZE, uncut=True)[[0, 1]]
    assert nothing.to("cpu").image.shape == (0, 3, *SIZE)


def test_any_batch_and_any_worker_gives_the_same_crop(packed: Persons) -> None:
    dataset = CropDataset(packed, SIZE, augmentation=STRONG, seed=1, uncut=True)
    whole = dataset[range(len(packed))].to("cpu").image
    for workers, size in ((0, 3), (2, 8)):
        parts = [batch.to("cpu") for batch in loader(dataset, size, workers=workers)]
        images = torch.cat([batch.image for batch in parts])
        assert torch.equal(images, whole)


def test_every_batch_arrives_once_and_in_order(packed: Persons) -> None:
    dataset = CropDataset(packed, SIZE, uncut=True)
    found = [batch.person.tolist() for batch in moved_ahead(loader(dataset, 8), torch.device("cpu"))]
    assert list(itertools.chain(*found)) == list(range(len(packed)))


def test_a_run_cut_on_its_device_resumes_to_the_bit(packed: Persons, tmp_path: Path) -> None:
    """Stopped after an epoch; with accumulated batches. Cut by the workers it is another run, though hardly."""
    config = default_config("packed", backbone="small", data_root=str(packed.image_dir), device="cpu", workers=0)
    config = config.changed(batch_size=16, input_size=SIZE, accumulate=2, warmup=0, epochs=2, flip=0.5)
    config = config.changed(augment_on="device")
    folders = {name: RunFolder(tmp_path / name) for name in ("whole", "stopped", "cpu")}
    start_training(config, folders["whole"], quiet=True)
    start_training(config.changed(epochs=1), folders["stopped"], quiet=True)
    save_config(config, folders["stopped"].config)
    resume_training(folders["stopped"], quiet=True)
    start_training(config.changed(augment_on="cpu"), folders["cpu"], quiet=True)
    whole, stopped, cpu = (safetensors.torch.load_file(folder.last) for folder in folders.values())
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())
    assert not all(torch.equal(value, cpu[name]) for name, value in whole.items())
    nll = {name: read_log(folder.log)[-1]["selection_nll_nats"] for name, folder in folders.items()}
    assert nll["cpu"] == pytest.approx(nll["whole"], abs=0.5)


class Stream:
    """Stands for a CUDA stream and its events, and writes down who waits."""

    def __init__(self, *_: object) -> None:
        self.waited = 0

    def record_event(self) -> Stream:
        return self

    def wait_event(self, event: Stream) -> None:
        assert event is not self
        self.waited += 1


def test_on_a_gpu_a_batch_is_moved_ahead_of_the_one_that_is_computed_on(
    packed: Persons, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, kept = Stream(), []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current)
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: kept.append(tensor))
    moved: list[int] = []

    def move(batch: Batch) -> Batch:
        moved.append(int(batch.person[0]))
        return batch.to("cpu")

    dataset, seen_before = CropDataset(packed, SIZE, uncut=True), []
    for batch in moved_ahead(loader(dataset, 8), torch.device("cuda"), move):
        seen_before.append((int(batch.person[0]), len(moved)))
        assert any(batch.image is tensor for tensor in kept)
    starts = list(range(0, len(packed), 8))
    assert [start for start, _ in seen_before] == starts == moved
    assert [count for _, count in seen_before] == [min(i + 2, len(starts)) for i in range(len(starts))]
    assert current.waited == len(starts)
