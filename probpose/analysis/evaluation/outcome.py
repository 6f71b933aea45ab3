"""The outcome of an evaluation: metrics of a model on annotated persons, and the JSON that they are written as."""

from __future__ import annotations

__all__ = ["Evaluation", "LabelEvaluation", "Uncertainty"]

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from probpose.analysis.evaluation.coco import CocoMetrics
from probpose.analysis.evaluation.existence import Existence
from probpose.analysis.evaluation.statistics import Statistics
from probpose.analysis.prediction.estimates import Estimates, Estimator, Score
from probpose.analysis.prediction.results import ResultRow
from probpose.arrays import Array
from probpose.models.densities.gauge import Gauge
from probpose.models.scores import LabelScores

_KEYS = (
    "AP", "AP50", "AP75", "AR", "pck", "epe_px", "nll_nats", "coverage50", "coverage90", "keypoints", "persons",
    "sigma_px", "r50_px", "r90_px", "uncertainty", "dataset", "boxes", "estimator", "score", "AP_by_score", "gauge",
    "flip_test", "nms", "recalibration", "suppressed", "AP_medium", "AP_large", "AR50", "AR75", "AR_medium", "AR_large",
    "nll_error_nats", "nll_sampling_error_nats", "ess", "presence_nll_nats", "existence", "pck_by_box",
    "unreadable", "skipped", "remarks", "joints",
)  # fmt: skip
"""Of evaluation.json, in its order."""

_OF_LABELS = ("nll_error_nats", "nll_sampling_error_nats", "presence_nll_nats", "pck_by_box")


@dataclass(frozen=True)
class LabelEvaluation:
    """What the densities predicted for annotated boxes are worth.

    Attributes:
        scores: of M labelled keypoints, with `level` and `radii`.
        estimate_error: (M, 2), label minus point estimate, pixels.
        statistics: over all of them.
        joints: the same of each joint by its name.
        nll_error_nats: standard error of the numerical log Z, as it enters the NLL; 0 for closed forms, None without
            labels.
        nll_sampling_error_nats: standard error of the NLL over images; None for one image.
        pck_by_box: labelled keypoints whose PCK refers to the box, for want of a labelled torso.
        presence_nll_nats: mean negative log probability of labelled or not, nats per joint; not part of the NLL.
        existence: of "labelled" and "labelled in the crop", how well their probabilities rank and how true they are.
    """

    scores: LabelScores
    estimate_error: Array
    statistics: Statistics
    joints: dict[str, Statistics]
    nll_error_nats: float | None
    nll_sampling_error_nats: float | None
    pck_by_box: int
    presence_nll_nats: float
    existence: dict[str, Existence]


@dataclass(frozen=True)
class Uncertainty:
    """What is unsure of labels, and what of the model, over all keypoints that an ensemble predicts.

    Attributes:
        aleatoric_px: median standard deviation, the root of the mean variance of both axes, that is left when the
            model is known.
        epistemic_px: the same of the models' means.
        epistemic_share: mean share of the variance that is epistemic.
        mutual_information_nats: mean, between label and model.
    """

    aleatoric_px: float
    epistemic_px: float
    epistemic_share: float
    mutual_information_nats: float

    @classmethod
    def of(cls, estimates: Estimates) -> Uncertainty | None:
        """None where the model is a single network, or nobody asked."""
        found = estimates.decomposition
        if found is None:
            return None
        label, model = (np.trace(part, axis1=-2, axis2=-1) / 2 for part in (found.aleatoric, found.epistemic))
        return cls(
            float(np.median(np.sqrt(label))), float(np.median(np.sqrt(model))), float((model / (label + model)).mean()),
            float(found.mutual_information.mean()),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of a model on a dataset. With detected boxes only COCO's metrics are defined.

    Attributes:
        dataset: what the dataset is called.
        persons: annotated persons that count.
        boxes: number of detected boxes, or None when the boxes are the annotated ones.
        estimator: the point estimate that COCO's metrics, PCK and EPE use.
        score: what poses were ranked by.
        AP_by_score: AP by the usual score, by the expected OKS and, with detected boxes, by the score of the box alone;
            None where the score is the usual one.
        gauge: what sigma means (`probpose.models.densities.gauge`).
        flip_test: the prediction is the mixture with the mirrored crop's.
        nms: OKS above which one of two poses in detected boxes was removed, or None with annotated boxes.
        recalibration: method of the recalibration that the densities have gone through, or None.
        suppressed: number of poses that `nms` removed, or None without `boxes`.
        coco: average precision and recall by OKS.
        keypoints: labelled keypoints that count.
        labels: label by label and joint by joint; None with detected boxes.
        uncertainty: of an ensemble, where it was asked for; None of a single network.
        ess: effective share of the nodes behind log Z, the least of all residual densities.
        unreadable: images left out, one "file: reason" each.
        skipped: annotations or boxes left out while reading, by reason.
        results: rows of a COCO results file, joints in the order of the annotation file.
        remarks: what is to be said beside the numbers: labels, boxes and areas that are hardly what they say, and what
            is not counted or stands on a default.
    """

    dataset: str
    persons: int
    boxes: int | None
    estimator: Estimator
    score: Score
    AP_by_score: dict[str, float | None] | None
    gauge: Gauge
    flip_test: bool
    nms: float | None
    recalibration: str | None = None
    suppressed: int | None
    coco: CocoMetrics
    keypoints: int
    labels: LabelEvaluation | None
    uncertainty: Uncertainty | None = None
    ess: float
    unreadable: list[str]
    skipped: dict[str, int]
    results: list[ResultRow]
    remarks: list[str]

    @property
    def statistics(self) -> Statistics:
        """Over all labelled keypoints; with detected boxes their number alone."""
        return Statistics(keypoints=self.keypoints) if self.labels is None else self.labels.statistics

    def to_json(self) -> dict[str, Any]:
        """Everything but the scores of labels and the results, as one JSON object; None stands for undefined.

        `uncertainty` is there for ensembles alone, `score` and `AP_by_score` only where another than the usual score
        was asked for.
        """
        values = {name: value for name, value in vars(self).items() if name in _KEYS and name != "uncertainty"}
        if self.AP_by_score is None:
            del values["score"], values["AP_by_score"]
        if self.uncertainty is not None:
            values["uncertainty"] = asdict(self.uncertainty)
        values |= asdict(self.coco) | asdict(self.statistics) | _by_name(self.labels)
        values |= {name: None if self.labels is None else getattr(self.labels, name) for name in _OF_LABELS}
        return {name: values[name] for name in _KEYS if name in values}


def _by_name(labels: LabelEvaluation | None) -> dict[str, Any]:
    """Existence by event, and one record a joint."""
    if labels is None:
        return {"existence": None, "joints": []}
    return {
        "existence": {event: asdict(quality) for event, quality in labels.existence.items()},
        "joints": [asdict(row) | {"joint": name} for name, row in labels.joints.items()],
    }
