"""Evaluation of a model on annotated persons: point metrics, log density, coverage."""

from __future__ import annotations

__all__ = ["evaluate"]

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.estimates import Array, Estimates, Estimator, Score, as_array, oks_kernel
from probpose.analysis.evaluation import Evaluation, JointRow
from probpose.analysis.existence import Existence
from probpose.analysis.forward import Forward, Recalibrate, freeze, predict_persons
from probpose.analysis.ground_truth import GroundTruth
from probpose.analysis.oks_nms import OKS_NMS
from probpose.analysis.pck import FRACTION, pck_reference
from probpose.analysis.ranking import Judge
from probpose.analysis.records import Records
from probpose.analysis.statistics import Statistics, nll_sampling_error
from probpose.data.boxes import Boxes, unlabelled_persons
from probpose.data.persons import Persons
from probpose.data.targets import target_points
from probpose.errors import DataError
from probpose.models.densities import Residual
from probpose.models.keypoint_model import KeypointModel


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
        nms: OKS above which one of two poses in detected boxes goes (`probpose.analysis.oks_nms`); 1 keeps all.
        batch_size: persons at a time.
        device: of the network.
        workers: processes that read images.
        recalibrate: the run's recalibration (`probpose.analysis.calibration.run_cure`), or None.
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
