"""Tables of an evaluation for the terminal."""

from __future__ import annotations

__all__ = ["evaluation_tables"]

from collections.abc import Mapping
from dataclasses import fields

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from probpose.analysis.evaluation.coco import CocoMetrics
from probpose.analysis.evaluation.existence import Existence
from probpose.analysis.evaluation.outcome import Evaluation, LabelEvaluation
from probpose.analysis.evaluation.statistics import Statistics

_COLUMNS = (
    ("n", "keypoints", 0),
    ("EPE", "epe_px", 2),
    ("PCK", "pck", 3),
    ("NLL", "nll_nats", 3),
    ("in 50", "coverage50", 3),
    ("in 90", "coverage90", 3),
    ("sigma", "sigma_px", 2),
    ("r50", "r50_px", 2),
    ("r90", "r90_px", 2),
)
"""Heading, attribute of `Statistics`, decimals."""

_POINTS = {
    "mean": "the mean",
    "median": "the median",
    "mode": "the mode",
    "oks": "the point of greatest expected OKS",
}
"""What an estimator is called in a sentence."""


def evaluation_tables(evaluation: Evaluation) -> Group:
    """Summary, per-joint table (none with detected boxes) and notes on what was left out."""
    parts: list[RenderableType] = [_summary(evaluation)]
    if evaluation.labels is not None:
        parts.append(_joints(evaluation.labels.joints))
    return Group(*parts, *(Text(note, style="dim") for note in _notes(evaluation)))


def number(value: float | None, decimals: int) -> str:
    """A number for a table; a dash where undefined."""
    return "–" if value is None else f"{value:.{decimals}f}"


def _summary(e: Evaluation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=_title(e), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name in (field.name for field in fields(CocoMetrics)):
        table.add_row(name.replace("_", " "), number(getattr(e.coco, name), 3), _explained(name, e))
    for row in (*_score_lines(e), *(() if e.labels is None else _density_lines(e, e.labels))):
        table.add_row(*row)
    return table


def _score_lines(e: Evaluation) -> list[tuple[str, str, str]]:
    """AP by each score, where more than one was asked for."""
    notes = {
        "usual": "mean confidence",
        "expected-oks": "expected OKS, area from the box",
        "box": "the detector's alone",
    }
    times = " times the box's score"
    precision = e.AP_by_score or {}
    return [
        (f"AP by {name}", number(value, 3), notes[name] + (times if "box" in precision and name != "box" else ""))
        for name, value in precision.items()
    ]


def _explained(metric: str, e: Evaluation) -> str:
    """What a metric of COCO is over, in a few words."""
    notes = {
        "AP": f"OKS, of {_POINTS[e.estimator]}" + (", ranked by expected OKS" if e.score == "expected-oks" else ""),
        "AP_medium": "persons of 32² to 96² px",
        "AP_large": "persons over 96² px",
        "AR": "at most 20 detections an image",
    }
    return notes.get(metric, "")


def _density_lines(e: Evaluation, labels: LabelEvaluation) -> list[tuple[str, str, str]]:
    found = labels.statistics
    sampling = f"± {number(labels.nll_sampling_error_nats, 3)} over images; log Z ± {labels.nll_error_nats or 0:.1g}"
    return [
        ("PCK@0.2", number(found.pck, 3), f"of the torso; of the box for {labels.pck_by_box} keypoints"),
        ("EPE px", number(found.epe_px, 2), f"of {_POINTS[e.estimator]}"),
        ("NLL nats", number(found.nll_nats, 3), f"per labelled keypoint, image pixels; {sampling}"),
        ("presence NLL nats", number(labels.presence_nll_nats, 3), "labelled or not, per joint; apart from the NLL"),
        *(_existence_line(event, quality) for event, quality in labels.existence.items()),
        ("in 50% region", number(found.coverage50, 3), "share of labels; 0.5 when calibrated"),
        ("in 90% region", number(found.coverage90, 3), "share of labels; 0.9 when calibrated"),
        ("sigma px", number(found.sigma_px, 2), f"median; gauge {e.gauge}"),
        ("r50 px", number(found.r50_px, 2), "median radius about the mean that holds 50%"),
        ("r90 px", number(found.r90_px, 2), "median radius about the mean that holds 90%"),
    ]


def _existence_line(event: str, quality: Existence) -> tuple[str, str, str]:
    error = f"calibration error {quality.calibration_error:.3f}, by chance {quality.calibration_error_by_chance:.3f}"
    return f"AP {event}", number(quality.average_precision, 3), f"of {quality.rate:.1%} of the joints; {error}"


def _title(e: Evaluation) -> str:
    boxes = "annotated boxes" if e.boxes is None else f"{e.boxes} detected boxes"
    flip = ", flip test" if e.flip_test else ""
    return f"{e.dataset}: {e.persons} persons, {e.keypoints} labelled keypoints; {boxes}{flip}"


def _joints(joints: Mapping[str, Statistics]) -> Table:
    caption = "n: labels; EPE, sigma, r50, r90: px; NLL: nats; in 50, in 90: share in the region"
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("joint", no_wrap=True)
    for heading, _, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in joints.items():
        table.add_row(name, *_cells(row))
    return table


def _cells(row: Statistics) -> list[str]:
    return [number(getattr(row, name), decimals) for _, name, decimals in _COLUMNS]


def _notes(e: Evaluation) -> list[str]:
    notes = [] if e.nms is None else [f"NMS at OKS {e.nms:g} removed {e.suppressed} of {e.boxes} poses"]
    notes += [f"left out while reading: {count} x {reason}" for reason, count in e.skipped.items()]
    if e.unreadable:
        notes.append(f"{len(e.unreadable)} images could not be read, such as {e.unreadable[0]}")
    return notes
