"""Fixtures shared by the tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from probpose.data.persons import Persons
from probpose.data.synthetic import write_synthetic
from probpose.skeleton import COCO
from tests.browser import PROGRAMS, Browser

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # tests compare bits, which only the CPU repeats; the commands they start too

Document = dict[str, Any]


@pytest.fixture(autouse=True)
def same_start() -> Iterator[None]:
    """Each test draws the same numbers, and none may change torch's global validation of distributions."""
    before = torch.distributions.Distribution._validate_args
    torch.manual_seed(0)
    yield
    assert torch.distributions.Distribution._validate_args == before, "the test changed torch's global validation"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the folder of real data beside the repository")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A browser; tests that need it are skipped without one."""
    found = Browser.found(tmp_path_factory.mktemp("browser"))
    if found is None:
        pytest.skip(f"no browser is installed (any of {', '.join(PROGRAMS)})")
    return found


@pytest.fixture(scope="session")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set."""
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(folder, 60, seed=3, progress=False)
    return folder


def person_record(number: int, image: int = 1, **changes: object) -> Document:
    """A sound annotation of COCO's skeleton."""
    keypoints = [value for joint in range(17) for value in (20 + joint, 30 + 2 * joint, 2)]
    record = {"id": number, "image_id": image, "category_id": 1, "bbox": [10, 20, 40, 60], "area": 1000.0}
    return record | {"iscrowd": 0, "keypoints": keypoints} | changes


def coco_document(records: list[Document], images: int = 1) -> Document:
    """A COCO keypoint document with images 1, 2, ..."""
    category = {"id": 1, "name": "person", "keypoints": list(COCO.joints), "skeleton": [[16, 14], [14, 12]]}
    files = [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 120} for i in range(1, images + 1)]
    return {"images": files, "annotations": records, "categories": [category]}


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[[object], Path]:
    """Writes an object to a JSON file and returns its path."""

    def write(content: object) -> Path:
        file = tmp_path / "file.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    return write


def make_persons(image_dir: Path, files: list[str], box: list[float], keypoints: list[list[float]]) -> Persons:
    """Persons with the same box and labels, one in each file."""
    count = len(files)
    points = np.tile(np.asarray(keypoints, dtype=np.float64), (count, 1, 1))
    return Persons(
        name="test",
        skeleton=COCO,
        image_dir=image_dir,
        annotations=None,
        image_id=np.arange(count, dtype=np.int64),
        file_name=tuple(files),
        annotation_id=np.arange(count, dtype=np.int64),
        box=np.tile(np.asarray(box, dtype=np.float64), (count, 1)),
        area=np.ones(count),
        keypoints=points,
        visibility=np.full(points.shape[:2], 2, dtype=np.int64),
    )


def blob(shape: tuple[int, int], centre: tuple[float, float], width: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture with a Gaussian blob at (x, y), of standard deviation `width` pixels, on black."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = 250 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
    return np.repeat(np.round(light)[..., None], 3, axis=-1).astype(np.uint8)


def save_image(file: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Write an RGB picture without loss."""
    assert cv2.imwrite(str(file), pixels[..., ::-1])
