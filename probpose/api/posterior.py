"""Saved posteriors: what was predicted and labelled, and how annotators err, for ArviZ."""

from __future__ import annotations

__all__ = ["LevelMap", "draw_levels", "draw_pit", "load_posterior", "loo", "save_posterior", "summary"]

from collections.abc import Hashable, Sequence
from os import PathLike
from pathlib import Path

import numpy.typing as npt
from torch import Tensor

from probpose.analysis.calibration.cases import residuals_of
from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.analysis.posterior import draw_levels, draw_pit, load_posterior, loo, summary
from probpose.analysis.posterior import save_posterior as save_cases
from probpose.api.distributions import Distribution
from probpose.api.labels import cases_of_arrays
from probpose.errors import DataError
from probpose.inference.fitting.residual_posterior import sample_residual_posterior


def save_posterior(
    file: str | PathLike[str],
    predictions: Distribution,
    labels: npt.ArrayLike | Tensor,
    *,
    images: Sequence[Hashable] | npt.ArrayLike | None = None,
    visibility: npt.ArrayLike | None = None,
    boxes: npt.ArrayLike | None = None,
    draws: int = 100,
    residual_draws: int = 0,
    warmup: int = 300,
    seed: int = 0,
    name: str = "predictions",
) -> Path:
    """Write predictions and labels as posterior.nc, which `load_posterior` and ArviZ open.

    Args:
        file: to write; one that exists is replaced.
        predictions: of N rows with K joints.
        labels: (N, K, 2) pixels, NaN where unlabelled.
        images: N ids or names; each row is an image by default.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible.
        boxes: (N, 4) x, y, width, height.
        draws: from the density of each keypoint.
        residual_draws: of the posterior of location, scale, correlation and tails of the residuals by joint (NUTS), in
            each of two chains; 0 for none.
        warmup: draws of each of those chains that adapt and are dropped.
        seed: of all choices and draws.
        name: of the data.

    Raises:
        DataError: the file cannot be written, or predictions that are not location-scale for `residual_draws`.
    """
    cases = cases_of_arrays(predictions, labels, images, visibility, None, boxes, None, name)
    sampled = None
    if residual_draws:
        left = residuals_of(cases)
        if left is None:
            raise DataError("the posterior of the residuals needs a predicted scale: leave residual_draws out.")
        sampled = sample_residual_posterior(
            left.z, left.joint, predictions.joints, draws=residual_draws, warmup=warmup, seed=seed
        )
    scores = cases.scores("level", "axes", seed=seed)
    save_cases(Path(file), cases, scores, draws=draws, seed=seed, posterior=sampled)
    return Path(file)
