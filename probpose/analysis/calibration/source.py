"""Where cases come from: a run, a results file, or a table that is larger than memory."""

from __future__ import annotations

__all__ = ["MemorySource", "Source", "cases_of", "run_source"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.estimates import Array
from probpose.analysis.forward import freeze, predict_persons
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.inference.runs import LoadedRun
from probpose.models.predictive import Predictive

CHUNK = 60_000
"""Keypoints handled at once, about: whole images only."""


class Source(ABC):
    """Cases in chunks of whole images; an image never comes in two chunks.

    Attributes:
        name: of the data.
        joints: names.
    """

    name: str
    joints: tuple[str, ...]

    @property
    @abstractmethod
    def images(self) -> npt.NDArray[np.int64]:
        """(N,) image of each person."""

    @property
    @abstractmethod
    def labels(self) -> int:
        """Labelled keypoints in all."""

    @abstractmethod
    def chunks(self) -> Iterator[Cases]:
        """All cases, in the same order at each call."""


@dataclass(frozen=True)
class MemorySource(Source):
    """Cases that are in memory.

    Attributes:
        cases: all of them.
    """

    cases: Cases

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.cases.name

    @property
    def joints(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.cases.joints

    @property
    def images(self) -> npt.NDArray[np.int64]:
        return self.cases.image

    @property
    def labels(self) -> int:
        return int(self.cases.labelled.sum())

    def chunks(self) -> Iterator[Cases]:
        order = np.argsort(self.cases.image, kind="stable")
        image = self.cases.image[order]
        persons = max(1, CHUNK // max(1, len(self.joints)))
        start = 0
        while start < len(order):
            end = int(np.searchsorted(image, image[min(start + persons, len(order)) - 1], side="right"))
            yield self.cases.select(order[start:end])
            start = end


def run_source(
    run: LoadedRun,
    persons: Persons,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[MemorySource, list[str]]:
    """Predict for annotated persons with a run, on crops without augmentation.

    Args:
        run: loaded.
        persons: annotated.
        batch_size: persons at a time.
        device: of the network.
        workers: processes that read images.
        progress: called with the number of persons done so far.

    Returns:
        The cases, and one "file: reason" for each image that could not be read, which is left out.

    Raises:
        DataError: no image can be read.
        CheckpointError: the network's output is not finite.
    """
    residual = freeze(run.model)  # on the CPU, and so are then the distributions
    forwards = list(
        predict_persons(
            run.model, persons, run.input_size, batch_size=batch_size, device=device, workers=workers,
            residual=residual, progress=progress,
        )
    )  # fmt: skip
    unreadable = [line for forward in forwards for line in forward.unreadable]
    read = [forward for forward in forwards if len(forward.rows)]
    if not read:
        raise DataError(f"None of the {len(persons)} persons' images could be read, such as {unreadable[0]}.")
    parts = [forward.keypoints for forward in read]
    rows = np.concatenate([forward.rows for forward in read])
    presence = torch.cat([forward.presence for forward in read]).cpu().numpy()
    cases = cases_of(persons.select(rows), type(parts[0]).join(parts), presence=presence)
    return MemorySource(cases), list(dict.fromkeys(unreadable))


def cases_of(
    persons: Persons,
    predictive: Predictive,
    *,
    confidence: Array | None = None,
    score: Array | None = None,
    presence: Array | None = None,
) -> Cases:
    """Cases of annotated persons.

    Args:
        persons: N.
        predictive: of the same persons in the same order, pixels.
        confidence: (N, K), the model's own.
        score: (N,), the model's own.
        presence: (N, K), probability that the joint is labelled.
    """
    return Cases(
        name=persons.name,
        joints=persons.skeleton.joints,
        oks_sigmas=np.asarray(persons.skeleton.oks_sigmas),
        image=persons.image_id,
        instance=persons.annotation_id,
        keypoints=persons.keypoints,
        visibility=persons.visibility,
        area=persons.area,
        box=persons.box,
        predictive=predictive,
        confidence=confidence,
        score=score,
        presence=presence,
    )
