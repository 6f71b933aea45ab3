"""Cases whose truth is known: exact, or wrong in a way that a diagnosis should name."""

from __future__ import annotations

__all__ = ["FAKES", "IMAGE_PX", "JOINTS", "Errors", "fake_cases", "sized_cases"]

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.calibration.cases import Cases
from probpose.models.densities import GaussianResidual, ResidualDensity
from probpose.models.predictive.location_scale import LocationScale

Array = npt.NDArray[np.float64]
Errors = Callable[[np.random.Generator, Array, Array], Array]
"""Errors (N, K, 2) in pixels from a generator, predicted sigma (N, K, 2) and confidence (N, K)."""

JOINTS = 6

IMAGE_PX = 640.0
"""Side of the images in units of which a network predicts."""


def _exact(rng: np.random.Generator, sigma: Array, confidence: Array) -> Array:
    return np.asarray(sigma * rng.normal(size=sigma.shape))


def _biased(rng: np.random.Generator, sigma: Array, confidence: Array) -> Array:
    return np.asarray(sigma * (rng.normal(size=sigma.shape) + np.array([0.3, 0.0])))


def _wrong_tails(rng: np.random.Generator, sigma: Array, confidence: Array) -> Array:
    """Laplace errors of the predicted variance."""
    return np.asarray(sigma * rng.laplace(scale=np.sqrt(0.5), size=sigma.shape))


def _conditionally_wrong(rng: np.random.Generator, sigma: Array, confidence: Array) -> Array:
    """Right on average, too small for the joints with a large predicted sigma, too large for the others."""
    factor = np.where(sigma > np.median(sigma), 1.25, 0.8)
    return np.asarray(factor * sigma * rng.normal(size=sigma.shape))


def _dependent(rng: np.random.Generator, sigma: Array, confidence: Array) -> Array:
    """Half of the variance is common to all joints of a person."""
    common = rng.normal(size=(len(sigma), 1, 2))
    return np.asarray(sigma * (common + rng.normal(size=sigma.shape)) / np.sqrt(2))


FAKES: dict[str, Errors] = {
    "exact": _exact,
    "over-confident": lambda rng, sigma, c: _exact(rng, sigma, c) / 0.7,
    "under-confident": lambda rng, sigma, c: _exact(rng, sigma, c) / 1.4,
    "biased": _biased,
    "wrong-tailed": _wrong_tails,
    "conditionally miscalibrated": _conditionally_wrong,
    "dependent": _dependent,
}


def fake_cases(
    errors: str | Errors = "exact",
    *,
    persons: int = 400,
    joints: int = JOINTS,
    seed: int = 0,
    density: ResidualDensity | None = None,
    unlabelled: float = 0.1,
    per_image: int = 1,
) -> Cases:
    """Persons predicted with different sigmas, Gaussian unless `density` says otherwise.

    Args:
        errors: one of `FAKES`, or what draws them.
        persons: N.
        joints: K.
        seed: of everything.
        density: predicted residual density.
        unlabelled: share of the joints without a label.
        per_image: persons an image. Those after the first are, with probability 1/2 each, its doubles, with the same
            sigmas and errors: every keypoint is distributed as before, and persons of an image are dependent.
    """
    rng = np.random.default_rng(seed)
    loc = rng.uniform(0, 300, (persons, joints, 2))
    confidence = rng.uniform(size=(persons, joints))
    sigma = np.exp(rng.normal(1.5, 0.3, (persons, joints, 1)) - confidence[..., None]) * np.array([1.0, 1.5])
    draw = FAKES[errors] if isinstance(errors, str) else errors
    labelled = rng.uniform(size=(persons, joints)) > unlabelled
    error, flag = draw(rng, sigma, confidence), rng.integers(1, 3, labelled.shape)
    image = np.arange(persons, dtype=np.int64) // per_image
    if per_image > 1:
        double = _doubles(image, per_image, rng)
        sigma, error, confidence = sigma[double], error[double], confidence[double]
    residual = (density or GaussianResidual()).frozen(2**13)
    located = LocationScale(torch.from_numpy(loc), torch.diag_embed(torch.from_numpy(sigma)), residual)
    return Cases(
        name="fakes",
        joints=tuple(f"joint {k}" for k in range(joints)),
        oks_sigmas=np.full(joints, 0.05),
        image=image,
        instance=np.arange(persons, dtype=np.int64) + 1000,
        keypoints=loc + error,
        visibility=np.where(labelled, flag, 0),
        area=np.full(persons, 5300.0),
        box=np.tile(np.array([0.0, 0.0, 100.0, 100.0]), (persons, 1)),
        predictive=located,
        confidence=confidence,
    )


def _doubles(image: npt.NDArray[np.int64], per_image: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The person (N,) whose sigmas and errors each has: itself or the first of its image."""
    itself = np.arange(len(image))
    return np.where(rng.uniform(size=len(image)) < 0.5, image * per_image, itself)


def sized_cases(
    power: float = 0.0,
    errors: str | Errors = "exact",
    *,
    persons: int = 600,
    joints: int = JOINTS,
    seed: int = 0,
    per_image: int = 1,
) -> Cases:
    """Fakes of different sizes whose sigma is (size / image)^-power times what it should be.

    Power 1 is the defect of RF-DETR's keypoints as its source reads: the loss divides the squared Mahalanobis distance
    by the object's area, so that sigma is in units of the object, and the conversion to pixels multiplies it by the
    size of the image instead.

    Args:
        power: of the size; 0 for a sigma that is right.
        errors: see `fake_cases`, and likewise the others.
        persons: N.
        joints: K.
        seed: of everything.
        per_image: persons an image.
    """
    cases = fake_cases(errors, persons=persons, joints=joints, seed=seed, per_image=per_image)
    size = np.exp(np.random.default_rng([seed, 1]).normal(4.5, 0.5, persons))
    box = np.column_stack([np.zeros((persons, 2)), 1.3 * size, size / 1.3])
    factor = torch.from_numpy((size / IMAGE_PX) ** -power)[:, None, None]
    return replace(cases, box=box, predictive=cases.predictive.as_location_scale().rescaled(factor))
