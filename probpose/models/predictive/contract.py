"""The one contract: a model's forward returns a distribution over annotated keypoints.

Batch shape (person, joint), event shape (2,). Training loss, NLL, samples, regions, radii and export are written
against `Predictive` once and work for every family.
"""

from __future__ import annotations

__all__ = ["POINTS", "Moved", "Predictive", "Strata", "each_joint"]

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from probpose.errors import ConfigError
from probpose.models.densities.gauge import QUANTILE_LEVELS, Gauge, weighted_quantile
from probpose.models.predictive.points import highest_point, radii

if TYPE_CHECKING:
    from probpose.models.predictive.location_scale import LocationScale

POINTS = 2048
"""Weighted points a keypoint, for statistics that have no closed form."""

CHUNK = 16
"""Persons handled at once where each keypoint is represented by `POINTS` points: bounds the memory, and is faster than
many at once, whose arrays the system gives and takes back at each step."""

HDR_CHUNK = 32
"""The same where the density is evaluated at each of the points."""

ON_GPU = 16
"""Times as many at once on a GPU, which would otherwise wait for small pieces."""

PLATEAU = 1e-9
"""Log densities that differ by less, in nats, are called equal."""


class Strata(NamedTuple):
    """A density as a mixture of C parts, with points of each: all move smoothly with what the density depends on.

    So the gradient of a smooth function's mean over them is that of its expectation, in the mean over calls. `points`
    need not: where a point takes a cell or a component by its weight, it stays there until it jumps.

    Attributes:
        log_weights: of the parts, (N, K, C), whose exponentials sum to 1.
        points: (S, N, K, C, 2), new at every call where they are drawn.
        shares: of the points in their part, broadcastable to (S, N, K, C), which sum to 1 over S, in the mean.
    """

    log_weights: Tensor
    points: Tensor
    shares: Tensor

    @classmethod
    def of_one(cls, points: Tensor, weights: Tensor) -> Strata:
        """Of a density of one part, from its points (N, K, S, 2) and their weights, broadcastable to (N, K, S)."""
        shares = weights.expand(points.shape[:-1]).movedim(-1, 0).unsqueeze(-1)
        return cls(points.new_zeros(*points.shape[:2], 1), points.movedim(-2, 0).unsqueeze(-2), shares)


class Predictive(TorchDistribution):
    """Density of where an annotator clicks, for N persons with K joints, in pixels or network units.

    To add a family, give `log_prob`, `sample` and `points`, and name the constructor's arguments, all of which are
    attributes of the same name, in `per_person`, `parts` and `shared`; all else follows from `points`, and may be
    overridden where there is a closed form.

    Attributes:
        gauge: what `sigma` means (`probpose.models.densities.gauge`).
        per_person: tensors with persons first.
        parts: predictive distributions, or sequences of them, that this one is made of; by default their change of
            coordinates is its own (see `affine`).
        shared: what is the same for all persons.
        hdr_points: points a keypoint from which the levels of regions are found.
    """

    per_person: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[tuple[str, ...]] = ()
    hdr_points: int = POINTS

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector
    has_rsample = False
    gauge: Gauge

    def __init__(self, persons: int, joints: int) -> None:
        super().__init__(torch.Size((persons, joints)), torch.Size((2,)), validate_args=False)

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, (..., N, K), at `value` (..., N, K, 2)."""

    @abstractmethod
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Independent draws, `sample_shape` + (N, K, 2), without gradient."""

    @abstractmethod
    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        """Representative points (N, K, S, 2) and weights, broadcastable to (N, K, S), that sum to 1; S >= `count`."""

    def strata(self, count: int) -> Strata | None:
        """The density as a mixture of parts, `count` points of each, or all there are of a single one; see `Strata`.

        None where it is not made of few enough parts that move smoothly.
        """
        return None

    @property
    def mean(self) -> Tensor:
        """(N, K, 2)."""

        def of(part: Self) -> Tensor:
            points, weights = part.points()
            mean: Tensor = (weights.unsqueeze(-1) * points).sum(-2)
            return mean

        return self.chunked(of)

    @property
    def mode(self) -> Tensor:
        """(N, K, 2), the most probable point: the densest of the points, refined on three ever finer grids."""

        def of(part: Self) -> Tensor:
            return highest_point(part.log_prob, part.points()[0], part.half_width)

        return self.chunked(of, HDR_CHUNK)

    def hdr_level(self, value: Tensor) -> Tensor:
        """Content (N, K) of the smallest highest-density region that holds `value` (N, K, 2); uniform if calibrated."""
        return self._denser(value)[0]

    def hdr_bounds(self, value: Tensor, log_prob: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Contents (N, K) of what is denser than `value` (N, K, 2), and of that with what is as dense.

        Where the density has a plateau the level of a label in it is any value in between: draw one at random, and
        levels are uniform again (`drawn_level`). They are equal where the density has none, and cost what one costs.

        Args:
            value: pixels.
            log_prob: (N, K), `log_prob` of `value` where it is known already, which saves some densities its cost.
        """
        return self._denser(value)

    def drawn_level(self, value: Tensor, uniform: Tensor, log_prob: Tensor | None = None) -> Tensor:
        """The level (N, K) of `value` (N, K, 2), drawn between its `hdr_bounds` with `uniform` (N, K) numbers."""
        denser, as_dense = self.hdr_bounds(value, log_prob)
        return denser + (as_dense - denser) * uniform

    def height(self, value: Tensor) -> Tensor:
        """What regions are made of, (..., N, K): the log density, the same all over a plateau."""
        return self.log_prob(value)

    def region_contents(self, contents: Sequence[float]) -> Tensor:
        """Contents (K, C), by joint, of the highest-density regions that are to hold `contents`: the same."""
        return torch.tensor(contents, dtype=torch.float64).expand(self.batch_shape[1], -1)

    @property
    def location_scale(self) -> LocationScale | None:
        """The density as x = mu + L z with z ~ R; None where it is not of the location-scale family."""
        return None

    def map_location_scale(self, change: Callable[[LocationScale], Predictive]) -> Predictive:
        """The same with its location-scale density changed, in a mixture of several views that of each.

        Raises:
            ConfigError: it has none.
        """
        return change(self.as_location_scale())

    def as_location_scale(self) -> LocationScale:
        """`location_scale`, where there is one.

        Raises:
            ConfigError: there is none.
        """
        if self.location_scale is None:
            raise ConfigError("only location-scale predictions can be rescaled: recalibrate with conformal regions.")
        return self.location_scale

    @property
    def cells(self) -> int:
        """Number of the cells that a keypoint's density is made of, as a heatmap is; 0 where it is not."""
        return max((part.cells for name in self.parts for part in _each(getattr(self, name))), default=0)

    def softened(self, temperature: float, blur: float) -> Predictive:
        """The same with another temperature, and then a Gaussian blur, of its cells.

        Args:
            temperature: that the log probabilities of the cells are divided by.
            blur: standard deviation, cells.

        Raises:
            ConfigError: it has no cells.
        """
        if not self.cells:
            raise ConfigError("only heatmaps have a temperature and a blur.")
        return self.map_parts(lambda part: part.softened(temperature, blur))

    def affine(self, matrix: Tensor, offset: Tensor) -> Predictive:
        """The distribution of A x + b; A (N, 2, 2) and b (N, 2) of each person, or with K after N of each joint."""
        if self.parts:
            return self.map_parts(lambda part: part.affine(matrix, offset))
        return Moved(self, matrix, offset)

    def rows(self, index: slice | Tensor) -> Self:
        """The distribution of the persons in `index`, a slice or (n,) int64."""
        own = {name: getattr(self, name)[index] for name in self.per_person}
        return self.map_parts(lambda part: part.rows(index), **own)

    @classmethod
    def join(cls, several: Sequence[Self]) -> Self:
        """The distribution of the persons of several distributions of one model, one after the other."""
        values = {name: [getattr(one, name) for one in several] for name in (*cls.per_person, *cls.parts)}
        own = {name: torch.cat(values[name]) for name in cls.per_person}
        return several[0].replace(**own, **{name: _joined(values[name]) for name in cls.parts})

    @property
    def members(self) -> tuple[Predictive, ...]:
        """What each of several models predicts, whose equal mixture this is; itself where there is one model."""
        parts = [part for name in self.parts for part in _each(getattr(self, name))]
        count = max((len(part.members) for part in parts), default=1)
        if count == 1:
            return (self,)
        return tuple(self.map_parts(partial(_member, index)) for index in range(count))

    def replace(self, **changes: Any) -> Self:
        """The same distribution but for these arguments of the constructor."""
        make: Callable[..., Self] = type(self)
        names = (*self.per_person, *self.parts, *self.shared)
        return make(**{name: getattr(self, name) for name in names} | changes)

    def map_parts(self, change: Callable[[Predictive], Predictive], **changes: Any) -> Self:
        """The same distribution made of changed parts, but for these other arguments."""
        return self.replace(**{name: _changed(getattr(self, name), change) for name in self.parts}, **changes)

    @property
    def median(self) -> Tensor:
        """(N, K, 2), per axis."""
        return self.quantiles([0.5])[0]

    @cached_property
    def sigma(self) -> Tensor:
        """Scale per axis, (N, K, 2): standard deviation, or half the 16-84% width in the quantile gauge."""
        if self.gauge == "quantile":
            return self.half_width
        return self.covariance.diagonal(dim1=-2, dim2=-1).sqrt()

    @property
    def unit_sigma(self) -> Tensor:
        """Scale per axis, (N, K, 2), that a point's confidence is made of: of mu + L z, that of an R of unit scale."""
        return self.sigma

    @property
    def covariance(self) -> Tensor:
        """(N, K, 2, 2), of the points that represent the density: finite also where the density's own is not.

        Where parts of a density meet at other places than their points do, a single point may weigh too much: densities
        made of laws with known moments have a closed form.
        """

        def of(part: Self) -> Tensor:
            points, weights = part.points()
            centred = points - (weights.unsqueeze(-1) * points).sum(-2, keepdim=True)
            covariance: Tensor = (weights.unsqueeze(-1) * centred).mT @ centred
            return covariance

        return self.chunked(of)

    def within(self, radius: float) -> Tensor:
        """Probability (N, K) of the disc of that radius about the mean."""

        def of(part: Self) -> Tensor:
            points, weights = part.points()
            near = (points - part.mean.unsqueeze(-2)).norm(dim=-1) <= radius
            share: Tensor = (near * weights).sum(-1)
            return share

        return self.chunked(of)

    def in_square(self, reach: float) -> Tensor:
        """Probability (N, K) of the square |x| < reach, |y| < reach."""

        def of(part: Self) -> Tensor:
            points, weights = part.points()
            share: Tensor = ((points.abs() < reach).all(-1) * weights).sum(-1)
            return share

        return self.chunked(of)

    @cached_property
    def half_width(self) -> Tensor:
        """Half the 16-84% width per axis, (N, K, 2): a scale that exists for every density."""
        low, _, high = self.quantiles(QUANTILE_LEVELS)
        half_width: Tensor = (high - low) / 2
        return half_width

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """Quantiles per axis, (len(levels), N, K, 2)."""

        def of(part: Self) -> Tensor:
            points, weights = part.points()
            return weighted_quantile(points.mT, weights.unsqueeze(-2), levels).movedim(0, -1)

        return self.chunked(of).movedim(-1, 0)

    def radius(self, levels: Sequence[float]) -> Tensor:
        """Radii about the mean that hold `levels` of the probability, (len(levels), N, K); they need no gauge."""
        return self.chunked(lambda part: radii(*part.points(), part.mean, levels)).movedim(-1, 0)

    def _denser(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (N, K) of the points that are denser than `value`, and of those that are at least as dense."""
        here = self.height(value).unsqueeze(-1)

        def of(part: Self, at: Tensor) -> Tensor:
            points, weights = part.points(self.hdr_points)
            heights = part.height(points.movedim(-2, 0)).movedim(0, -1)
            return torch.stack([(heights > edge).to(points) * weights for edge in (at + PLATEAU, at - PLATEAU)]).sum(-1)

        with torch.no_grad():
            parts = [of(self.rows(index), here[index]) for index in self.pieces(HDR_CHUNK)]
        above, least = torch.cat(parts, dim=1)
        return above, least

    def chunked(self, of: Callable[[Self], Tensor], persons: int = CHUNK) -> Tensor:
        """Apply `of` to `persons` persons at a time, without gradient, and join the results along the persons.

        In a graph that is made for any number of persons, to all at once.
        """
        count: Any = self.batch_shape[0]
        if isinstance(count, torch.SymInt):
            return of(self)
        with torch.no_grad():
            return torch.cat([of(self.rows(index)) for index in self.pieces(persons)])

    def pieces(self, persons: int = CHUNK) -> list[slice]:
        """The persons, as many at a time, and `ON_GPU` times as many on a GPU; one empty piece where there are none."""
        step = persons * (ON_GPU if self.device.type == "cuda" else 1)
        return [slice(start, start + step) for start in range(0, max(1, self.batch_shape[0]), step)]

    @property
    def device(self) -> torch.device:
        """That the distribution is on."""
        if self.per_person:
            own: Tensor = getattr(self, self.per_person[0])
            return own.device
        part = getattr(self, self.parts[0])
        found: torch.device = (part[0] if isinstance(part, tuple) else part).device
        return found


class Moved(Predictive):
    """A x + b, with x of another distribution: a density of the crop in pixels of the image.

    Args:
        base: the distribution of x.
        matrix: A, (N, 2, 2) or (N, K, 2, 2), invertible.
        offset: b, (N, 2) or (N, K, 2).
    """

    per_person: ClassVar[tuple[str, ...]] = ("matrix", "offset")
    parts: ClassVar[tuple[str, ...]] = ("base",)

    def __init__(self, base: Predictive, matrix: Tensor, offset: Tensor) -> None:
        self.base, self.gauge = base, base.gauge
        self.matrix, self.offset = each_joint(matrix, offset)
        super().__init__(*base.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(self._back(value)) - self._log_det(value)

    def height(self, value: Tensor) -> Tensor:
        return self.base.height(self._back(value)) - self._log_det(value)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._there(self.base.sample(sample_shape))

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        points, weights = self.base.points(count)
        matrix, offset = self.matrix.to(points), self.offset.to(points)
        return points @ matrix.mT + offset.unsqueeze(-2), weights

    @property
    def mean(self) -> Tensor:
        return self._there(self.base.mean)

    @property
    def covariance(self) -> Tensor:
        covariance = self.base.covariance
        matrix = self.matrix.to(covariance)
        return matrix @ covariance @ matrix.mT

    @property
    def mode(self) -> Tensor:
        return self._there(self.base.mode)

    def hdr_level(self, value: Tensor) -> Tensor:
        return self.base.hdr_level(self._back(value))

    def hdr_bounds(self, value: Tensor, log_prob: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.base.hdr_bounds(self._back(value), None if log_prob is None else log_prob + self._log_det(log_prob))

    def affine(self, matrix: Tensor, offset: Tensor) -> Moved:
        matrix, offset = each_joint(matrix.to(self.matrix), offset.to(self.matrix))
        moved = (matrix @ self.offset.unsqueeze(-1)).squeeze(-1) + offset
        return self.replace(matrix=matrix @ self.matrix, offset=moved)

    def _log_det(self, like: Tensor) -> Tensor:
        """log |det A|, (N, K or 1)."""
        log_det: Tensor = torch.linalg.det(self.matrix).abs().log()
        return log_det.to(like)

    def _there(self, value: Tensor) -> Tensor:
        there: Tensor = (self.matrix.to(value) @ value.unsqueeze(-1)).squeeze(-1) + self.offset.to(value)
        return there

    def _back(self, value: Tensor) -> Tensor:
        centred = (value - self.offset.to(value)).unsqueeze(-1)
        back: Tensor = (torch.linalg.inv(self.matrix.to(value)) @ centred).squeeze(-1)
        return back


def each_joint(matrix: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """A and b with a dimension for joints, (N, K or 1, 2, 2) and (N, K or 1, 2), whether or not they have one."""
    shared = matrix.dim() == 3
    return matrix.unsqueeze(1) if shared else matrix, offset.unsqueeze(1) if shared else offset


Parts = Predictive | tuple[Predictive, ...]


def _each(parts: Parts) -> tuple[Predictive, ...]:
    return parts if isinstance(parts, tuple) else (parts,)


def _changed(parts: Parts, change: Callable[[Predictive], Predictive]) -> Parts:
    return tuple(map(change, parts)) if isinstance(parts, tuple) else change(parts)


def _member(index: int, part: Predictive) -> Predictive:
    members = part.members
    return members[index] if len(members) > 1 else part


def _joined(several: Sequence[Any]) -> Parts:
    """The persons of the same part, or of the same parts, of several distributions, one after the other."""
    if isinstance(several[0], tuple):
        return tuple(type(column[0]).join(column) for column in zip(*several, strict=True))
    joined: Predictive = type(several[0]).join(several)
    return joined
