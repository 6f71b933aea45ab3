"""Errors of a real model as a small file to draw from: confidence and error of each labelled joint, person by person.

    python -m benchmarks.real_errors results.json person_keypoints.json --out notebooks/movenet_errors.npz

`notebooks/movenet_errors.npz` is of MoveNet Thunder on 2,000 photographs of Leeds Sports Pose Extended (Johnson and
Everingham, CVPR 2011), drawn at random. Errors are prediction minus label over the square root of the box's area, so
that they can be put on a person of any size. Persons stay whole, so that joints that fail together do so again. A label
that is wrong counts as an error of the model.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path

import click
import numpy as np

import probpose as pp


@click.command(help=__doc__)
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("annotations", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--persons", default=2000, show_default=True, help="How many, drawn at random.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file, .npz.")
def main(results: Path, annotations: Path, persons: int, seed: int, out: Path) -> None:
    """Write the file."""
    found = pp.read_predictions(results, annotations)
    if found.confidence is None:
        raise click.ClickException(
            f"{results}: all confidences are the same: there is nothing to draw with the errors."
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:persons])
    labelled = found.persons.labelled[chosen]
    joints = labelled.any(0)
    side = np.sqrt(found.persons.box[chosen, 2:].prod(-1))
    error = (found.point - found.persons.keypoints)[chosen] / side[:, None, None]
    error[~labelled] = np.nan
    np.savez_compressed(
        out,
        joints=np.array(found.persons.skeleton.joints)[joints],
        confidence=found.confidence[chosen][:, joints].astype(np.float16),
        error=error[:, joints].astype(np.float16),
    )
    click.echo(f"{out}: {len(chosen)} persons, {labelled.sum()} errors")


if __name__ == "__main__":
    main()
