"""`probpose audit`."""

from __future__ import annotations

__all__ = ["audit"]

from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import (
    DATA,
    MACHINE,
    ManyValues,
    data_options,
    json_option,
    machine_options,
    refuse_without_effect,
    run_argument,
)
from probpose.cli.terminal import judged_persons, note, run_of, say_device
from probpose.cli.types import OUT_FILE, OUT_FOLDER
from probpose.errors import ConfigError

EPILOG = """\b
Example:
  probpose audit --predictions thunder.json lightning.json --annotations labels.json --image-dir images
  probpose audit --predictions results.json --annotations labels.json --corrected corrected.json
  probpose audit runs/my-run --split train --folds 5
  probpose audit runs/my-run --split train --folds 5 --decisions decisions.json --corrected corrected.json
"""


@click.command(cls=ManyValues, epilog=EPILOG)
@run_argument
@data_options
@click.option(
    "--predictions",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Instead of a run: any model's (docs/formats.md), or those of several.",
)
@click.option("--annotations", type=click.Path(path_type=Path), help="The labels of --predictions.")
@click.option(
    "--folds",
    type=click.IntRange(2),
    help="Train the run's configuration on the other folds of the images, for each fold, and audit with these.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Probability above which a correction is proposed.",
)
@click.option(
    "--corrected",
    type=OUT_FILE,
    help="Write the annotations with suspects unlabelled and sides exchanged back, and the changes beside them.",
)
@click.option(
    "--decisions",
    type=click.Path(path_type=Path),
    help="For --corrected: what was accepted on audit.html, in place of all that is proposed.",
)
@click.option("--page/--no-page", default=True, show_default=True, help="Write audit.html.")
@click.option("--move", is_flag=True, help="In --corrected, move suspects to where the models are sure of the joint.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the folds.")
@machine_options
@click.option("--out", type=OUT_FOLDER, help="Folder. [RUN/audit, or beside the predictions]")
@json_option
def audit(run: Path | None, out: Path | None, as_json: bool, **options: Any) -> None:
    """Which labels are wrong, and how: exchanged sides, another person's joint, a wrong joint, anything else.

    Each label has a probability of being good, imprecise (jitter) or one of these, given what a run or other models
    predict for the image and how far they can be trusted there; how often labels err is fitted as well. Models that
    were trained on the same labels take wrong ones for right: name a run that has not seen them, or --folds. Writes
    audit.csv (every label), audit.json, audit.png (the first suspects) and audit.html, on which they are reviewed.
    """
    import json

    from rich.console import Console

    if options["corrected"] is None:
        refuse_without_effect(["move", "decisions"], "without --corrected")
    if options["decisions"] is not None:
        refuse_without_effect(["move"], "with --decisions")
    found, folder = _audited(run, options, quiet=as_json)
    written = pp.save_audit(found, out or folder, page=options["page"], counting=pp.bars)
    if options["corrected"] is not None:
        by_hand = options["decisions"] is not None
        chosen = pp.decide(found, options["decisions"]) if by_hand else found
        changes = pp.save_corrected(chosen, options["corrected"], move=by_hand or options["move"])
        note(f"corrected: {len(changes)} joints are labelled in another way in {options['corrected']}")
        written.append(options["corrected"].with_name(f"{options['corrected'].stem}-changes.csv"))
    if as_json:
        click.echo(json.dumps(found.summary()))
    else:
        Console().print(pp.tables(found))
        for line in found.remarks:
            note(f"note: {line}")
    note(f"written: {', '.join(map(str, written))}")


def _audited(run: Path | None, options: dict[str, Any], *, quiet: bool) -> tuple[pp.Audit, Path]:
    """The audit of what the options name, and the folder where it goes.

    Raises:
        ConfigError: options that do not go together.
    """
    results, annotations = options["predictions"], options["annotations"]
    if run is not None and results:
        raise ConfigError("a run and --predictions each name predictions: leave one of them out.")
    if bool(results) != (annotations is not None):
        raise ConfigError("--predictions and --annotations go together: results, and the labels to hold them against.")
    shared = {name: options[name] for name in ("threshold", "decisions", "seed")} | {"counting": pp.bars}
    if results:
        refuse_without_effect({*DATA, *MACHINE, "folds"} - {"category", "box_from", "image_dir"}, "with --predictions")
        labels = {name: options[name] for name in ("category", "box_from", "image_dir")}
        persons = pp.open_data(annotations=annotations, **labels)
        _check_corrected(persons, options)
        return pp.audit(results, persons, **shared), results[0].with_name(f"{results[0].stem}-audit")
    say_device(options["device"], quiet=quiet)
    loaded = run_of(run)
    machine = {name: options[name] for name in ("batch_size", "device", "workers")}
    persons = judged_persons(loaded, options, held_out=options["folds"] is not None)
    _check_corrected(persons, options)
    try:
        return loaded.audit(persons, folds=options["folds"], quiet=quiet, **machine, **shared), loaded.path / "audit"
    except KeyboardInterrupt as stop:
        if options["folds"] is None:
            raise
        raise click.ClickException("interrupted; the same command goes on where the folds are.") from stop


def _check_corrected(persons: pp.Persons, options: dict[str, Any]) -> None:
    """Refuse --corrected where it cannot be written in the end.

    Raises:
        DataError: the labels are of no file that can be written again, or --corrected is that file.
    """
    if options["corrected"] is not None:
        pp.check_corrected(persons, options["corrected"])
