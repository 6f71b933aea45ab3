"""What a density on the circle answers: N directions, angles in radians, a full turn integrates to 1.

Levels of highest-density regions need no origin, and are the main measure of calibration. A probability integral
transform needs one: the circle is cut opposite the predicted mean direction, where a density with one mode has least
mass, and F runs from there (Fisher, "Statistical Analysis of Circular Data", 1993, section 2.3 on cutting a circle).

Both are found from one curve: the density at knots that lie close where it is narrow, linear in between.
"""

from __future__ import annotations

__all__ = ["Circular", "Curve", "on_circle", "wrapped"]

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

KNOTS = 1024
"""Of a curve: shared among the components of a density, at least `LEAST_KNOTS` each."""
LEAST_KNOTS = 128

FLAT = 1e-9
"""A density whose heights differ by less, relative to the largest, is called uniform."""


def wrapped(angle: Tensor) -> Tensor:
    """Angles, radians, in [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def on_circle(angle: Tensor) -> Tensor:
    """Points (..., 2) of the unit circle, cosine and sine of angles (...)."""
    return torch.stack([angle.cos(), angle.sin()], -1)


class Circular(TorchDistribution):
    """Density of N directions. Angles are in radians, everything is in float64.

    To add one, give `log_prob`, `sample`, `first_moment`, `places` and `rows`; all else follows.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real
    has_rsample = False

    def __init__(self, count: int) -> None:
        super().__init__(torch.Size((count,)), validate_args=False)

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats per radian, (..., N), at angles (..., N); the same a full turn on."""

    @abstractmethod
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Independent draws, `sample_shape` + (N,), in [-pi, pi), without gradient."""

    @property
    @abstractmethod
    def first_moment(self) -> Tensor:
        """E[cos] and E[sin], (N, 2)."""

    @property
    @abstractmethod
    def places(self) -> tuple[Tensor, Tensor]:
        """Directions (N, C) about which the density is narrow, and its widths there, radians: where knots lie."""

    @abstractmethod
    def rows(self, index: slice) -> Circular:
        """The density of some of the N directions."""

    @property
    def mean(self) -> Tensor:
        """(N,) mean direction, which has the greatest expected cosine of the error."""
        moment = self.first_moment
        mean: Tensor = torch.atan2(moment[:, 1], moment[:, 0])
        return mean

    @property
    def resultant_length(self) -> Tensor:
        """(N,) from 0, no direction, to 1, all mass in one; 1 minus it is the circular variance."""
        length: Tensor = self.first_moment.norm(dim=-1)
        return length

    @property
    def mode(self) -> Tensor:
        """(N,) the densest direction."""
        curve = self.curve
        best = curve.height.argmax(-1, keepdim=True)
        return wrapped(self.mean + curve.offset.gather(-1, best).squeeze(-1))

    @cached_property
    def curve(self) -> Curve:
        """The density about the mean direction, without gradient."""
        with torch.no_grad():
            loc, width = self.places
            each = max(LEAST_KNOTS, KNOTS // loc.shape[1])
            start = self.mean.unsqueeze(-1)
            offset = wrapped(loc.unsqueeze(-1) + _knots(width, each)).flatten(1)
            ends = torch.full_like(start, math.pi)
            offset = torch.cat([-ends, wrapped(offset - start), ends], 1).sort(-1).values
            return Curve(offset, self.log_prob((start + offset).mT).mT.exp())

    def level(self, value: Tensor) -> Tensor:
        """Content (N,) of the smallest set of arcs that holds `value` (N,); uniform on (0, 1) if calibrated.

        Hyndman ("Computing and graphing highest density regions", The American Statistician 1996), on the circle. Where
        the density is uniform, every arc would do: those about the cut's far side are taken.
        """
        with torch.no_grad():
            level = self.curve.above(self.log_prob(value).exp())
            return torch.where(self.curve.flat, (2 * self.pit(value) - 1).abs(), level)

    def pit(self, value: Tensor) -> Tensor:
        """Mass (N,) from the cut, opposite the mean direction, to `value` (N,); uniform on (0, 1) if calibrated."""
        return self.curve.below(wrapped(value - self.mean))


@dataclass(frozen=True)
class Curve:
    """N densities as straight lines between knots.

    Attributes:
        offset: (N, G), radians from the mean direction, increasing from -pi to pi.
        height: (N, G), density per radian.
    """

    offset: Tensor
    height: Tensor

    @cached_property
    def mass(self) -> Tensor:
        """(N, G), mass up to each knot; divided by the whole, which is 1 but for the lines."""
        pieces = self.offset.diff() * (self.height[:, 1:] + self.height[:, :-1]) / 2
        mass = torch.cat([torch.zeros_like(pieces[:, :1]), pieces.cumsum(-1)], -1)
        return mass / mass[:, -1:]

    @property
    def flat(self) -> Tensor:
        """(N,) whether the density is uniform."""
        high, low = self.height.amax(-1), self.height.amin(-1)
        return high - low <= FLAT * high

    def above(self, height: Tensor) -> Tensor:
        """Mass (N,) where the density is higher than `height` (N,)."""
        high = torch.maximum(self.height[:, 1:], self.height[:, :-1])
        low = torch.minimum(self.height[:, 1:], self.height[:, :-1])
        edge = height.unsqueeze(-1).clamp_min(0)
        share = ((high - edge) / (high - low).clamp_min(torch.finfo(high.dtype).tiny)).clamp(0, 1)
        pieces = self.offset.diff() * share * (high + torch.maximum(low, edge)) / 2
        whole = self.offset.diff() * (high + low) / 2
        return pieces.sum(-1) / whole.sum(-1)

    def below(self, offset: Tensor) -> Tensor:
        """Mass (N,) from -pi to `offset` (N,)."""
        after = torch.searchsorted(self.offset, offset.unsqueeze(-1)).clamp(1, self.offset.shape[1] - 1)
        x0, x1, y0, y1, m0 = (
            table.gather(-1, index).squeeze(-1)
            for table, index in (
                (self.offset, after - 1), (self.offset, after), (self.height, after - 1), (self.height, after),
                (self.mass, after - 1),
            )
        )  # fmt: skip
        m1 = self.mass.gather(-1, after).squeeze(-1)
        return m0 + (m1 - m0) * _share_of_line(x0, x1, y0, y1, offset)


def _share_of_line(x0: Tensor, x1: Tensor, y0: Tensor, y1: Tensor, x: Tensor) -> Tensor:
    """Share of the area under a line from (x0, y0) to (x1, y1) that lies before x."""
    part = ((x - x0) / (x1 - x0).clamp_min(torch.finfo(x.dtype).tiny)).clamp(0, 1)
    area = (y0 + y1) / 2
    return part * (y0 + part * (y1 - y0) / 2) / area.clamp_min(torch.finfo(x.dtype).tiny)


def _knots(width: Tensor, count: int) -> Tensor:
    """Offsets (N, C, count) that lie close within `width` (N, C) of 0: quantiles of a wrapped Cauchy density."""
    half = math.pi * (torch.arange(count).to(width) + 0.5 - count / 2) / count
    return 2 * torch.atan(width.clamp(max=1.0).unsqueeze(-1) * half.tan())
