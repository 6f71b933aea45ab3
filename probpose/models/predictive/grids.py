"""Densities on the cells of a grid over the crop: heatmaps and SimCC, read as classifications of cells."""

from __future__ import annotations

__all__ = ["Decode", "HeatmapDensity", "SimCCDensity", "Surface", "cell_centres"]

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from probpose.arrays import Array
from probpose.models.densities.nodes import pick
from probpose.models.densities.residual import Residual
from probpose.models.predictive.blur import Blur
from probpose.models.predictive.contract import Predictive, Strata
from probpose.models.predictive.crop import TAIL_SCALE, CropDensity, with_tail
from probpose.models.predictive.folding import picked

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

    def over(self, box: Array) -> Predictive:
        """The density in pixels of the image, over boxes (N, 4) x, y, width and height, edges."""
        size = torch.from_numpy(box[:, 2:])
        return self.affine(torch.diag_embed(size), torch.from_numpy(box[:, :2]) + size / 2 - 0.5)

    @property
    def cells(self) -> int:
        return math.prod(self.log_cells.shape[-2:])

    def softened(self, temperature: float, blur: float) -> HeatmapDensity:
        log_cells = (self.log_cells / temperature).flatten(-2).log_softmax(-1).view(self.log_cells.shape)
        if blur > 0:
            down, across = (_spreading(count, blur).to(log_cells) for count in log_cells.shape[-2:])
            log_cells = (down.mT @ log_cells.exp() @ across).clamp_min(_LEAST).log()
        return self.replace(log_cells=log_cells)

    def expected_log_crop(self, label: Tensor, blur: Blur) -> Tensor:
        height, width = self.log_cells.shape[-2:]
        offset = (cell_centres(self.log_cells) - label[:, :, None, None]) * label.new_tensor([width, height])
        q = blur.size((width, height)).log_plane(offset).flatten(-2).softmax(-1)
        return (q * self.log_cells.flatten(-2)).sum(-1) + math.log(height * width)

    def cell_centre(self, value: Tensor) -> Tensor:
        if self.surface == "bilinear":
            return value
        size = self.size.to(value)
        return (((value + 0.5) * size).floor() + 0.5) / size - 0.5

    def drawn(self, uniform: Tensor) -> Tensor:
        """A cell by the first number, whose rest, uniform again, and the second number give the point in it."""
        which, rest = pick(self.log_cells.flatten(-2).softmax(-1), uniform[..., 0])
        return self.placed(which, torch.stack([rest, uniform[..., 1]], -1))

    def strata(self, count: int) -> Strata:
        shape, device = (count, *self.batch_shape), self.inside.device
        which = torch.arange(self.cells, device=device).expand(*shape, -1)
        points = self.placed(which, torch.rand(*which.shape, 2, dtype=torch.float64, device=device))
        cells = Strata(self.log_cells.flatten(-2), points, points.new_full((1,), 1 / count))
        z, weights = picked(self.residual, shape)
        return with_tail(cells, self.inside, TAIL_SCALE * z, weights)

    def placed(self, which: Tensor, offset: Tensor) -> Tensor:
        """Draws (..., 2) of the surface of single cells.

        Args:
            which: (...), their numbers, row by row.
            offset: (..., 2), points of the unit square.
        """
        width, size = self.log_cells.shape[-1], self.size.double()
        cell = torch.stack([which % width, which // width], -1)
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


_LEAST = 1e-30
_NARROWEST = 1e-3


def _spreading(count: int, blur: float) -> Tensor:
    """(count, count), what a Gaussian of `blur` cells about each cell's centre leaves on each cell; rows sum to 1."""
    place = torch.arange(count, dtype=torch.float64)
    away, width = place - place[:, None], max(blur, _NARROWEST)
    mass = torch.special.ndtr((away + 0.5) / width) - torch.special.ndtr((away - 0.5) / width)
    shares: Tensor = mass / mass.sum(-1, keepdim=True)
    return shares


def cell_centres(log_cells: Tensor) -> Tensor:
    """Centres (h, w, 2) of the cells of a grid (..., h, w), network units."""
    height, width = log_cells.shape[-2:]
    x = (torch.arange(width).to(log_cells) + 0.5) / width - 0.5
    y = (torch.arange(height).to(log_cells) + 0.5) / height - 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _between(place: Tensor) -> tuple[Tensor, Tensor]:
    """The cell (..., 2) whose centre is left of and above `place`, and the share of the way to the next, in [0, 1)."""
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

    def expected_log_crop(self, label: Tensor, blur: Blur) -> Tensor:
        cells = (self.log_x.shape[-1], self.log_y.shape[-1])
        blur, total = blur.size(cells), label.new_zeros(label.shape[:2])
        for axis, log in enumerate(self.axes):
            offset = (_centres(log).to(label) - label[..., axis, None]) * cells[axis]
            q = blur.log_axis(offset, axis).softmax(-1)
            total = total + (q * log).sum(-1) + math.log(cells[axis])
        return total

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
