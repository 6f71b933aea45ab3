"""Trained runs: opened from their folders, and asked for predictions."""

from __future__ import annotations

__all__ = ["Run", "load"]

import json
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from probpose.analysis.audit.decisions import read_decisions
from probpose.analysis.audit.evidence import evidence_of_network
from probpose.analysis.audit.judge import THRESHOLD, dealt
from probpose.analysis.audit.record import Audit
from probpose.analysis.calibration.recalibration.choose import Method
from probpose.analysis.calibration.sources.run import RunSource, recalibration_file, run_recalibration
from probpose.analysis.evaluation.coco import OKS_NMS
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.outcome import Evaluation
from probpose.analysis.graph import FORMATS, Format, export_run
from probpose.analysis.prediction.estimates import Estimator, Score
from probpose.analysis.prediction.forward import Recalibrate, predict_held_out, predict_persons
from probpose.analysis.prediction.predict import predict_table
from probpose.analysis.prediction.shards import ShardWriter
from probpose.api.images import BoxesLike, ImagesLike, images_and_boxes
from probpose.api.inputs import one_of
from probpose.api.poses import Poses
from probpose.arrays import share
from probpose.data.datasets.arrays import ARRAYS
from probpose.data.datasets.catalogue import Split
from probpose.data.datasets.drawn_boxes import BoxSource
from probpose.data.joints import JointMap, match_joints
from probpose.data.persons import Persons
from probpose.data.plausible import refuse_other_units
from probpose.data.predictions.boxes import read_boxes
from probpose.errors import ConfigError
from probpose.files import write_atomically
from probpose.inference.device import open_device
from probpose.inference.training.config import TrainConfig, refuse_without_effect
from probpose.inference.training.folds import Fold, train_folds
from probpose.inference.training.members import label_of, open_run
from probpose.inference.training.provenance import Imported
from probpose.inference.training.runs import LoadedRun, RunFolder, load_run, newest_run
from probpose.inference.training.train import judged_on, open_split, saw
from probpose.inference.world import World, under_torchrun
from probpose.progress import Counting, silent
from probpose.skeleton import Skeleton

if TYPE_CHECKING:
    from probpose.api.calibration import Calibration


class Run:
    """A trained run; made by `load`, `fit` and `train`.

    Args:
        loaded: the run.
    """

    def __init__(self, loaded: LoadedRun) -> None:
        self._loaded = loaded
        self._recalibrated: tuple[int | None, tuple[Recalibrate, str] | None] = None, None

    def __repr__(self) -> str:
        made = f"epoch {self.epoch}" if self.imported is None else f"imported from {self.imported.file}"
        return f"Run({str(self.path)!r}: {self.label}, {len(self.skeleton)} joints, {made})"

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._loaded.folder.path

    @property
    def config(self) -> TrainConfig:
        """What was trained on what."""
        return self._loaded.config

    @property
    def label(self) -> str:
        """Short name of the model, or of the models that it is made of."""
        return label_of(self._loaded.folder, self.config)

    @property
    def skeleton(self) -> Skeleton:
        """The joints that it predicts."""
        return self._loaded.skeleton

    @property
    def epoch(self) -> int:
        """The epoch, from 1, after which the checkpoint was taken; 0 for a network that was imported."""
        return self._loaded.epoch

    @property
    def imported(self) -> Imported | None:
        """The file, its SHA-256 and its layout, where the network is another code's (`import_model`)."""
        return self._loaded.imported

    @property
    def verified(self) -> bool:
        """Whether its checkpoint is what was written; False where an earlier version wrote it, without a checksum."""
        return self._loaded.verified

    @property
    def model(self) -> torch.nn.Module:
        """The network with its residual density (`probpose.models.keypoint_model`), or several, in evaluation mode."""
        model = self._loaded.model
        assert isinstance(model, torch.nn.Module)
        return model

    @property
    def recalibration(self) -> str | None:
        """Method of the recalibration that `calibrate` kept in the folder and `predict` uses; None without one."""
        return self._recalibration(wanted=True)[1]

    def predict(
        self,
        images: ImagesLike | Persons,
        boxes: BoxesLike | None = None,
        *,
        recalibrate: bool = True,
        flip_test: bool = False,
        estimator: Estimator = "mean",
        score: Score = "usual",
        nms: float = OKS_NMS,
        least_box_score: float | None = None,
        keep_distributions: bool = True,
        decompose: bool = False,
        batch_size: int = 64,
        device: str = "auto",
        workers: int = 0,
        counting: Counting = silent,
    ) -> Poses:
        """Predict the keypoints of persons and their uncertainty.

        Args:
            images: image files or arrays (h, w, 3), uint8, RGB, one or several; or the table of a data set's images
                (`list_images`). Of several, those that cannot be read are left out and listed in `Poses.skipped`.
            boxes: where the persons are: x, y, width, height in pixels, (n, 4) of one image, or one such array an image
                of several; n may be 0. Or a file. Without, each image is one person from border to border.
            recalibrate: use what `calibrate` has kept in the run, as the command does.
            flip_test: predict with the equal mixture of the crop's density and that of its mirror image.
            estimator: the point estimate: mean, median, mode, or "oks", the point of greatest expected OKS.
            score: what poses are ranked by: "usual" (mean confidence), or "expected-oks".
            nms: OKS above which one of two poses in detected boxes goes; 1 keeps all.
            least_box_score: detected boxes with a lower score are left out.
            keep_distributions: False keeps points and sigma only: of a large data set, densities do not fit in memory.
            decompose: with what is unsure of labels and what of the model in `Poses.to_coco`; of an ensemble.
            batch_size: persons at a time.
            device: torch device, or "auto".
            workers: processes that read images.
            counting: shows how far it is, such as `bars`.

        Raises:
            DataError: no image can be read, the boxes cannot be used, or the table is of other joints.
            ConfigError: an unknown estimator, score or device, or a single network to be decomposed.
            CheckpointError: the run's recalibration is damaged, or the network's output is not finite.
        """
        _check_choices(estimator, score)
        recalibrated, method = self._recalibration(recalibrate)
        persons, chosen, faults = images_and_boxes(
            images, boxes, self.skeleton, least_box_score, upright=self.config.data.exif
        )
        with counting("predicting", len(persons if chosen is None else chosen)) as progress:
            found = predict_table(
                self._loaded.model, persons, self._loaded.input_size, boxes=chosen, nms=nms, recalibrate=recalibrated,
                flip_test=flip_test, estimator=estimator, score=score, keep_distributions=keep_distributions,
                apart=decompose, batch_size=batch_size, device=open_device(device), workers=workers, progress=progress,
            )  # fmt: skip
        return Poses(replace(found, unreadable=faults + found.unreadable), estimator, method)

    def data(
        self,
        split: Split = "val",
        *,
        dataset: str | None = None,
        root: str | PathLike[str] | None = None,
        annotations: str | PathLike[str] | None = None,
        image_dir: str | PathLike[str] | None = None,
        category: str | int | None = None,
        box_from: BoxSource | None = None,
        joint_map: JointMap | None = None,
        common_joints: bool = False,
        move_boxes: float = 0.0,
    ) -> Persons:
        """Annotated persons to judge the run on: those of its own configuration, or others; with the run's joints.

        Args:
            split: "val", or "train", which the run has seen.
            dataset: another data set.
            root: its folder.
            annotations: any COCO-format keypoint file instead.
            image_dir: folder of its images.
            category: name or id of the one category of an annotation file that counts; that of the run by default.
            box_from: see `open_data`; that of the run by default.
            joint_map: the run's name by the data's name of joints, or a file that holds it, where names differ.
            common_joints: judge on the joints that both have.
            move_boxes: share of their sides by which boxes are moved and enlarged at random, for boxes that were drawn
                around labels say where labels lie.

        Raises:
            ConfigError: options that do not go together, or a run that was trained on arrays.
            DataError: the data cannot be read, or have other joints than the run.
        """
        judged = self._judged(dataset, root, annotations, image_dir)
        named = {"category": None if category is None else str(category), "box_from": box_from}
        judged = judged.changed(**{name: value for name, value in named.items() if value is not None})
        refuse_without_effect(judged, named)
        if judged.data.dataset == ARRAYS and judged.data.val_annotations is None:
            raise ConfigError(
                f"the run {self.path} was trained on arrays, which it does not keep: name persons, such as "
                "probpose.persons(images, keypoints, skeleton=run.skeleton)."
            )
        persons = match_joints(open_split(judged, split), self.skeleton, joint_map, common=common_joints)
        return persons.with_moved_boxes(move_boxes) if move_boxes else persons

    def saw(
        self, split: Split = "val", *, dataset: str | None = None, annotations: str | PathLike[str] | None = None
    ) -> bool:
        """Whether the run was trained, or its checkpoint chosen, on what `data` gives for these arguments."""
        return saw(self.config, self._judged(dataset, None, annotations, None), split)

    def evaluate(
        self,
        persons: Persons | None = None,
        *,
        boxes: str | PathLike[str] | None = None,
        recalibrate: bool = True,
        flip_test: bool = False,
        estimator: Estimator = "mean",
        score: Score = "usual",
        nms: float = OKS_NMS,
        least_box_score: float | None = None,
        parquet: str | PathLike[str] | None = None,
        batch_size: int = 64,
        device: str = "auto",
        workers: int = 0,
        counting: Counting = silent,
    ) -> Evaluation:
        """AP, PCK, error, nats per keypoint, coverage and sigma on annotated persons, overall and by joint.

        Processes that torchrun started share the persons, and each returns the whole.

        Args:
            persons: from `data`, `open_data` or `persons`; the run's validation data by default.
            boxes: COCO detections to predict for in place of the annotated boxes; only COCO's metrics are then defined.
            recalibrate: use what `calibrate` has kept in the run, as the command does.
            flip_test: see `predict`; likewise the others.
            estimator: the point estimate of AP, PCK and error.
            score: what poses are ranked by.
            nms: OKS above which one of two poses in detected boxes goes.
            least_box_score: detected boxes with a lower score are left out.
            parquet: folder in which predictions are written beside labels while they are made, in shards that
                `calibrate_table` reads (on many machines too).
            batch_size: persons at a time.
            device: torch device, or "auto".
            workers: processes that read images.
            counting: shows how far it is.

        Raises:
            DataError: no image can be read, the persons have other joints (by name; another order does not matter),
                their coordinates are no pixels, or the log density of a label is not finite.
            ConfigError: an unknown estimator, score or device; a run on arrays, and no persons; or a folder for
                predictions beside labels, and detected boxes, which have none, or several processes.
        """
        persons = self._annotated(persons)
        if parquet is not None and boxes is not None:
            raise ConfigError("detected boxes have no labels to be written beside them: leave out boxes or parquet.")
        if parquet is not None and under_torchrun():
            raise ConfigError("predictions beside labels are written by one process: start it without torchrun.")
        if parquet is not None:  # an image is in one file
            persons = persons.select(np.argsort(persons.image_id, kind="stable"))
        writer = None if parquet is None else ShardWriter(Path(parquet), persons)
        _check_choices(estimator, score)
        recalibrated, method = self._recalibration(recalibrate)
        detected = None if boxes is None else read_boxes(Path(boxes), persons, least_box_score)
        total = len(persons if detected is None else detected)
        with World.joined() as world, (counting if world.first else silent)("evaluating", total) as progress:
            found = evaluate(
                self._loaded.model, persons, self._loaded.input_size, flip_test=flip_test, estimator=estimator,
                score=score, boxes=detected, nms=nms, apart=True, batch_size=batch_size,
                device=open_device(world.device(device)), workers=workers, recalibrate=recalibrated,
                progress=progress, world=world, observe=(lambda _: None) if writer is None else writer.add,
            )  # fmt: skip
        if writer is not None:
            writer.close()
        return replace(found, recalibration=method)

    def keep(self, evaluation: Evaluation) -> Path:
        """Write an evaluation into the run's folder, as evaluation.json.

        Raises:
            OSError: the folder is not writable.
        """
        file = self.path / "evaluation.json"
        write_atomically(file, json.dumps(evaluation.to_json(), indent=1).encode())
        return file

    def calibrate(
        self,
        persons: Persons | None = None,
        *,
        method: Method = "auto",
        residual: str = "rle",
        per_joint: bool = False,
        radius_px: float | None = None,
        seed: int = 0,
        batch_size: int = 64,
        device: str = "auto",
        workers: int = 0,
        counting: Counting = silent,
    ) -> Calibration:
        """Can the run's uncertainty be believed? Diagnosed and recalibrated on held-out persons; `save` keeps it.

        Args:
            persons: see `evaluate`.
            method: see `probpose.calibrate`, and likewise the next four.
            residual: family of the refitted residual density.
            per_joint: conformal guarantees by joint.
            radius_px: r of P(error <= r).
            seed: of the split and all choices.
            batch_size: persons at a time.
            device: torch device, or "auto".
            workers: processes that read images.
            counting: shows how far it is.

        Raises:
            DataError: too few images or labels, other joints, or no image can be read.
            ConfigError: an unknown method or density; or a run on arrays, and no persons.
        """
        persons = self._annotated(persons)
        with counting("predicting", len(persons)) as progress:
            source = RunSource.of(
                self._loaded, persons, batch_size=batch_size, device=open_device(device), workers=workers,
                progress=progress,
            )  # fmt: skip
        from probpose.api.calibration import calibrate_source  # ArviZ and matplotlib, which predicting does without

        return calibrate_source(source, method, residual, per_joint, radius_px, seed, counting)

    def export(self, file: str | PathLike[str], *, format: Format = "onnx", recalibrate: bool = True) -> list[Path]:
        """Write the run as one graph, from crops to keypoints with covariance, presence and radii; with a JSON card.

        What `predict` gives for a crop, without the flip test; the card says how a box becomes a crop.

        Args:
            file: the graph; the card is beside it, with the ending .json.
            format: "onnx", or "pt2" for `torch.export.load`.
            recalibrate: make what `calibrate` has kept in the run a part of the graph.

        Returns:
            The graph and its card.

        Raises:
            ConfigError: an unknown format, a family that cannot be traced, or ONNX's packages are missing.
            DataError: the file cannot be written.
            CheckpointError: the run's recalibration is damaged.
        """
        one_of(format, FORMATS, "format")
        return export_run(self._loaded, Path(file), format, recalibrate=recalibrate)

    def audit(
        self,
        persons: Persons | None = None,
        *,
        folds: int | None = None,
        threshold: float = THRESHOLD,
        decisions: str | PathLike[str] | None = None,
        seed: int = 0,
        quiet: bool = False,
        batch_size: int = 64,
        device: str = "auto",
        workers: int = 0,
        counting: Counting = silent,
    ) -> Audit:
        """Which labels are wrong, and how, by what the run predicts (`save_audit`, `save_corrected`).

        Args:
            persons: see `evaluate`. A run takes wrong labels that it was trained on for right.
            folds: train networks with the run's configuration that have not seen what they judge, in `RUN/folds`; those
                that are finished are used again. By default the run itself judges.
            threshold: probability above which a correction is proposed.
            decisions: a file that `decide` is to apply: refused before anything is trained.
            seed: of the folds.
            quiet: show no progress of the training of folds, which otherwise goes to standard error.
            batch_size: persons at a time.
            device: torch device, or "auto"; folds are trained there too.
            workers: processes that read images to predict; the configuration says how many do in training.
            counting: shows how far it is.

        Raises:
            DataError: the persons have other joints, no image can be read, or there are too few labels.
            ConfigError: a run on arrays, and no persons; or folds of another configuration.
        """
        persons = self._annotated(persons)
        model = self.path.name if folds is None else f"{self.path.name}, {folds} folds"
        opened = open_device(device)
        share(threshold, "the threshold")
        dealt(persons, seed=seed)
        if decisions is not None:
            read_decisions(Path(decisions), [model], persons, unread=True)
        networks = None if folds is None else self._folds(persons, folds, seed, quiet, device)
        with counting("predicting", len(persons)) as progress:
            how: dict[str, Any] = {
                "batch_size": batch_size, "device": opened, "workers": workers, "progress": progress,
            }  # fmt: skip
            if networks is None:
                said = predict_persons(self._loaded.model, persons, self._loaded.input_size, **how)
            else:
                said = predict_held_out(networks, persons, **how)
            evidence = evidence_of_network(persons, said, model)
        from probpose.api.auditing import judged  # matplotlib

        return judged(evidence, threshold, seed, counting)

    def cross_fit(
        self,
        persons: Persons | None = None,
        *,
        folds: int = 5,
        seed: int = 0,
        quiet: bool = False,
        device: str | None = None,
    ) -> list[tuple[Run, Persons]]:
        """Networks with the run's configuration, and of each the persons whose images it has not seen.

        The persons are dealt out by image; each fold's network is trained on the others, in `RUN/folds`. What was
        interrupted goes on, and what is finished is read.

        Args:
            persons: the run's training data by default.
            folds: at least 2.
            seed: of the folds.
            quiet: show no progress, which otherwise goes to standard error.
            device: that they are trained on; that of the run's configuration by default.

        Raises:
            DataError: the persons have other joints, there are too few images, or the folds are of other persons.
            ConfigError: a run on arrays, and no persons; or folds of another configuration.
        """
        persons = self._annotated(self.data("train") if persons is None else persons)
        found = self._folds(persons, folds, seed, quiet, device)
        return [(Run(load_run(fold.folder.path)), persons.select(fold.rows)) for fold in found]

    def _folds(self, persons: Persons, folds: int, seed: int, quiet: bool, device: str | None) -> list[Fold]:
        config = self.config if device is None else self.config.changed(device=device)
        return train_folds(config, self.path / "folds", persons, folds, seed=seed, quiet=quiet)

    def _annotated(self, persons: Persons | None) -> Persons:
        matched = match_joints(self.data() if persons is None else persons, self.skeleton)
        refuse_other_units(matched)
        return matched

    def _judged(
        self,
        dataset: str | None,
        root: str | PathLike[str] | None,
        annotations: str | PathLike[str] | None,
        image_dir: str | PathLike[str] | None,
    ) -> TrainConfig:
        places = {"data_root": root, "val_annotations": annotations, "image_dir": image_dir}
        named = {name: None if place is None else str(place) for name, place in places.items()}
        return judged_on(self.config, dataset=dataset, **named)

    def _recalibration(self, wanted: bool) -> tuple[Recalibrate | None, str | None]:
        """What the folder holds, and its method: read once, and again when `calibrate` has written it since."""
        if not wanted:
            return None, None
        file = recalibration_file(self._loaded.folder)
        written = file.stat().st_mtime_ns if file.exists() else None
        if written != self._recalibrated[0]:
            self._recalibrated = written, run_recalibration(self._loaded)
        return self._recalibrated[1] or (None, None)


def load(path: str | PathLike[str] | None = None, *, checkpoint: str = "best") -> Run:
    """Open a trained run; never executes code.

    Args:
        path: the run's folder; by default the newest one in `runs/`.
        checkpoint: "best" by held-out likelihood, or "last".

    Raises:
        ConfigError: another checkpoint than `best` or `last` is named.
        CheckpointError: its checkpoint is missing, damaged or of another model.
    """
    one_of(checkpoint, ("best", "last"), "checkpoint")
    folder = newest_run() if path is None else RunFolder(Path(path))
    return Run(open_run(folder.path, checkpoint=checkpoint))


def _check_choices(estimator: str, score: str) -> None:
    one_of(estimator, get_args(Estimator), "estimator")
    one_of(score, get_args(Score), "score")
