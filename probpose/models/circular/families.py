"""What a network's numbers are read as: each family turns them into a density on the circle, and has a loss for it.

Where the loss is not the negative log likelihood, it is that of a paper, and what it leaves unsaid of the density is
fitted beside it. What is reported is always the exact density.

cos/sin regression says v and minimises |v - u|^2, u the point of the circle; its density is the projected normal of
N(v, s^2 I) with one s, which v does not see. Three-cosine regression (phase-shifting coding, Yu and Da, CVPR 2023) says
c_i = cos(angle + 2 pi i / 3). With v = 2/3 sum c_i (cos, -sin)(2 pi i / 3) and c0 the mean of the three,

    sum_i (c_i - cos(angle + 2 pi i / 3))^2 = 3/2 |v - u|^2 + 3 c0^2:

it is cos/sin regression, with one number more that is to be 0.

Multi-Bin is a mixture, sum_b w_b p_b. The loss of Mousavian et al. (CVPR 2017) trains confidence and offset of every
bin that holds the label, with overlap; with q uniform over those it is the bound

    log p(x) >= sum_b q_b (log w_b + log p_b(x) - log q_b).

Its variant that knows the geometry lets q fall off with the arc between label and bin (Su et al., "Render for CNN",
ICCV 2015).
"""

from __future__ import annotations

__all__ = ["FAMILIES", "Family", "family"]

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from probpose.errors import ConfigError
from probpose.models.circular.contract import Circular, on_circle
from probpose.models.circular.densities import Mixture, MultiBin, ProjectedNormal, VonMises
from probpose.models.named import lookup
from probpose.models.options import options_from


class Family(nn.Module, ABC):
    """Numbers (N, `outputs`) of any network -> a density for each row.

    To add one, set `outputs`, give `forward`, and `loss` where it is not the negative log likelihood.

    Attributes:
        outputs: how many numbers a row it reads.
    """

    outputs: int

    @abstractmethod
    def forward(self, raw: Tensor) -> Circular:
        """The densities of rows (N, outputs)."""

    def loss(self, raw: Tensor, angle: Tensor) -> Tensor:
        """What is minimised, (N,), for labels (N,) in radians."""
        return -self.forward(raw).log_prob(angle)

    def start(self) -> Tensor:
        """(outputs,) that a network should say at first: where the parts of a density are told apart."""
        return torch.zeros(self.outputs)


@dataclass(frozen=True)
class NoOptions:
    """A family without options."""


class ReadVonMises(Family):
    """Two numbers: a vector in the mean direction, whose length says how sure (`natural`)."""

    outputs = 2

    def forward(self, raw: Tensor) -> VonMises:
        return VonMises.of_natural(natural(raw))


@dataclass(frozen=True)
class CosineOptions:
    """Options of cos/sin and three-cosine regression.

    Attributes:
        train: `nll`, or `l2`: the squared error of the numbers, with one scale that they do not see.
    """

    train: Literal["nll", "l2"] = "nll"


class ReadCosines(Family):
    """Numbers that stand for cos(angle + phase), decoded to a vector: the mean of a projected normal density.

    Args:
        phases: 2 for cosine and sine, 3 for three cosines.
        options: of the family.
    """

    def __init__(self, phases: Literal[2, 3], options: CosineOptions) -> None:
        super().__init__()
        self.outputs, self.by_squares = phases, options.train == "l2"
        turns = torch.tensor([0.0, -0.25]) if phases == 2 else torch.arange(3) / 3  # cos(a - pi / 2) = sin a
        phase = 2 * math.pi * turns
        self.code: Tensor
        self.register_buffer("code", torch.stack([phase.cos(), -phase.sin()]))  # (2, phases): u @ code are cosines
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=self.by_squares)

    def forward(self, raw: Tensor) -> ProjectedNormal:
        return ProjectedNormal(self.vector(raw) / self.log_scale.exp())

    def vector(self, raw: Tensor) -> Tensor:
        """The vectors (N, 2) that numbers (N, phases) stand for, by least squares."""
        return raw @ self.code.T * (2 / self.outputs)

    def loss(self, raw: Tensor, angle: Tensor) -> Tensor:
        if not self.by_squares:
            return super().loss(raw, angle)
        squares = (raw - on_circle(angle).to(raw) @ self.code).square().sum(-1) / 2
        return squares - self.forward(raw.detach()).log_prob(angle)


@dataclass(frozen=True)
class MixtureOptions:
    """Options of mixtures.

    Attributes:
        components: C.
    """

    components: int = 4

    def __post_init__(self) -> None:
        if self.components < 1:
            raise ConfigError(f"components is {self.components}: it must be at least 1.")


class ReadMixture(Family):
    """Three numbers a component: the logit of its weight, and a vector (`natural`).

    Args:
        options: of the family.
    """

    def __init__(self, options: MixtureOptions) -> None:
        super().__init__()
        self.components, self.outputs = options.components, 3 * options.components

    def forward(self, raw: Tensor) -> Mixture:
        parts = raw.view(len(raw), self.components, 3)
        return Mixture(parts[..., 0], natural(parts[..., 1:]))

    def start(self) -> Tensor:
        """The components spread around the circle, wide."""
        spread = on_circle(2 * math.pi * torch.arange(self.components) / self.components)
        return torch.cat([torch.zeros(self.components, 1), spread], -1).flatten()


@dataclass(frozen=True)
class BinOptions:
    """Options of Multi-Bin.

    Attributes:
        bins: B, around the circle, the first centred at angle 0.
        train: `nll`, or `bound` for the objective of the papers.
        assign: which bins the bound trains: those that hold the label (`hold`), or all by their arc to it (`soft`).
        overlap: share of its width by which a bin reaches over its border, for `hold`.
    """

    bins: int = 8
    train: Literal["nll", "bound"] = "nll"
    assign: Literal["hold", "soft"] = "hold"
    overlap: float = 0.1

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ConfigError(f"bins is {self.bins}: it must be at least 2.")
        if not self.overlap >= 0:
            raise ConfigError(f"overlap is {self.overlap}: it must not be negative.")


class ReadMultiBin(Family):
    """Three numbers a bin: its logit, and a vector (`natural`) in the bin's own frame.

    Args:
        options: of the family.
    """

    def __init__(self, options: BinOptions) -> None:
        super().__init__()
        self.options, self.outputs, self.width = options, 3 * options.bins, 2 * math.pi / options.bins

    def forward(self, raw: Tensor) -> MultiBin:
        parts = raw.view(len(raw), self.options.bins, 3)
        return MultiBin(parts[..., 0], natural(parts[..., 1:]))

    def start(self) -> Tensor:
        """Each bin about its centre, as wide as it is."""
        k = (2 / self.width) ** 2
        length = math.sqrt((math.sqrt(1 + 4 * k**2) - 1) / 2)  # of which `natural` makes k
        return torch.tensor([0.0, length, 0.0]).repeat(self.options.bins)

    def loss(self, raw: Tensor, angle: Tensor) -> Tensor:
        if self.options.train == "nll":
            return super().loss(raw, angle)
        density = self.forward(raw)
        q = self.assignment(density.distance(angle))
        inside = density.component_log_prob(angle) + density.log_weights
        return -torch.where(q > 0, q * (inside - q.clamp_min(1e-30).log()), 0.0).sum(-1)

    def assignment(self, distance: Tensor) -> Tensor:
        """q over bins (N, B), from the arcs to their centres, radians."""
        if self.options.assign == "soft":
            return (-2 * (distance / self.width) ** 2).softmax(-1)
        reach = (0.5 + self.options.overlap) * self.width
        held = (distance <= reach) | (distance <= distance.amin(-1, keepdim=True))
        return held / held.sum(-1, keepdim=True)


def natural(vector: Tensor) -> Tensor:
    """Natural parameters (..., 2) of von Mises densities from vectors w (..., 2) of any length: w sqrt(1 + |w|^2).

    So a concentration of 100, a standard deviation of 6 degrees, is a vector of length 10, as in a projected normal;
    read as they are, numbers would have to grow to 100 before a network could say so.
    """
    return vector * (1 + vector.square().sum(-1, keepdim=True)).sqrt()


FAMILIES: dict[str, tuple[type[Any], Callable[[Any], Family]]] = {
    "von-mises": (NoOptions, lambda _: ReadVonMises()),
    "mixture": (MixtureOptions, ReadMixture),
    "multibin": (BinOptions, ReadMultiBin),
    "cos-sin": (CosineOptions, lambda options: ReadCosines(2, options)),
    "three-cosine": (CosineOptions, lambda options: ReadCosines(3, options)),
}
"""By name: the dataclass of their options, and what makes them of these."""


def family(name: str, **options: Any) -> Family:
    """A family by name, a torch module that reads a network's numbers as densities of directions.

    Args:
        name: `von-mises`, `mixture`, `multibin`, `cos-sin` or `three-cosine`.
        options: of `mixture` the number of `components`; of `multibin` that of `bins`, `train` (nll, or bound for the
            objective of the papers) with `assign` (hold or soft) and `overlap`; of the last two `train` (nll or l2).

    Raises:
        ConfigError: an unknown name or option, or a value that is out of range.
    """
    of, make = lookup(FAMILIES, "family of directions", name)
    return make(options_from(of, options, f"family {name}"))
