"""`probpose ensemble`."""

from __future__ import annotations

__all__ = ["ensemble"]

from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import MACHINE, json_option, machine_options, refuse_without_effect
from probpose.cli.terminal import note, say, say_device
from probpose.cli.types import OUT_FOLDER

EPILOG = """\b
Example:
  probpose ensemble runs/seed0 runs/seed1 runs/seed2 runs/seed3 --out runs/four
  probpose ensemble runs/seed0 --posterior laplace --draws 16 --out runs/laplace
  probpose predict runs/four photo.jpg --decompose
"""


@click.command(epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--posterior",
    type=click.Choice(["laplace", "svi"]),
    help="Draw the last layer of one run: by Laplace's approximation, or as stochastic variational inference fits it.",
)
@click.option("--draws", type=click.IntRange(2), default=16, show_default=True, help="Of the last layer.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the training data. [that of the run]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@machine_options
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder of the new run.")
@json_option
def ensemble(runs: tuple[Path, ...], posterior: Any, out: Path, as_json: bool, **options: Any) -> None:
    """Make one run of several: its density is the mean of theirs, and where they disagree it is unsure.

    The runs stay where they are. All commands take the new folder as a run. With --posterior it is made of one run
    and draws of its last layer, from what the persons it was trained on leave open.
    """
    import json

    if posterior is None:
        refuse_without_effect(["draws", "data_root", "seed", *MACHINE], "without --posterior")
        made, facts = pp.ensemble(runs, out), {}
    else:
        if len(runs) != 1:
            raise click.UsageError(f"--posterior draws the last layer of one run, and {len(runs)} are named.")
        say_device(options["device"], quiet=as_json)
        made = pp.draw_last_layer(runs[0], out, posterior=posterior, counting=pp.bars, **options)
        facts = pp.load_posterior(out / "posterior.nc").attrs
    if as_json:
        click.echo(json.dumps({"run": str(made.path), "model": made.label, **facts}, default=float))
        return
    say(f"run: {made.path}  ({made.label})")
    if facts:
        _say_facts(facts)
        note(f"written: {out / 'draws.safetensors'}, {out / 'posterior.nc'}")


def _say_facts(facts: dict[str, Any]) -> None:
    """How well the draws do on the persons that chose the checkpoint."""
    gain = facts["trained_nll_nats"] - facts["selection_nll_nats"]
    say(
        f"learned from {facts['labels']} labels of {facts['persons']} persons: {facts['kl_nats']:.0f} nats of the layer"
    )
    say(f"nats per keypoint gained on held-out labels by the draws: {gain:+.4f}")
