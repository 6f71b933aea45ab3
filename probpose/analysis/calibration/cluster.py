"""Counting the files of a table in the processes of a Dask cluster (needs the package distributed).

Each file is counted by one process, from nothing; counts are merged in a tree. What a process that dies had counted is
counted again by another. The outcome is that of a single process, to rounding.
"""

from __future__ import annotations

__all__ = ["count_on"]

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from probpose.analysis.calibration.cases import Split
from probpose.analysis.calibration.judging import Counts, Judge
from probpose.analysis.calibration.sources.base import Chunked
from probpose.arrays import Index
from probpose.errors import ConfigError, DataError

LOCAL = "local"
"""In place of an address: processes on this machine, one a core."""


def count_on(
    address: str, judge: Judge, parts: Sequence[tuple[Chunked, Index]], progress: Callable[[int], None]
) -> Counts:
    """Count all parts.

    Args:
        address: of the scheduler, such as tcp://host:8786, or `LOCAL`. Its workers read the files by the same paths.
        judge: counts.
        parts: of the data, with their units: see `Source.parts`.
        progress: called with the number of persons counted so far.

    Raises:
        ConfigError: distributed is not installed, or no scheduler answers.
        DataError: data cannot be used, or workers die again and again.
    """
    distributed = _distributed()
    done = _Progress(progress)
    with _client(distributed, address) as client:
        shared = client.submit(_same, replace(judge, split=judge.split.only(parts[0][1][:0])), pure=False)
        counted = []
        for part, units in parts:
            counted.append(client.submit(_count, shared, part, judge.split.only(units), pure=False))
            counted[-1].add_done_callback(done.of(len(units)))
        while len(counted) > 1:  # what is merged is let go
            pairs = [counted[i : i + 2] for i in range(0, len(counted), 2)]
            counted = [client.submit(_merge, shared, pair, pure=False) if len(pair) > 1 else pair[0] for pair in pairs]
            del pairs
        try:
            found: Counts = counted[0].result()
        except distributed.KilledWorker as error:
            raise DataError(
                f"{error} Workers die again and again: give them more memory, or write smaller files."
            ) from error
    return found


def _same(judge: Judge) -> Judge:
    """As a task its result is sent to a worker once, and made again where a worker dies."""
    return judge


def _count(judge: Judge, part: Chunked, split: Split) -> Counts:
    judge = replace(judge, split=split)
    counts = judge.nothing()
    for cases in part.chunks():
        judge.add(counts, cases)
    return counts


def _merge(judge: Judge, parts: Sequence[Counts]) -> Counts:
    """In counts of its own: where a worker dies, the same parts are merged again."""
    counts = judge.nothing()
    for part in parts:
        counts.merge(part)
    return counts


class _Progress:
    """Adds up what is done, in whatever order."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress, self._done = progress, 0

    def of(self, persons: int) -> Callable[[Any], None]:
        def done(_: Any) -> None:
            self._done += persons
            self._progress(self._done)

        return done


@contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    if address == LOCAL:
        own = {"n_workers": os.cpu_count(), "threads_per_worker": 1, "dashboard_address": None}
        with distributed.LocalCluster(**own) as cluster, distributed.Client(cluster) as client:
            yield client
        return
    try:
        client = distributed.Client(address, timeout=_TIMEOUT)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({error}): start one with `dask scheduler`, or say {LOCAL!r}."
        ) from error
    with client:
        yield client


_TIMEOUT = "10s"


def _distributed() -> Any:
    """The package, which is imported only here.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ConfigError(
            "a cluster needs the package distributed: `pip install 'probpose[cluster]'`, or leave the option out."
        ) from error
