"""OKS sigmas of any skeleton, from labels and the predictions of models, or from repeated labels."""

from __future__ import annotations

__all__ = ["oks_sigmas", "save_oks_sigmas"]

from collections.abc import Sequence
from os import PathLike
from typing import get_args

import numpy as np

from probpose.analysis.oks_sigmas.collocation import Judged, labels_beside_models
from probpose.analysis.oks_sigmas.record import OksSigmas, save_oks_sigmas, summarise
from probpose.analysis.oks_sigmas.scatter import Statistic
from probpose.api.data import read_predictions
from probpose.api.inputs import PathOrText, one_of
from probpose.arrays import share
from probpose.data.persons import Persons
from probpose.data.predictions.results import Predictions
from probpose.errors import ConfigError
from probpose.progress import Counting, silent

REPLICATES = 300
"""Of the bootstrap over images."""

_GRID = np.arange(10) / 10
_LARGEST_CORRELATION = 0.95


def oks_sigmas(
    annotations: PathOrText | Persons,
    predictions: PathOrText | Sequence[PathOrText | Predictions],
    *,
    correlation: tuple[float, float] = (0.0, 0.5),
    statistic: Statistic = "core",
    level: float = 0.9,
    replicates: int = REPLICATES,
    category: str | int | None = None,
    seed: int = 0,
    counting: Counting = silent,
) -> OksSigmas:
    """How far one label lies from the true location, by joint: sqrt(E[d^2 / area]), with intervals.

    Of single labels and two models or more by triple collocation (`probpose.analysis.oks_sigmas.collocation`): the
    answer depends on how strongly the errors of two models are correlated, which the data do not tell. Of one model it
    is the upper bound that its residual gives.

    Args:
        annotations: a COCO-format keypoint file, or its persons.
        predictions: COCO results files of models for it, or what `read_predictions` gave.
        correlation: the range in which the correlation of two models' errors lies.
        statistic: "core" leaves gross errors out, "all" is E[d^2 / area] of all labels.
        level: content of the intervals, which hold the range of the correlation and the choice of images.
        replicates: of the bootstrap over images.
        category: name or id of the category of the annotations that counts.
        seed: of the bootstrap.
        counting: shows how far it is.

    Raises:
        ConfigError: a range that is none, or another statistic.
        DataError: a file cannot be read, or nothing can be matched.
    """
    one_of(statistic, get_args(Statistic), "statistic")
    first, last = correlation
    if not 0 <= first <= last <= _LARGEST_CORRELATION:
        raise ConfigError(f"the correlation {first:g} to {last:g} is no range from 0 to {_LARGEST_CORRELATION}.")
    share(level, "the level")
    listed = [predictions] if isinstance(predictions, str | PathLike) else predictions
    found = [
        one if isinstance(one, Predictions) else read_predictions(one, annotations, category=category) for one in listed
    ]
    judged = Judged.of(found)
    grid = np.unique([*_GRID, first, (first + last) / 2, last])
    with counting("joints", len(judged.pairs) * len(judged.skeleton)) as progress:
        variance = labels_beside_models(judged, statistic, grid, replicates, seed, progress)
    return summarise(variance, (first, last), level)
