"""Batches on their way to the device."""

from __future__ import annotations

__all__ = ["moved_ahead"]

from collections.abc import Callable, Iterable, Iterator

import torch

from probpose.data.loading import Batch


def moved_ahead(
    batches: Iterable[Batch], device: torch.device, move: Callable[[Batch], Batch] | None = None
) -> Iterator[Batch]:
    """Batches on a device; on a CUDA device each is moved, and its crops are cut, while the one before is computed on.

    Args:
        batches: in page-locked memory for a CUDA device, or there is nothing gained.
        device: where to.
        move: what moves one batch; `Batch.to` by default.
    """
    move = move or (lambda batch: batch.to(device))
    return _on_a_stream(batches, device, move) if device.type == "cuda" else map(move, batches)


def _on_a_stream(batches: Iterable[Batch], device: torch.device, move: Callable[[Batch], Batch]) -> Iterator[Batch]:
    """One batch ahead, on a stream of its own."""
    stream = torch.cuda.Stream(device)
    ahead: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            moved = move(batch)
        before, ahead = ahead, (moved, stream.record_event())
        if before is not None:
            yield _handed_over(*before)
    if ahead is not None:
        yield _handed_over(*ahead)


def _handed_over(batch: Batch, ready: torch.cuda.Event) -> Batch:
    """A batch that what computes on it from now on waits for, and whose memory is kept until it has done so."""
    current = torch.cuda.current_stream(batch.person.device)
    current.wait_event(ready)
    for tensor in batch.tensors():
        tensor.record_stream(current)
    return batch
