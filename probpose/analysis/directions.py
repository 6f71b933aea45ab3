"""Scores of directions under densities on the circle, and models side by side in nats and degrees.

Differences are paired by label and by seed; standard errors are over images and over seeds, as for keypoints
(`probpose.analysis.evaluation.statistics`).
"""

from __future__ import annotations

__all__ = ["DirectionComparison", "DirectionRow", "DirectionScores", "compare_directions", "score_directions"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from probpose.analysis.evaluation.statistics import Difference, clustered_standard_error, paired_difference
from probpose.analysis.table import Column, Table
from probpose.arrays import Array, Index, as_array
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.inference.fitting.directions import DirectionModel
from probpose.models.circular.contract import Circular, wrapped

CONTENTS = (0.5, 0.9)
"""Of the sets of arcs whose coverage is reported."""


@dataclass(frozen=True)
class DirectionScores:
    """Scores of M labelled directions.

    Attributes:
        image: (M,), what is independent.
        nats: (M,), negative log density of the label, per radian; less is better, and log(2 pi) = 1.838 is knowing
            nothing.
        level: (M,), content of the smallest set of arcs that holds the label; uniform when calibrated.
        pit: (M,), mass from the cut opposite the mean direction to the label; uniform when calibrated.
        error_deg: (M,), label minus mean direction, -180 to 180.
        mode_error_deg: (M,), label minus the densest direction.
        resultant: (M,), predicted mean resultant length, from 0 to 1.
    """

    image: Index
    nats: Array
    level: Array
    pit: Array
    error_deg: Array
    mode_error_deg: Array
    resultant: Array

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def join(cls, parts: Sequence[DirectionScores]) -> DirectionScores:
        """Those of several batches, one after the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    @classmethod
    @torch.no_grad()
    def of(cls, density: Circular, angle: torch.Tensor, image: Index) -> DirectionScores:
        """Score labels (N,), radians.

        Raises:
            DataError: the log density of a label is not finite.
        """
        log_prob = as_array(density.log_prob(angle))
        broken = np.flatnonzero(~np.isfinite(log_prob))
        if len(broken):
            row = int(broken[0])
            raise DataError(
                f"image {image[row]}, row {row}: the log density of the direction {float(angle[row]):g} is "
                f"{log_prob[row]} ({len(broken)} such labels). Check label and prediction."
            )
        mean, mode = (np.rad2deg(as_array(wrapped(angle - point))) for point in (density.mean, density.mode))
        level, pit = as_array(density.level(angle)), as_array(density.pit(angle))
        return cls(image, -log_prob, level, pit, mean, mode, as_array(density.resultant_length))


def score_directions(model: DirectionModel, persons: Persons, *, turned: float = 0.0, seed: int = 0) -> DirectionScores:
    """Score a network on labelled persons; for the arguments see `DirectionModel.predict`."""
    parts = [
        DirectionScores.of(density, angle, persons.image_id[rows])
        for rows, density, angle in model.predict(persons, turned=turned, seed=seed)
    ]
    return DirectionScores.join(parts)


@dataclass(frozen=True)
class DirectionRow:
    """One model, over its seeds.

    Attributes:
        model: its label.
        seeds: their number.
        nats: mean per label.
        d_nats: difference from the reference; None of itself.
        coverage: by content of the arcs, share of labels and its standard error over images.
        mean_deg: mean absolute error of the mean direction.
        d_mean_deg: difference from the reference.
        median_deg: median absolute error of the mean direction.
        mode_deg: mean absolute error of the densest direction.
        d_mode_deg: difference from the reference.
        mode_median_deg: median absolute error of the densest direction.
    """

    model: str
    seeds: int
    nats: float
    d_nats: Difference | None
    coverage: dict[float, tuple[float, float]]
    mean_deg: float
    d_mean_deg: Difference | None
    median_deg: float
    mode_deg: float
    d_mode_deg: Difference | None
    mode_median_deg: float


@dataclass(frozen=True)
class DirectionComparison:
    """Models on the same labels.

    Attributes:
        rows: one a model, the reference first.
        labels: their number.
        images: number of images.
    """

    rows: tuple[DirectionRow, ...]
    labels: int
    images: int

    @property
    def table(self) -> Table:
        """In nats and degrees; ± is the standard error of the difference before it, over images and seeds."""
        other = self.rows[0].model
        headings = [
            "model", "seeds", "nats", f"- {other}", "±", "in 50%", "±", "in 90%", "±", "mean, deg", f"- {other}", "±",
            "median", "mode, deg", f"- {other}", "±", "median",
        ]  # fmt: skip
        decimals = [0, 0, 3, 3, 3, 3, 3, 3, 3, *[1] * 8]
        rows = [
            [
                row.model, row.seeds, row.nats, *_pair(row.d_nats), *row.coverage[0.5], *row.coverage[0.9],
                row.mean_deg, *_pair(row.d_mean_deg), row.median_deg, row.mode_deg, *_pair(row.d_mode_deg),
                row.mode_median_deg,
            ]
            for row in self.rows
        ]  # fmt: skip
        columns = [Column(heading, places) for heading, places in zip(headings, decimals, strict=True)]
        return Table(columns=columns, rows=rows)


def compare_directions(models: Mapping[str, Sequence[DirectionScores]]) -> DirectionComparison:
    """Compare models that were scored on the same labels.

    Args:
        models: for each label of a model the scores of its seeds, in the same order of seeds; the first is the
            reference.

    Raises:
        DataError: no model, other numbers of seeds, or other labels.
    """
    counts = {name: (len(seeds), [len(one) for one in seeds]) for name, seeds in models.items()}
    if not counts or any(count != next(iter(counts.values())) or not count[0] for count in counts.values()):
        raise DataError(f"models need the same seeds and labels to be compared: there are {counts}.")
    first = next(iter(models.values()))
    rows = tuple(_row(name, seeds, None if seeds is first else first) for name, seeds in models.items())
    return DirectionComparison(rows, len(first[0]), len(np.unique(first[0].image)))


def _row(model: str, seeds: Sequence[DirectionScores], others: Sequence[DirectionScores] | None) -> DirectionRow:
    def column(of: str, scores: Sequence[DirectionScores]) -> list[Array]:
        return [one.nats if of == "nats" else np.abs(getattr(one, of)) for one in scores]

    def difference(of: str) -> Difference | None:
        return None if others is None else paired_difference(column(of, seeds), column(of, others), seeds[0].image)

    means = {of: float(np.mean(column(of, seeds))) for of in ("nats", "error_deg", "mode_error_deg")}
    return DirectionRow(
        model=model,
        seeds=len(seeds),
        nats=means["nats"],
        d_nats=difference("nats"),
        coverage={content: _coverage(seeds, content) for content in CONTENTS},
        mean_deg=means["error_deg"],
        d_mean_deg=difference("error_deg"),
        median_deg=float(np.median(column("error_deg", seeds))),
        mode_deg=means["mode_error_deg"],
        d_mode_deg=difference("mode_error_deg"),
        mode_median_deg=float(np.median(column("mode_error_deg", seeds))),
    )


def _coverage(seeds: Sequence[DirectionScores], content: float) -> tuple[float, float]:
    """Share of the labels within arcs of that content, mean over seeds, and its standard error over images."""
    held = np.mean([one.level <= content for one in seeds], axis=0)
    error = clustered_standard_error(held, seeds[0].image)
    return float(held.mean()), math.nan if error is None else error


def _pair(difference: Difference | None) -> tuple[float | None, float | None]:
    return (None, None) if difference is None else (difference.mean, difference.se)
