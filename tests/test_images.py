"""Image files: what is read, with which colours, and what is a fault; no file fills the memory or waits for ever."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

import probpose as pp
from probpose.api.images import images_and_boxes
from probpose.data.images import exif_orientation, read_image
from probpose.errors import ConfigError
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.train import judged_on, open_split
from probpose.skeleton import COCO
from tests.conftest import coco_document, person_record

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


def picture(seed: int = 0) -> Pillow.Image:
    """Smooth colours, 24 x 16."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    return Pillow.fromarray(small).resize((24, 16), Pillow.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "CMYK"), ("a.jpg", "L"), ("a.jpg", "RGB"), ("a.png", "P"), ("a.png", "1"), ("a.png", "RGBA"),
        ("a.png", "LA"), ("a.gif", "RGB"), ("a.webp", "RGB"), ("a.bmp", "RGB"), ("a.tiff", "RGB"), ("a.ppm", "RGB"),
    ],
)  # fmt: skip
def test_colours_are_those_of_pillow(tmp_path: Path, name: str, mode: str) -> None:
    picture().convert(mode).save(tmp_path / name)
    found = read_image(tmp_path / name)
    assert not isinstance(found, str)
    with Pillow.open(tmp_path / name) as opened:
        expected = np.asarray(opened.convert("RGB")).astype(float)
    assert np.abs(found - expected).mean() < 1.01  # OpenCV rounds CMYK up


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_more_than_eight_bits_are_scaled_by_the_bits_used(tmp_path: Path, bits: int, suffix: str) -> None:
    top = 2**bits - 1
    values = np.linspace(0, top, 64).reshape(8, 8).round().astype(np.uint16)
    file = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(file), values)
    found = read_image(file)
    assert not isinstance(found, str)
    np.testing.assert_allclose(found, np.repeat((values * (255 / top))[..., None], 3, -1), atol=1)
    assert (found.min(), found.max()) == (0, 255)


def test_colours_of_sixteen_bits_keep_their_order(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint16)
    image[..., 2] = 60000
    assert cv2.imwrite(str(tmp_path / "red.png"), image)
    found = read_image(tmp_path / "red.png")
    assert not isinstance(found, str)
    assert found[0, 0].tolist() == [233, 0, 0]


def test_numbers_that_are_not_whole_are_scaled(tmp_path: Path) -> None:
    image = np.repeat(np.linspace(0, 4, 16, dtype=np.float32).reshape(4, 4, 1), 3, -1)
    image[0, 0] = np.nan
    assert cv2.imwrite(str(tmp_path / "a.tiff"), image)
    found = read_image(tmp_path / "a.tiff")
    assert not isinstance(found, str)
    assert (found[0, 0, 0], found[3, 3, 0]) == (0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_as_stored_and_upright_on_request(tmp_path: Path, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    picture().save(tmp_path / "a.jpg", exif=exif.tobytes(), quality=95)
    stored, upright = read_image(tmp_path / "a.jpg"), read_image(tmp_path / "a.jpg", upright=True)
    assert not isinstance(stored, str)
    assert not isinstance(upright, str)
    assert stored.shape == (16, 24, 3)
    assert upright.shape == ((16, 24, 3) if orientation < 5 else (24, 16, 3))
    assert np.array_equal(stored, upright) == (orientation == 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_orientation_is_found(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Pillow.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    picture().save(tmp_path / f"a{suffix}", exif=exif.tobytes())
    assert exif_orientation(tmp_path / f"a{suffix}") == orientation


BROKEN = [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01"]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_orientation_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert exif_orientation(tmp_path / "a.jpg") == 1
    assert exif_orientation(tmp_path / "none.jpg") == 1


def test_a_table_is_as_stored_or_upright(tmp_path: Path) -> None:
    """From the file to the whole image's box, by the names of options."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "1.jpg", exif=exif.tobytes())
    (tmp_path / "a.json").write_text(json.dumps(coco_document([person_record(1)])))
    for turned, size in ((False, (16, 24)), (True, (24, 16))):
        opened = pp.open_data(annotations=tmp_path / "a.json", image_dir=tmp_path, exif=turned)
        whole = pp.persons([tmp_path / "1.jpg"], np.ones((1, 1, 2)), exif=turned)
        for table in (opened, whole, opened.select([0])):
            assert table.picture(table.file_name[0]).shape[:2] == size  # type: ignore[union-attr]
        assert whole.box.tolist() == [[0, 0, size[1], size[0]]]
        (reading,) = pp.read_records(annotations=tmp_path / "a.json", image_dir=tmp_path, exif=turned)
        assert pp.check_data(reading).counts["images_with_exif_orientation"] == 1
        persons, _, _ = images_and_boxes([tmp_path / "1.jpg"], None, COCO, None, upright=turned)
        assert persons.box.tolist() == whole.box.tolist()


def test_a_run_remembers_how_its_images_were() -> None:
    config = TrainConfig().changed(train_annotations="a.json", val_annotations="b.json", exif=True)
    assert judged_on(config, val_annotations="c.json").data.exif
    assert not judged_on(config, dataset="coco").data.exif
    with pytest.raises(ConfigError, match="--exif belongs to annotation files"):
        open_split(TrainConfig().changed(exif=True), "val")


def png(width: int, height: int) -> bytes:
    """The header of a picture and a few of its bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def encoded(kind: str) -> bytes:
    buffer = BytesIO()
    picture().save(buffer, format=kind)
    return buffer.getvalue()


FAULTS = {
    "a PNG of a gigapixel": (png(60000, 60000), "pixels"),
    "a PPM of a gigapixel": (b"P6\n60000 60000\n255\n", "pixels"),
    "a PPM of more than 2^31": (b"P6\n6000000000000 60000\n255\n", "cannot|can be decoded|pixels"),
    "a PFM of a gigapixel": (b"PF\n60000 60000\n-1.0\n", "pixels"),
    "an HDR of a gigapixel": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n", "pixels"),
    "a BMP of a gigapixel": (
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 60000, 60000, 1, 24, 0) + bytes(40), "pixels",
    ),
    "a truncated PNG": (encoded("png")[:60], "not an image that can be decoded"),
    "a truncated JPEG": (encoded("jpeg")[:-90], "truncated JPEG"),
    "half a GIF": (encoded("gif")[:20], "not an image that can be decoded"),
    "half a BMP header": (encoded("bmp")[:20], "not an image that can be decoded"),
    "nothing": (b"", "not an image that can be decoded"),
    "text": (b"no image", "not an image that can be decoded"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_decoder_raises_is_a_fault(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    content, _ = FAULTS[name]
    (tmp_path / "a.jpg").write_bytes(content)
    found = read_image(tmp_path / "a.jpg")
    assert isinstance(found, str)
    assert any(part in found for part in FAULTS[name][1].split("|")), found


def test_trailing_bytes_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded("jpeg") + bytes(1000))
    assert not isinstance(read_image(tmp_path / "a.jpg"), str)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/proc", "a\0b.jpg", "\ud800.jpg", "x" * 300, "none.jpg"])
def test_only_regular_files_are_read(path: str) -> None:
    assert isinstance(read_image(Path(path)), str)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_image(tmp_path / "pipe") == "not a regular file but a device or a pipe"


LIMIT = """
import sys
from pathlib import Path
from probpose.data.images import read_image
print([found if isinstance(found, str) else found.shape for found in map(read_image, map(Path, sys.argv[1:]))])
"""


def read_elsewhere(environment: dict[str, str], *files: Path) -> subprocess.CompletedProcess[str]:
    """Read in a process of its own, for OpenCV reads its settings once."""
    command = [sys.executable, "-c", LIMIT, *map(str, files)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV")}
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)


def pixels(values: npt.NDArray[np.uint8], file: Path) -> Path:
    assert cv2.imwrite(str(file), values)
    return file


def test_the_limit_on_pixels_can_be_set_and_decoders_are_quiet(tmp_path: Path) -> None:
    small = pixels(np.zeros((200, 200, 3), np.uint8), tmp_path / "small.png")
    huge, broken = tmp_path / "huge.png", tmp_path / "broken.png"
    huge.write_bytes(png(17000, 17000))
    broken.write_bytes(encoded("png")[:60])
    usual = read_elsewhere({}, small, huge, broken)
    assert "(200, 200, 3), 'an image of more than 250000000 pixels" in usual.stdout
    assert usual.stderr == ""
    tight = read_elsewhere({"OPENCV_IO_MAX_IMAGE_PIXELS": "10000"}, small)
    assert "an image of more than 10000 pixels" in tight.stdout
