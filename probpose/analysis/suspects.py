"""Which labels are gross errors: rates by EM with the network fixed, and the posterior probability of each event.

For a trained model of any family, with theta_k what it says of joint k, a pair of labels was exchanged with probability
d, and a label is about something else with probability e (`probpose.models.heads.gross`). Both are fitted to the labels
of a data set (`probpose.inference.fitting.gross_em`); with them every label has posterior probabilities of having
been exchanged with its other side and of being a gross error, its responsibilities. They compare labels with the
model: where the network itself takes left for right, d is the rate of its own confusions.

The most suspicious labels on their crops: what was clicked, what was predicted, and the other side's place.
"""

from __future__ import annotations

__all__ = ["GrossLabels", "draw_suspects", "find_gross_labels", "save_suspects", "suspects_table"]

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import RenderableType
from torch import Tensor

from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.prediction.forward import predict_persons
from probpose.analysis.table import Cell, Column, Table
from probpose.arrays import Array, as_array
from probpose.data.crops import apply_affine, crop_from_box, cut, invert_affine
from probpose.data.persons import Persons
from probpose.data.plausible import remarks_on
from probpose.errors import DataError
from probpose.files import write_atomically
from probpose.inference.fitting.gross_em import Rates, fit_rates, responsibilities
from probpose.models.heads.gross import Terms, anywhere
from probpose.models.keypoint_model import KeypointModel
from probpose.models.label_errors import sides
from probpose.models.predictive.contract import Predictive
from probpose.models.scores import Labels, LabelScores
from probpose.text import formula_free

LIKELY = 0.5
"""Posterior probability above which a label is a suspect."""

COLUMNS = ("file_name", "annotation_id", "joint", "x", "y", "predicted_x", "predicted_y", "exchanged", "outlier")


@dataclass(frozen=True)
class GrossLabels:
    """M labelled keypoints with their responsibilities.

    Attributes:
        persons: the table.
        rates: d and e, and the log likelihood at every iteration.
        pairs: pairs of sides of which at least one is labelled.
        scores: of the labels, under what the model says of each joint.
        mean: (M, 2), predictive mean, pixels; with a family of gross errors, of its whole mixture.
        exchanged: (M,), probability that the label belongs to the other side.
        outlier: (M,), probability that it is a gross error.
        unreadable: one "file: reason" for each person whose image could not be read.
    """

    persons: Persons
    rates: Rates
    pairs: int
    scores: LabelScores
    mean: Array
    exchanged: Array
    outlier: Array
    unreadable: list[str]

    @property
    def suspicion(self) -> Array:
        """(M,), probability of either."""
        return 1 - (1 - self.exchanged) * (1 - self.outlier)

    @property
    def suspects(self) -> npt.NDArray[np.int64]:
        """Indices of the labels with a suspicion over `LIKELY`, the greatest first."""
        order = np.argsort(-self.suspicion, kind="stable")
        return order[self.suspicion[order] > LIKELY]

    def entry(self, index: int) -> dict[str, Any]:
        """One label, by the names of `COLUMNS`."""
        row, joint = int(self.scores.person[index]), int(self.scores.joint[index])
        x, y = self.persons.keypoints[row, joint]
        values = (
            self.persons.file_name[row], int(self.persons.annotation_id[row]), self.persons.skeleton.joints[joint],
            float(x), float(y), *map(float, self.mean[index]), float(self.exchanged[index]), float(self.outlier[index]),
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))

    def summary(self) -> dict[str, Any]:
        """Rates, counts and the suspects, as one JSON object."""
        chosen = self.suspects
        return {
            "dataset": self.persons.name,
            "labels": len(self.scores),
            "pairs": self.pairs,
            "exchanged": self.rates.exchanged if self.pairs else None,
            "outlier": self.rates.outlier,
            "log_likelihoods": list(self.rates.log_likelihoods),
            "suspects_exchanged": int((self.exchanged > LIKELY).sum()),
            "suspects_outlier": int((self.outlier > LIKELY).sum()),
            "suspects": [self.entry(index) for index in chosen],
            "unreadable": self.unreadable,
            "remarks": [*self.persons.remarks, *remarks_on(self.persons)],
        }

    def csv(self) -> str:
        """Every label with its responsibilities, in the order of the table."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for index in range(len(self.scores)):
            entry = self.entry(index)
            writer.writerow({name: _cell(value) for name, value in entry.items()})
        return text.getvalue()


def _cell(value: float | str) -> int | str:
    return f"{value:.6g}" if isinstance(value, float) else formula_free(value) if isinstance(value, str) else value


def find_gross_labels(
    model: KeypointModel,
    persons: Persons,
    input_size: tuple[int, int],
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> GrossLabels:
    """Fit the rates of gross errors to the labels of `persons`, the network fixed.

    Args:
        model: of any family, in eval mode.
        persons: annotated.
        input_size: height and width of the crops.
        batch_size: persons at a time.
        device: of the network.
        workers: processes that read images.
        progress: called with the number of persons done so far.

    Raises:
        DataError: no image can be read.
        CheckpointError: the network's output is not finite.
    """
    partner = model.flip_permutation.cpu()
    parts, terms, rows, means, unreadable = [], [], [], [], []
    for forward in predict_persons(
        model, persons, input_size, batch_size=batch_size, device=device, workers=workers,
        progress=progress,
    ):  # fmt: skip
        unreadable += forward.unreadable
        if len(forward.rows):
            own, labels = forward.keypoints.without_gross_errors, Labels.of_persons(persons, forward.rows)
            parts.append(LabelScores.of(own, labels, finite=False))
            terms.append(_terms(own, labels, parts[-1], persons.box[forward.rows], input_size, partner))
            rows.append(forward.rows)
            means.append(as_array(forward.keypoints.mean))
    if not parts:
        raise DataError(f"None of the {len(persons)} persons' images could be read, such as {unreadable[0]}.")
    joined = Terms(*(torch.cat(column) for column in zip(*terms, strict=True)))
    labelled = persons.labelled[np.concatenate(rows)]
    flags = torch.from_numpy(labelled)
    rates = fit_rates(joined, flags, partner)
    events = responsibilities(joined, flags, partner, rates.exchanged, rates.outlier)
    left, right, _ = sides(partner)
    return GrossLabels(
        persons=persons,
        rates=rates,
        pairs=int((labelled[:, left] | labelled[:, right]).sum()),
        scores=LabelScores.join(parts),
        mean=np.concatenate(means)[labelled],
        exchanged=as_array(events.exchanged)[labelled],
        outlier=as_array(events.outlier)[labelled],
        unreadable=unreadable,
    )


@torch.no_grad()
def _terms(
    own: Predictive, labels: Labels, scores: LabelScores, box: Array, input_size: tuple[int, int], partner: Tensor
) -> Terms:
    """Log densities (N, K) of a batch's labels under their joint, its mirror image, and anywhere, in pixels.

    Args:
        own: of each joint by itself.
        labels: of the N persons.
        scores: of these labels under `own`.
        box: (N, 4), of the persons.
        input_size: height and width of the crops.
        partner: (K,), index of the mirror image.
    """
    mean = own.mean
    label, labelled = labels.filled(mean), torch.from_numpy(labels.labelled)
    to_image = torch.from_numpy(crop_from_box(box, input_size).to_image).to(mean)
    broad = anywhere(torch.zeros_like(mean)).affine(to_image[..., :2], to_image[..., 2])
    straight = torch.zeros(labelled.shape, dtype=torch.float64)
    straight[labelled] = torch.from_numpy(scores.log_prob)
    others = (own.log_prob(label[:, partner])[:, partner], broad.log_prob(label))
    return Terms(straight, *(torch.where(labelled, value.cpu(), 0.0) for value in others))


def save_suspects(labels: GrossLabels, folder: str | PathLike[str]) -> None:
    """Write responsibilities.csv (all labels), suspects.json (the summary) and suspects.png.

    Args:
        labels: as `Run.suspects` found them.
        folder: made where missing.

    Raises:
        OSError: the folder is not writable.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "responsibilities.csv", labels.csv().encode())
    write_atomically(folder / "suspects.json", json.dumps(labels.summary(), indent=1).encode())
    draw_suspects(labels).savefig(folder / "suspects.png", dpi=110)


SHOWN = 16
_COLUMNS = 4
_SIDE = 224
_LABEL, _PREDICTED, _OTHER = "#ff5247", "#35c2ff", "#ffd23c"


def draw_suspects(labels: GrossLabels) -> Figure:
    """A sheet of the crops of the `SHOWN` most suspicious labels, one a person; empty panels where there are fewer."""
    persons = labels.persons
    first: dict[int, int] = {}
    for index in labels.suspects:
        first.setdefault(int(labels.scores.person[index]), int(index))
    chosen = list(first.values())[:SHOWN]
    rows = max(1, -(-len(chosen) // _COLUMNS))
    figure = LiteralFigure(figsize=(2.5 * _COLUMNS, 2.85 * rows + 0.6), layout="constrained")
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
    persons, row = labels.persons, int(labels.scores.person[index])
    to_image = crop_from_box(persons.box[[row]], (_SIDE, _SIDE)).to_image
    image = persons.picture(persons.file_name[row])
    if not isinstance(image, str):
        axes.imshow(cut(image, to_image[0], (_SIDE, _SIDE)))
    joint = int(labels.scores.joint[index])
    partner = persons.skeleton.flip_permutation[joint]
    places = [persons.keypoints[row, joint], labels.mean[index]]
    other = np.flatnonzero((labels.scores.person == row) & (labels.scores.joint == partner))
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


_LISTED = 12


def suspects_table(labels: GrossLabels) -> RenderableType:
    """The first of the suspected labels, for the terminal."""
    found = labels.suspects
    columns = [
        Column("file", words=True), Column("annotation", 0), Column("joint", words=True), Column("error px", 1),
        Column("exchanged"), Column("gross"),
    ]  # fmt: skip
    rate = f"exchanged {labels.rates.exchanged:.2%}" if labels.pairs else "not known, for none is labelled"
    return Table(
        title=f"{labels.persons.name}: {len(labels.scores)} labels; pairs {rate}, "
        f"gross errors {labels.rates.outlier:.2%}",
        columns=columns,
        rows=[_row(labels.entry(int(index))) for index in found[:_LISTED]],
        caption=f"{len(found)} labels are suspected with probability over {LIKELY}"
        + (", the first of them" if len(found) > _LISTED else ""),
    ).terminal()


def _row(entry: dict[str, Any]) -> list[Cell]:
    error = math.dist((entry["x"], entry["y"]), (entry["predicted_x"], entry["predicted_y"]))
    return [entry["file_name"], entry["annotation_id"], entry["joint"], error, entry["exchanged"], entry["outlier"]]
