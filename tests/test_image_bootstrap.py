"""The bootstrap over images: intervals that hold what they say, for keypoints that depend on their image."""

from __future__ import annotations

import numpy as np
import pytest

from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap, Interval

NAMES = ("inside", "labels")


def share(bootstrap: ImageBootstrap, level: float = 0.95) -> Interval:
    return bootstrap.interval(bootstrap.ratio(*NAMES), level)


def clustered(rng: np.random.Generator, images: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images with 1 to 20 keypoints; each is inside with a probability of its image, 0.7 on average."""
    sizes = rng.integers(1, 21, images)
    image = np.repeat(np.arange(images), sizes)
    inside = rng.uniform(size=len(image)) < np.repeat(rng.beta(1.4, 0.6, images), sizes)
    return image, {"inside": inside, "labels": np.ones(len(image))}


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for repetition in range(300):
        bootstrap = ImageBootstrap(NAMES, replicates=300, seed=repetition)
        bootstrap.add(*clustered(rng, 150))
        found = share(bootstrap, 0.9)
        held += found.low <= 0.7 <= found.high
    error = np.sqrt(300 * 0.9 * 0.1)
    assert abs(held - 270) < 3 * error + 6  # 2% for the percentile method at 150 images


def test_treating_keypoints_as_independent_would_be_too_sure() -> None:
    image, values = clustered(np.random.default_rng(1), 200)
    by_image, by_keypoint = ImageBootstrap(NAMES), ImageBootstrap(NAMES)
    by_image.add(image, values)
    by_keypoint.add(np.arange(len(image)), values)
    wide, narrow = share(by_image), share(by_keypoint)
    assert wide.value == narrow.value == pytest.approx(values["inside"].mean())
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)


def test_a_stream_gives_the_sums_of_the_whole() -> None:
    image, values = clustered(np.random.default_rng(2), 100)
    whole, parts = ImageBootstrap(NAMES), ImageBootstrap(NAMES)
    whole.add(image, values)
    for chunk in (image >= 40, image < 40):
        parts.add(image[chunk], {name: column[chunk] for name, column in values.items()})
    np.testing.assert_allclose(parts.total, whole.total)
    assert parts.images == whole.images == 100
    np.testing.assert_allclose(parts.resampled, whole.resampled)


def test_one_image_or_none_has_no_interval() -> None:
    bootstrap = ImageBootstrap(NAMES)
    bootstrap.add(np.zeros(0, dtype=np.int64), {name: np.zeros(0) for name in NAMES})
    assert np.isnan(share(bootstrap).value)
    bootstrap.add(np.zeros(3, dtype=np.int64), {name: np.ones(3) for name in NAMES})
    found = share(bootstrap)
    assert (found.value, found.low, found.high) == (1, 1, 1)
