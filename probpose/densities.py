"""Residual densities alone: the shape of an annotator's errors, in units of their scale.

Each is a torch module; calling it gives R in its gauge, `frozen()` the same in float64 from many nodes, for reported
numbers. `fit` finds location, scale and shape of greatest likelihood for errors that one has.

>>> import numpy as np
>>> R = Laplace(gauge="moment").frozen()                     # two axes of unit variance
>>> R.log_prob(R.nodes.new_zeros(1, 2)).exp().round(decimals=3).tolist()      # (1 / sqrt 2)^2 at the centre
[[0.5]]
>>> errors = np.random.default_rng(0).laplace(3.0, 2.0, (2000, 2))
>>> found = fit(errors, "laplace", steps=300)
>>> bool(np.abs(found.location - 3.0).max() < 0.3)
True
"""

from __future__ import annotations

__all__ = [
    "RLE", "VAE", "ErrorDensity", "Flow", "Gaussian", "Laplace", "Residual", "ResidualDensity", "StudentT", "fit",
]  # fmt: skip

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from probpose.arrays import Array, as_array, numbers, share
from probpose.errors import ConfigError, DataError, TrainingError
from probpose.models.densities import (
    FlowResidual,
    GaussianResidual,
    LaplaceResidual,
    Residual,
    ResidualDensity,
    RLEResidual,
    StudentTResidual,
    VAEResidual,
)
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.residual_families import build_residual, refittable

ArrayLike = npt.ArrayLike | Tensor

RLE, Flow, VAE, StudentT = RLEResidual, FlowResidual, VAEResidual, StudentTResidual
Gaussian, Laplace = GaussianResidual, LaplaceResidual


class ErrorDensity:
    """A density of errors on the plane, x = m + L z with z ~ R; made by `fit`.

    Attributes:
        location: m, (2,), in the unit of the errors.
        scale: L, (2, 2), lower triangular.
        residual: R in its gauge, float64 (`Residual`).
    """

    def __init__(self, location: Tensor, scale: Tensor, residual: Residual) -> None:
        self.location, self.scale, self.residual = as_array(location), as_array(scale), residual
        self._density = LocationScale(location.double().view(1, 1, 2), scale.double().view(1, 1, 2, 2), residual)

    def __repr__(self) -> str:
        at, sigma = (np.round(values, 3).tolist() for values in (self.location, np.linalg.norm(self.scale, axis=-1)))
        return f"ErrorDensity(location {at}, sigma {sigma}, gauge {self.residual.gauge})"

    def log_prob(self, errors: ArrayLike) -> Array:
        """Log density (n,) in nats at errors (n, 2)."""
        return self._of(self._density.log_prob, errors)

    def level(self, errors: ArrayLike) -> Array:
        """Content (n,) of the smallest highest-density region that holds each error (n, 2)."""
        return self._of(self._density.hdr_level, errors)

    def sample(self, count: int, *, seed: int | None = None) -> Array:
        """Independent errors (count, 2)."""
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            return as_array(self._density.sample((count,)))[:, 0, 0]

    def radius(self, level: float = 0.9) -> float:
        """Radius about the mean that holds `level` of the errors."""
        return float(self._density.radius([share(level, "level")])[0])

    def _of(self, what: Callable[[Tensor], Tensor], errors: ArrayLike) -> Array:
        return as_array(what(_checked(errors).view(-1, 1, 1, 2))).reshape(-1)


def fit(
    errors: ArrayLike,
    density: str | ResidualDensity = "rle",
    *,
    steps: int = 1500,
    batch_size: int = 2048,
    lr: float = 1e-2,
    seed: int = 0,
) -> ErrorDensity:
    """Fit a density to errors by maximum likelihood: location, scale and shape together, by Adam with cosine decay.

    Args:
        errors: (n, 2), label minus prediction, in any unit.
        density: a residual density of this module, or its name: "rle", "flow", "vae", "gaussian", "laplace",
            "student_t".
        steps: of the optimiser.
        batch_size: errors a step.
        lr: learning rate, in units of the errors' spread.
        seed: of batches, nodes and initial weights.

    Raises:
        DataError: fewer than ten errors, one that is not finite, or errors that do not differ.
        ConfigError: an unknown name, or a loss that is no density.
        TrainingError: the likelihood became infinite.
    """
    points = _checked(errors).float()
    if len(points) < 10:
        raise DataError(f"{len(points)} errors are too few to fit a density to: give at least 10.")
    if isinstance(density, str) and density not in refittable():
        raise ConfigError(f"there is no density {density!r} to fit: choose one of {', '.join(refittable())}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        family = build_residual(density, full=True) if isinstance(density, str) else density
        origin, unit = _middle(points)
        frame = _Frame()
        _optimise(family, frame, (points - origin) / unit, steps, batch_size, lr)
    with torch.no_grad():
        location = origin + unit * frame.location
        return ErrorDensity(location, unit.unsqueeze(-1) * frame.scale, family.frozen())


class _Frame(nn.Module):
    """m and L in units of the errors' spread; the identity at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.zeros(2))
        self.log_diagonal = nn.Parameter(torch.zeros(2))
        self.below = nn.Parameter(torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """L, (2, 2)."""
        first, second = self.log_diagonal.exp()
        return torch.stack([first, first.new_zeros(()), self.below, second]).view(2, 2)


def _optimise(family: ResidualDensity, frame: _Frame, points: Tensor, steps: int, batch_size: int, lr: float) -> None:
    if not family.full:
        frame.below.requires_grad_(False)  # R may hold the correlation, and both could trade it
    parameters = [p for module in (family, frame) for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(points), (min(batch_size, len(points)),))
        scale = frame.scale
        z = torch.linalg.solve_triangular(scale, (points[rows] - frame.location).unsqueeze(-1), upper=False).squeeze(-1)
        loss = scale.diagonal().log().sum() - family().log_prob(z).mean()
        if not bool(torch.isfinite(loss)):
            raise TrainingError(f"the likelihood of the errors became {float(loss)}: lower lr.")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        schedule.step()


def _middle(points: Tensor) -> tuple[Tensor, Tensor]:
    """Median and half the 16-84% width (2,) of points (n, 2), which a few gross errors do not move.

    Where most points are equal, the width is 0 and the standard deviation takes its place.
    """
    low, middle, high = (points.quantile(level, dim=0) for level in (0.16, 0.5, 0.84))
    unit = torch.where(high > low, (high - low) / 2, points.std(0))
    if not bool((unit > 0).all()):
        axis = "xy"[int((unit <= 0).nonzero()[0])]
        raise DataError(f"all errors have the same {axis}: they have no density on the plane.")
    return middle, unit


def _checked(errors: ArrayLike) -> Tensor:
    array = numbers(errors, "errors", finite=False)
    if array.ndim != 2 or array.shape[1] != 2:
        raise DataError(f"errors have shape {array.shape}, expected (n, 2): label minus prediction, x and y.")
    broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(broken):
        first = array[broken[0]].tolist()
        raise DataError(
            f"error {broken[0]} is {first}, and {len(broken)} are not finite: leave out what is unlabelled."
        )
    return torch.from_numpy(array)
