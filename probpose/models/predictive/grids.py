"""Densities that live in the crop, made densities on the plane: p(x) = pi p_crop(x) + (1 - pi) T(x).

T is a broad density about the crop's centre with half the crop as its scale, so that a label outside the crop, as one
in a hundred real ones is, has a log density; pi is said by the network. With p_crop piecewise constant the regions are
made of whole cells (see `Predictive.hdr_bounds`).

A density on the cells of a grid over the crop: what a heatmap is when it is read as a classification of cells.
"""

from __future__ import annotations

__all__ = ["TAIL_SCALE", "CropDensity", "Decode", "HeatmapDensity", "SimCCDensity", "cell_centres"]

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from probpose.models.densities.nodes import pick, uniform_nodes
from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import POINTS, Predictive

TAIL_SCALE = 0.5
"""Scale of T, network units: half the crop."""

_TAIL_SHARE = 8
"""One point in so many represents T."""


class CropDensity(Predictive):
    """A density inside the crop with a broad one around it, in network units.

    To add one, give `log_crop`, `drawn` and `crop_mode`, and `crop_mean` if there is a closed form.

    Args:
        inside: logit of pi, (N, K).
        residual: T in its gauge, shared by all joints or one a joint.
    """

    per_person: ClassVar[tuple[str, ...]] = ("inside",)
    shared: ClassVar[tuple[str, ...]] = ("residual",)

    def __init__(self, inside: Tensor, residual: Residual) -> None:
        self.inside, self.residual = inside, residual
        self.gauge = "quantile"
        super().__init__(*inside.shape)

    @abstractmethod
    def log_crop(self, value: Tensor) -> Tensor:
        """log p_crop, (..., N, K), at `value` (..., N, K, 2) inside the crop; anything finite outside."""

    @abstractmethod
    def drawn(self, uniform: Tensor) -> Tensor:
        """Draws of p_crop, (..., N, K, 2), from points of the unit square of the same shape."""

    @property
    @abstractmethod
    def crop_mean(self) -> Tensor:
        """Mean of p_crop, (N, K, 2)."""

    @property
    @abstractmethod
    def crop_mode(self) -> Tensor:
        """Most probable point of p_crop, (N, K, 2), or the point that the family decodes."""

    def cell_centre(self, value: Tensor) -> Tensor:
        """The centre of the plateau that `value` (..., N, K, 2) is on; `value` itself where there are no plateaus."""
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        within = (value.abs() < 0.5).all(-1)
        log_crop = self.log_crop(value.clamp(-0.5, 0.5 - 1e-6)).masked_fill(~within, -torch.inf)
        log_pi, log_rest = torch.nn.functional.logsigmoid(self.inside), torch.nn.functional.logsigmoid(-self.inside)
        return torch.logaddexp(log_pi + log_crop, log_rest + self._log_tail(value))

    def height(self, value: Tensor) -> Tensor:
        within = (value.abs() < 0.5).all(-1, keepdim=True)
        return self.log_prob(torch.where(within, self.cell_centre(value), value))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        persons, joints = self.batch_shape
        lead = (persons, joints) if self.residual.batch_shape == () else (persons,)
        with torch.no_grad():
            uniform = torch.rand(*sample_shape, persons, joints, 2, dtype=torch.float64, device=self.inside.device)
            crop = self.drawn(uniform)
            tail = TAIL_SCALE * self.residual.sample((*sample_shape, *lead)).to(crop)
            within = torch.rand(crop.shape[:-1], dtype=crop.dtype, device=crop.device) < self.inside.sigmoid()
            return torch.where(within.unsqueeze(-1), crop, tail)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        persons, joints = self.batch_shape
        uniform = uniform_nodes(count, generator=torch.Generator().manual_seed(0)).to(self.inside.device)
        crop = self.drawn(uniform[:, None, None].expand(count, persons, joints, 2)).movedim(0, -2)
        some = count // _TAIL_SHARE
        nodes, weights = self.residual.nodes[:, :some].to(crop), self.residual.native.weights[:, :some].to(crop)
        tail = (TAIL_SCALE * nodes).expand(persons, joints, -1, 2)
        pi = self.inside.sigmoid().unsqueeze(-1)
        shares = [(pi / count).expand(persons, joints, count), (1 - pi) * weights / weights.sum(-1, keepdim=True)]
        return torch.cat([crop, tail], -2), torch.cat(shares, -1)

    @property
    def mean(self) -> Tensor:
        pi = self.inside.sigmoid().unsqueeze(-1)
        return pi * self.crop_mean + (1 - pi) * TAIL_SCALE * self.residual.mean.to(pi)

    @property
    def mode(self) -> Tensor:
        return self.crop_mode

    def _log_tail(self, value: Tensor) -> Tensor:
        return self.residual.log_prob(value / TAIL_SCALE) - 2 * math.log(TAIL_SCALE)


Decode = Literal["argmax", "quarter", "dark"]
"""How the point of greatest probability is found inside the best cell: its centre; a quarter cell towards the higher
neighbour (Newell et al., ECCV 2016); or a Newton step on the log density (Zhang et al., "Distribution-Aware Coordinate
Representation for Human Pose Estimation", CVPR 2020). The expectation over cells (soft-argmax) is the mean."""

Surface = Literal["constant", "bilinear"]


class HeatmapDensity(CropDensity):
    """Cells of equal size over the crop, network units.

    Args:
        log_cells: log probabilities of the cells, (N, K, h, w), rows first.
        inside: logit of the probability pi of the part inside the crop, (N, K).
        residual: the broad density T around it.
        surface: `constant` inside each cell, or `bilinear` between the cells' centres, constant beyond the outermost.
        decode: what `mode` is.
    """

    per_person: ClassVar[tuple[str, ...]] = ("log_cells", "inside")
    shared: ClassVar[tuple[str, ...]] = ("residual", "surface", "decode")

    def __init__(
        self, log_cells: Tensor, inside: Tensor, residual: Residual, surface: Surface = "constant",
        decode: Decode = "argmax",
    ) -> None:  # fmt: skip
        self.log_cells, self.surface, self.decode = log_cells, surface, decode
        self.size = log_cells.new_tensor([log_cells.shape[-1], log_cells.shape[-2]])
        super().__init__(inside, residual)

    def log_crop(self, value: Tensor) -> Tensor:
        log_area = -math.log(self.log_cells.shape[-1] * self.log_cells.shape[-2])
        place = (value + 0.5) * self.size.to(value)
        if self.surface == "constant":
            return self._at(place.floor().long()) - log_area
        first, share = _between(place)
        logs = []
        for dx in (0, 1):
            for dy in (0, 1):
                weight = (share[..., 0] if dx else 1 - share[..., 0]) * (share[..., 1] if dy else 1 - share[..., 1])
                corner = self._at(first + first.new_tensor([dx, dy]))
                logs.append(torch.where(weight > 0, corner + weight.clamp_min(1e-30).log(), -torch.inf))
        return torch.stack(logs).logsumexp(0) - log_area

    def cell_centre(self, value: Tensor) -> Tensor:
        if self.surface == "bilinear":
            return value
        size = self.size.to(value)
        return (((value + 0.5) * size).floor() + 0.5) / size - 0.5

    def drawn(self, uniform: Tensor) -> Tensor:
        """A cell by the first number, whose rest, uniform again, and the second number give the place in it."""
        which, rest = pick(self.log_cells.flatten(-2).softmax(-1), uniform[..., 0])
        width, size = self.log_cells.shape[-1], self.size.double()
        cell, offset = torch.stack([which % width, which // width], -1), torch.stack([rest, uniform[..., 1]], -1)
        place = cell + offset if self.surface == "constant" else _spread(cell, offset, size)
        return (place / size - 0.5).clamp(-0.5, 0.5 - 1e-9).to(self.log_cells)

    @property
    def crop_mean(self) -> Tensor:
        """The expectation over cells: soft-argmax (Sun et al., "Integral Human Pose Regression", ECCV 2018)."""
        centres = cell_centres(self.log_cells)
        return torch.einsum("nkhw,hwd->nkd", self.log_cells.exp(), centres)

    @property
    def crop_mode(self) -> Tensor:
        width = self.log_cells.shape[-1]
        best = self.log_cells.flatten(-2).argmax(-1)
        cell = torch.stack([best % width, best // width], -1)
        shift = 0.0 if self.decode == "argmax" else self._refinement(cell)
        return (cell + 0.5 + shift) / self.size - 0.5

    def _refinement(self, cell: Tensor) -> Tensor:
        """Displacement (N, K, 2) from the centre of the best cell, in cells."""

        def at(dx: int, dy: int) -> Tensor:
            return self._at(cell + cell.new_tensor([dx, dy])).clamp_min(-30.0)

        gradient = 0.5 * torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], -1)
        if self.decode == "quarter":
            return 0.25 * gradient.sign()
        here = at(0, 0)
        xx, yy = at(1, 0) + at(-1, 0) - 2 * here, at(0, 1) + at(0, -1) - 2 * here
        xy = 0.25 * (at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1))
        det = xx * yy - xy * xy
        step = torch.stack(
            [xy * gradient[..., 1] - yy * gradient[..., 0], xy * gradient[..., 0] - xx * gradient[..., 1]], -1
        )
        sound = (det > 1e-9) & (xx < 0)
        return torch.where(sound.unsqueeze(-1), step / det.clamp_min(1e-9).unsqueeze(-1), 0.0).clamp(-0.5, 0.5)

    def _at(self, cell: Tensor) -> Tensor:
        """Log probability (..., N, K) of cells (..., N, K, 2), x first; of the nearest one for those outside."""
        height, width = self.log_cells.shape[-2:]
        index = cell[..., 1].clamp(0, height - 1) * width + cell[..., 0].clamp(0, width - 1)
        flat = self.log_cells.flatten(-2).expand(*index.shape, -1)
        return flat.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def cell_centres(log_cells: Tensor) -> Tensor:
    """Centres (h, w, 2) of the cells of a grid (..., h, w), network units."""
    height, width = log_cells.shape[-2:]
    x = (torch.arange(width).to(log_cells) + 0.5) / width - 0.5
    y = (torch.arange(height).to(log_cells) + 0.5) / height - 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _between(place: Tensor) -> tuple[Tensor, Tensor]:
    """The cell (..., 2) whose centre is left of and above `place`, and the way to the next centres, in [0, 1)."""
    first = (place - 0.5).floor()
    return first.long(), place - 0.5 - first


def _spread(cell: Tensor, offset: Tensor, size: Tensor) -> Tensor:
    """Places under the hat function of a cell's centre: a triangle, but constant towards the crop's edge.

    Args:
        cell: (..., 2) whole numbers.
        offset: (..., 2), uniform on the unit square.
        size: (2,), number of cells.
    """
    side = torch.where(offset < 0.5, -1.0, 1.0)
    uniform = torch.where(offset < 0.5, 2 * offset, 2 * offset - 1)
    edge = ((cell == 0) & (side < 0)) | ((cell == size - 1) & (side > 0))
    distance = torch.where(edge, 0.5 * uniform, 1 - (1 - uniform).clamp_min(0).sqrt())
    return cell + 0.5 + side * distance


class SimCCDensity(CropDensity):
    """Independent axes, each piecewise constant over equal bins of the crop.

    Args:
        log_x: log probabilities of the columns, (N, K, w).
        log_y: log probabilities of the rows, (N, K, h).
        inside: logit of the probability pi of the part inside the crop, (N, K).
        residual: the broad density T around it.
    """

    per_person: ClassVar[tuple[str, ...]] = ("log_x", "log_y", "inside")

    def __init__(self, log_x: Tensor, log_y: Tensor, inside: Tensor, residual: Residual) -> None:
        self.log_x, self.log_y = log_x, log_y
        super().__init__(inside, residual)

    @property
    def axes(self) -> tuple[Tensor, Tensor]:
        """Log probabilities of columns and rows."""
        return self.log_x, self.log_y

    def log_crop(self, value: Tensor) -> Tensor:
        logs = [_gather(log, _bin(value[..., d], log)) + math.log(log.shape[-1]) for d, log in enumerate(self.axes)]
        return logs[0] + logs[1]

    def cell_centre(self, value: Tensor) -> Tensor:
        centres = [(_bin(value[..., d], log) + 0.5) / log.shape[-1] - 0.5 for d, log in enumerate(self.axes)]
        return torch.stack(centres, -1).to(value)

    def drawn(self, uniform: Tensor) -> Tensor:
        return torch.stack([_inverse(log, uniform[..., d]) for d, log in enumerate(self.axes)], -1).to(self.inside)

    @property
    def crop_mean(self) -> Tensor:
        return torch.stack([(log.exp() * _centres(log)).sum(-1) for log in self.axes], -1)

    @property
    def crop_mode(self) -> Tensor:
        return torch.stack([(log.argmax(-1) + 0.5) / log.shape[-1] - 0.5 for log in self.axes], -1).to(self.inside)


def _bin(value: Tensor, log: Tensor) -> Tensor:
    """Index (...) of the bin that network coordinates (...) lie in, of the nearest one outside the crop."""
    return ((value + 0.5) * log.shape[-1]).floor().long().clamp(0, log.shape[-1] - 1)


def _gather(log: Tensor, index: Tensor) -> Tensor:
    """Entries (..., N, K) of (N, K, B) at `index` (..., N, K)."""
    return log.expand(*index.shape, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _centres(log: Tensor) -> Tensor:
    """Centres (B,) of the bins."""
    return (torch.arange(log.shape[-1]).to(log) + 0.5) / log.shape[-1] - 0.5


def _inverse(log: Tensor, uniform: Tensor) -> Tensor:
    """Inverse distribution function of bins (N, K, B) at uniform numbers (..., N, K), network units."""
    which, rest = pick(log.softmax(-1), uniform)
    return ((which + rest) / log.shape[-1] - 0.5).clamp(-0.5, 0.5 - 1e-9)
