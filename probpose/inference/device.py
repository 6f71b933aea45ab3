"""The device that a user names."""

from __future__ import annotations

__all__ = ["open_device"]

import torch

from probpose.errors import ConfigError


def open_device(name: str) -> torch.device:
    """The torch device called `name`, tried out.

    Raises:
        ConfigError: there is no such device on this machine, or this build of torch cannot use it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used here ({reason}): name another --device, such as cpu."
        ) from error
    return device
