"""What a run is worth on annotated persons, keypoint by keypoint: what comparisons are made of."""

from __future__ import annotations

__all__ = ["PCK_FRACTIONS", "RunFacts", "Scores", "kept_scores", "score_run"]

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.evaluation.coco import pck_reference
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.prediction.estimates import ESTIMATORS, point_of
from probpose.analysis.prediction.forward import Forward
from probpose.arrays import Array, Index, as_array, numbers
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.files import reading, write_atomically
from probpose.inference.training.members import weights_digest
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import LoadedRun, RunFolder
from probpose.json_codec import from_json
from probpose.models.cost import cost_of
from probpose.models.densities.gauge import Gauge

PCK_FRACTIONS = (0.2, 0.5)
_VERSION = 3
_READABLE = (2, 3)
"""In version 2 levels are not drawn on plateaus (SimCC, heatmaps with a constant surface): their coverage is off."""

_FILE = "scores.npz"
_MAY_BE_ENDLESS = ("log_prob", "r90_px", "relative_error")
"""What need not be finite: labels without a density, regions that are the plane, persons without a reference."""
_EXACT = ("log_prob", "hdr_level")
"""Kept to the last digit: NLL and coverage are the same whether scores are new or were kept."""


@dataclass(frozen=True)
class RunFacts:
    """A run as a whole.

    Attributes:
        parameters: learnable numbers.
        flops: floating-point operations for one crop.
        AP: of the mean; None where undefined.
        images_per_s: in training, the median over epochs; None where it is not known.
        epoch: the one that was kept.
        gauge: what sigma means.
    """

    parameters: int
    flops: int
    AP: float | None
    images_per_s: float | None
    epoch: int
    gauge: Gauge


@dataclass(frozen=True)
class Scores:
    """M labelled keypoints under one run; E = 3 point estimates: mean, median, mode.

    Attributes:
        image: (M,) int64, image id.
        person: (M,) int64, row in the table of persons.
        joint: (M,) int64.
        log_prob: (M,) nats, in pixels of the original image.
        hdr_level: (M,), uniform when calibrated.
        r90_px: (M,), radius about the mean that holds 90%.
        error_px: (M, E), distance from each point estimate to the label.
        relative_error: (M, E), the same in units of the PCK reference length.
        facts: of the run.
    """

    image: Index
    person: Index
    joint: Index
    log_prob: Array
    hdr_level: Array
    r90_px: Array
    error_px: Array
    relative_error: Array
    facts: RunFacts

    def pck(self, fraction: float) -> Array:
        """(M, E), 1 where the error is at most `fraction` of the reference length."""
        return (self.relative_error <= fraction).astype(np.float64)

    def of_joints(self, columns: Sequence[int]) -> Scores:
        """The same labels with other numbers of joints, in the order of person and joint.

        Args:
            columns: the new number of each joint.
        """
        joint = np.asarray(columns, dtype=np.int64)[self.joint]
        order = np.lexsort((joint, self.person))
        columns_of = {f.name: getattr(self, f.name)[order] for f in fields(Scores) if f.name not in ("joint", "facts")}
        return replace(self, joint=joint[order], **columns_of)

    def coverage(self, level: float) -> float:
        """Share of labels in the highest-density region that should hold `level`."""
        return float((self.hdr_level <= level).mean())


def score_run(
    run: LoadedRun,
    persons: Persons,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Score a run on annotated persons; kept in the run's scores.npz, and read from there while run and data last.

    Args:
        run: loaded.
        persons: annotated.
        batch_size: persons at a time.
        device: of the network.
        progress: called with the number of persons done so far.

    Raises:
        DataError: see `evaluate`.
    """
    file, key = run.folder.path / _FILE, _Key.of(run.folder, persons)
    kept = _read(file, key)
    if kept is not None:
        return kept
    scores = _score(run, persons, batch_size, device, progress)
    _write(file, key, scores)
    return scores


def kept_scores(folder: RunFolder, persons: Persons) -> Scores | None:
    """The scores that were kept of a run whose checkpoint need not be there; None where there are none for `persons`.

    The file of scores is small and a checkpoint is not: published scores are enough to compare other runs with.
    """
    return _read(folder.path / _FILE, _Key("", _digest(persons), version=0))


def _score(
    run: LoadedRun,
    persons: Persons,
    batch_size: int,
    device: torch.device | str,
    progress: Callable[[int], None] | None,
) -> Scores:
    parts: list[Array] = []
    evaluation = evaluate(
        run.model, persons, run.input_size, batch_size=batch_size, device=device, progress=progress,
        observe=lambda forward: parts.append(_errors(forward, persons)),
    )  # fmt: skip
    assert evaluation.labels is not None, "the boxes are the annotated ones"
    scores, errors = evaluation.labels.scores, np.concatenate(parts)
    reference, cost = pck_reference(persons)[0][scores.person], cost_of(run.model, run.input_size)
    speeds = [record["images_per_s"] for record in read_log(run.folder.log)]
    facts = RunFacts(
        parameters=cost.parameters,
        flops=cost.flops,
        AP=evaluation.coco.AP,
        images_per_s=float(np.median(speeds)) if speeds else None,
        epoch=run.epoch,
        gauge=evaluation.gauge,
    )
    return Scores(
        image=scores.image,
        person=scores.person,
        joint=scores.joint,
        log_prob=scores.log_prob,
        hdr_level=scores.level,
        r90_px=scores.r90_px,
        error_px=errors,
        relative_error=errors / reference[:, None],
        facts=facts,
    )


def _errors(forward: Forward, persons: Persons) -> Array:
    """(m, E) errors of the labelled keypoints of a batch, in the order of `LabelScores`."""
    labels, labelled = persons.keypoints[forward.rows], persons.labelled[forward.rows]
    points = [as_array(point_of(forward.keypoints, estimator)) for estimator in ESTIMATORS]
    return np.stack([np.linalg.norm(point - labels, axis=-1)[labelled] for point in points], axis=-1)


@dataclass(frozen=True)
class _Key:
    """What scores are of.

    Attributes:
        checkpoint: digest of the model; empty: any.
        data: digest of the persons.
        version: of the file; 0: any that can be read.
    """

    checkpoint: str
    data: str
    version: int = _VERSION

    @classmethod
    def of(cls, folder: RunFolder, persons: Persons) -> _Key:
        return cls(weights_digest(folder), _digest(persons))

    def fits(self, found: dict[str, Any]) -> bool:
        """Whether a key that was read is this one."""
        wanted = {name: value for name, value in asdict(self).items() if value}
        return found.get("version") in _READABLE and all(found.get(name) == value for name, value in wanted.items())


def _digest(persons: Persons) -> str:
    """Identifies annotated persons."""
    digest = hashlib.sha256()
    for column in (persons.image_id, persons.box, persons.keypoints, persons.visibility):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _read(file: Path, key: _Key) -> Scores | None:
    """Scores kept under `key`; None when there are none, or the file is damaged."""
    try:
        with (
            reading(file, "is damaged"),
            file.open("rb") as stream,
            np.load(stream, allow_pickle=False) as arrays,
        ):
            record = json.loads(str(arrays["record"]))
            if not key.fits(record["key"]):
                return None
            columns = {f.name: _wide(arrays[f.name]) for f in fields(Scores) if f.name != "facts"}
            count = len(columns["image"])
            for name, column in columns.items():
                shape = (count, len(ESTIMATORS)) if name.endswith("error") or name == "error_px" else (count,)
                numbers(column, name, shape, finite=name not in _MAY_BE_ENDLESS)
            return Scores(**columns, facts=from_json(RunFacts, record["facts"]))
    except DataError:
        return None


def _write(file: Path, key: _Key, scores: Scores) -> None:
    columns: dict[str, Any] = {f.name: getattr(scores, f.name) for f in fields(Scores) if f.name != "facts"}
    columns = {name: column if name in _EXACT else _narrow(column) for name, column in columns.items()}
    buffer = BytesIO()
    np.savez_compressed(buffer, record=json.dumps({"key": asdict(key), "facts": asdict(scores.facts)}), **columns)
    write_atomically(file, buffer.getvalue())


def _narrow(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Half as wide, for the disk: seven digits, and numbers below 2^31 where they are whole."""
    if column.dtype == np.float64:
        return column.astype(np.float32)
    return column.astype(np.int32) if column.size and column.max() < 2**31 else column


def _wide(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return column.astype(np.float64 if column.dtype.kind == "f" else np.int64)
