"""The published flow: a RealNVP of 6 couplings, whose scale and shift are two separate nets over masked inputs.

Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", ICLR 2017, with the sizes of Li et al., ICCV 2021.
"""

from __future__ import annotations

__all__ = ["PublishedFlow"]

import math

import torch
from torch import Tensor, nn


class PublishedFlow(nn.Module):
    """A flow on R^2 with a standard normal base.

    Each net reads both axes, one of them masked to zero, and writes both, one of them masked away.

    Args:
        couplings: number of couplings.
        width: units of each of the two hidden layers of a net.
    """

    mask: Tensor

    def __init__(self, couplings: int = 6, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([[i % 2, 1 - i % 2] for i in range(couplings)], dtype=torch.float32))
        self.s = nn.ModuleList(nn.Sequential(*_net(width), nn.Tanh()) for _ in range(couplings))
        self.t = nn.ModuleList(nn.Sequential(*_net(width)) for _ in range(couplings))

    def forward(self, noise: Tensor) -> Tensor:
        """Residual (n, 2) of the base noise (n, 2)."""
        x = noise
        for mask, log_scale, shift in zip(self.mask, self.s, self.t, strict=True):
            kept = x * mask
            s, t = log_scale(kept) * (1 - mask), shift(kept) * (1 - mask)
            x = kept + (1 - mask) * (x * s.exp() + t)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats (n,) at x (n, 2)."""
        log_det = x.new_zeros(x.shape[0])
        for i in reversed(range(len(self.t))):
            mask = self.mask[i]
            kept = x * mask
            s, t = self.s[i](kept) * (1 - mask), self.t[i](kept) * (1 - mask)
            x = (1 - mask) * (x - t) * torch.exp(-s) + kept
            log_det = log_det - s.sum(1)
        return log_det - 0.5 * (x**2).sum(1) - math.log(2 * math.pi)


def _net(width: int) -> list[nn.Module]:
    activation = nn.LeakyReLU()
    return [nn.Linear(2, width), activation, nn.Linear(width, width), activation, nn.Linear(width, 2)]
