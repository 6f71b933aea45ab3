"""How people err when they label: the posterior of repeated labels, and what follows from it."""

from __future__ import annotations

__all__ = ["Annotators", "Repeated", "annotators", "repeated_labels"]

import json
from collections.abc import Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Group

from probpose.analysis.annotators.checks import checks, prior_replicates, replicates
from probpose.analysis.annotators.consensus import consensus_document, consensus_table
from probpose.analysis.annotators.left_out import LeftOut, left_out, left_out_table
from probpose.analysis.annotators.page import annotators_report
from probpose.analysis.annotators.record import AnnotatorsRecord, record_of
from probpose.analysis.annotators.tables import annotator_tables
from probpose.analysis.pages.pictures import style
from probpose.analysis.posterior.annotators import leave_one_out, save_annotators
from probpose.api.inputs import PathOrText, one_of
from probpose.arrays import Array
from probpose.data.repeated_documents import LabelledAgain, read_label_documents
from probpose.data.repeated_labels import RepeatedLabels
from probpose.data.repeated_tables import read_label_table
from probpose.errors import ConfigError, DataError
from probpose.files import write_atomically
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior, Noise
from probpose.inference.fitting.annotation_replicates import draw_prior
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior
from probpose.progress import Counting, silent

Repeated = RepeatedLabels | PathOrText | Sequence[PathOrText]
"""Repeated labels, a table of them, or the COCO-format files of several annotators."""

REPLICATES = 200
"""Draws of labels from the posterior and from the prior; fewer of very many labels, but at least ten."""

_MOST_DRAWN = 20_000_000


class Annotators:
    """How annotators err; made by `annotators`.

    Attributes:
        posterior: draws, and the true locations.
        files: that the labels came from.
    """

    def __init__(
        self, posterior: AnnotationPosterior, files: Sequence[Path] = (), found: LabelledAgain | None = None
    ) -> None:
        self.posterior, self.files, self._found = posterior, tuple(files), found

    def __repr__(self) -> str:
        return f"Annotators({self.record.verdict})"

    @property
    def labels(self) -> RepeatedLabels:
        """The labels."""
        return self.posterior.labels

    @property
    def converged(self) -> bool:
        """Whether the draws may be taken for the posterior."""
        return self.posterior.converged

    @cached_property
    def record(self) -> AnnotatorsRecord:
        """Everything in numbers, the content of annotators.json."""
        return record_of(self.posterior, checks(self.labels, self._drawn), leave_one_out(self.posterior))

    @cached_property
    def _drawn(self) -> Array:
        """Labels drawn from the posterior."""
        return replicates(self.posterior, self._count, self.posterior.seed)

    @property
    def _count(self) -> int:
        """Replicates that fit in memory."""
        return max(10, min(REPLICATES, _MOST_DRAWN // len(self.labels)))

    def left_out(self, *, draws: int = 100, counting: Counting = silent) -> list[LeftOut]:
        """Each annotator left out: expected log density of the labels by the posterior of the others.

        Args:
            draws: in each of two chains of each posterior.
            counting: shows how far it is.

        Raises:
            DataError: fewer than three annotators.
        """
        with counting("annotators", len(self.labels.annotators)) as progress:
            return left_out(
                self.labels, noise=self.posterior.noise, draws=draws, seed=self.posterior.seed, progress=progress
            )

    def tables(self) -> Group:
        """Annotators, landmarks and checks for the terminal."""
        return Group(*(table.terminal() for table in annotator_tables(self.record)[:-1]))

    def to_html(self) -> str:
        """The page as text."""
        with style():
            return annotators_report(self.posterior, self.record).html()

    def save(self, folder: PathOrText, *, report: bool = True, left_out: Sequence[LeftOut] | None = None) -> list[Path]:
        """Write annotators.json, .csv files of the tables, posterior.nc, and annotators.html with its figures.

        Args:
            folder: made where missing.
            report: write the page and its figures too.
            left_out: what `Annotators.left_out` gave, for left_out.csv.

        Returns:
            The files that a user opens.

        Raises:
            DataError: the folder cannot be written.
        """
        folder = Path(folder)
        texts = {"annotators.json": json.dumps(self.record.to_json(), indent=1, allow_nan=False)}
        texts |= {f"{table.name}.csv": table.csv() for table in annotator_tables(self.record, apart=True)}
        if left_out is not None:
            texts["left_out.csv"] = left_out_table(left_out, self.labels.unit).csv()
        _write(folder, texts)
        written = [folder / name for name in texts]
        prior = draw_prior(self.posterior.design, self._count, self.posterior.seed, self.posterior.sampled.warp)
        drawn = prior_replicates(self.posterior, prior, self.posterior.seed)
        save_annotators(folder / "posterior.nc", self.posterior, self._drawn, prior, drawn)
        written.append(folder / "posterior.nc")
        if report:
            with style():
                written.append(annotators_report(self.posterior, self.record).write(folder / "annotators.html"))
        return written

    def consensus(self, file: PathOrText) -> Path:
        """Write the consensus labels: posterior mean and covariance of the true location of each landmark.

        Args:
            file: a table of image, object, landmark, x, y, cov_xx, cov_xy, cov_yy and labels where it ends in .csv; in
                COCO's format where it ends in .json and the labels came from COCO-format files.

        Raises:
            ConfigError: another ending, or .json of a table.
            DataError: the file cannot be written.
        """
        path = Path(file)
        if path.suffix.lower() == ".csv":
            text = consensus_table(self.posterior).csv()
        elif path.suffix.lower() == ".json" and self._found is not None:
            text = json.dumps(consensus_document(self.posterior, self.files, self._found), allow_nan=False)
        else:
            known = ".csv or .json" if self._found is not None else ".csv"
            raise ConfigError(f"the consensus {path.name} is of a kind that is not known: name a {known} file.")
        _write(path.parent, {path.name: text})
        return path


def annotators(
    labels: Repeated,
    *,
    noise: Noise = "gaussian",
    method: Literal["auto", "nuts", "svi"] = "auto",
    draws: int = 600,
    warmup: int = 100,
    chains: int = 2,
    category: str | int | None = None,
    seed: int = 0,
    counting: Counting = silent,
) -> Annotators:
    """How annotators err: biases, precisions, covariances, tails, and consensus labels, as a posterior.

    Args:
        labels: several annotators' labels of the same objects: a table (.csv, .parquet: image, annotator, landmark, x,
            y and where known area), COCO-format files of the same images (one an annotator), or `RepeatedLabels`.
        noise: law of the errors: "gaussian", "student_t", or "flow", which is learned from the labels.
        method: "nuts", "svi", or what fits their number.
        draws: kept in each chain.
        warmup: draws of each chain that adapt and are dropped.
        chains: of NUTS.
        category: name or id of the category that counts in COCO-format files.
        seed: of all draws.
        counting: shows how far it is.

    Raises:
        ConfigError: a choice that there is not.
        DataError: a file cannot be read, or labels tell nothing of errors.
    """
    one_of(noise, get_args(Noise), "noise")
    one_of(method, ("auto", "nuts", "svi"), "method")
    files, found, read = _read(labels, category)
    with counting("draws", 2 * chains * (draws + warmup)) as progress:
        posterior = sample_annotation_posterior(
            read, noise=noise, method=method, draws=draws, warmup=warmup, chains=chains, seed=seed, progress=progress
        )
    return Annotators(posterior, files, found)


def repeated_labels(labels: PathOrText | Sequence[PathOrText], *, category: str | int | None = None) -> RepeatedLabels:
    """Labels of the same objects by several annotators, read from files.

    Args:
        labels: a table, or COCO-format files, see `annotators`.
        category: name or id of the category that counts in COCO-format files.

    Raises:
        DataError: a file cannot be read, or labels tell nothing of errors.
    """
    return _read(labels, category)[2]


def _read(labels: Repeated, category: str | int | None) -> tuple[list[Path], LabelledAgain | None, RepeatedLabels]:
    if isinstance(labels, RepeatedLabels):
        return [], None, labels
    files = [Path(one) for one in ([labels] if isinstance(labels, str | PathLike) else labels)]
    if not files:
        raise DataError("no labels: name a table, or the COCO-format files of two annotators or more.")
    if all(file.suffix.lower() == ".json" for file in files):
        found = read_label_documents(files, None if category is None else str(category))
        return files, found, found.labels
    if len(files) > 1:
        raise DataError(f"{files[0]} and {files[1]}: name one table, or several COCO-format files (.json).")
    return files, None, read_label_table(files[0])


def _write(folder: Path, texts: dict[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(folder / name, text.encode())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}. Make room, or name another."
        ) from error
