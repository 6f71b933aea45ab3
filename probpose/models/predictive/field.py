"""A residual density in every cell of a grid, with a broad one around them all.

    p(x) = pi sum_c w_c R((x - centre_c - o_c) / s_c) / det s_c + (1 - pi) T(x)

with cells c of the grid, weights w of a softmax over them, offsets o and scales s of each, R a residual density in its
gauge, and T the broad density of labels that may be anywhere (`probpose.models.predictive.crop`). A heatmap has
constants in place of R, a location-scale density has one cell.
"""

from __future__ import annotations

__all__ = ["Decode", "FieldDensity", "hat"]

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.models.densities.nodes import pick
from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import POINTS, Predictive, Strata
from probpose.models.predictive.crop import anywhere, with_tail
from probpose.models.predictive.folding import drawn, log_density, picked
from probpose.models.predictive.location_scale import LocationScale

Decode = Literal["mode", "mass"]
"""The highest point of the density, or of the density blurred by a Gaussian: the point with the most mass about it."""

_HDR_POINTS, _HDR_TERMS = 256, 2**17
"""Points from which levels are found: the least, and how many times cells there may be of more."""

_TAIL_SHARE = 8
"""One point in so many represents T."""

_CANDIDATES = 16
"""Cells, those with the highest peaks by themselves, about which the highest point is looked for."""

_AT_ONCE = {"cpu": 2**16, "cuda": 2**25}
"""Densities of cells that are computed at once where no gradient is asked for: what stays in a cache."""

_HEAVY = 256
"""Cells, those with the most weight, that choose where the mode of mass is looked for."""

_NEAR = 64
"""Cells, those with the most mass at the start, that the mode of mass follows from."""

_SHIFTS = 12


class FieldDensity(Predictive):
    """A mixture over the cells of a grid of location-scale densities with diagonal scales, network units.

    Args:
        loc: centre_c + o_c, (N, K, 2, C), cells row by row.
        scale: s_c along each axis, (N, K, 2, C), positive.
        log_weights: log w_c, (N, K, C), whose exponentials sum to 1 over C.
        inside: logit of pi, (N, K).
        residual: R, shared by all joints or one a joint.
        grid: height and width in cells; C is their product.
        decode: what `mode` is.
        blur: for `mass`, standard deviation of the blur in cells.
    """

    per_person: ClassVar[tuple[str, ...]] = ("loc", "scale", "log_weights", "inside")
    shared: ClassVar[tuple[str, ...]] = ("residual", "grid", "decode", "blur")

    def __init__(
        self, loc: Tensor, scale: Tensor, log_weights: Tensor, inside: Tensor, residual: Residual,
        grid: tuple[int, int], decode: Decode = "mode", blur: float = 1.0,
    ) -> None:  # fmt: skip
        self.loc, self.scale, self.log_weights, self.inside = loc, scale, log_weights, inside
        self.residual, self.grid, self.decode, self.blur = residual, grid, decode, blur
        self.gauge = residual.gauge
        self.hdr_points = max(_HDR_POINTS, min(POINTS, _HDR_TERMS // log_weights.shape[-1]))
        super().__init__(*inside.shape)

    @cached_property
    def tail(self) -> LocationScale:
        """T."""
        return anywhere(self.loc[..., 0])

    @cached_property
    def log_heights(self) -> Tensor:
        """log(w_c / det s_c), (N, K, C)."""
        return self.log_weights - self.scale.log().sum(-2)

    @cached_property
    def rate(self) -> Tensor:
        """1 / s_c, (N, K, 2, C)."""
        return 1 / self.scale

    @cached_property
    def _stretched(self) -> tuple[Tensor, Tensor]:
        """Slope and shift, (N, K, 2, C) each, of value -> w, of whose length R's native law is one."""
        stretch, origin = (part.unsqueeze(-1).to(self.rate) for part in (_stretch(self.residual), self.residual.loc))
        slope = self.rate * stretch
        return slope, origin - self.loc * slope

    def log_prob(self, value: Tensor) -> Tensor:
        return self._log_sum(value, lambda terms: terms.logsumexp(-1))

    def height(self, value: Tensor) -> Tensor:
        """As `log_prob`, for the order of heights: with seven digits, and of T alone where every cell is far away."""
        quick = self._in_single
        return quick._log_sum(value.to(quick.loc), lambda terms: terms.exp().sum(-1).log()).to(value)

    @cached_property
    def _in_single(self) -> FieldDensity:
        """The same in float32, where R takes that."""
        if not _closed_form(self.residual):
            return self
        return self.replace(**{name: getattr(self, name).float() for name in self.per_person})

    def _log_sum(self, value: Tensor, over_cells: Callable[[Tensor], Tensor]) -> Tensor:
        """log p, (..., N, K), at `value` (..., N, K, 2).

        Args:
            value: network units.
            over_cells: the log of the sum over C of what has the logs (..., N, K, C); called for parts of `value`.
        """
        if torch.is_grad_enabled() or value.dim() == 3:
            cells = over_cells(self._log_terms(value))
        else:
            flat = value.reshape(-1, *value.shape[-3:])
            cells = torch.cat([self._in_parts(flat, rows, over_cells) for rows in self._blocks], 1)
            cells = cells.view(value.shape[:-1])
        log_pi, log_rest = F.logsigmoid(self.inside), F.logsigmoid(-self.inside)
        return torch.logaddexp(log_pi + cells, log_rest + self.tail.log_prob(value))

    @property
    def _at_once(self) -> int:
        return _AT_ONCE.get(self.loc.device.type, _AT_ONCE["cuda"])

    @property
    def _blocks(self) -> list[slice]:
        """The persons, a few at a time."""
        persons, step = self.batch_shape[0], max(1, self._at_once // self.log_weights[0].numel())
        return [slice(i, i + step) for i in range(0, persons, step)]

    def _in_parts(self, value: Tensor, rows: slice, over_cells: Callable[[Tensor], Tensor]) -> Tensor:
        """`over_cells` for values (S, N, K, 2) of some persons, a few values at a time."""
        lead = max(1, self._at_once // self.log_weights[rows].numel())
        return torch.cat([over_cells(self._log_terms(part, rows)) for part in value[:, rows].split(lead)])

    def _log_terms(self, value: Tensor, rows: slice = slice(None)) -> Tensor:
        """log(w_c R((x - loc) / s) / det s), (..., n, K, C), at `value` (..., n, K, 2) of the persons in `rows`."""
        if _closed_form(self.residual) == "lengths":
            slope, shift = (part[rows] for part in self._stretched)
            x, y = (torch.addcmul(shift[..., d, :], value[..., d, None], slope[..., d, :]) for d in (0, 1))
            return _log_of_square(self.residual, torch.addcmul(x * x, y, y)) + self.log_heights[rows]
        z = (value.unsqueeze(-1) - self.loc[rows]) * self.rate[rows]
        return _log_residual(self.residual, z) + self.log_heights[rows]

    def log_of(self, cells: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Of some cells (N, K, B): log w_c, and log R((x - loc) / s) / det s at `value` (N, K, 2), (N, K, B) each."""
        loc, scale = self._taken(self.loc, cells), self._taken(self.scale, cells)
        log_inside = _log_residual(self.residual, (value.unsqueeze(-1) - loc) / scale) - scale.log().sum(-2)
        return self.log_weights.gather(-1, cells), log_inside

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        with torch.no_grad():
            uniform = torch.rand(2, *shape, device=self.loc.device, dtype=torch.float64)
            cell = self._placed(uniform[0], drawn(self.residual, shape).to(self.loc))
            within = uniform[1] < self.inside.double().sigmoid()
            return torch.where(within.unsqueeze(-1), cell, self.tail.sample(sample_shape).to(cell))

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        """Nodes of R, each moved by one cell; cells take their turns in proportion to their weights. Then T's."""
        nodes, weights = (part.to(self.loc) for part in self.residual.points(count))
        turns = (torch.arange(nodes.shape[1], device=nodes.device) + 0.5) / nodes.shape[1]
        uniform = turns[:, None, None].expand(-1, *self.batch_shape)
        cells = self._placed(uniform, nodes.movedim(1, 0).unsqueeze(1)).movedim(0, -2)
        tail, tail_weights = self.tail.points(max(1, count // _TAIL_SHARE))
        pi = self.inside.sigmoid().unsqueeze(-1)
        shares = [pi * weights, (1 - pi) * tail_weights.to(pi)]
        shares = [share.expand(*self.batch_shape, -1) for share in shares]
        return torch.cat([cells, tail.to(cells)], -2), torch.cat(shares, -1)

    def strata(self, count: int) -> Strata:
        z, weights = (part.to(self.loc) for part in picked(self.residual, (count, *self.batch_shape)))
        cells = Strata(self.log_weights, (self.loc + self.scale * z.unsqueeze(-1)).mT, weights.unsqueeze(-1) / count)
        tail = self.tail.sample((count,))
        return with_tail(cells, self.inside, tail, torch.ones_like(weights))

    @property
    def mean(self) -> Tensor:
        centres = self.loc + self.scale * self.residual.mean.to(self.loc).unsqueeze(-1)
        pi = self.inside.sigmoid().unsqueeze(-1)
        return pi * (self.log_weights.exp().unsqueeze(-2) * centres).sum(-1) + (1 - pi) * self.tail.mean

    @property
    def mode(self) -> Tensor:
        return self.chunked(FieldDensity._highest if self.decode == "mode" else FieldDensity._most_mass)

    def _highest(self) -> Tensor:
        """(N, K, 2), the best of what the highest cells are about, refined on ever finer grids."""
        best = self.log_heights.topk(min(_CANDIDATES, self.loc.shape[-1]), -1).indices
        loc, scale = self._taken(self.loc, best), self._taken(self.scale, best)
        peak = loc + scale * self.residual.mode.to(loc).unsqueeze(-1)
        start, width = self._densest(peak.movedim(-1, 0), scale.movedim(-1, 0))
        side = torch.linspace(-1, 1, 5).to(self.loc)
        steps = torch.cartesian_prod(side, side)[:, None, None]
        for reach in (1.0, 0.3, 0.1, 0.03):
            start, width = self._densest(start + reach * steps * width, width.expand(len(steps), *width.shape))
        return start

    def _densest(self, points: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """The densest (N, K, 2) of points (S, N, K, 2), and its one of as many widths."""
        index = _top(self.height(points))
        return points.gather(0, index).squeeze(0), widths.gather(0, index).squeeze(0)

    def _most_mass(self) -> Tensor:
        """(N, K, 2), the mode of the cells blurred by a Gaussian, each cell taken as one of its scale: mean shifts.

        (Carreira-Perpinan, "Mode-finding for mixtures of Gaussian distributions", IEEE TPAMI 2000.)
        """
        loc, scale, log_weights = self.loc.float(), self.scale.float(), self.log_weights.float()
        cell = 1 / loc.new_tensor([self.grid[1], self.grid[0]])
        precision = 1 / (scale**2 + (self.blur * cell.unsqueeze(-1)) ** 2)
        cells = _Blurred(loc, precision, log_weights + 0.5 * precision.log().sum(-2))
        heavy = log_weights.topk(min(_HEAVY, loc.shape[-1]), -1).indices
        starts = self._taken(loc, heavy[..., :_CANDIDATES]).movedim(-1, 0)
        at = starts.gather(0, _top(cells.of(heavy).log_parts(starts).logsumexp(-1)))
        near = cells.of(cells.log_parts(at).squeeze(0).topk(min(_NEAR, loc.shape[-1]), -1).indices)
        for _ in range(_SHIFTS):
            at = near.shifted(at)
        return at.squeeze(0).to(self.loc)

    def _placed(self, uniform: Tensor, z: Tensor) -> Tensor:
        """(..., N, K, 2): residuals z moved by the cells that numbers (..., N, K) pick."""
        which, _ = pick(self.log_weights.exp(), uniform)
        lead = which.shape[:-2]
        index = which[..., None, None].expand(*which.shape, 2, 1)
        loc, scale = (part.expand(*lead, *part.shape).gather(-1, index).squeeze(-1) for part in (self.loc, self.scale))
        placed: Tensor = loc + scale * z
        return placed

    @staticmethod
    def _taken(values: Tensor, cells: Tensor) -> Tensor:
        """Entries (N, K, 2, B) of (N, K, 2, C) of cells (N, K, B)."""
        return values.gather(-1, cells.unsqueeze(-2).expand(-1, -1, 2, -1))


class _Blurred(NamedTuple):
    """Gaussians in place of the cells.

    Attributes:
        loc: (N, K, 2, C).
        precision: along each axis, (N, K, 2, C).
        log_peaks: (N, K, C), up to a constant.
    """

    loc: Tensor
    precision: Tensor
    log_peaks: Tensor

    def of(self, cells: Tensor) -> _Blurred:
        """Those of some cells (N, K, B)."""
        loc, precision = (FieldDensity._taken(part, cells) for part in (self.loc, self.precision))
        return _Blurred(loc, precision, self.log_peaks.gather(-1, cells))

    def log_parts(self, at: Tensor) -> Tensor:
        """Log densities (S, N, K, C) at (S, N, K, 2)."""
        return self.log_peaks - 0.5 * (self.precision * (at.unsqueeze(-1) - self.loc) ** 2).sum(-2)

    def shifted(self, at: Tensor) -> Tensor:
        """One mean shift from (S, N, K, 2)."""
        share = self.log_parts(at).softmax(-1).unsqueeze(-2) * self.precision
        return (share * self.loc).sum(-1) / share.sum(-1)


def _closed_form(residual: Residual) -> Literal["axes", "lengths"] | None:
    """What R follows from in any precision: the law of an axis, or lengths stretched along the axes by its gauge."""
    if residual.native.axis is not None and residual.standardised:
        return "axes"
    return "lengths" if residual.native.of_square is not None and residual.gauge == "quantile" else None


def _log_residual(residual: Residual, z: Tensor) -> Tensor:
    """log R in nats, (..., K, C), at residuals z (..., K, 2, C); several times as fast where it is in closed form."""
    form, native = _closed_form(residual), residual.native
    if form == "axes" and native.axis is not None:
        along: Tensor = native.axis.log_prob(z)  # type: ignore[no-untyped-call]
        return along[..., 0, :] + along[..., 1, :]
    if form == "lengths":
        origin, stretch = (part.unsqueeze(-1).to(z) for part in (residual.loc, _stretch(residual)))
        x, y = torch.addcmul(origin, z, stretch).unbind(-2)
        return _log_of_square(residual, torch.addcmul(x * x, y, y))
    return log_density(residual, z.movedim(-1, -3)).movedim(-2, -1)


def _stretch(residual: Residual) -> Tensor:
    """Along the axes, from the gauge to the native residual, (B, 2)."""
    return residual.factor.diagonal(dim1=-2, dim2=-1)


def _log_of_square(residual: Residual, square: Tensor) -> Tensor:
    """log R, (..., K, C), of native residuals of the squared lengths (..., K, C)."""
    of_square, log_det = residual.native.of_square, _stretch(residual).log().sum(-1, keepdim=True).to(square)
    assert of_square is not None
    if residual.batch == 1:
        return (of_square(square.reshape(1, -1)) + log_det).view(square.shape)
    by_joint = square.movedim(-2, 0)
    return (of_square(by_joint.flatten(1)) + log_det).view(by_joint.shape).movedim(0, -2)


def _top(heights: Tensor) -> Tensor:
    """Index (1, N, K, 2) of the first axis at which heights (S, N, K) are greatest."""
    return heights.argmax(0)[None, ..., None].expand(1, *heights.shape[1:], 2)


def hat(value: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The four cells whose centres lie about `value` (N, K, 2), (N, K, 4), and their bilinear shares, the same shape.

    Beyond the outermost centres the outermost cells have all of it.
    """
    size = value.new_tensor([grid[1], grid[0]])
    place = ((value + 0.5) * size - 0.5).clamp_min(0).minimum(size - 1)
    first = place.floor()
    corners = torch.cartesian_prod(*[torch.arange(2, device=value.device)] * 2)
    share = torch.where(corners == 1, (place - first).unsqueeze(-2), (1 + first - place).unsqueeze(-2)).prod(-1)
    x, y = (first.unsqueeze(-2) + corners).minimum(size - 1).long().unbind(-1)
    return y * grid[1] + x, share
