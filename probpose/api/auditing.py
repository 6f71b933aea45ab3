"""Which labels are wrong, and how: anybody's predictions held against annotations."""

from __future__ import annotations

__all__ = ["audit", "decide", "save_audit"]

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from probpose.analysis.audit.decisions import decided, read_decisions
from probpose.analysis.audit.evidence import Evidence, evidence_of_predictions
from probpose.analysis.audit.judge import FOLDS, THRESHOLD, judge, rounds
from probpose.analysis.audit.page import write_page
from probpose.analysis.audit.record import Audit
from probpose.analysis.audit.sheet import draw_sheet, suspected_persons
from probpose.api.data import open_data, read_predictions
from probpose.api.inputs import PathOrText
from probpose.data.datasets.drawn_boxes import BoxSource
from probpose.data.persons import Persons
from probpose.data.predictions.results import Predictions
from probpose.errors import DataError
from probpose.files import write_atomically
from probpose.progress import Counting, silent


def audit(
    predictions: PathOrText | Predictions | Sequence[PathOrText | Predictions],
    annotations: PathOrText | Persons,
    *,
    image_dir: PathOrText | None = None,
    category: str | int | None = None,
    box_from: BoxSource | None = None,
    threshold: float = THRESHOLD,
    decisions: PathOrText | None = None,
    seed: int = 0,
    counting: Counting = silent,
) -> Audit:
    """Which labels are wrong, and how, by what one or several models predict for the same images.

    Each label is good, jitter, inversion, swap, wrong joint or miss, with probabilities under one mixture for each
    person (`probpose.models.label_errors`), whose rates and densities are fitted to the labels of other images. Models
    that were trained on these labels take the wrong ones for right.

    Args:
        predictions: files of any format that `read_predictions` knows, or what it gave, one a model; several models
            tell more.
        annotations: a COCO-format keypoint file or labels that `read_predictions` knows, or their persons.
        image_dir: folder of its images, which are only drawn; that of the file by default.
        category: see `open_data`.
        box_from: see `open_data`.
        threshold: probability above which a correction is proposed.
        decisions: a file that `decide` is to apply: refused before anything is fitted.
        seed: of the folds that images are dealt out to.
        counting: shows how far it is.

    Raises:
        DataError: a file is faulty, nothing can be matched, or there are too few labels.
        TrainingError: predictions or labels lie so that their likelihood is not finite.
    """
    if not isinstance(annotations, Persons):
        annotations = open_data(annotations=annotations, image_dir=image_dir, category=category, box_from=box_from)
    named = [predictions] if isinstance(predictions, str | PathLike | Predictions) else list(predictions)
    if not named:
        raise DataError("no predictions are named: give the results of at least one model.")
    found = [one if isinstance(one, Predictions) else read_predictions(one, annotations) for one in named]
    evidence = evidence_of_predictions(annotations, found)
    if decisions is not None:
        read_decisions(Path(decisions), evidence.models, evidence.persons)
    return judged(evidence, threshold, seed, counting)


def judged(evidence: Evidence, threshold: float, seed: int, counting: Counting) -> Audit:
    """The audit of evidence from anywhere; see `audit`."""
    with counting("fitting what is usual", rounds(FOLDS)) as progress:
        return judge(evidence, threshold=threshold, seed=seed, progress=progress)


def decide(found: Audit, decisions: PathOrText) -> Audit:
    """The audit with what a person has decided on its page in place of what it proposes.

    Args:
        found: the audit that the page is of.
        decisions: the file that the page exported.

    Raises:
        DataError: the file is damaged, belongs to another audit, or names labels that this one has not.
    """
    return decided(found, read_decisions(Path(decisions), found.models, found.persons))


def save_audit(
    found: Audit, folder: str | PathLike[str], *, page: bool = True, counting: Counting = silent
) -> list[Path]:
    """Write an audit: audit.csv (every label), audit.json (all of it), audit.png (the first suspects), audit.html.

    Args:
        found: as `audit` or `Run.audit` gave it.
        folder: made where missing.
        page: write audit.html, on which suspects are reviewed.
        counting: shows how far its pictures are.

    Returns:
        The files.

    Raises:
        OSError: the folder is not writable.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"audit.{kind}" for kind in ("csv", "json", "png")]
    write_atomically(files[0], found.csv().encode())
    write_atomically(files[1], json.dumps(found.to_json(), separators=(",", ":"), allow_nan=False).encode())
    chosen = suspected_persons(found)
    title = "the first suspects" if chosen else "no suspects"
    draw_sheet(found, chosen, title=f"{found.name}: {title}").savefig(files[2], dpi=110)
    return [*files, write_page(found, folder, counting=counting)] if page else files
