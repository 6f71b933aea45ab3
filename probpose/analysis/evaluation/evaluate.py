"""Evaluation of a model on annotated persons: point metrics, log density, coverage."""

from __future__ import annotations

__all__ = ["evaluate"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from probpose.analysis.evaluation.coco import FRACTION, OKS_NMS, pck_reference
from probpose.analysis.evaluation.existence import Existence
from probpose.analysis.evaluation.outcome import Evaluation, LabelEvaluation, Uncertainty
from probpose.analysis.evaluation.ranking import GroundTruth, PoseEvaluator
from probpose.analysis.evaluation.statistics import Statistics, clustered_standard_error
from probpose.analysis.prediction.estimates import Estimates, Estimator, Score, oks_kernel
from probpose.analysis.prediction.forward import Forward, Recalibrate, freeze, predict_persons
from probpose.arrays import Array, Index, Mask, as_array
from probpose.data.persons import Persons, target_points
from probpose.data.plausible import look_at_pictures, remarks_on, spoilt_labels
from probpose.data.predictions.boxes import Boxes, unlabelled_persons
from probpose.errors import DataError
from probpose.inference.world import ALONE, World
from probpose.models.densities import Residual
from probpose.models.densities.gauge import Gauge
from probpose.models.ensemble import Predictor, Residuals
from probpose.models.scores import Labels, LabelScores
from probpose.skeleton import DEFAULT_OKS_SIGMA


def evaluate(
    model: Predictor,
    persons: Persons,
    input_size: tuple[int, int],
    *,
    flip_test: bool = False,
    estimator: Estimator = "mean",
    score: Score = "usual",
    boxes: Boxes | None = None,
    nms: float = OKS_NMS,
    apart: bool = False,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    recalibrate: Recalibrate | None = None,
    progress: Callable[[int], None] | None = None,
    observe: Callable[[Forward], None] = lambda _: None,
    world: World = ALONE,
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
        apart: say of an ensemble what is unsure of labels and what of the model, which takes half as long again, or
            twice as long.
        batch_size: persons at a time.
        device: of the network.
        workers: processes that read images.
        recalibrate: the run's recalibration (`probpose.analysis.calibration.recalibration.store`), or None.
        progress: called after each batch with the number of persons or boxes done so far.
        observe: called with each batch's predictions, for what is not in an `Evaluation`.
        world: the processes that share the persons; each of them gets the whole evaluation.

    Raises:
        DataError: no image can be read, or the log density of a label is not finite.
        CheckpointError: the network's output is not finite.
    """
    task = _Task(persons, boxes, input_size, estimator, score, nms, flip_test, apart)
    residual = freeze(model, device if recalibrate is None else "cpu")
    batches: list[_Batch] = []
    for forward in predict_persons(
        model, task.targets, input_size, batch_size=batch_size, flip_test=flip_test, device=device, workers=workers,
        residual=residual, recalibrate=recalibrate, progress=progress, world=world,
    ):  # fmt: skip
        observe(forward)
        batches.append(task.kept_of(forward))
    return task.evaluation(world.together(batches), residual)


@dataclass(frozen=True)
class _Labels:
    """What was predicted for the labels of n persons.

    Attributes:
        scores: of the labels.
        inside: (n, K), probability that a labelled joint is labelled inside the crop.
    """

    scores: LabelScores
    inside: Array

    @classmethod
    def of(cls, forward: Forward, persons: Persons) -> _Labels:
        labels = Labels.of_persons(persons, forward.rows)
        scores = LabelScores.of(forward.keypoints, labels, "level", "sigma", "radii")
        return cls(scores, as_array(forward.inside))

    @classmethod
    def join(cls, parts: Sequence[_Labels]) -> _Labels | None:
        """Those of several batches; None of none."""
        if not parts:
            return None
        return cls(LabelScores.join([part.scores for part in parts]), np.concatenate([part.inside for part in parts]))


@dataclass(frozen=True)
class _Batch:
    """What an evaluation keeps of a batch's predictions.

    Attributes:
        gauge: what sigma means.
        estimates: of n persons.
        unreadable: images that could not be read.
        labels: None in boxes that are not the annotated ones.
    """

    gauge: Gauge
    estimates: Estimates
    unreadable: list[str]
    labels: _Labels | None


@dataclass(frozen=True)
class _Task:
    """What is to be evaluated, and how: see `evaluate`."""

    persons: Persons
    boxes: Boxes | None
    input_size: tuple[int, int]
    estimator: Estimator
    score: Score
    nms: float
    flip_test: bool
    apart: bool

    @cached_property
    def targets(self) -> Persons:
        """What is predicted for."""
        return self.persons if self.boxes is None else unlabelled_persons(self.boxes, self.persons)

    @cached_property
    def kernel(self) -> Array | None:
        """Of OKS, where something asks for it (`oks_kernel`)."""
        return oks_kernel(self.targets, self.estimator, self.score)

    def kept_of(self, forward: Forward) -> _Batch:
        """What is kept of a batch's predictions."""
        apart = self.apart and len(forward.keypoints.members) > 1
        found = Estimates.of(forward, self.estimator, self.kernel, apart=apart)
        labels = None if self.boxes is not None else _Labels.of(forward, self.persons)
        return _Batch(forward.keypoints.gauge, found, forward.unreadable, labels)

    def evaluation(self, batches: Sequence[_Batch], residual: Residual | Residuals) -> Evaluation:
        """The outcome of all batches; `residual` is R."""
        unreadable = list(dict.fromkeys(fault for batch in batches for fault in batch.unreadable))
        joined = Estimates.join([batch.estimates for batch in batches]).ranked_by(self.score)
        if not len(joined):
            raise DataError(f"None of the {len(self.targets)} persons' images could be read, such as {unreadable[0]}.")
        poses = PoseEvaluator(GroundTruth.of(self.persons), self.targets, self.boxes, self.input_size, self.nms)
        ranking = poses.ranking(joined)
        counted = self.persons.select(np.flatnonzero(np.isin(self.persons.image_id, list(poses.images(joined)))))
        labels = _Labels.join([batch.labels for batch in batches if batch.labels is not None])
        by_label = None if labels is None else _by_label(labels, joined, self.persons, residual, self.input_size)
        return Evaluation(
            dataset=self.persons.name,
            persons=len(counted),
            boxes=None if self.boxes is None else len(joined),
            estimator=self.estimator,
            score=self.score,
            AP_by_score=None if self.score == "usual" else poses.precision_by_score(joined, ranking),
            gauge=batches[-1].gauge,
            flip_test=self.flip_test,
            nms=self.nms if self.boxes is not None and self.boxes.detected else None,
            suppressed=ranking.suppressed,
            coco=ranking.coco,
            keypoints=int(counted.labelled.sum()) if by_label is None else len(by_label.scores),
            labels=by_label,
            uncertainty=Uncertainty.of(joined),
            ess=float(residual.ess.min()),
            unreadable=unreadable,
            skipped=self.targets.skipped,
            results=ranking.results,
            remarks=[*_remarks(counted, by_label), *self.persons.remarks],
        )


def _remarks(persons: Persons, by_label: LabelEvaluation | None) -> list[str]:
    """What is to be said beside numbers of these persons."""
    found = [*look_at_pictures(persons), *remarks_on(persons)]
    if default := persons.skeleton.default_sigmas:
        found.append(f"AP and AR take {DEFAULT_OKS_SIGMA}, a default, for the OKS sigma of {', '.join(default)}")
    wild = spoilt_labels(persons)
    if by_label is not None and wild.any():
        sound = ~wild[persons.labelled]
        distance, log_prob = np.linalg.norm(by_label.estimate_error, axis=-1), by_label.scores.log_prob
        if len(sound) == len(distance) and sound.any():
            found.append(
                f"without the {int(wild.sum())} labels that are hardly labels (see above) EPE is "
                f"{distance[sound].mean():.2f} px and NLL {-log_prob[sound].mean():.3f} nats"
            )
    return found


def _by_label(
    labels: _Labels, estimates: Estimates, persons: Persons, residual: Residual | Residuals, input_size: tuple[int, int]
) -> LabelEvaluation:
    """What was predicted for annotated boxes against the labels.

    Args:
        labels: of the persons whose image could be read.
        estimates: of these persons.
        persons: all of them.
        residual: R.
        input_size: height and width of the network's input.
    """
    scores, read = labels.scores, persons.select(estimates.rows)
    reference, by_torso = pck_reference(persons)
    error = (read.keypoints - estimates.point)[read.labelled]
    distance = np.linalg.norm(error, axis=-1)
    correct = distance <= FRACTION * reference[scores.person]

    def statistics(chosen: Mask) -> Statistics:
        return Statistics.of(scores.select(chosen), distance[chosen], correct[chosen])

    existence = _existence(estimates.presence, labels.inside, read, input_size)
    return LabelEvaluation(
        scores=scores,
        estimate_error=error,
        statistics=statistics(np.ones(len(scores), dtype=bool)),
        joints={name: statistics(scores.joint == index) for index, name in enumerate(persons.skeleton.joints)},
        nll_error_nats=_log_z_error(residual, scores.joint),
        nll_sampling_error_nats=clustered_standard_error(scores.log_prob, scores.image),
        pck_by_box=int((~by_torso[scores.person]).sum()),
        presence_nll_nats=existence["labelled"].nll_nats,
        existence=existence,
    )


def _existence(presence: Array, inside: Array, read: Persons, input_size: tuple[int, int]) -> dict[str, Existence]:
    """How well it is known which joints are labelled, and labelled inside the crop, from probabilities (N, K)."""
    within = (np.abs(np.nan_to_num(target_points(read, input_size))) < 0.5).all(-1)
    return {
        "labelled": Existence.of(presence, read.labelled),
        "labelled in the crop": Existence.of(presence * inside, read.labelled & within),
    }


def _log_z_error(residual: Residual | Residuals, joint: Index) -> float | None:
    """Standard error that log Z brings into the mean log density of labels of joints (M,); errors are independent."""
    error = residual.log_z_error.cpu().numpy()
    if not len(joint):
        return None
    share = np.bincount(joint, minlength=len(error)) / len(joint) if len(error) > 1 else np.ones(1)
    return math.sqrt(float(((share * error) ** 2).sum()))
