"""Crops: the affine map against what is seen in the pixels."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from probpose.data.crops import Crop, apply_affine, crop_from_box, cut, invert_affine, pixels_to_image
from tests.conftest import blob

SIZES = [(64, 64), (64, 48), (96, 128)]


def centroid(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(x, y) of the light in a picture."""
    light = image[..., 0].astype(np.float64)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([float((x * light).sum()), float((y * light).sum())]) / float(light.sum())


def test_box_is_padded_and_expanded() -> None:
    crop = crop_from_box(np.array([[10.0, 20.0, 30.0, 80.0], [0.0, 0.0, 100.0, 10.0]]), (64, 48))
    np.testing.assert_allclose(crop.size, np.array([[75, 100], [125, 500 / 3]]))
    np.testing.assert_allclose(crop.centre, [[24.5, 59.5], [49.5, 4.5]])


def test_whole_image_maps_pixel_centres_to_pixel_centres() -> None:
    crop = crop_from_box(np.array([[0.0, 0.0, 48.0, 64.0]]), (64, 48), padding=1.0)
    affine = pixels_to_image(crop.to_image, (64, 48))
    np.testing.assert_allclose(affine[0], [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    corner = apply_affine(crop.to_image, np.array([[[-0.5, -0.5]]]))
    np.testing.assert_allclose(corner, [[[-0.5, -0.5]]], atol=1e-12)


def test_network_coordinates_of_a_pixel() -> None:
    crop = Crop(np.array([[30.0, 40.0]]), np.array([[60.0, 90.0]]), np.array([20.0]))
    pixel = np.array([[[5.0, 7.0]]])
    u = (pixel + 0.5) / np.array([48, 64]) - 0.5
    np.testing.assert_allclose(
        apply_affine(pixels_to_image(crop.to_image, (64, 48)), pixel), apply_affine(crop.to_image, u)
    )


def test_affine_inverse() -> None:
    rng = np.random.default_rng(0)
    crop = Crop(rng.normal(0, 50, (5, 2)), rng.uniform(10, 90, (5, 2)), rng.uniform(-90, 90, 5))
    points = rng.normal(0, 30, (5, 17, 2))
    back = apply_affine(invert_affine(crop.to_image), apply_affine(crop.to_image, points))
    np.testing.assert_allclose(back, points, atol=1e-10)


def test_rotation_keeps_lengths_and_turns_clockwise() -> None:
    crop = Crop(np.zeros((1, 2)), np.full((1, 2), 10.0), np.array([90.0]))
    np.testing.assert_allclose(apply_affine(crop.to_image, np.array([[[1.0, 0.0]]])), [[[0, 10]]], atol=1e-12)


@pytest.mark.parametrize("input_size", SIZES)
@pytest.mark.parametrize("side", [12.0, 50.0, 150.0, 420.0])
@pytest.mark.parametrize("rotation", [0.0, 25.0])
def test_blob_is_found_where_the_affine_says(input_size: tuple[int, int], side: float, rotation: float) -> None:
    """Enlarged, at about the same size and shrunk up to eight times, to a tenth of a pixel, both ways."""
    rng = np.random.default_rng(int(side))
    for _ in range(4):
        place = rng.uniform(190, 210, 2)
        crop = Crop(
            place[None] + rng.uniform(-0.1, 0.1, (1, 2)) * side,
            np.array([[side * input_size[1] / input_size[0], side]]),
            np.array([rotation]),
        )
        width = max(2.0, side / 25)
        image = blob((400, 410), (float(place[0]), float(place[1])), width if side > 20 else 1.2)
        cropped = cut(image, crop.to_image[0], input_size)
        assert cropped.shape == (*input_size, 3)
        to_image = pixels_to_image(crop.to_image, input_size)
        seen = centroid(cropped)
        expected = apply_affine(invert_affine(to_image), place[None, None])[0, 0]
        assert np.abs(seen - expected).max() < 0.1
        back = apply_affine(to_image, seen[None, None])[0, 0]
        assert np.abs(back - place).max() < 0.1 * side / min(input_size)


def test_shrinking_does_not_alias() -> None:
    """A fine checkerboard, shrunk, is even grey."""
    board = np.repeat((255 * (np.indices((512, 512)).sum(0) % 2))[..., None], 3, -1).astype(np.uint8)
    crop = crop_from_box(np.array([[100.3, 90.7, 300.0, 300.0]]), (64, 64))
    assert cut(board, crop.to_image[0], (64, 64)).std() < 4


def test_outside_is_black() -> None:
    image = np.full((40, 40, 3), 200, dtype=np.uint8)
    for side in (20.0, 400.0):
        crop = Crop(np.array([[-1000.0, 5.0]]), np.full((1, 2), side), np.zeros(1))
        assert not cut(image, crop.to_image[0], (32, 32)).any()
    crop = crop_from_box(np.array([[0.0, 0.0, 40.0, 40.0]]), (32, 32), padding=8.0)
    inside = cut(image, crop.to_image[0], (32, 32)) > 100
    assert inside.any(-1).sum() == 16


@pytest.mark.parametrize("side", [1e4, 1e6, 1e9, 1e18, 1e30])
@pytest.mark.parametrize("centre", [0.0, 1e5, 1e30])
def test_memory_is_of_the_order_of_the_image(side: float, centre: float) -> None:
    """Without a limit, 10^18 pixels of black would be asked for."""
    image = np.full((300, 200, 3), 200, dtype=np.uint8)
    crop = Crop(np.full((1, 2), centre), np.full((1, 2), side), np.full(1, 30.0))
    tracemalloc.start()
    cut(image, crop.to_image[0], (32, 32))
    assert tracemalloc.get_traced_memory()[1] < 40 * image.nbytes
    tracemalloc.stop()


def test_crops_of_very_long_images() -> None:
    image = np.zeros((60, 40000, 3), dtype=np.uint8)
    image[30, 39000] = 255
    crop = crop_from_box(np.array([[38992.5, 22.5, 16.0, 16.0]]), (32, 32), padding=1.0)
    assert np.argwhere(cut(image, crop.to_image[0], (32, 32))[..., 0] > 100).min(0).tolist() == [15, 15]
