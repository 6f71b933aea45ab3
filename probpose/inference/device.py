"""The device that is computed on, and the precision of the network: as named, or the best that works here."""

from __future__ import annotations

__all__ = ["Machine", "open_device", "open_machine"]

from dataclasses import dataclass

import torch

from probpose.errors import ConfigError

_BF16_SINCE = 8
"""The first major compute capability (NVIDIA's Ampere) whose tensor cores take bfloat16."""


@dataclass(frozen=True)
class Machine:
    """What a network runs on; as text, one line for the user.

    Attributes:
        device: tried out.
        precision: of the backbone, `fp32` or `bf16`.
    """

    device: torch.device
    precision: str = "fp32"

    def __str__(self) -> str:
        name = f" ({torch.cuda.get_device_name(self.device)})" if self.device.type == "cuda" else ""
        return f"device: {self.device}{name}, precision {self.precision}"


def open_machine(device: str, precision: str = "fp32") -> Machine:
    """The device and the precision that a user names; `auto` is bf16 on a CUDA device that has it, otherwise fp32.

    Raises:
        ConfigError: see `open_device`.
    """
    opened = open_device(device)
    return Machine(opened, _best_precision(opened) if precision == "auto" else precision)


def open_device(name: str) -> torch.device:
    """The torch device called `name`, tried out.

    `auto` is the current CUDA device where torch sees one that works, otherwise MPS, otherwise the CPU. To work, a
    device needs float64 too, in which statistics are computed.

    Raises:
        ConfigError: there is no such device on this machine, or this build of torch cannot use it.
    """
    if name == "auto":
        return _best_device()
    try:
        return _tried(name)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used here ({reason}): name another --device, such as cpu."
        ) from error


def _tried(name: str) -> torch.device:
    """The device, with its number where devices are numbered, after it has held a float64."""
    return torch.zeros(1, dtype=torch.float64, device=torch.device(name)).device


def _best_device() -> torch.device:
    seen = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for name in (name for name, here in seen.items() if here):
        try:
            return open_device(name)
        except ConfigError:
            continue
    return torch.device("cpu")


def _best_precision(device: torch.device) -> str:
    has_bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= _BF16_SINCE
    return "bf16" if has_bf16 else "fp32"
