"""Figures of the targets: where each joint lies in the crop, its marginals, and the boxes; saved beside the numbers."""

from __future__ import annotations

__all__ = ["draw_marginals", "draw_persons", "draw_targets", "save_targets"]

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.targets.statistics import JointTargets, TargetStatistics
from probpose.analysis.targets.tables import targets_csv
from probpose.arrays import Array
from probpose.data.persons import Persons, target_points
from probpose.files import write_atomically

_BLUE, _ORANGE, _GREY = "#1f6fb2", "#c2571a", "#9aa5b1"
_SHOWN = 0.62
_MANY_ON_BORDER = 0.05


def draw_targets(statistics: TargetStatistics, persons: Persons, files: Sequence[Path]) -> None:
    """One panel a joint: density of its labels in the crop (the rectangle), on a square-root scale."""
    points = target_points(persons, statistics.input_size)
    height, width = statistics.input_size
    figure, axes = _panels(len(persons.skeleton), 1.9, 1.9 * height / width)
    for joint, (axis, name) in enumerate(zip(axes, persons.skeleton.joints, strict=False)):
        known = points[np.isfinite(points[:, joint, 0]), joint]
        counts = np.histogram2d(known[:, 0], known[:, 1], bins=48, range=[(-_SHOWN, _SHOWN)] * 2)[0]
        extent = (-_SHOWN * width, _SHOWN * width, _SHOWN * height, -_SHOWN * height)
        axis.imshow(np.sqrt(counts.T), cmap="Blues", extent=extent, interpolation="nearest")
        axis.add_patch(Rectangle((-width / 2, -height / 2), width, height, fill=False, color="#444444", linewidth=0.7))
        outside = statistics.outside_crop[name]
        axis.set_title(f"{name}\n{len(known)} labels" + (f", {outside:.1%} outside" if outside else ""), fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
    _save(figure, statistics, files)


def draw_marginals(statistics: TargetStatistics, persons: Persons, files: Sequence[Path]) -> None:
    """One panel a joint and axis: histogram of u with the fitted Gaussian and Laplace; titles name the multimodal."""
    points = target_points(persons, statistics.input_size)
    figure, axes = _panels(len(statistics.joints), 1.9, 1.35)
    for index, (axis, row) in enumerate(zip(axes, statistics.joints, strict=False)):
        column = points[:, index // 2, index % 2]
        _marginal(axis, row, column[np.isfinite(column)])
    axes[0].legend(fontsize=5, frameon=False)
    _save(figure, statistics, files)


def draw_persons(statistics: TargetStatistics, persons: Persons, files: Sequence[Path]) -> None:
    """Box sizes, labelled joints per person, visibility and the share outside the crop by joint."""
    figure = LiteralFigure(figsize=(11, 5.6), layout="constrained")
    axes = figure.subplots(2, 2)
    size = np.sqrt(persons.box[:, 2] * persons.box[:, 3])
    axes[0, 0].hist(size, bins=60, color=_BLUE)
    axes[0, 0].set_xlabel("square root of the box's area, pixels")
    axes[0, 0].set_ylabel("persons")
    axes[0, 1].bar(range(len(statistics.labelled_joints)), statistics.labelled_joints, color=_BLUE)
    axes[0, 1].set_xlabel("labelled joints of a person")
    axes[0, 1].xaxis.get_major_locator().set_params(integer=True)
    _visibility(axes[1, 0], statistics)
    names = list(statistics.outside_crop)
    shares = [100 * (share or 0) for share in statistics.outside_crop.values()]
    axes[1, 1].bar(names, shares, color=_ORANGE)
    axes[1, 1].set_ylim(0, 1.1 * max(*shares, 1))
    axes[1, 1].set_ylabel("labels outside the crop, %")
    for axis in axes[1]:
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    _save(figure, statistics, files)


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A grid of `count` axes, each of a size in inches; the rest of the grid is blank."""
    columns = min(count, 7 if count % 7 == 0 else 6)
    rows = math.ceil(count / columns)
    figure = LiteralFigure(figsize=(width * columns, (height + 0.35) * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes


def _marginal(axis: Axes, row: JointTargets, u: Array) -> None:
    if len(u):
        axis.hist(u, bins=50, range=(-_SHOWN, _SHOWN), density=True, color=_GREY)
    if row.mean is not None and row.std is not None:
        grid = np.linspace(-_SHOWN, _SHOWN, 200)
        middle, width = float(np.median(u)), float(np.abs(u - np.median(u)).mean())
        gaussian = np.exp(-0.5 * ((grid - row.mean) / row.std) ** 2) / (row.std * math.sqrt(2 * math.pi))
        axis.plot(grid, gaussian, color=_BLUE, linewidth=0.9, label="Gaussian")
        axis.plot(
            grid, np.exp(-np.abs(grid - middle) / width) / (2 * width), color=_ORANGE, linewidth=0.9, label="Laplace"
        )
    several = ": several modes" if row.multimodal else ""
    axis.set_title(f"{row.joint} {row.axis}{several}", fontsize=7, color=_ORANGE if row.multimodal else "black")
    if row.border is not None and row.border >= _MANY_ON_BORDER:
        text = f"{row.border:.0%} on the edge of the box"
        axis.set_ylim(top=1.15 * axis.get_ylim()[1])
        axis.text(0.5, 0.98, text, fontsize=5, ha="center", va="top", transform=axis.transAxes)
    axis.set_yticks([])
    axis.tick_params(labelsize=6)
    axis.axvspan(-_SHOWN, -0.5, color="#f0e6e0", zorder=0)
    axis.axvspan(0.5, _SHOWN, color="#f0e6e0", zorder=0)


def _visibility(axis: Axes, statistics: TargetStatistics) -> None:
    names = list(statistics.visibility)
    bottom = np.zeros(len(names))
    for flag, (label, colour) in enumerate((("unlabelled", "#d5dbe1"), ("occluded", _ORANGE), ("visible", _BLUE))):
        heights = np.array([statistics.visibility[name][flag] for name in names], dtype=np.float64)
        axis.bar(names, heights, bottom=bottom, color=colour, label=label)
        bottom += heights
    axis.set_ylabel("persons")
    axis.legend(fontsize=7, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _save(figure: Figure, statistics: TargetStatistics, files: Sequence[Path]) -> None:
    figure.suptitle(f"{statistics.name}: {statistics.persons} persons", fontsize=9)
    for file in files:
        figure.savefig(file, dpi=120)


def save_targets(statistics: TargetStatistics, persons: Persons, folder: Path) -> str:
    """Write stats.json, targets.csv, and targets, marginals and persons as .png and .pdf; returns the JSON text.

    Args:
        statistics: of the persons.
        persons: the table.
        folder: made where it is missing.

    Raises:
        OSError: the folder is not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(statistics.to_json(), allow_nan=False)
    write_atomically(folder / "stats.json", text.encode())
    write_atomically(folder / "targets.csv", targets_csv(statistics).encode())
    for name, draw in (("targets", draw_targets), ("marginals", draw_marginals), ("persons", draw_persons)):
        draw(statistics, persons, [folder / f"{name}.png", folder / f"{name}.pdf"])
    return text
