"""Levels and probability integral transforms beside the uniform law that calibration gives them, by ArviZ."""

from __future__ import annotations

__all__ = ["draw_levels", "draw_pit"]

from collections.abc import Sequence
from os import PathLike

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.posterior.library import az
from probpose.arrays import Array, Index
from probpose.errors import DataError

BAND = 0.95
"""Content of the simultaneous band."""

_POINTS = 100
_MOST = 2000

Files = Sequence[str | PathLike[str]]


def draw_levels(level: Array, image: Index, files: Files = (), *, seed: int = 0) -> Figure:
    """ECDF of HDR levels minus the uniform, with the band that holds 95% of such curves when calibrated.

    The band is for independent numbers (Saeilynoja, Buerkner and Vehtari, "Graphical Test for Discrete Uniformity",
    Statistics and Computing 2022), and keypoints of an image are not: one of each image is drawn at random, at most
    2000. A curve above 0 at a level means that regions of that content hold more labels than they should.

    Args:
        level: (M,), in [0, 1].
        image: (M,), the image of each label.
        files: to write the figure to, such as a PNG.
        seed: of the choice of labels and of the simulated band.

    Raises:
        DataError: there are no labels.
    """
    figure = LiteralFigure(figsize=(5, 3.6), layout="constrained")
    _ecdf(figure.subplots(), level, image, "HDR level", seed)
    return _saved(figure, files)


def draw_pit(pit: Array, image: Index, files: Files = (), *, seed: int = 0) -> Figure:
    """As `draw_levels`, for the probability integral transforms (M, 2) along x and y.

    Args:
        pit: (M, 2), in [0, 1].
        image: (M,), the image of each label.
        files: where to save; nowhere by default.
        seed: of the choice of labels and of the simulated band.
    """
    figure = LiteralFigure(figsize=(9, 3.6), layout="constrained")
    for d, axes in enumerate(figure.subplots(1, 2, sharey=True)):
        _ecdf(axes, pit[:, d], image, f"PIT along {'xy'[d]}", seed)
    return _saved(figure, files)


def _ecdf(axes: Axes, values: Array, image: Index, name: str, seed: int) -> None:
    if not len(values):
        raise DataError(f"There are no labels to draw the {name} of.")
    rng = np.random.default_rng(seed)
    chosen = values[_one_an_image(image, rng)]
    uniform = stats.uniform(0, 1)
    az.plot_ecdf(
        chosen,
        eval_points=np.linspace(1 / _POINTS, 1, _POINTS),
        cdf=uniform.cdf,
        rvs=uniform.rvs,
        difference=True,
        confidence_bands="simulated",
        ci_prob=BAND,
        random_state=rng,
        ax=axes,
        plot_kwargs={"color": "#222222", "linewidth": 1.2},
        fill_kwargs={"color": "#9aa5b1", "alpha": 0.35},
    )
    axes.axhline(0, color="#9aa5b1", linewidth=0.8)
    axes.set_xlabel(name)
    axes.set_ylabel("ECDF minus uniform")
    axes.set_title(f"{len(chosen)} labels, one an image; band: {BAND:.0%} when calibrated", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _one_an_image(image: Index, rng: np.random.Generator) -> Index:
    """A row of each image at random, of at most `_MOST` images."""
    shuffled = rng.permutation(len(image))
    _, first = np.unique(image[shuffled], return_index=True)
    rows = shuffled[first]
    return rows if len(rows) <= _MOST else rng.choice(rows, _MOST, replace=False)


def _saved(figure: Figure, files: Files) -> Figure:
    for file in files:
        figure.savefig(file, dpi=130)
    return figure
