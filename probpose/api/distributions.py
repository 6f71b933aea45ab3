"""Predictions as distributions: where an annotator will click, keypoint by keypoint, whatever model predicted it.

Arrays come in as numpy or torch and go out as numpy, in pixels of the image with pixel centres at integers.
"""

from __future__ import annotations

__all__ = ["Distribution", "Gaussian", "Heatmap", "Laplace", "Samples"]

from collections.abc import Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from torch import Tensor

from probpose.analysis.figures.regions import Outline, regions
from probpose.analysis.prediction.estimates import expected_oks
from probpose.api.inputs import joint_names, one_of
from probpose.api.tensors import ArrayLike, cholesky, diagonal, positive, refuse, tensor
from probpose.arrays import Array, Index, Mask, as_array, given, share
from probpose.data.predictions.heatmaps import read_heatmaps
from probpose.errors import DataError
from probpose.models.densities import GaussianResidual, LaplaceResidual, Residual, StudentTResidual
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.decomposition import Decomposition, decompose
from probpose.models.predictive.grids import HeatmapDensity, Surface
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import LocationScaleMixture

if TYPE_CHECKING:
    import xarray as xr

_TAIL_NODES = 2**12


class Distribution:
    """A density for each of N x K keypoints; see `Gaussian`, `Laplace`, `Samples`, `Heatmap`, and what a run predicts.

    Args:
        predictive: the densities, float64, pixels (`probpose.models.predictive.contract`).
        joints: K names; "0", "1", ... by default.

    Raises:
        DataError: the number of names is not K, or two are equal.
    """

    def __init__(self, predictive: Predictive, joints: Sequence[str] | None = None) -> None:
        self.predictive = predictive
        self.joints = joint_names(range(predictive.batch_shape[1]) if joints is None else joints)
        if len(self.joints) != predictive.batch_shape[1]:
            raise DataError(f"{len(self.joints)} joints are named, and each row has {predictive.batch_shape[1]}.")

    def __len__(self) -> int:
        return int(self.predictive.batch_shape[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} x {len(self.joints)} keypoints)"

    @property
    def mean(self) -> Array:
        """(N, K, 2) pixels."""
        return as_array(self.predictive.mean)

    @property
    def median(self) -> Array:
        """(N, K, 2) pixels, per axis."""
        return as_array(self.predictive.median)

    @property
    def mode(self) -> Array:
        """(N, K, 2) pixels, the most probable point."""
        return as_array(self.predictive.mode)

    @property
    def sigma_px(self) -> Array:
        """(N, K, 2) scale per axis: standard deviation, or half the 16-84% width where `gauge` is "quantile"."""
        return as_array(self.predictive.sigma)

    @property
    def covariance_px(self) -> Array:
        """(N, K, 2, 2) covariance in square pixels, of the points that represent the density."""
        return as_array(self.predictive.covariance)

    def decompose(self) -> Decomposition[Array]:
        """What an annotator's label is unsure of, and what the model is (Depeweg et al., ICML 2018).

        Raises:
            ConfigError: these are predictions of a single network, which says nothing of what it does not know.
        """
        return Decomposition(*map(as_array, decompose(self.predictive)))

    @property
    def gauge(self) -> str:
        """What `sigma_px` is: "moment", "quantile" or "native"."""
        return self.predictive.gauge

    def log_prob(self, points: ArrayLike) -> Array:
        """Log density (N, K) in nats per keypoint at points (N, K, 2)."""
        return as_array(self.predictive.log_prob(tensor(points, (*self._shape, 2), "points")))

    def sample(self, count: int, *, seed: int | None = None) -> Array:
        """Independent draws, (count, N, K, 2) pixels; the same for the same seed."""
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            return as_array(self.predictive.sample((count,)))

    def region(self, level: float = 0.9) -> list[list[Outline]]:
        """Outlines of the smallest regions that hold a share `level`: `[row][joint]`, closed curves (m, 2)."""
        return [[levels[0] for levels in row] for row in regions(self.predictive, [share(level, "level")])]

    def radius_px(self, level: float = 0.9) -> Array:
        """(N, K) radius about the mean that holds `level` of the probability."""
        return as_array(self.predictive.radius([share(level, "level")])[0])

    def probability_within(self, radius_px: float) -> Array:
        """(N, K) probability that the label lies within `radius_px` of the mean."""
        return as_array(self.predictive.within(float(radius_px)))

    def expected_oks(self, area: ArrayLike, oks_sigmas: ArrayLike) -> Array:
        """(N, K) expected OKS of the mean, exp(-d^2 / (2 area (2 sigma_k)^2)) with d its distance from the label.

        Args:
            area: (N,) of the object in square pixels.
            oks_sigmas: (K,) of the joints (https://cocodataset.org/#keypoints-eval).

        Raises:
            DataError: another shape, or a number that is not positive.
        """
        rows, joints = self._shape
        size, sigmas = positive(area, (rows,), "area"), positive(oks_sigmas, (joints,), "oks_sigmas")
        return self._expected_oks(self.predictive.mean, size.unsqueeze(-1) * (2 * sigmas) ** 2)

    def _expected_oks(self, point: Tensor, variance: Tensor) -> Array:
        """(N, K) at points (N, K, 2), of a kernel of that variance (N, K)."""
        return as_array(expected_oks(self.predictive, point, variance))

    def select(self, rows: int | Sequence[int] | Index | Mask | slice | Tensor) -> Distribution:
        """The rows of that index, mask or slice, in its order."""
        chosen = slice(0) if isinstance(rows, list | tuple) and not rows else rows  # numpy reads [] as numbers
        index = np.atleast_1d(np.arange(len(self))[chosen if isinstance(chosen, slice) else given(chosen, "rows")])
        return Distribution(self.predictive.rows(torch.from_numpy(index)), self.joints)

    def to_xarray(self) -> xr.Dataset:
        """Mean, sigma and covariance with coordinates row, joint and axis."""
        import xarray as xr

        return xr.Dataset(
            {
                "mean_px": (("row", "joint", "axis"), self.mean),
                "sigma_px": (("row", "joint", "axis"), self.sigma_px),
                "covariance_px": (("row", "joint", "axis", "axis2"), self.covariance_px),
            },
            coords={"row": np.arange(len(self)), "joint": list(self.joints), "axis": ["x", "y"], "axis2": ["x", "y"]},
        )

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self), len(self.joints)


class Gaussian(Distribution):
    """Normal densities.

    Args:
        mean: (N, K, 2) pixels.
        covariance: (N, K, 2, 2) square pixels, positive definite; or `sigma`.
        sigma: standard deviation in pixels, (N, K, 2) per axis or (N, K) for both.
        joints: K names.

    Raises:
        DataError: a shape is another, or a number is not finite, or no scale; the first keypoint is named.

    >>> p = Gaussian([[[10.0, 20.0]]], sigma=[[2.0]])
    >>> p.radius_px(0.9).round(1)                    # 2 sqrt(-2 log 0.1)
    array([[4.3]])
    """

    def __init__(
        self,
        mean: ArrayLike,
        covariance: ArrayLike | None = None,
        *,
        sigma: ArrayLike | None = None,
        joints: Sequence[str] | None = None,
    ) -> None:
        loc = tensor(mean, (None, None, 2), "mean")
        if (covariance is None) == (sigma is None):
            raise DataError("give the covariance (N, K, 2, 2) or sigma (N, K, 2), and not both.")
        scale = diagonal(sigma, loc, "sigma") if sigma is not None else cholesky(covariance, loc)
        super().__init__(LocationScale(loc, scale, _frozen("gaussian")), joints)


class Laplace(Distribution):
    """Independent Laplace axes, exp(-|x - mean| / scale) / (2 scale) along each.

    Args:
        mean: (N, K, 2) pixels.
        scale: pixels, (N, K, 2) per axis or (N, K) for both: the mean absolute error; the standard deviation is
            sqrt(2) times it.
        joints: K names.

    Raises:
        DataError: as `Gaussian`.
    """

    def __init__(self, mean: ArrayLike, scale: ArrayLike, *, joints: Sequence[str] | None = None) -> None:
        loc = tensor(mean, (None, None, 2), "mean")
        super().__init__(LocationScale(loc, diagonal(scale, loc, "scale") * np.sqrt(2), _frozen("laplace")), joints)


class Samples(Distribution):
    """Densities of which there are draws, such as the members of an ensemble: a Gaussian kernel on each draw.

    The bandwidth is Scott's, S^(-1/6) times the draws' covariance ("Multivariate Density Estimation", 1992), and the
    draws are shrunk towards their mean by as much as the kernels widen them, so that mean and covariance stay those of
    the draws (West, "Mixture Models, Monte Carlo, Bayesian Updating and Dynamic Models", 1993).

    Args:
        draws: (S, N, K, 2) pixels, S >= 3.
        joints: K names.

    Raises:
        DataError: another shape, too few draws, or draws of a keypoint that lie on a line or in a point.
    """

    def __init__(self, draws: ArrayLike, *, joints: Sequence[str] | None = None) -> None:
        points = tensor(draws, (None, None, None, 2), "draws")
        count = len(points)
        if count < 3:
            raise DataError(f"{count} draws are too few for a density on the plane: give at least 3.")
        points = points.permute(1, 2, 0, 3)
        mean = points.mean(-2, keepdim=True)
        covariance = torch.einsum("nksi,nksj->nkij", points - mean, points - mean) / count
        width = count ** (-1 / 6)
        scale = width * cholesky(covariance, mean.squeeze(-2))
        loc = mean + np.sqrt(1 - width**2) * (points - mean)
        weights = torch.full(loc.shape[:-1], -np.log(count), dtype=loc.dtype)
        components = scale.unsqueeze(2).expand(*loc.shape, 2)
        super().__init__(LocationScaleMixture(loc, components, weights, _frozen("gaussian")), joints)


class Heatmap(Distribution):
    """Heatmaps read as densities: the mass of a cell is its value over the sum of the map.

    A map covers its box; outside of it a broad Student-t holds what `inside` leaves.

    Args:
        maps: (N, K, h, w), at least 0 and with a positive sum; logits where `logits`.
        boxes: (N, 4) x, y, width, height of what each map covers: edges, in pixels of the image; (4,) for a single row.
        logits: the maps are to go through a softmax first.
        surface: the density is "constant" inside each cell or "bilinear" between their centres.
        inside: probability that a label lies in the box.
        joints: K names.

    Raises:
        DataError: another shape, values that are negative or not finite, an empty map, or a box of no area.

    Attributes:
        density: the maps over their boxes in network units.
    """

    def __init__(
        self,
        maps: ArrayLike,
        boxes: ArrayLike,
        *,
        logits: bool = False,
        surface: Surface = "constant",
        inside: float = 0.99,
        joints: Sequence[str] | None = None,
    ) -> None:
        values = tensor(maps, (None, None, None, None), "maps")
        one_of(surface, get_args(Surface), "surface")
        box = tensor(np.atleast_2d(given(boxes, "boxes")), (len(values), 4), "boxes")
        refuse(~(box[:, 2:] > 0).all(-1), "the box of row {} has no area: boxes are x, y, width, height.")
        log_cells = values if logits else _log_shares(values)
        log_cells = log_cells.flatten(-2).log_softmax(-1).view(values.shape)
        odds = torch.full(values.shape[:2], float(np.log(share(inside, "inside") / (1 - inside))), dtype=values.dtype)
        self.density = HeatmapDensity(log_cells, odds, _frozen("student_t"), surface, "dark")
        super().__init__(self.density.over(box.numpy()), joints)

    @classmethod
    def read(cls, file: str | PathLike[str]) -> Heatmap:
        """The rows of an .npz file with `maps` (N, K, h, w) and `boxes` (N, 4) (docs/commands.md).

        Raises:
            DataError: it is damaged or lacks something, or a map or box cannot be used; the first record is named.
        """
        found = read_heatmaps(Path(file))
        return cls(found.maps, found.boxes, logits=found.logits, inside=found.inside, joints=found.joints)


def _log_shares(values: Tensor) -> Tensor:
    sums = values.sum((-2, -1))
    refuse((values < 0).flatten(-2).any(-1), "map {} has negative values: are they logits? Then say logits=True.")
    refuse(~(sums > 0), "map {} is empty: it has no positive value.")
    return values.clamp_min(1e-30).log()


@lru_cache(maxsize=3)
def _frozen(name: str) -> Residual:
    """Residual densities in closed form, made once."""
    if name == "student_t":
        return StudentTResidual().frozen(_TAIL_NODES)
    return (GaussianResidual if name == "gaussian" else LaplaceResidual)().frozen()
