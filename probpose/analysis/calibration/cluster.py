"""Reading and counting the files of a table in several processes, by Dask (needs the package distributed).

Each file is counted by one process, from nothing; counts are merged in a tree. What a process that dies had counted is
counted again by another. The outcome is that of a single process, to rounding.
"""

from __future__ import annotations

__all__ = ["ALONE", "AUTO", "LOCAL", "Here", "Workers", "start_workers"]

import importlib
import importlib.util
import os
import subprocess
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from probpose.analysis.calibration.cases import Split
from probpose.analysis.calibration.judging import Counts, Judge
from probpose.analysis.calibration.sources.base import Chunked, Part
from probpose.errors import ConfigError, DataError

LOCAL, ALONE, AUTO = "local", "none", "auto"
"""In place of an address: processes of this machine, one a core; this process alone; the first of these where a table
has several files and `MANY` rows and Dask is installed, otherwise the second."""

MANY = 2_000_000
"""Points that take one process longer than others take to start."""

_MOST_PROCESSES = 16
_TIMEOUT = "10s"
_LOOK_S = 2.0

T = TypeVar("T")
S = TypeVar("S")


class Workers(ABC):
    """Processes that read and count."""

    @abstractmethod
    def each(self, function: Callable[[S], T], items: Sequence[S]) -> Iterable[T]:
        """The function's values, in the order of the items."""

    @abstractmethod
    def count(self, judge: Judge, parts: Sequence[Part], progress: Callable[[int], None]) -> Counts:
        """Count all parts.

        Args:
            judge: counts.
            parts: of the data.
            progress: called with the number of persons counted so far.

        Raises:
            DataError: data cannot be used, or workers die again and again.
        """


class Here(Workers):
    """This process."""

    def each(self, function: Callable[[S], T], items: Sequence[S]) -> Iterable[T]:
        return map(function, items)

    def count(self, judge: Judge, parts: Sequence[Part], progress: Callable[[int], None]) -> Counts:
        counts = judge.nothing()
        for part in parts:
            for cases in part.cases.chunks():
                judge.add(counts, cases)
                progress(counts.persons)
        return counts


class Cluster(Workers):
    """Workers of a Dask scheduler, which read files by the same paths.

    Args:
        client: of the scheduler.
        started: workers that nobody starts again.
    """

    def __init__(self, client: Any, started: Sequence[subprocess.Popen[bytes]] = ()) -> None:
        self._client, self._started = client, started

    def each(self, function: Callable[[S], T], items: Sequence[S]) -> Iterable[T]:
        return map(self._result, self._client.map(function, items, pure=False))

    def count(self, judge: Judge, parts: Sequence[Part], progress: Callable[[int], None]) -> Counts:
        submit, done = self._client.submit, _Progress(progress)
        with warnings.catch_warnings():  # a density with its nodes is large, and is sent once
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            shared = submit(_same, replace(judge, split=judge.split.only(parts[0].units[:0])), pure=False)
        counted = []
        for part in parts:
            counted.append(submit(_count, shared, part.cases, judge.split.only(part.units), pure=False))
            counted[-1].add_done_callback(done.of(part.persons))
        merge = partial(
            submit, _merge, shared, pure=False, priority=1
        )  # before the next count: what is merged is let go
        while len(counted) > 1:
            pairs = [counted[i : i + 2] for i in range(0, len(counted), 2)]
            counted = [merge(pair) if len(pair) > 1 else pair[0] for pair in pairs]
            del pairs
        found: Counts = self._result(counted[0])
        return found

    def _result(self, future: Any) -> Any:
        distributed = _distributed()
        while True:
            try:
                return future.result(timeout=_LOOK_S)
            except distributed.TimeoutError:
                if self._started and all(worker.poll() is not None for worker in self._started):
                    raise DataError(f"all processes that were started have died. {_SMALLER}") from None
            except distributed.KilledWorker as error:
                raise DataError(f"{error} {_SMALLER}") from error


_SMALLER = "Workers die again and again: give them more memory, write smaller files, or name fewer processes."


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
def start_workers(cluster: str, files: int, rows: int) -> Iterator[Workers]:
    """What reads and counts a table.

    Args:
        cluster: `LOCAL`, `ALONE`, `AUTO`, or the address of a scheduler, such as tcp://host:8786.
        files: of the table.
        rows: of the table.

    Raises:
        ConfigError: distributed is not installed, or no scheduler answers.
    """
    if cluster == AUTO:
        known = importlib.util.find_spec("distributed") is not None
        cluster = LOCAL if known and files > 1 and rows >= MANY and _cores() > 1 else ALONE
    if cluster == ALONE:
        yield Here()
    elif cluster == LOCAL:
        with _local(_distributed(), min(files, _cores(), _MOST_PROCESSES)) as workers:
            yield workers
    else:
        with _client(_distributed(), cluster) as client:
            yield Cluster(client)


_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_MMAP_THRESHOLD_": "67108864"}
"""Of local processes: memory that is let go goes back to the system from 64 MB on. At once, as Dask has it for its own
(64 kB), each array is asked for anew, which was a third of the time."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _local(distributed: Any, count: int) -> Iterator[Workers]:
    """Workers of this machine; commands of their own, so that no script is run again in them."""
    command = [sys.executable, "-m", "dask", "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    free = {"dashboard_address": "127.0.0.1:0"}  # a port that no other cluster has
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, scheduler_kwargs=free) as cluster:
        started = [
            subprocess.Popen(
                [*command, "--memory-limit", "0", cluster.scheduler_address],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | _ENVIRONMENT,
            )
            for _ in range(count)
        ]  # fmt: skip
        try:
            with distributed.Client(cluster) as client:
                yield Cluster(client, started)
        finally:
            for worker in started:
                worker.terminate()
            for worker in started:
                worker.wait()


@contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=_TIMEOUT)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({error}): start one with `dask scheduler`, or say {LOCAL!r}."
        ) from error
    with client:
        yield client


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
