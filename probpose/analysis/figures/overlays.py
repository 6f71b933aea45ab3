"""Overlays: the image, the skeleton, and the regions where an annotator would click.

Overlays of predictions, one PNG file an image.
"""

from __future__ import annotations

__all__ = ["Drawn", "draw_image", "draw_overlay", "save_figure", "save_overlays"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Curve
from torch import Tensor

from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.figures.regions import Outline, regions
from probpose.analysis.prediction.estimates import Estimator, oks_kernel, point_of
from probpose.analysis.prediction.forward import Forward
from probpose.analysis.prediction.predict import Predictions
from probpose.arrays import Array, as_array
from probpose.data.images import Image
from probpose.errors import DataError
from probpose.models.predictive.decomposition import covariances
from probpose.skeleton import Skeleton

LEVELS = (0.5, 0.9)
"""Content of the regions that are drawn."""

_FILL = (0.32, 0.14)
_LINE = (1.1, 0.7)
_COLOURS = {"left": "#35c2ff", "right": "#ff9a3c", "centre": "#7dff8a"}
_BACKGROUND, _TEXT = "#15171a", "#d0d4da"
_DPI = 100
_SIDE = (900.0, 1600.0)
"""Least and most pixels of the longer side of the drawing."""
_LEAST_WIDTH = 640.0
_STRIP = 30.0
_LEGEND = 480.0
_MARGIN = 0.4
_CORNERS = 65
"""Of an ellipse."""


@dataclass(frozen=True)
class Drawn:
    """One person as it is drawn, in pixels of the image.

    Attributes:
        point: (K, 2).
        presence: (K,); joints below 0.5 are drawn hollow and faint.
        outlines: the regions of each joint, `LEVELS` ascending.
    """

    point: Array
    presence: Array
    outlines: Sequence[Sequence[Outline]]


def draw_overlay(image: Image, persons: Sequence[Drawn], skeleton: Skeleton, *, title: str | None = None) -> Figure:
    """Draw persons over an image (h, w, 3), enlarged where they are small; a strip below holds the legend.

    Args:
        image: RGB.
        persons: who is drawn.
        skeleton: joints and edges; the person's left is blue, the right orange.
        title: printed in the strip.
    """
    return _draw_panels(image, {"": persons}, skeleton, title)


def _draw_panels(image: Image, panels: Mapping[str, Sequence[Drawn]], skeleton: Skeleton, title: str | None) -> Figure:
    """The same image several times side by side, each time with the same persons drawn by what its name says."""
    left, top, right, bottom = _view(image, next(iter(panels.values())))
    width, height = right - left, bottom - top
    side = float(np.clip(max(width, height), *_SIDE))
    zoom = side / max(width, height)
    size = (max(len(panels) * width * zoom, _LEAST_WIDTH), height * zoom + _STRIP)
    figure = LiteralFigure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    share = 1 / len(panels)
    for number, (name, persons) in enumerate(panels.items()):
        axes = figure.add_axes((number * share, _STRIP / size[1], share, 1 - _STRIP / size[1]))
        axes.imshow(_dimmed(image), interpolation="bilinear" if zoom > 1 else "antialiased")
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.set_axis_off()
        for person in persons:
            _draw_person(axes, person, skeleton)
        if name:
            axes.text(
                0.5, 0.99, name, transform=axes.transAxes, color="white", fontsize=11, ha="center", va="top",
                bbox={"facecolor": _BACKGROUND, "alpha": 0.75, "lw": 0},
            )  # fmt: skip
    _draw_legend(figure, size, title)
    return figure


def save_figure(file: Path, figure: Figure) -> None:
    """Write an overlay as a PNG file.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="png")
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}.") from error


def _view(image: Image, persons: Sequence[Drawn]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is shown: the persons' surroundings where they fill little of the image."""
    size = np.array(image.shape[1::-1], dtype=np.float64)
    if not persons:
        return -0.5, -0.5, size[0] - 0.5, size[1] - 0.5
    points = np.concatenate([person.point for person in persons])
    low, high = points.min(0), points.max(0)
    reach = (high - low) / 2 + _MARGIN * (high - low).max()
    low, high = (low + high) / 2 - reach, (low + high) / 2 + reach
    low, high = np.clip(low, -0.5, size - 1.5), np.clip(high, 0.5, size - 0.5)
    if not 64 <= (high - low).prod() <= 0.5 * size.prod():
        low, high = np.array([-0.5, -0.5]), size - 0.5
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _dimmed(image: Image) -> npt.NDArray[np.uint8]:
    """The image, a little darker, so that the drawing stands out."""
    return np.asarray(image * 0.78, dtype=np.uint8)


def _draw_person(axes: Axes, person: Drawn, skeleton: Skeleton) -> None:
    sides = _sides(skeleton)
    seen = person.presence >= 0.5
    for a, b in skeleton.edges:
        colour = _COLOURS[sides[a] if sides[a] == sides[b] else "centre"]
        x, y = person.point[[a, b]].T
        axes.plot(x, y, color=colour, lw=1.6, alpha=0.85 if seen[a] and seen[b] else 0.2, solid_capstyle="round")
    for joint, side in enumerate(sides):
        strength = 1.0 if seen[joint] else 0.35
        for outline, fill, line in zip(person.outlines[joint], _FILL, _LINE, strict=True):
            _draw_region(axes, outline, _COLOURS[side], fill * strength, line, strength)
        _draw_point(axes, person.point[joint], _COLOURS[side], bool(seen[joint]))


def _draw_region(axes: Axes, outline: Outline, colour: str, fill: float, line: float, strength: float) -> None:
    if outline:
        curve = Curve.make_compound_path(*(Curve(part, closed=True) for part in outline))
        axes.add_patch(PathPatch(curve, facecolor=colour, alpha=fill, lw=0))
        axes.add_patch(PathPatch(curve, fill=False, edgecolor=colour, lw=line, alpha=0.9 * strength))


def _draw_point(axes: Axes, point: Array, colour: str, seen: bool) -> None:
    face, alpha = (colour, 1.0) if seen else ("none", 0.5)
    edge = "black" if seen else colour
    axes.plot(*point, "o", ms=4.5, mfc=face, mec=edge, mew=0.7, alpha=alpha, zorder=3)


def _sides(skeleton: Skeleton) -> list[str]:
    """left, right or centre for each joint, from the flip pairs and the names."""
    sides = ["centre"] * len(skeleton)
    for first, second in skeleton.flip_pairs:
        swapped = skeleton.joints[first].lower().startswith("r")
        sides[first], sides[second] = ("right", "left") if swapped else ("left", "right")
    return sides


def _draw_legend(figure: Figure, size: tuple[float, float], title: str | None) -> None:
    handles = [
        Patch(facecolor=_TEXT, alpha=0.65, label=f"{LEVELS[0]:.0%} region"),
        Patch(facecolor=_TEXT, alpha=0.3, label=f"{LEVELS[1]:.0%} region"),
        *(Line2D([], [], color=colour, lw=2, label=side) for side, colour in _COLOURS.items()),
        Line2D([], [], color=_TEXT, marker="o", mfc="none", ls="none", ms=4.5, label="probably unlabelled"),
    ]
    middle = 0.5 * _STRIP / size[1]
    figure.legend(
        handles=handles, loc="center right", bbox_to_anchor=(1.0, middle), ncols=len(handles), fontsize=7,
        frameon=False, handlelength=1.2, columnspacing=1.0, borderaxespad=0.3, labelcolor=_TEXT,
    )  # fmt: skip
    if title:
        room = int((size[0] - _LEGEND) / 6)
        short = title if len(title) <= room else f"…{title[1 - room :]}"
        figure.text(8 / size[0], middle, short, color=_TEXT, fontsize=8, va="center")


def save_overlays(
    predictions: Predictions,
    folder: Path,
    *,
    estimator: Estimator = "mean",
    least_score: float = 0.0,
    apart: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Draw all persons of each image into one overlay.

    Args:
        predictions: what to draw.
        folder: where `NAME.png` goes, NAME the image file's stem; a number is added where it is taken.
        estimator: the point that is drawn.
        least_score: persons with a lower score are not drawn.
        apart: beside the regions also ellipses of what is unsure of labels and of the model, of an ensemble.
        progress: called after each image with the number of images done so far.

    Returns:
        The files written, in the order of the images.

    Raises:
        DataError: a file cannot be written.
    """
    persons = predictions.persons
    kernel = oks_kernel(persons, estimator, "usual")
    chosen = _by_image(predictions, least_score)
    files = []
    for number, (name, target) in enumerate(_targets(predictions, folder).items(), 1):
        image = persons.picture(name)
        if not isinstance(image, str):
            drawn = [_drawn(forward, index, estimator, kernel) for forward, index in chosen[name]]
            panels = {"": drawn} if not apart else {"together": drawn, **_taken_apart(chosen[name], drawn)}
            save_figure(target, _draw_panels(image, panels, persons.skeleton, Path(name).name))
            files.append(target)
        if progress is not None:
            progress(number)
    return files


def draw_image(
    predictions: Predictions, name: str, *, estimator: Estimator = "mean", least_score: float = 0.0
) -> Figure:
    """The overlay of one image: all of its persons.

    Args:
        predictions: with distributions.
        name: of the image file, as the table has it.
        estimator: the point that is drawn.
        least_score: persons with a lower score are not drawn.

    Raises:
        DataError: the image has no prediction, or cannot be read.
    """
    persons, chosen = predictions.persons, _by_image(predictions, least_score)
    if name not in chosen:
        raise DataError(f"nothing is predicted for an image {name!r}: there are {', '.join(list(chosen)[:3])}, ...")
    image = persons.picture(name)
    if isinstance(image, str):
        raise DataError(f"{name}: {image}.")
    kernel = oks_kernel(persons, estimator, "usual")
    drawn = [_drawn(forward, index, estimator, kernel) for forward, index in chosen[name]]
    return draw_overlay(image, drawn, persons.skeleton, title=Path(name).name)


def _by_image(predictions: Predictions, least_score: float) -> dict[str, list[tuple[Forward, int]]]:
    """The persons to draw by image file: a batch and the row in it."""
    places = [(forward, index) for forward in predictions.forwards for index in range(len(forward.rows))]
    chosen: dict[str, list[tuple[Forward, int]]] = {row["file_name"]: [] for row in predictions.rows}
    for place, row in zip(places, predictions.rows, strict=True):
        if row["score"] >= least_score:
            chosen[row["file_name"]].append(place)
    return chosen


def _drawn(forward: Forward, index: int, estimator: Estimator, kernel: Array | None) -> Drawn:
    predictive = forward.keypoints.rows(slice(index, index + 1))
    variance = None if kernel is None else torch.from_numpy(kernel[forward.rows[[index]]]).to(predictive.mean)
    point = as_array(point_of(predictive, estimator, variance))[0]
    return Drawn(point, as_array(forward.presence[index]), regions(predictive, LEVELS)[0])


def _taken_apart(places: Sequence[tuple[Forward, int]], drawn: Sequence[Drawn]) -> dict[str, list[Drawn]]:
    """The same persons with ellipses of both kinds of covariance, about the points that are drawn."""
    found = [covariances(forward.keypoints.rows(slice(index, index + 1))) for forward, index in places]
    pairs = list(zip(drawn, found, strict=True))
    return {
        "aleatoric: what all models leave open": [_with_ellipses(one, aleatoric) for one, (aleatoric, _) in pairs],
        "epistemic: where the models disagree": [_with_ellipses(one, epistemic) for one, (_, epistemic) in pairs],
    }


def _with_ellipses(person: Drawn, covariance: Tensor) -> Drawn:
    """Ellipses that hold `LEVELS` of a Gaussian with that covariance (1, K, 2, 2)."""
    values, vectors = np.linalg.eigh(as_array(covariance[0]))
    half = vectors * np.sqrt(np.maximum(values, 0.0))[:, None]
    turn = np.linspace(0, 2 * np.pi, _CORNERS)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    radii = [float(np.sqrt(-2 * np.log1p(-level))) for level in LEVELS]
    outlines = [
        [[(point[:, None] + radius * factor @ circle).T] for radius in radii]
        for point, factor in zip(person.point, half, strict=True)
    ]
    return replace(person, outlines=outlines)


def _targets(predictions: Predictions, folder: Path) -> dict[str, Path]:
    """Overlay file by image file, for the images with predictions."""
    images = {row["file_name"]: row["image_id"] for row in predictions.rows}
    stems = [Path(name).stem for name in images]
    wanted = [
        stem if stems.count(stem) == 1 else f"{stem}_{image}"
        for image, stem in zip(images.values(), stems, strict=True)
    ]
    return {name: folder / f"{free}.png" for name, free in zip(images, _unlike(wanted), strict=True)}


def _unlike(names: Sequence[str]) -> list[str]:
    """The names, with a number where one is taken, also where upper and lower case are one."""
    given: dict[str, str] = {}
    for name in names:
        choices = chain([name], (f"{name}_{number}" for number in count(2)))
        free = next(choice for choice in choices if choice.casefold() not in given)
        given[free.casefold()] = free
    return list(given.values())
