"""Run folders: where a run keeps its configuration, log and checkpoints, and how it is opened again."""

from __future__ import annotations

__all__ = ["LoadedRun", "RunFolder", "SingleRun", "load_run", "new_run_folder", "newest_run", "read_config"]

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from probpose.errors import CheckpointError, ConfigError, RunInUseError
from probpose.files import read_text, reading, write_atomically
from probpose.inference.training.checkpoint import load_checkpoint, load_state
from probpose.inference.training.config import TrainConfig, load_config, save_config
from probpose.inference.training.provenance import Facts, Imported, read_facts
from probpose.json_codec import from_json
from probpose.models.backbones.registry import build_backbone
from probpose.models.ensemble import Predictor
from probpose.models.keypoint_model import KeypointModel
from probpose.models.registry import build_model, family_of
from probpose.skeleton import Skeleton
from probpose.text import slug

RUNS = Path("runs")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration, TOML."""
        return self.path / "config.toml"

    @property
    def skeleton(self) -> Path:
        """The skeleton that the model predicts, JSON."""
        return self.path / "skeleton.json"

    @property
    def log(self) -> Path:
        """One JSON object an epoch."""
        return self.path / "log.jsonl"

    @property
    def curves(self) -> Path:
        """The learning curves."""
        return self.path / "curves.png"

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest NLL on the selection split."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "last.safetensors"

    @property
    def members(self) -> Path:
        """Where the run is several models as one: which (`probpose.inference.training.members`)."""
        return self.path / "members.json"

    @property
    def draws(self) -> Path:
        """Draws of the last layer."""
        return self.path / "draws.safetensors"

    @property
    def posterior(self) -> Path:
        """The same draws for ArviZ."""
        return self.path / "posterior.nc"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into the folder, which is made where missing.

        The operating system frees the lock however the process ends. What a killed process left half-written goes.

        Raises:
            RunInUseError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise RunInUseError(
                f"another process is training into {self.path}: wait until it ends, or name another --out."
            ) from error
        try:
            for leftover in self.path.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def refuse_taken(self) -> None:
        """Refuse a folder that already holds a run.

        Raises:
            ConfigError: it does.
        """
        if self.config.exists() or self.members.exists():
            raise ConfigError(f"{self.path} already holds a run: go on with --resume, or name another --out.")

    def write_skeleton(self, skeleton: Skeleton) -> None:
        """Write the joints that the model predicts."""
        write_atomically(self.skeleton, json.dumps(asdict(skeleton), indent=1).encode())

    def create(self, config: TrainConfig, skeleton: Skeleton) -> None:
        """Make the folder with configuration and skeleton.

        Raises:
            ConfigError: a run is already there.
        """
        self.refuse_taken()
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_skeleton(skeleton)
        save_config(config, self.config)


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to predict.

    Attributes:
        folder: its files.
        config: its configuration.
        skeleton: its joints.
        model: with the chosen checkpoint, in evaluation mode, on the CPU.
        epoch: the epoch that the checkpoint was taken after, from 1; 0 for a network that was imported.
        verified: whether its content was compared with a digest; False for one of an earlier version.
        imported: what it was made from, where another code has trained it.
    """

    folder: RunFolder
    config: TrainConfig
    skeleton: Skeleton
    model: Predictor
    epoch: int
    verified: bool = True
    imported: Imported | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the crops in pixels."""
        return self.config.input_size


@dataclass(frozen=True)
class SingleRun(LoadedRun):
    """A run of one network.

    Attributes:
        model: the network.
    """

    model: KeypointModel


def new_run_folder(config: TrainConfig, root: Path = RUNS) -> RunFolder:
    """A fresh folder under `root`, named by date, data set and family."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    kind = config.model.residual if config.model.family == "regression" else config.model.family
    name = f"{stamp}-{slug(config.data.dataset)}-{slug(kind)}"
    path = root / name
    suffix = 1
    while path.exists():
        suffix += 1
        path = root / f"{name}-{suffix}"
    return RunFolder(path)


def newest_run(root: Path = RUNS) -> RunFolder:
    """The run under `root` that was started last.

    Raises:
        CheckpointError: there is none.
    """
    configs = sorted(root.glob("*/config.toml"), key=lambda path: path.stat().st_mtime_ns)
    if not configs:
        raise CheckpointError(f"there is no run in {root}/: train one with `probpose train`, or name its folder.")
    return RunFolder(configs[-1].parent)


def read_config(folder: RunFolder) -> TrainConfig:
    """The configuration of a run.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        return load_config(folder.config)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def read_skeleton(folder: RunFolder) -> Skeleton:
    """The skeleton of a run.

    Raises:
        CheckpointError: the file is missing or damaged, or holds no skeleton.
    """
    file = folder.skeleton
    with reading(file, "holds no skeleton", CheckpointError, "restore it; is it the folder of a run?"):
        return from_json(Skeleton, json.loads(read_text(file)))


def untrained_model(config: TrainConfig, skeleton: Skeleton) -> KeypointModel:
    """The model that a configuration describes, with random weights and a float32 network.

    Raises:
        ConfigError: options that do not go together.
    """
    chosen = config.model
    return build_model(
        chosen.residual,
        build_backbone(chosen.backbone, maps=family_of(chosen.family).maps),
        skeleton.flip_permutation,
        family=chosen.family,
        options=chosen.options,
        input_size=config.input_size,
        scale=chosen.scale,
        gauge=chosen.gauge,
        per_joint=chosen.per_joint,
        laplace_until=chosen.laplace_until,
        location_by=chosen.location_by,
        standardise=chosen.standardise,
    )


def load_run(path: Path, *, checkpoint: str = "best") -> SingleRun:
    """Open a trained run of one network; never executes code. It is float32, however it was trained.

    Args:
        path: the run's folder.
        checkpoint: `best` or `last`.

    Raises:
        CheckpointError: the folder is not a run, or its checkpoint is missing, damaged or of another model.
    """
    folder = RunFolder(path)
    if path.is_file():
        raise CheckpointError(f"{path} is a file: make a run of another code's checkpoint with `probpose import`.")
    config = read_config(folder)
    skeleton = read_skeleton(folder)
    model = untrained_model(config, skeleton)
    file = folder.best if checkpoint == "best" else folder.last
    state = load_checkpoint(file)
    facts = read_facts(Facts, state, file)
    if facts.made_from is not None:
        facts.made_from.check_opened(config, skeleton, file)
    load_state(model, state.part("average") or state.part("model"), file)
    return SingleRun(folder, config, skeleton, model.eval(), facts.epoch, state.verified, facts.imported)
