"""The outcome of an evaluation."""

from __future__ import annotations

__all__ = ["Evaluation", "JointRow"]

from dataclasses import asdict, dataclass
from typing import Any

from probpose.analysis.estimates import Estimator, Score
from probpose.analysis.existence import Existence
from probpose.analysis.records import Records
from probpose.analysis.results import ResultRow
from probpose.analysis.statistics import Statistics
from probpose.models.gauge import Gauge

_FIRST = ("AP", "AP50", "AP75", "AR", "pck", "epe_px", "nll_nats", "coverage50", "coverage90", "keypoints", "persons")


@dataclass(frozen=True, kw_only=True)
class JointRow(Statistics):
    """Statistics of one joint.

    Attributes:
        joint: its name.
    """

    joint: str


@dataclass(frozen=True, kw_only=True)
class Evaluation(Statistics):
    """Metrics of a model on a dataset; None where undefined. With detected boxes only COCO's metrics are defined.

    Attributes:
        dataset: what the dataset is called.
        persons: annotated persons that count.
        boxes: number of detected boxes, or None when the boxes are the annotated ones.
        estimator: the point estimate that COCO's metrics, PCK and EPE use.
        score: what poses were ranked by.
        AP_by_score: AP by the usual score, by the expected OKS and, with detected boxes, by the score of the box alone;
            None where the score is the usual one.
        gauge: what sigma means (`probpose.models.gauge`).
        flip_test: the prediction is the mixture with the mirrored crop's.
        nms: OKS above which one of two poses in detected boxes was removed, or None with annotated boxes.
        recalibration: method of the recalibration that the densities have gone through, or None.
        suppressed: number of poses that this removed, or None without `boxes`.
        AP: COCO average precision by OKS; the other nine likewise, see `CocoMetrics`.
        nll_error_nats: standard error of the numerical log Z, as it enters `nll_nats`; 0 for closed forms.
        nll_sampling_error_nats: standard error of `nll_nats` over images.
        ess: effective share of the nodes behind log Z, the least of all residual densities.
        existence: of "labelled" and "labelled in the crop", how well their probabilities rank and how true they are.
        presence_nll_nats: mean negative log probability of labelled or not, nats per joint; not part of `nll_nats`.
        pck_by_box: labelled keypoints whose PCK refers to the box, for want of a labelled torso.
        unreadable: images left out, one "file: reason" each.
        skipped: annotations or boxes left out while reading, by reason.
        joints: one row a joint.
        records: one record a labelled keypoint, None with detected boxes.
        results: rows of a COCO results file.
    """

    dataset: str
    persons: int
    boxes: int | None
    estimator: Estimator
    score: Score = "usual"
    AP_by_score: dict[str, float | None] | None = None
    gauge: Gauge
    flip_test: bool
    nms: float | None = None
    recalibration: str | None = None
    suppressed: int | None = None
    AP: float | None
    AP50: float | None
    AP75: float | None
    AP_medium: float | None
    AP_large: float | None
    AR: float | None
    AR50: float | None
    AR75: float | None
    AR_medium: float | None
    AR_large: float | None
    nll_error_nats: float | None = None
    nll_sampling_error_nats: float | None = None
    ess: float
    presence_nll_nats: float | None = None
    existence: dict[str, Existence] | None = None
    pck_by_box: int | None = None
    unreadable: list[str]
    skipped: dict[str, int]
    joints: list[JointRow]
    records: Records | None
    results: list[ResultRow]

    def to_json(self) -> dict[str, Any]:
        """Everything but the records and the results, as one JSON object; None stands for undefined.

        `score` and `AP_by_score` are there only where another than the usual score was asked for.
        """
        left_out = {"records", "results", "joints"} | ({"score", "AP_by_score"} if self.AP_by_score is None else set())
        values = {name: value for name, value in vars(self).items() if name not in left_out}
        ordered = {name: values[name] for name in (*_FIRST, *values)}
        if self.existence is not None:
            ordered["existence"] = {event: asdict(quality) for event, quality in self.existence.items()}
        return ordered | {"joints": [asdict(row) for row in self.joints]}
