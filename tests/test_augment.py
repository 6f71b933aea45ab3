"""Augmentation: ranges, half bodies and colours."""

from __future__ import annotations

import numpy as np
import pytest

from probpose.data.crops import Augmentation, Crop, half_body_box, jitter_colour, lower_body, move
from probpose.errors import ConfigError
from probpose.skeleton import COCO


def test_none_changes_nothing() -> None:
    jitter = Augmentation.none().draw(np.random.default_rng(0))
    assert not jitter.flipped
    assert (jitter.scale, jitter.shift, jitter.rotation, jitter.half) == (1.0, (0.0, 0.0), 0.0, None)
    assert jitter.colour == (1.0, 1.0, 1.0)


def test_draws_fill_their_ranges() -> None:
    augmentation = Augmentation(flip=0.5, scale=(0.5, 2.0), shift=0.1, rotation=30, half_body=0.3, colour=0.4)
    rng = np.random.default_rng(1)
    draws = [augmentation.draw(rng) for _ in range(4000)]
    error = 4 * np.sqrt(0.25 / 4000)
    assert abs(np.mean([d.flipped for d in draws]) - 0.5) < error
    assert abs(np.mean([d.half is not None for d in draws]) - 0.3) < error
    logs = np.log([d.scale for d in draws]) / np.log(2)
    for values, limit in ((logs, 1.0), ([d.shift[0] for d in draws], 0.1), ([d.rotation for d in draws], 30.0)):
        assert np.abs(values).max() <= limit
        assert np.abs(values).max() > 0.98 * limit
        assert abs(np.mean(values)) < 4 * limit / np.sqrt(3 * 4000)


def test_settings_do_not_shift_the_other_draws() -> None:
    one, other = (Augmentation(flip=f, colour=0.0).draw(np.random.default_rng(5)) for f in (0.0, 1.0))
    assert one.scale == other.scale
    assert one.shift == other.shift


def test_move() -> None:
    crop = Crop(np.array([[10.0, 20.0]]), np.array([[40.0, 80.0]]), np.zeros(1))
    jitter = Augmentation(shift=0.2, rotation=10.0).draw(np.random.default_rng(0))
    moved = move(crop, [jitter])
    np.testing.assert_allclose(moved.centre, [[10 + 40 * jitter.shift[0], 20 + 80 * jitter.shift[1]]])
    np.testing.assert_allclose(moved.size, crop.size * jitter.scale)
    assert moved.rotation[0] == jitter.rotation


def test_half_body_by_names() -> None:
    lower = lower_body(COCO.joints)
    assert lower is not None
    assert np.flatnonzero(lower).tolist() == [11, 12, 13, 14, 15, 16]
    assert lower_body(("paw", "tail")) is None


def test_half_body_box_holds_its_joints() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (17, 2))
    chosen = np.arange(17) < 6
    box = half_body_box(points, chosen)
    assert box is not None
    inside = (points > box[:2] - 0.5) & (points < box[:2] + box[2:] - 0.5)
    assert inside[chosen].all()
    assert half_body_box(points, np.arange(17) < 2) is None
    assert half_body_box(np.zeros((17, 2)), chosen) is None


def test_colour() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 160, (32, 32, 3)).astype(np.uint8)
    assert (jitter_colour(image, (1.0, 1.0, 1.0)) == image).all()
    np.testing.assert_allclose(jitter_colour(image, (1.2, 1.0, 1.0)).mean(), 1.2 * image.mean(), rtol=0.01)
    flat = jitter_colour(image, (1.0, 0.5, 1.0))
    np.testing.assert_allclose(flat.std() / image.std(), 0.5, rtol=0.02)
    np.testing.assert_allclose(flat.mean(), image.mean(), rtol=0.02)
    grey = jitter_colour(image, (1.0, 1.0, 0.0)).astype(int)
    assert np.abs(grey - grey[..., :1]).max() <= 1


@pytest.mark.parametrize(
    "settings", [{"flip": 1.5}, {"scale": (1.2, 0.8)}, {"scale": (0.0, 1.0)}, {"rotation": -1}, {"half_body": -0.1}]
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Augmentation(**settings)  # type: ignore[arg-type]
