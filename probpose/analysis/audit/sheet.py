"""Labels on the crops of their persons, many on a sheet: what was clicked, and where the models see the joint."""

from __future__ import annotations

__all__ = ["draw_sheet", "suspected_persons"]

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from probpose.analysis.audit.record import Audit
from probpose.analysis.figures.canvas import LiteralFigure
from probpose.arrays import Array
from probpose.data.crops import apply_affine, crop_from_box, cut, invert_affine
from probpose.models.label_errors import KINDS

SHOWN = 16
_COLUMNS = 4
_SIDE = 224
_LABEL, _PREDICTED, _MIRROR = "#ff5247", "#35c2ff", "#ffd23c"


def suspected_persons(audit: Audit, count: int = SHOWN) -> list[int]:
    """The most suspicious labels above the audit's threshold, at most `count`, one a person."""
    first: dict[int, int] = {}
    for index in audit.order[audit.suspicion[audit.order] > audit.threshold].tolist():
        first.setdefault(int(audit.row[index]), index)
    return list(first.values())[:count]


def draw_sheet(audit: Audit, labels: Sequence[int], *, title: str, columns: int = _COLUMNS) -> Figure:
    """A sheet of labels, each on the crop of its person.

    Args:
        audit: that they are of.
        labels: indices.
        title: above them.
        columns: of panels.
    """
    rows = max(1, -(-len(labels) // columns))
    figure = LiteralFigure(figsize=(2.5 * columns, 2.95 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, index in zip(panels, labels, strict=False):
        _draw(axes, audit, index)
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw(axes: Axes, audit: Audit, index: int) -> None:
    """One label on the crop of its person, the person's other labels faint."""
    persons, row, joint = audit.persons, int(audit.row[index]), int(audit.joint[index])
    to_image = crop_from_box(persons.box[[row]], (_SIDE, _SIDE)).to_image
    image = persons.picture(persons.file_name[row])
    if not isinstance(image, str):
        axes.imshow(cut(image, to_image[0], (_SIDE, _SIDE)))

    def in_crop(points: Array) -> Array:
        return np.asarray((apply_affine(invert_affine(to_image), points[None])[0] + 0.5) * _SIDE - 0.5)

    known = persons.labelled[row]
    for one, other in persons.skeleton.edges:
        if known[one] and known[other]:
            axes.plot(*in_crop(persons.keypoints[row, [one, other]]).T, color="white", lw=0.7, alpha=0.5)
    label, predicted, mirror = in_crop(np.stack([audit.label[index], audit.predicted[index], audit.mirror[index]]))
    axes.plot(*np.stack([label, predicted]).T, color=_PREDICTED, lw=1)
    axes.plot(*in_crop(_ellipse(audit.predicted[index], audit.covariance[index])).T, color=_PREDICTED, lw=0.8)
    axes.plot(*mirror, marker="s", ms=7, mew=1.5, color=_MIRROR, mfc="none", clip_on=False)
    axes.plot(*predicted, marker="o", ms=7, mew=2, color=_PREDICTED, mfc="none", clip_on=False)
    axes.plot(*label, marker="x", ms=8, mew=2.5, color=_LABEL, clip_on=False)
    kind = audit.probable(index)
    share = audit.probability[index, KINDS.index(kind)]
    name = persons.skeleton.joints[joint].replace("_", " ")
    axes.set_title(f"{persons.annotation_id[row]}: {name}\n{kind.replace('_', ' ')} {share:.2f}", fontsize=8)
    axes.set_xlim(-12, _SIDE + 12)
    axes.set_ylim(_SIDE + 12, -12)


def _ellipse(centre: Array, covariance: Array) -> Array:
    """(n, 2), points one standard deviation about a centre."""
    angle = np.linspace(0, 2 * np.pi, 60)
    values, vectors = np.linalg.eigh(covariance)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.asarray(centre + (circle * np.sqrt(values)) @ vectors.T)


def _legend() -> Sequence[Line2D]:
    kinds = (("x", _LABEL, "label"), ("o", _PREDICTED, "models, one standard deviation"), ("s", _MIRROR, "other side"))
    return [
        Line2D([], [], ls="", marker=marker, color=colour, mfc="none", ms=7, mew=2, label=text)
        for marker, colour, text in kinds
    ]
