"""Tables of an evaluation for the terminal."""

from __future__ import annotations

__all__ = ["evaluation_tables"]

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from rich.console import Group
from rich.padding import Padding

from probpose.analysis.evaluation.coco import CocoMetrics
from probpose.analysis.evaluation.existence import Existence
from probpose.analysis.evaluation.outcome import Evaluation, LabelEvaluation
from probpose.analysis.evaluation.statistics import Statistics
from probpose.analysis.table import Cell, Column, Table, letters, number

_COLUMNS = {
    "keypoints": Column("n"),
    "epe_px": Column("EPE", 2),
    "pck": Column("PCK"),
    "nll_nats": Column("NLL"),
    "coverage50": Column("in 50"),
    "coverage90": Column("in 90"),
    "sigma_px": Column("sigma", 2),
    "r50_px": Column("r50", 2),
    "r90_px": Column("r90", 2),
}
"""By attribute of `Statistics`."""

_POINTS = {
    "mean": "the mean",
    "median": "the median",
    "mode": "the mode",
    "oks": "the point of greatest expected OKS",
}
"""What an estimator is called in a sentence."""


def evaluation_tables(evaluation: Evaluation) -> Group:
    """Summary, per-joint table (none with detected boxes) and notes on what was left out."""
    summary = Padding(_summary(evaluation).terminal(), (0, 0, 0, 1), expand=False)
    joints = [] if evaluation.labels is None else [_joints(evaluation.labels.joints).terminal()]
    return Group(summary, *joints, *(letters(note, style="dim") for note in _notes(evaluation)))


def _summary(e: Evaluation) -> Table:
    rows: list[tuple[str, Cell, str]] = [
        (name.replace("_", " "), getattr(e.coco, name), _explained(name, e))
        for name in (f.name for f in fields(CocoMetrics))
    ]
    rows += [*_score_lines(e), *([] if e.labels is None else _density_lines(e, e.labels)), *_apart_lines(e)]
    columns = [Column(style="bold"), Column(), Column(words=True, style="dim")]
    return Table(title=_title(e), columns=columns, rows=rows)


def _score_lines(e: Evaluation) -> list[tuple[str, Cell, str]]:
    """AP by each score, where more than one was asked for."""
    notes = {
        "usual": "mean confidence",
        "expected-oks": "expected OKS, area from the box",
        "box": "the detector's alone",
    }
    times = " times the box's score"
    precision = e.AP_by_score or {}
    return [
        (f"AP by {name}", value, notes[name] + (times if "box" in precision and name != "box" else ""))
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


def _density_lines(e: Evaluation, labels: LabelEvaluation) -> list[tuple[str, Cell, str]]:
    found = labels.statistics
    errors = np.linalg.norm(labels.estimate_error, axis=-1)
    median = number(float(np.median(errors)) if len(errors) else None, 2)
    sampling = f"± {number(labels.nll_sampling_error_nats, 3)} over images; log Z ± {labels.nll_error_nats or 0:.1g}"
    return [
        ("PCK@0.2", found.pck, f"of the torso; of the box for {labels.pck_by_box} keypoints"),
        ("EPE px", number(found.epe_px, 2), f"of {_POINTS[e.estimator]}; the median error is {median}"),
        ("NLL nats", found.nll_nats, f"per labelled keypoint, image pixels; {sampling}"),
        ("presence NLL nats", labels.presence_nll_nats, "labelled or not, per joint; apart from the NLL"),
        *(_existence_line(event, quality) for event, quality in labels.existence.items()),
        ("in 50% region", found.coverage50, "share of labels; 0.5 when calibrated"),
        ("in 90% region", found.coverage90, "share of labels; 0.9 when calibrated"),
        ("sigma px", number(found.sigma_px, 2), f"median; gauge {e.gauge}"),
        ("r50 px", number(found.r50_px, 2), "median radius about the mean that holds 50%"),
        ("r90 px", number(found.r90_px, 2), "median radius about the mean that holds 90%"),
    ]


def _apart_lines(e: Evaluation) -> list[tuple[str, Cell, str]]:
    """Both kinds of uncertainty of an ensemble."""
    found = e.uncertainty
    if found is None:
        return []
    return [
        ("aleatoric px", number(found.aleatoric_px, 2), "median standard deviation that the models agree is left"),
        ("epistemic px", number(found.epistemic_px, 2), "of the models' means; together they are the whole"),
        ("epistemic share", found.epistemic_share, "of the variance, on average"),
        ("mutual information", found.mutual_information_nats, "nats, of label and model"),
    ]


def _existence_line(event: str, quality: Existence) -> tuple[str, Cell, str]:
    error = f"calibration error {quality.calibration_error:.3f}, by chance {quality.calibration_error_by_chance:.3f}"
    return f"AP {event}", quality.average_precision, f"of {quality.rate:.1%} of the joints; {error}"


def _title(e: Evaluation) -> str:
    boxes = "annotated boxes" if e.boxes is None else f"{e.boxes} detected boxes"
    flip = ", flip test" if e.flip_test else ""
    return f"{e.dataset}: {e.persons} persons, {e.keypoints} labelled keypoints; {boxes}{flip}"


def _joints(joints: Mapping[str, Statistics]) -> Table:
    return Table(
        columns=[Column("joint"), *_COLUMNS.values()],
        rows=[[joint, *(getattr(row, name) for name in _COLUMNS)] for joint, row in joints.items()],
        caption="n: labels; EPE, sigma, r50, r90: px; NLL: nats; in 50, in 90: share in the region",
    )


def _notes(e: Evaluation) -> list[str]:
    notes = [] if e.nms is None else [f"NMS at OKS {e.nms:g} removed {e.suppressed} of {e.boxes} poses"]
    notes += [f"left out while reading: {count} x {reason}" for reason, count in e.skipped.items()]
    notes += e.remarks
    if e.unreadable:
        notes.append(f"{len(e.unreadable)} images could not be read, such as {e.unreadable[0]}")
    return notes
