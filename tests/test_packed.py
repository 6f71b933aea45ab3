"""Packed crops: the same labels, about the same pixels, from a folder or a server; every fault is named."""

from __future__ import annotations

import json
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

import probpose as pp
from probpose.cli import main
from probpose.data.crops import Augmentation
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.datasets.pack import pack_persons
from probpose.data.loading import CropDataset, loader
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.inference.training.config import default_config, load_config, save_config
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import resume_training, start_training

SIZE = (64, 48)
USUAL = Augmentation()
SHARDS = 3


class Parts(SimpleHTTPRequestHandler):
    """Files of a folder, and parts of them on request."""

    def do_GET(self) -> None:
        """Answer as HTTP says (RFC 9110, 14)."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None:
            super().do_GET()
            return
        first, last = int(wanted[1]), int(wanted[2])
        content = Path(self.translate_path(self.path)).read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Has room for as many that wait to be let in as ask at once."""

    request_queue_size = 64


@pytest.fixture(scope="module")
def original(figures: Path) -> Persons:
    persons = open_dataset("synthetic", "train", root=figures)
    return persons.select(np.argsort(persons.image_id, kind="stable"))


@pytest.fixture(scope="module")
def folder(original: Persons, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed")
    pack_persons(original, out, input_size=SIZE, shards=SHARDS)
    return out


def serve(folder: Path, handler: type[SimpleHTTPRequestHandler]) -> Iterator[str]:
    with Server(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    yield from serve(folder, Parts)


def test_labels_are_those_that_were_packed(original: Persons, folder: Path) -> None:
    packed = open_dataset("packed", "train", root=folder)
    for name in ("image_id", "annotation_id", "box", "area", "keypoints", "visibility", "truth", "stated_size"):
        np.testing.assert_array_equal(getattr(packed, name), getattr(original, name), err_msg=name)
    assert packed.skeleton == original.skeleton
    assert len(set(packed.file_name)) == len(packed)


@pytest.mark.parametrize("augmentation", [Augmentation.none(), USUAL])
def test_crops_are_about_those_of_the_images(original: Persons, folder: Path, augmentation: Augmentation) -> None:
    """The usual jitter stays within the margin: no black border, the same place to a fraction of a pixel."""
    packed = open_dataset("packed", "train", root=folder)
    rows = range(len(packed))
    found = CropDataset(packed, SIZE, augmentation=augmentation, seed=3)[rows]
    expected = CropDataset(original, SIZE, augmentation=augmentation, seed=3)[rows]
    for name in ("keypoints", "labelled", "visibility", "flipped", "to_image", "person"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    difference = (found.image.double() - expected.image.double()).abs()
    assert difference.mean() < 4
    moved = (found.image.double() - expected.image.double().roll(1, -1)).abs()
    assert difference.mean() < 0.7 * moved.mean()
    for border in (difference[:, :, 0], difference[:, :, -1], difference[..., 0], difference[..., -1]):
        assert border.mean() < 8


def test_beyond_the_margin_is_black(original: Persons, tmp_path: Path) -> None:
    pack_persons(original, tmp_path, input_size=SIZE, margin=1.0)
    packed = open_dataset("packed", "train", root=tmp_path)
    wide = replace(Augmentation.none(), scale=(2.0, 2.0))
    image = CropDataset(packed, SIZE, augmentation=wide)[range(len(packed))].image
    assert not image[:, :, : SIZE[0] // 4 - 4].any()
    assert image[:, :, SIZE[0] // 4 : -SIZE[0] // 4].any((2, 3)).all()


def test_a_picture_is_where_it_was(original: Persons, folder: Path) -> None:
    """Of the image's size, so that what is drawn in it stands where it belongs."""
    packed = open_dataset("packed", "train", root=folder)
    image, whole = packed.picture(packed.file_name[0]), original.picture(original.file_name[0])
    assert not isinstance(image, str)
    assert not isinstance(whole, str)
    assert image.shape == whole.shape
    seen = image.any(-1)
    assert seen.mean() > 0.05
    assert np.abs(image[seen].astype(float) - whole[seen]).mean() < 12


def test_shards_are_what_webdataset_reads(original: Persons, folder: Path) -> None:
    """Pairs KEY.jpg and KEY.json, one after the other; each person in one shard."""
    seen = []
    for number in range(SHARDS):
        with tarfile.open(folder / f"train-{number:05d}.tar") as tar:
            names = tar.getnames()
            assert [name.split(".")[1] for name in names] == ["jpg", "json"] * (len(names) // 2)
            assert [name.split(".")[0] for name in names[::2]] == [name.split(".")[0] for name in names[1::2]]
            labels = [json.load(tar.extractfile(name)) for name in names[1::2]]  # type: ignore[arg-type]
            seen += [label["id"] for label in labels]
    assert seen == original.annotation_id.tolist()


def test_packing_again_gives_the_same_bytes(original: Persons, folder: Path, tmp_path: Path) -> None:
    pack_persons(original, tmp_path, input_size=SIZE, shards=SHARDS)
    names = [path.name for path in sorted(tmp_path.glob("*.tar"))]
    assert names == [path.name for path in sorted(folder.glob("*.tar"))]
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in names)


def test_a_server_gives_what_the_folder_does(folder: Path, address: str) -> None:
    """Each epoch once, in the order of (seed, epoch), by any number of workers."""
    local, remote = (open_dataset("packed", "train", root=Path(place)) for place in (folder, address))
    here = CropDataset(local, SIZE, augmentation=USUAL, seed=1)
    there = CropDataset(remote, SIZE, augmentation=USUAL, seed=1, cache=False)
    for epoch in (0, 1):
        for workers in (0, 2):
            batches = list(loader(there, 16, shuffle=True, epoch=epoch, workers=workers))
            expected = list(loader(here, 16, shuffle=True, epoch=epoch))
            for one, other in zip(batches, expected, strict=True):
                assert torch.equal(one.image, other.image)
                assert torch.equal(one.person, other.person)
            rows = [row for batch in batches for row in batch.person.tolist()]
            assert sorted(rows) == list(range(len(local)))


@pytest.mark.parametrize("workers", [0, 1])
def test_processes_share_an_epoch_from_a_server(address: str, workers: int) -> None:
    """Two processes' parts of each batch are the batch of one, each person once."""
    dataset = CropDataset(open_dataset("packed", "train", root=Path(address)), SIZE, augmentation=USUAL, cache=False)

    def batches(rank: int, size: int) -> list[tuple[list[int], torch.Tensor]]:
        made = loader(dataset, 16, shuffle=True, epoch=1, workers=workers, part=(rank, size))
        return [(batch.person.tolist(), batch.image) for batch in made]

    first, second, alone = batches(0, 2), batches(1, 2), batches(0, 1)
    for (even, shown), (odd, _), (rows, images) in zip(first, second, alone, strict=True):
        assert (even, odd) == (rows[::2], rows[1::2])
        assert torch.equal(shown, images[::2])


def test_a_server_without_parts_is_named(folder: Path) -> None:
    class Whole(Parts):
        do_GET = SimpleHTTPRequestHandler.do_GET  # noqa: N815

    for address in serve(folder, Whole):
        persons = open_dataset("packed", "train", root=Path(address))
        fault = CropDataset(persons, SIZE, cache=False)[[0]].unreadable[0]
        assert "does not send parts of a file" in fault


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/train\.npz cannot be read"):
        open_dataset("packed", "train", root=Path("http://127.0.0.1:9"))


def test_a_shard_that_is_missing_or_another_is_named(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "train-00001.tar").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"train-00001\.tar is missing or of another size"):
        open_dataset("packed", "train", root=tmp_path)
    with pytest.raises(DataError, match=r"val\.npz does not exist: make it with"):
        open_dataset("packed", "val", root=tmp_path)


def test_a_crop_that_is_damaged_is_skipped_and_named(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    persons = open_dataset("packed", "train", root=tmp_path)
    assert persons.packed is not None
    first = int(persons.packed.at[0, 1])
    data = bytearray((tmp_path / "train-00000.tar").read_bytes())
    data[first : first + 4] = bytes(4)
    (tmp_path / "train-00000.tar").write_bytes(data)
    batch = CropDataset(persons, SIZE)[[0, 1]]
    assert batch.person.tolist() == [1]
    assert batch.unreadable == [f"{persons.path(0)}: not an image that can be decoded"]


def test_images_that_cannot_be_read_are_left_out(original: Persons, tmp_path: Path) -> None:
    names = ("gone.jpg", *original.file_name[1:])
    packed = pp.pack_data(replace(original, file_name=names), tmp_path, input_size=SIZE)
    assert packed.persons == len(original) - 1
    assert "gone.jpg: No such file" in packed.unreadable[0]
    with pytest.raises(DataError, match="packed already"):
        pp.pack_data(pp.open_data("packed", "train", root=tmp_path), tmp_path / "again")


def test_the_command_and_training_from_what_it_packs(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(
        main,
        ["data", "pack", "synthetic", "--data-root", str(figures), "--out", "p", "--input-size", "64x64", "--json"],
    )
    assert made.exit_code == 0, made.output
    train, val = json.loads(made.stdout)["packed"]
    assert train["index"] == str(Path("p", "train.npz"))
    assert val["persons"] == len(open_dataset("synthetic", "val", root=figures))
    run = pp.train(
        dataset="packed", data_root="p", backbone="small", input_size=(64, 64), epochs=1, batch_size=16, workers=0,
        out="run", quiet=True,
    )  # fmt: skip
    checked = CliRunner().invoke(main, ["data", "check", "packed", "--data-root", "p", "--json"])
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["faults"] == 0
    assert run.evaluate().persons == val["persons"]


def test_a_run_on_crops_of_a_server_goes_on_to_the_same_bit(address: str, tmp_path: Path) -> None:
    """Two epochs at once, and one that is taken up again."""
    config = default_config(
        "packed", data_root=address, backbone="small", residual="laplace", input_height=32, input_width=32, epochs=2
    )
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    start_training(config, whole)
    start_training(config.changed(epochs=1), parts)
    save_config(load_config(parts.config).changed(epochs=2), parts.config)
    resume_training(parts)
    ends = [safetensors.torch.load_file(folder.last) for folder in (whole, parts)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_crops_of_a_batch_are_asked_for_together(folder: Path) -> None:
    """As many at once as may be, in the order of the batch, and a fault is that of its crop."""
    waiting = threading.Semaphore(0)
    seen: list[int] = []

    class Late(Parts):
        def do_GET(self) -> None:
            if "Range" in self.headers:  # answers once four have come
                seen.append(1)
                waiting.release() if len(seen) == 4 else None
                assert waiting.acquire(timeout=20)
                waiting.release()
            super().do_GET()

    for address in serve(folder, Late):
        remote = open_dataset("packed", "train", root=Path(address))
        local = open_dataset("packed", "train", root=folder)
        batches = [CropDataset(persons, SIZE, cache=False)[[5, 3, 9, 4]] for persons in (remote, local)]
        assert torch.equal(batches[0].image, batches[1].image)
        assert len(seen) == 4
