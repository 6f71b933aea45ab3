"""The most suspicious labels on their crops: what was clicked, what was predicted, and the other side's place."""

from __future__ import annotations

__all__ = ["draw_suspects"]

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from probpose.analysis.gross_labels import LIKELY, GrossLabels
from probpose.data.crop import apply_affine, crop_from_box, cut, invert_affine
from probpose.data.images import read_image

SHOWN = 16
_COLUMNS = 4
_SIDE = 224
_LABEL, _PREDICTED, _OTHER = "#ff5247", "#35c2ff", "#ffd23c"


def draw_suspects(labels: GrossLabels) -> Figure:
    """A sheet of the crops of the `SHOWN` most suspicious labels, one a person; empty panels where there are fewer."""
    persons = labels.persons
    first: dict[int, int] = {}
    for index in labels.suspects:
        first.setdefault(int(labels.row[index]), int(index))
    chosen = list(first.values())[:SHOWN]
    rows = max(1, -(-len(chosen) // _COLUMNS))
    figure = Figure(figsize=(2.5 * _COLUMNS, 2.85 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, index in zip(panels, chosen, strict=False):
        _draw(axes, labels, index)
    title = f"{persons.name}: labels that the model would exchange or discard"
    figure.suptitle(title if chosen else f"{persons.name}: no suspects", fontsize=11)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw(axes: Axes, labels: GrossLabels, index: int) -> None:
    """One label on the crop of its person."""
    persons, row = labels.persons, int(labels.row[index])
    to_image = crop_from_box(persons.box[[row]], (_SIDE, _SIDE)).to_image
    image = read_image(persons.image_dir / persons.file_name[row])
    if not isinstance(image, str):
        axes.imshow(cut(image, to_image[0], (_SIDE, _SIDE)))
    joint = int(labels.joint[index])
    partner = persons.skeleton.flip_permutation[joint]
    places = [persons.keypoints[row, joint], labels.mean[index]]
    other = np.flatnonzero((labels.row == row) & (labels.joint == partner))
    if partner != joint and len(other):
        places.append(labels.mean[int(other[0])])
    points = (apply_affine(invert_affine(to_image), np.array(places)[None])[0] + 0.5) * _SIDE - 0.5
    axes.plot(*points[:2].T, color="white", lw=0.8, alpha=0.8)
    for point, marker, colour in zip(points, "xos", (_LABEL, _PREDICTED, _OTHER), strict=False):
        filled = colour if marker == "x" else "none"
        axes.plot(*point, marker=marker, ms=8, mew=2, color=colour, mfc=filled, clip_on=False)
    exchanged = labels.exchanged[index] > LIKELY
    event = f"exchanged {labels.exchanged[index]:.2f}" if exchanged else f"gross {labels.outlier[index]:.2f}"
    axes.set_title(f"{persons.skeleton.joints[joint].replace('_', ' ')}\n{event}", fontsize=8)
    axes.set_xlim(-12, _SIDE + 12)
    axes.set_ylim(_SIDE + 12, -12)


def _legend() -> Sequence[Line2D]:
    kinds = (("x", _LABEL, "label"), ("o", _PREDICTED, "predicted mean"), ("s", _OTHER, "predicted other side"))
    return [
        Line2D([], [], ls="", marker=marker, color=colour, mfc="none", ms=7, mew=2, label=text)
        for marker, colour, text in kinds
    ]
