"""Where the time of training goes: wall time by part, and what to change."""

from __future__ import annotations

__all__ = ["NoProfile", "Profile"]

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Generic, TypeVar

import torch
from torch import nn

T = TypeVar("T")

LARGE = 0.2
"""Share of the time from which a part other than the network is worth a change."""

PARTS = {
    "data": "waiting for crops",
    "transfer": "crops to the device",
    "network": "network, forward",
    "likelihood": "density and likelihood, forward",
    "backward": "backward of both",
    "optimiser": "gradient norms and optimiser",
    "measure": "measuring training batches",
    "selection": "scoring the selection split",
    "checkpoint": "writing checkpoints",
    "rest": "all else",
}
"""By name, in the order of the table."""


class NoProfile:
    """Measures nothing, at no cost."""

    def part(self, name: str) -> AbstractContextManager[None]:
        """A block that is one of `PARTS`."""
        return nullcontext()

    def waiting(self, batches: Iterable[T]) -> Iterable[T]:
        """The batches; until each of them is there is the part `data`."""
        return batches

    def lines(self) -> list[str]:
        """What was found, one line each."""
        return []


class Profile(NoProfile):
    """Seconds of each part, the time of parts inside it not counted.

    On a GPU each part waits until the device has finished, so that its time is its own: the whole is a little slower.

    Args:
        network: whose calls inside a step are the part `network`; None for no such part.
        device: that it runs on.
        workers: processes that cut crops.
    """

    def __init__(self, network: nn.Module | None, device: torch.device, workers: int) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.device, self.workers = device, workers
        self._open: list[str] = []
        self._since = time.perf_counter()
        if network is not None:
            network.register_forward_pre_hook(lambda *_: self._network(begins=True))
            network.register_forward_hook(lambda *_: self._network(begins=False))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._turn()
        depth = len(self._open)
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            del self._open[depth:]  # with what an exception has left open

    def waiting(self, batches: Iterable[T]) -> Iterable[T]:
        return _Waiting(self, batches)

    def _network(self, *, begins: bool) -> None:
        """Counted apart where it is part of the likelihood of a step."""
        if begins and self._open[-1:] == ["likelihood"]:
            self._turn()
            self._open.append("network")
        elif not begins and self._open[-1:] == ["network"]:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        """The time since the last turn belongs to what was open."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[self._open[-1] if self._open else "rest"] += now - self._since
        self._since = now

    @property
    def shares(self) -> dict[str, float]:
        """Of the time so far, by part, in the order of `PARTS`; parts that took none are left out."""
        whole = sum(self.seconds.values())
        return {name: self.seconds[name] / whole for name in PARTS if self.seconds.get(name)}

    def lines(self) -> list[str]:
        shares = self.shares
        width = max((len(PARTS[name]) for name in shares), default=0)
        rows = [f"  {PARTS[name]:{width}s} {self.seconds[name]:9.2f} s {share:6.1%}" for name, share in shares.items()]
        return ["where the time went:", *rows, self.advice()]

    def advice(self) -> str:
        """One sentence: the largest part that can be made smaller, and how."""
        shares = self.shares
        most = max((name for name in _CHANGES if shares.get(name, 0) >= LARGE), key=shares.__getitem__, default=None)
        if most is None:
            network = shares.get("network", 0) + shares.get("backward", 0)
            where = "cpu" if self.device.type == "cpu" else "gpu"
            return f"the network takes {network:.0%}, as it should: {_NETWORK[where]}."
        return f"{PARTS[most]} takes {shares[most]:.0%}: {self._data() if most == 'data' else _CHANGES[most]}."

    def _data(self) -> str:
        cores = os.cpu_count() or 1
        if self.workers == 0 and cores > 1:
            return f"cut crops in processes of their own (--workers {min(4, cores)})"
        if 0 < self.workers < cores:
            return f"cut crops in more processes (--workers {cores})"
        return "store images at the size that crops have, so that they decode faster, or take a machine with more cores"


class _Waiting(Generic[T]):
    """Batches that are waited for, in every pass."""

    def __init__(self, profile: Profile, batches: Iterable[T]) -> None:
        self.profile, self.batches = profile, batches

    def __iter__(self) -> Iterator[T]:
        with self.profile.part("data"):
            batches = iter(self.batches)
        while True:
            with self.profile.part("data"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


_CHANGES = {
    "data": "",
    "transfer": "a machine whose GPU is nearer, or a smaller --input-size",
    "likelihood": "a larger --batch-size, which shares its cost, or a residual in closed form, such as laplace",
    "optimiser": "a larger --batch-size, of which there is one step each",
    "measure": "a larger --batch-size",
    "selection": "a smaller --selection, or fewer, longer epochs",
    "checkpoint": "fewer, longer epochs, or a faster disk",
}
"""What makes a part smaller."""

_NETWORK = {
    "cpu": "a smaller --backbone or --input-size, or a GPU, makes it faster",
    "gpu": "--precision bf16, or a smaller --backbone or --input-size, makes it faster",
}
