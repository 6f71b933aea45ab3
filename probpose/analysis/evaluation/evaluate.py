"""The outcome of an evaluation.

Evaluation of a model on annotated persons: point metrics, log density, coverage.
"""

from __future__ import annotations

__all__ = ["Evaluation", "JointRow", "evaluate"]

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.evaluation.coco import FRACTION, OKS_NMS, pck_reference
from probpose.analysis.evaluation.existence import Existence
from probpose.analysis.evaluation.ranking import GroundTruth, Judge
from probpose.analysis.evaluation.records import Records
from probpose.analysis.evaluation.statistics import Statistics, nll_sampling_error
from probpose.analysis.prediction.estimates import Estimates, Estimator, Score, oks_kernel
from probpose.analysis.prediction.forward import Forward, Recalibrate, freeze, predict_persons
from probpose.analysis.prediction.results import ResultRow
from probpose.arrays import Array, as_array
from probpose.data.persons import Persons, target_points
from probpose.data.predictions.boxes import Boxes, unlabelled_persons
from probpose.errors import DataError
from probpose.models.densities import Residual
from probpose.models.densities.gauge import Gauge
from probpose.models.keypoint_model import KeypointModel

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
        gauge: what sigma means (`probpose.models.densities.gauge`).
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


def evaluate(
    model: KeypointModel,
    persons: Persons,
    input_size: tuple[int, int],
    *,
    flip_test: bool = False,
    estimator: Estimator = "mean",
    score: Score = "usual",
    boxes: Boxes | None = None,
    nms: float = OKS_NMS,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    recalibrate: Recalibrate | None = None,
    progress: Callable[[int], None] | None = None,
    observe: Callable[[Forward], None] = lambda _: None,
) -> Evaluation:
    """Evaluate a model.

    Persons whose image cannot be read are left out of every number and listed. Persons of `persons.annotations` that
    are not in the table count neither as found nor as missed.

    Args:
        model: in eval mode; it is moved to `device`.
        persons: annotated persons.
        input_size: height and width of the network's input.
        flip_test: predict with the equal mixture of the crop's and the mirrored crop's densities.
        estimator: the point estimate of the point metrics.
        score: what poses are ranked by, in NMS and in COCO's metrics; "expected-oks" also gives `AP_by_score`.
        boxes: detected boxes to predict for, in place of the annotated ones; only COCO's metrics are then defined.
        nms: OKS above which one of two poses in detected boxes goes (`probpose.analysis.evaluation.coco`); 1 keeps all.
        batch_size: persons at a time.
        device: of the network.
        workers: processes that read images.
        recalibrate: the run's recalibration (`probpose.analysis.calibration.recalibration.store`), or None.
        progress: called after each batch with the number of persons or boxes done so far.
        observe: called with each batch's predictions, for what is not in an `Evaluation`.

    Raises:
        DataError: no image can be read, or the log density of a label is not finite.
        CheckpointError: the network's output is not finite.
    """
    residual = freeze(model, device)
    targets = persons if boxes is None else unlabelled_persons(boxes, persons)
    kernel = oks_kernel(targets, estimator, score)
    estimates, records, inside, unreadable = [], [], [], []
    for forward in predict_persons(
        model, targets, input_size, batch_size=batch_size, flip_test=flip_test, device=device, workers=workers,
        residual=residual, recalibrate=recalibrate, progress=progress,
    ):  # fmt: skip
        observe(forward)
        estimates.append(Estimates.of(forward, estimator, kernel))
        unreadable += forward.unreadable
        if boxes is None:
            records.append(Records.of(forward, estimates[-1], persons))
            inside.append(as_array(forward.inside))
    joined = Estimates.join(estimates).ranked_by(score)
    if not len(joined):
        raise DataError(f"None of the {len(targets)} persons' images could be read, such as {unreadable[0]}.")
    judge = Judge(GroundTruth.of(persons), targets, boxes, input_size, nms)
    ranking, counts = judge.ranking(joined), np.isin(persons.image_id, list(judge.images(joined)))
    known: dict[str, Any] = {"keypoints": int(persons.labelled[counts].sum()), "joints": [], "records": None}
    if boxes is None:
        known |= _densities(Records.join(records), persons, residual)
        known |= _existence(joined, np.concatenate(inside), persons, input_size)
    return Evaluation(
        **known,
        **asdict(ranking.coco),
        dataset=persons.name,
        persons=int(counts.sum()),
        boxes=None if boxes is None else len(joined),
        estimator=estimator,
        score=score,
        AP_by_score=None if score == "usual" else judge.precision_by_score(joined, ranking),
        gauge=model.residual.gauge,
        flip_test=flip_test,
        nms=nms if boxes is not None and boxes.detected else None,
        suppressed=ranking.suppressed,
        ess=float(residual.native.ess.min()),
        unreadable=list(dict.fromkeys(unreadable)),
        skipped=targets.skipped,
        results=ranking.results,
    )


def _densities(records: Records, persons: Persons, residual: Residual) -> dict[str, Any]:
    """What the predictive densities at the annotated boxes are worth, as arguments of `Evaluation`."""
    reference, by_torso = pck_reference(persons)
    correct = records.error_px <= FRACTION * reference[records.person]
    joints = persons.skeleton.joints
    return asdict(Statistics.of(records, correct)) | {
        "nll_error_nats": _log_z_error(residual, records.joint),
        "nll_sampling_error_nats": nll_sampling_error(records.log_prob, persons.image_id[records.person]),
        "pck_by_box": int((~by_torso[records.person]).sum()),
        "joints": [_joint_row(joint, records, correct, index) for index, joint in enumerate(joints)],
        "records": records,
    }


def _joint_row(name: str, records: Records, correct: npt.NDArray[np.bool_], joint: int) -> JointRow:
    chosen = records.joint == joint
    return JointRow(joint=name, **asdict(Statistics.of(records.select(chosen), correct[chosen])))


def _existence(estimates: Estimates, inside: Array, persons: Persons, input_size: tuple[int, int]) -> dict[str, Any]:
    """How well it is known which joints are labelled, and labelled inside the crop, as arguments of `Evaluation`."""
    chosen = persons.select(estimates.rows)
    within = (np.abs(np.nan_to_num(target_points(chosen, input_size))) < 0.5).all(-1)
    labelled = Existence.of(estimates.presence, chosen.labelled)
    in_crop = Existence.of(estimates.presence * inside, chosen.labelled & within)
    return {
        "presence_nll_nats": labelled.nll_nats,
        "existence": {"labelled": labelled, "labelled in the crop": in_crop},
    }


def _log_z_error(residual: Residual, joint: npt.NDArray[np.int64]) -> float | None:
    """Standard error that log Z brings into the mean log density of labels of joints (M,); errors are independent."""
    error = residual.native.log_z_error.cpu().numpy()
    if not len(joint):
        return None
    share = np.bincount(joint, minlength=len(error)) / len(joint) if len(error) > 1 else np.ones(1)
    return math.sqrt(float(((share * error) ** 2).sum()))
