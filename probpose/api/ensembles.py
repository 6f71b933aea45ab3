"""Several models as one, which knows what it does not know."""

from __future__ import annotations

__all__ = ["draw_last_layer", "ensemble"]

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from probpose.api.runs import Run
from probpose.data.datasets.arrays import ARRAYS
from probpose.data.persons import Persons
from probpose.errors import ConfigError
from probpose.inference.device import open_device
from probpose.inference.fitting.last_layer import Features, LastLayer
from probpose.inference.fitting.last_layer_posterior import Kind, sample_last_layer
from probpose.inference.training.members import members_of, seal, seal_draws
from probpose.inference.training.runs import RunFolder, SingleRun, load_run
from probpose.inference.training.train import trained_on
from probpose.models.registry import family_of
from probpose.progress import Counting, silent

_FEWEST = 2
"""Draws."""


def ensemble(runs: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> Run:
    """Make one run of several: its density is the mean of theirs (deep ensemble, Lakshminarayanan et al., 2017).

    The runs stay where they are, and may be of different families; every command takes the new folder as a run.

    Args:
        runs: folders of at least two runs, of the same joints and size of crops.
        out: folder of the new run.

    Raises:
        ConfigError: too few runs, one named twice, other joints or crops, or a run in `out`.
        CheckpointError: a folder is no run, or its checkpoint is damaged.
    """
    return Run(seal(RunFolder(Path(out)), [Path(run) for run in runs]))


def draw_last_layer(
    run: str | PathLike[str],
    out: str | PathLike[str],
    *,
    posterior: Kind = "laplace",
    draws: int = 16,
    persons: Persons | None = None,
    data_root: str | PathLike[str] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: str = "auto",
    workers: int = 0,
    counting: Counting = silent,
) -> Run:
    """Make a run of draws of a trained network's last layer: what the persons it was trained on leave open about it.

    Backbone and R stay as they are, so that it predicts nearly as fast as the network. The folder holds the draws,
    and for ArviZ `posterior.nc`, which says what prior was chosen and how well the draws do (`load_posterior`).

    Args:
        run: folder of a run of one network.
        out: folder of the new run.
        posterior: "laplace": a Gaussian of the Kronecker-factored Fisher information about the trained values (Ritter,
            Botev, and Barber, ICLR 2018); or "svi": one that is fitted from there by Pyro's stochastic variational
            inference, which moves the mean too.
        draws: M, at least 2; each costs the density, not the backbone.
        persons: that it was trained and chosen on, where its configuration does not name them.
        data_root: their folder, where it is elsewhere now.
        seed: of all draws.
        batch_size: persons at a time.
        device: torch device, or "auto".
        workers: processes that read images.
        counting: shows how far it is.

    Raises:
        ConfigError: fewer than 2 draws, a run of several networks or one that was trained on arrays, or a run in `out`.
        CheckpointError: the folder is no run, or its checkpoint is damaged.
        DataError: the data cannot be read, or are not those that it was trained on.
    """
    from probpose.analysis.posterior import save_last_layer  # ArviZ, which predicting does without

    single = _single(Path(run), draws, persons)
    config = single.config if data_root is None else single.config.changed(data_root=str(data_root))
    folder = RunFolder(Path(out))
    folder.refuse_taken()
    train, selection = trained_on(replace(single, config=config), persons)
    model = single.model.to(open_device(device))
    pool = not family_of(config.model.family).maps
    data, judged = (
        Features(model, part, single.input_size, pool=pool, seed=seed, batch_size=batch_size, workers=workers)
        for part in (train, selection)
    )
    found = sample_last_layer(LastLayer(model), data, judged, posterior, draws, seed=seed, counting=counting)
    made = seal_draws(folder, single, posterior, found.draws)
    save_last_layer(folder.posterior, found)
    return Run(made)


def _single(folder: Path, draws: int, persons: Persons | None) -> SingleRun:
    """The run of one network whose last layer is to be drawn."""
    if draws < _FEWEST:
        raise ConfigError(f"{draws} draws: at least {_FEWEST} are needed.")
    if members_of(RunFolder(folder)) is not None:
        raise ConfigError(f"{folder} is an ensemble: name a run of one network.")
    found = load_run(folder)
    if persons is None and found.config.data.dataset == ARRAYS:
        raise ConfigError(f"the run {folder} was trained on arrays, which it does not keep: name persons.")
    return found
