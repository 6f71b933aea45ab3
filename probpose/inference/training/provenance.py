"""What a checkpoint was made from: configuration, joints and persons, compared when its run is opened or goes on."""

from __future__ import annotations

__all__ = ["Facts", "Imported", "Provenance", "TrainingRecord", "read_facts"]

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from probpose.data.persons import Persons
from probpose.errors import CheckpointError, DataError
from probpose.files import reading
from probpose.inference.training.checkpoint import Checkpoint
from probpose.inference.training.config import TrainConfig, config_fields
from probpose.inference.training.report import EpochRecord
from probpose.json_codec import from_json
from probpose.skeleton import Skeleton

_PLACES = frozenset(
    ("device", "workers", "augment_on", "data_root", "train_annotations", "val_annotations", "image_dir")
)
"""Settings that say where: other values give the same run, for the persons are compared themselves."""

T = TypeVar("T", bound="Facts")


@dataclass(frozen=True)
class Provenance:
    """What a checkpoint was made from.

    Attributes:
        config: every setting by name, as JSON.
        joints: names.
        flip_pairs: of joints.
        train: digest of the persons that were trained on (`Persons.digest`); empty for a network that was imported.
        selection: digest of those that choose the checkpoint; likewise.
    """

    config: dict[str, Any]
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    train: str
    selection: str

    @classmethod
    def of(cls, config: TrainConfig, train: Persons, selection: Persons) -> Provenance:
        """That of a run."""
        skeleton = train.skeleton
        return cls(_plain(config), skeleton.joints, skeleton.flip_pairs, train.digest(), selection.digest())

    @classmethod
    def of_import(cls, config: TrainConfig, skeleton: Skeleton) -> Provenance:
        """That of a network that another code has trained, on persons that are not known here."""
        return cls(_plain(config), skeleton.joints, skeleton.flip_pairs, "", "")

    def check_resumed(self, config: TrainConfig, train: Persons, selection: Persons, file: Path) -> None:
        """Refuse to go on with what differs; epochs may be more.

        Args:
            config: of the run, as its folder has it now.
            train: persons to train on, as they are now.
            selection: persons that choose the checkpoint, as they are now.
            file: the checkpoint.

        Raises:
            CheckpointError: other settings; they are named.
            DataError: other persons.
        """
        differences = self._differences(config, config_fields().keys() - _PLACES - {"epochs"})
        before, now = self.config.get("epochs", 0), config.optimiser.epochs
        differences += [f"epochs is {now}, and was {before}"] * (now < before)
        if differences:
            raise CheckpointError(
                f"{file} was trained with other settings than those in config.toml: {'; '.join(differences)}. A "
                "resumed run keeps its settings, except for more epochs: set them back, or start a new run."
            )
        self.check_persons(train, selection, file, "Go on with the data as they were, or start a new run.")

    def check_persons(self, train: Persons, selection: Persons, file: Path, remedy: str) -> None:
        """Refuse other persons than it was made from.

        Args:
            train: persons to train on.
            selection: persons that choose the checkpoint.
            file: the checkpoint.
            remedy: what to do about it.

        Raises:
            DataError: they are others.
        """
        for persons, digest, what in ((train, self.train, "train on"), (selection, self.selection, "choose by")):
            if persons.digest() != digest:
                raise DataError(
                    f"the {len(persons)} persons of {persons.name} to {what} are not those that {file} was trained "
                    f"with: the data have changed. {remedy}"
                )

    def check_opened(self, config: TrainConfig, skeleton: Skeleton, file: Path) -> None:
        """Refuse to read a checkpoint as another model or other joints than it was trained for.

        Raises:
            CheckpointError: model or skeleton differ; what differs is named.
        """
        model = {name for name, place in config_fields().items() if place.group == "model"} - {"weights"}
        differences = self._differences(config, model)
        if (skeleton.joints, skeleton.flip_pairs) != (self.joints, self.flip_pairs):
            differences.append(f"skeleton.json has {_listed(skeleton.joints)}, it was {_listed(self.joints)}")
        if differences:
            raise CheckpointError(
                f"{file} was trained with another model than config.toml and skeleton.json beside it describe: "
                f"{'; '.join(differences)}. Restore these files."
            )

    def _differences(self, config: TrainConfig, names: set[str]) -> list[str]:
        now, known = _plain(config), config_fields()
        before = {name: self.config.get(name, _json(known[name].default)) for name in names}
        changed = [name for name in known if name in names and now[name] != before[name]]
        return [f"{name} is {now[name]!r}, and was {before[name]!r}" for name in changed]


@dataclass(frozen=True)
class Imported:
    """The file of another code that a run was made from.

    Attributes:
        file: its name.
        sha256: of its content.
        layout: see `probpose.models.published_layouts`.
    """

    file: str
    sha256: str
    layout: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What every checkpoint of a run says.

    Attributes:
        epoch: after which it was taken, from 1; 0 for a network that was imported.
        made_from: None in checkpoints of earlier versions.
        imported: what a network that was imported was made from.
    """

    epoch: int
    made_from: Provenance | None = None
    imported: Imported | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingRecord(Facts):
    """What the checkpoints of training say.

    Attributes:
        step: iterations so far.
        seconds: of training so far.
        selection_nll_nats: after this epoch.
        best_nll_nats: least so far.
        skipped_steps: that were not finite, so far.
        device: it was trained on.
        precision: of the backbone.
        log: the epoch's line of the log.
        averaged: steps in the moving average.
    """

    step: int
    seconds: float
    selection_nll_nats: float
    best_nll_nats: float
    skipped_steps: int
    device: str
    precision: str
    log: EpochRecord
    averaged: int = 0


def read_facts(kind: type[T], checkpoint: Checkpoint, file: Path) -> T:
    """The record of a checkpoint, checked.

    Args:
        kind: `Facts` or `TrainingRecord`.
        checkpoint: of a run.
        file: its path, for messages.

    Raises:
        CheckpointError: a key is missing, or of another type.
    """
    with reading(file, "is no checkpoint of a run", CheckpointError, "restore it or train again."):
        return from_json(kind, checkpoint.record, finite=False)


def _plain(config: TrainConfig) -> dict[str, Any]:
    return {name: _json(value) for name, value in config.flat().items()}


def _json(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))


def _listed(joints: tuple[str, ...]) -> str:
    return f"{len(joints)} joints ({', '.join(joints[:4])} ...)"
