"""`probpose models`."""

from __future__ import annotations

__all__ = ["models"]

import json

import click
from rich.console import Console

from probpose.api.settings import backbones, catalogue, catalogue_tables, family_options
from probpose.cli.options import json_option
from probpose.cli.types import SIZE, LateChoice

EPILOG = """\b
Example:
  probpose models
  probpose models --backbone resnet50 --input-size 256x192 --joints 17
  probpose train --dataset synthetic --family multibin --option bins=16 --option layout=uniform
"""


@click.command(epilog=EPILOG)
@click.option("--backbone", type=LateChoice(backbones), default="resnet18", show_default=True)
@click.option("--input-size", type=SIZE, default="256x192", show_default=True, help="Height x width of the crops.")
@click.option("--joints", type=click.IntRange(1), default=17, show_default=True, help="Keypoints of a person.")
@json_option
def models(backbone: str, input_size: tuple[int, int], joints: int, as_json: bool) -> None:
    """List families, residual densities and backbones, with what each costs.

    Families and residual densities are on --backbone; backbones carry `regression` with a Laplace residual.
    """
    found = catalogue(backbone, input_size, joints)
    if as_json:
        click.echo(json.dumps({kind: [vars(entry) for entry in entries] for kind, entries in found.items()}, indent=1))
        return
    console = Console(width=max(100, Console().width), highlight=False)
    console.print(catalogue_tables(found))
    console.print("Options of the families, with --option NAME=VALUE:")
    for name, text in family_options().items():
        console.print(f"  {name}: {text}", soft_wrap=True, markup=False)
