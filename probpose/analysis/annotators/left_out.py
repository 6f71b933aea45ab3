"""Annotators left out one at a time: how well others' errors foretell the labels of one whom the model has not seen."""

from __future__ import annotations

__all__ = ["LeftOut", "left_out", "left_out_table"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.analysis.table import Column, Table
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_posterior import Noise
from probpose.inference.fitting.leave_annotator_out import leave_annotators_out


@dataclass(frozen=True)
class LeftOut:
    """Expected log predictive density of the labels of an annotator, by the posterior of the others.

    Attributes:
        annotator: name; None for all together.
        labels: number of labels that others accompany.
        nats_per_label: of a label, its true location, bias and scale marginalised.
        se: its standard error, clustered by image; None of one image.
    """

    annotator: str | None
    labels: int
    nats_per_label: float
    se: float | None


def left_out(
    labels: RepeatedLabels, *, noise: Noise, draws: int, seed: int, progress: Callable[[int], None] | None = None
) -> list[LeftOut]:
    """A row an annotator, and one of all.

    Args:
        labels: by three annotators or more.
        noise: law of the errors.
        draws: in each chain of each posterior.
        seed: of them.
        progress: called with the number of annotators done.

    Raises:
        DataError: fewer than three annotators.
    """
    warmup = min(draws, 100)
    nats = leave_annotators_out(labels, noise=noise, draws=draws, warmup=warmup, seed=seed, progress=progress)
    image, known = labels.image[labels.object], np.isfinite(nats)
    whose = [(name, known & (labels.annotator == a)) for a, name in enumerate(labels.annotators)]
    return [
        LeftOut(name, int(rows.sum()), float(nats[rows].mean()), clustered_standard_error(nats[rows], image[rows]))
        for name, rows in [*whose, (None, known)]
        if rows.any()
    ]


def left_out_table(found: Sequence[LeftOut], unit: str) -> Table:
    """A row an annotator, the least foreseen first, and one of all."""
    ordered = sorted(found, key=lambda one: (one.annotator is None, one.nats_per_label))
    return Table(
        name="left_out",
        title="Annotators left out",
        columns=[Column("annotator"), Column("labels"), Column("nats per label"), Column("se")],
        rows=[[one.annotator or "all", one.labels, one.nats_per_label, one.se] for one in ordered],
        caption=f"Log density, per square {unit}, of each label by the posterior of the other annotators, with a bias "
        "and a scale drawn from the population; standard errors are over images. Less is less foreseen.",
        marked=frozenset([len(ordered) - 1]),
    )
