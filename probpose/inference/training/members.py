"""Folders of runs that are several models as one: networks that were trained apart, or draws of one's last layer.

Such a folder has the `config.toml` of its first member, the joints, and `members.json`, which names the folders of the
members and the digests of their checkpoints; draws of the last layer are in `draws.safetensors`. So every command takes
it as a run, and a member that was trained further since is refused.
"""

from __future__ import annotations

__all__ = [
    "Member", "Members", "begin_ensemble", "is_whole", "label_of", "members_of", "open_run", "seal", "seal_draws",
    "weights_digest",
]  # fmt: skip

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from probpose.errors import CheckpointError, ConfigError
from probpose.files import read_bytes, read_text, reading, write_atomically
from probpose.inference.training.checkpoint import load_checkpoint, save_checkpoint
from probpose.inference.training.config import TrainConfig, save_config
from probpose.inference.training.runs import LoadedRun, RunFolder, SingleRun, load_run, read_config
from probpose.json_codec import from_json, to_json
from probpose.models.ensemble import Ensemble, LastLayerDraws

_SMALLEST = 2


@dataclass(frozen=True)
class Member:
    """A network of an ensemble.

    Attributes:
        run: its folder, relative to that of the ensemble.
        sha256: of its checkpoint; None where it is still to be trained.
    """

    run: str
    sha256: str | None = None


@dataclass(frozen=True)
class Members:
    """`members.json`.

    Attributes:
        members: networks; one where draws are of its last layer.
        posterior: how its last layer was drawn; None for networks that were trained apart.
    """

    members: tuple[Member, ...]
    posterior: str | None = None

    @property
    def whole(self) -> bool:
        """Whether all are trained."""
        return all(member.sha256 is not None for member in self.members)


def members_of(folder: RunFolder) -> Members | None:
    """What `members.json` says; None where the folder is that of a single network.

    Raises:
        CheckpointError: the file is damaged, or names no member.
    """
    file = folder.members
    if not file.exists():
        return None
    with reading(file, "names no members", CheckpointError, "restore it, or make the ensemble again."):
        found = from_json(Members, json.loads(read_text(file)))
    if not found.members:
        raise CheckpointError(f"{file} names no members: restore it, or make the ensemble again.")
    return found


def label_of(folder: RunFolder, config: TrainConfig) -> str:
    """The model's name in tables: that of its configuration, or such as "4 x rle", "heatmap + rle"."""
    found = members_of(folder)
    if found is None:
        return config.label
    if found.posterior is not None:
        return f"{config.label}, {found.posterior} posterior"
    names = Counter(read_config(_folder_of(folder, member)).label for member in found.members)
    return " + ".join(name if count == 1 else f"{count} x {name}" for name, count in names.items())


def is_whole(folder: RunFolder) -> bool:
    """Whether the folder is that of an ensemble all of whose members are trained."""
    found = members_of(folder)
    return found is not None and found.whole


def begin_ensemble(folder: RunFolder, config: TrainConfig, size: int) -> list[RunFolder]:
    """Name the folders of members that are to be trained, and remember how many.

    An ensemble of as many members that was begun there goes on. Its settings are those of `config` until a member has
    begun; whether a member that has begun has the same is compared when it is trained.

    Args:
        folder: of the ensemble.
        config: of the first member; the others have the seeds that follow.
        size: number of members.

    Raises:
        ConfigError: fewer than two, or a run, draws of a last layer or an ensemble of another size are there.
    """
    if size < _SMALLEST:
        raise ConfigError(f"an ensemble of {size}: it needs at least {_SMALLEST}.")
    found = members_of(folder)
    if found is None:
        folder.refuse_taken()
        found = Members(tuple(Member(f"member-{number}") for number in range(1, size + 1)))
        folder.path.mkdir(parents=True, exist_ok=True)
        _write(folder, found)
    elif len(found.members) != size or found.posterior is not None:
        raise ConfigError(f"{folder.path} already holds another ensemble: name another --out.")
    places = [_folder_of(folder, member) for member in found.members]
    if not any(place.config.exists() for place in places):
        save_config(config, folder.config)
    return places


def seal(folder: RunFolder, runs: Sequence[Path], *, own: bool = False) -> LoadedRun:
    """Make trained runs members of an ensemble.

    Args:
        folder: of the ensemble; made where missing.
        runs: folders of at least two runs, of the same joints and size of crops.
        own: it was begun by `begin_ensemble`; otherwise it must not hold a run.

    Raises:
        ConfigError: too few runs, runs of other joints or crops, or named twice.
        CheckpointError: a run is not one, or not finished.
    """
    loaded = [load_run(run) for run in runs]
    _check_together(loaded)
    first = loaded[0]
    if own:
        folder.write_skeleton(first.skeleton)
    else:
        folder.create(first.config, first.skeleton)
    _write(folder, Members(tuple(_member(folder, run) for run in loaded)))
    return _as_one(folder, loaded, Ensemble([run.model for run in loaded]))


def seal_draws(folder: RunFolder, run: LoadedRun, posterior: str, draws: Mapping[str, Tensor]) -> LoadedRun:
    """Make draws of a run's last layer an ensemble.

    Args:
        folder: of the ensemble, which must not hold a run.
        run: whose last layer was drawn.
        posterior: how.
        draws: by parameter, (M, ...) (`LastLayerDraws`).

    Raises:
        ConfigError: the folder holds a run.
        TrainingError: the disk is full or not writable.
    """
    folder.create(run.config, run.skeleton)
    save_checkpoint(folder.draws, {"draws": draws}, {"posterior": posterior})
    _write(folder, Members((_member(folder, run),), posterior))
    return open_run(folder.path)


def open_run(path: Path, *, checkpoint: str = "best") -> LoadedRun:
    """Open a run, of one network or of several; never executes code.

    Args:
        path: the folder.
        checkpoint: see `load_run`; of an ensemble only `best`.

    Raises:
        CheckpointError: see `load_run`; or a member of an ensemble is missing, unfinished or was trained further.
        ConfigError: the last checkpoint of an ensemble is asked for.
    """
    folder = RunFolder(path)
    found = members_of(folder)
    if found is None:
        return load_run(path, checkpoint=checkpoint)
    if checkpoint != "best":
        raise ConfigError(f"{path} is an ensemble, of the best checkpoints of its members: open a member for its last.")
    if not found.whole:
        raise CheckpointError(f"{path}: a member is not trained yet: go on with --resume --out {path}.")
    runs = [_checked(folder, member) for member in found.members]
    if found.posterior is not None:
        with reading(
            folder.draws, "holds no draws of the last layer of its network", CheckpointError, "make the ensemble again."
        ):
            drawn = LastLayerDraws(runs[0].model, load_checkpoint(folder.draws).part("draws"))
        return _as_one(folder, runs, drawn)
    _check_together(runs)
    return _as_one(folder, runs, Ensemble([run.model for run in runs]))


def _as_one(folder: RunFolder, runs: Sequence[SingleRun], model: Ensemble | LastLayerDraws) -> LoadedRun:
    """The run of a model that is made of these."""
    first, verified = runs[0], all(run.verified for run in runs)
    return LoadedRun(folder, first.config, first.skeleton, model.eval(), first.epoch, verified)


def weights_digest(folder: RunFolder) -> str:
    """SHA-256 of what says which weights a run has: of its checkpoint, or of the list of its members.

    Raises:
        CheckpointError: it cannot be read.
    """
    file = folder.members if folder.members.exists() else folder.best
    with reading(file, "cannot be read", CheckpointError, "restore it."):
        return hashlib.sha256(read_bytes(file)).hexdigest()


def _write(folder: RunFolder, members: Members) -> None:
    write_atomically(folder.members, json.dumps(to_json(members), indent=1).encode())


def _member(folder: RunFolder, run: LoadedRun) -> Member:
    """A trained member, by the way to it from the ensemble's folder."""
    return Member(os.path.relpath(run.folder.path, folder.path), weights_digest(run.folder))


def _folder_of(folder: RunFolder, member: Member) -> RunFolder:
    return RunFolder(Path(os.path.normpath(folder.path / member.run)))


def _checked(folder: RunFolder, member: Member) -> SingleRun:
    """A member, whose checkpoint is still what it was."""
    run = _folder_of(folder, member)
    if not run.config.exists():
        raise CheckpointError(
            f"{folder.path}: its member {run.path} is not there: put it back, or make the ensemble again."
        )
    if weights_digest(run) != member.sha256:
        raise CheckpointError(
            f"{folder.path}: the checkpoint of its member {run.path} has changed since: make the ensemble again."
        )
    return load_run(run.path)


def _check_together(runs: Sequence[LoadedRun]) -> None:
    """Refuse networks that do not look at the same crops for the same joints."""
    if len(runs) < _SMALLEST:
        raise ConfigError(f"{len(runs)} run: an ensemble needs at least {_SMALLEST}.")
    paths = [run.folder.path.resolve() for run in runs]
    first = runs[0]
    for place, run in enumerate(runs):
        if paths.index(paths[place]) < place:
            raise ConfigError(f"{run.folder.path} is named twice.")
        if run.skeleton.joints != first.skeleton.joints:
            raise ConfigError(f"{run.folder.path} has other joints than {first.folder.path}, or in another order.")
        if run.input_size != first.input_size:
            sizes = " and ".join("{1} x {0}".format(*one.input_size) for one in (run, first))
            raise ConfigError(f"{run.folder.path} takes crops of another size than {first.folder.path}: {sizes}.")
