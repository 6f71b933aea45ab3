"""The processes that work on one task together, as torchrun starts them; without torchrun, this one alone.

torchrun tells each process its number among all in its environment. Numbers are added up on the CPU, by gloo, and
gradients where the parameters are, by NCCL on CUDA devices.
"""

from __future__ import annotations

__all__ = ["ALONE", "World", "is_first", "under_torchrun"]

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from probpose.errors import ConfigError, TrainingError

T = TypeVar("T")

_LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL error", "Broken pipe")
"""What torch says in a process whose neighbour has ended."""


def under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Whether this process talks to the user: alone, or the first of those that torchrun started."""
    return not under_torchrun() or os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class World:
    """Processes that share a task, and which of them this one is.

    Attributes:
        rank: of this process among all, from 0.
        size: number of processes.
        local_rank: of this process among those of its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[World]:
        """All processes that torchrun started, connected; or this one alone.

        Raises:
            TrainingError: another process has ended.
        """
        if not under_torchrun():
            yield cls()
            return
        own = not dist.is_initialized()
        if own:
            _connect()
        try:
            yield cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
        except RuntimeError as error:
            if not any(words in str(error) for words in _LOST):
                raise
            raise TrainingError(
                f"process {dist.get_rank()}: another process of this run has ended; what it said is above or below."
            ) from error
        finally:
            if own:
                dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device called `name` for this process: its own CUDA device where `auto` or `cuda` would be the first.

        Raises:
            ConfigError: the machine has fewer CUDA devices than processes.
        """
        wanted = "cuda" if name == "auto" and torch.cuda.is_available() else name
        if self.size == 1 or wanted != "cuda":
            return name
        if self.local_rank >= (count := torch.cuda.device_count()):
            raise ConfigError(f"process {self.local_rank} of this machine has no GPU, for there are {count}: lower "
                              "--nproc-per-node, or train with --device cpu.")  # fmt: skip
        return f"cuda:{self.local_rank}"

    def share(self, count: int, batch: int) -> range:
        """This process's rows of a table of `count`: whole batches, one after the other, each as one process has it."""
        batches = -(-count // batch)
        first, end = (batch * (batches * rank // self.size) for rank in (self.rank, self.rank + 1))
        return range(first, min(end, count))

    def total(self, values: Tensor) -> Tensor:
        """The sum of a CPU tensor over the processes."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def mean(self, number: float) -> float:
        """The mean of a number over the processes."""
        return float(self.total(torch.tensor(float(number), dtype=torch.float64))) / self.size

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, by rank, in each of them."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def together(self, values: list[T]) -> list[T]:
        """The lists of all processes, one after the other, in each of them."""
        return [value for part in self.gathered(values) for value in part]

    def first_goes_first(self, task: Callable[[], T]) -> T:
        """Do a task in the first process, which may write files, and then in the others, which find them."""
        if not self.first:
            self.wait()
            return task()
        try:
            return task()
        finally:
            self.wait()

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            self.total(torch.zeros(()))

    def agree(self, module: nn.Module) -> None:
        """Give a module's buffers, such as running means, the values that they have in the first process."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


def _connect() -> None:
    """Join the other processes, by addresses of this attempt: torchrun's store still has those of killed processes."""
    store, rank, size = next(rendezvous("env://"))
    attempt = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')} of {size}"
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=PrefixStore(attempt, store), rank=rank, world_size=size)


ALONE = World()
