"""OKS sigmas of any skeleton, from labels and the predictions of models, or from repeated labels."""

from __future__ import annotations

__all__ = ["oks_sigmas", "save_oks_sigmas"]

from collections.abc import Sequence
from os import PathLike
from typing import get_args

import numpy as np

from probpose.analysis.oks_sigmas.collocation import Judged, labels_beside_models
from probpose.analysis.oks_sigmas.record import OksSigmas, summarise
from probpose.analysis.oks_sigmas.repeated import summarise_repeated
from probpose.analysis.oks_sigmas.save import save_oks_sigmas
from probpose.analysis.oks_sigmas.scatter import Statistic
from probpose.api.annotators import Annotators, Repeated, annotators
from probpose.api.data import read_predictions
from probpose.api.inputs import PathOrText, one_of
from probpose.arrays import share
from probpose.data.persons import Persons
from probpose.data.predictions.results import Predictions
from probpose.errors import ConfigError, DataError
from probpose.inference.fitting.annotation_posterior import Noise
from probpose.progress import Counting, silent

REPLICATES = 300
"""Of the bootstrap over images."""

_GRID = np.arange(10) / 10
_LARGEST_CORRELATION = 0.95


def oks_sigmas(
    annotations: Persons | Annotators | Repeated,
    predictions: PathOrText | Sequence[PathOrText | Predictions] | None = None,
    *,
    correlation: tuple[float, float] = (0.0, 0.5),
    statistic: Statistic = "core",
    noise: Noise = "gaussian",
    draws: int = 600,
    level: float = 0.9,
    replicates: int = REPLICATES,
    category: str | int | None = None,
    seed: int = 0,
    counting: Counting = silent,
) -> OksSigmas:
    """How far one label lies from the true location, by joint: sqrt(E[d^2 / area]), with intervals.

    Of repeated labels by the posterior of `annotators`, with moments beside it; in the labels' unit where areas are not
    known. Of single labels and two models or more by triple collocation
    (`probpose.analysis.oks_sigmas.collocation`): the answer depends on how strongly the errors of two models are
    correlated, which the data do not tell. Of one model it is the upper bound that its residual gives.

    Args:
        annotations: repeated labels, see `annotators`, or what that gave; with predictions, a COCO-format keypoint file
            or its persons.
        predictions: files of models for it, or what `read_predictions` gave.
        correlation: of models: the range in which the correlation of two models' errors lies.
        statistic: of models: "core" leaves gross errors out, "all" is E[d^2 / area] of all labels.
        noise: of repeated labels: law of the errors.
        draws: of repeated labels: from the posterior, in each of two chains.
        level: content of the intervals, credible of repeated labels; of models they hold the range of the correlation
            and the choice of images.
        replicates: of the bootstrap over images.
        category: name or id of the category of the annotations that counts.
        seed: of all draws.
        counting: shows how far it is.

    Raises:
        ConfigError: a range that is none, or another statistic or noise.
        DataError: a file cannot be read, nothing can be matched, or labels tell nothing of errors.
    """
    share(level, "the level")
    if predictions is None:
        if isinstance(annotations, Persons):
            raise DataError(f"{annotations.name} has one label of each joint: give predictions, or repeated labels.")
        found = annotations
        if not isinstance(found, Annotators):
            found = annotators(found, noise=noise, draws=draws, category=category, seed=seed, counting=counting)
        return summarise_repeated(found.posterior, level, replicates, seed)
    one_of(statistic, get_args(Statistic), "statistic")
    first, last = correlation
    if not 0 <= first <= last <= _LARGEST_CORRELATION:
        raise ConfigError(f"the correlation {first:g} to {last:g} is no range from 0 to {_LARGEST_CORRELATION}.")
    judged = _judged(annotations, predictions, category)
    grid = np.unique([*_GRID, first, (first + last) / 2, last])
    with counting("joints", len(judged.pairs) * len(judged.skeleton)) as progress:
        variance = labels_beside_models(judged, statistic, grid, replicates, seed, progress)
    return summarise(variance, (first, last), level)


def _judged(
    annotations: Persons | Annotators | Repeated,
    predictions: PathOrText | Sequence[PathOrText | Predictions],
    category: str | int | None,
) -> Judged:
    """Labels beside predictions.

    Raises:
        ConfigError: labels of several annotators.
    """
    if isinstance(annotations, Sequence) and not isinstance(annotations, str) and len(annotations) == 1:
        annotations = annotations[0]
    if not isinstance(annotations, str | PathLike | Persons):
        raise ConfigError("predictions are judged against one COCO-format file: name one, or leave predictions out.")
    listed = [predictions] if isinstance(predictions, str | PathLike) else predictions
    return Judged.of(
        [
            one if isinstance(one, Predictions) else read_predictions(one, annotations, category=category)
            for one in listed
        ]
    )
