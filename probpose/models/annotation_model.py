"""How annotators err when they label a landmark: a hierarchical model of repeated labels.

Label of landmark k in object i by annotator a, with z the noise (`probpose.models.annotation_noise`):

    x_iak = t_ik + s_i (b_ak + tau_ak L_k z)
    b_ak = omega_k L_k c_ak,    sum_a c_ak = 0                 bias
    log tau_ak = u_a + v_ak,    sum_a u_a = sum_a v_ak = 0     an annotator's scale relative to the typical one's
    L_k = [[l_x, 0], [rho l_y, sqrt(1 - rho^2) l_y]]           scale of the typical annotator
    s_i = (sqrt(area_i) / reference)^gamma                     where areas are known and differ; otherwise 1

True locations t have a flat prior. A bias that all annotators share moves t and cannot be told from it, which is why
biases sum to zero; contrasts that do are independent normals along the Helmert basis, as are those of u and v. They are
what is left of independent annotators when their mean is taken away. With two annotators the squared difference of
labels tells tau_1^2 + tau_2^2 alone, and both tau are 1. Biases grow with the object as the noise does.

Of each landmark (log l_x, log l_y, atanh rho, log omega, log df) are partially pooled: a pair of sides has a mean, and
a half-difference about zero; means of pairs and lone landmarks share a centre and a spread. The right side's rho is
taken in the mirror image, with the opposite sign. Priors of spreads keep away from 0, as in
`probpose.models.residual_model`. All priors are in units of `typical`, which by default is a robust estimate from the
same labels: that makes the prior of the scales, a factor of e wide, an empirical one.

Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates", Applied Statistics 1979, is the model's
ancestor for categories; Warfield et al., "Validation of Image Segmentation by Estimating Rater Bias and Variance",
Philosophical Transactions of the Royal Society A 2008, that for continuous labels.
"""

from __future__ import annotations

__all__ = [
    "COLUMNS",
    "Design",
    "Latent",
    "Parts",
    "annotation_model",
    "bias_of",
    "label_parameters",
    "parts_of",
]

import math
from dataclasses import dataclass

import numpy as np
import pyro
import torch
from pyro.distributions import ImproperUniform, Normal
from scipy.linalg import helmert
from torch import Tensor
from torch.distributions import constraints

from probpose.arrays import Array, Index
from probpose.data.repeated_labels import RepeatedLabels
from probpose.errors import DataError
from probpose.models.annotation_noise import Warp, noise_of

Latent = dict[str, Tensor]
"""Values of the latent sites by name, of any leading shape."""

COLUMNS = ("log_scale_x", "log_scale_y", "atanh_rho", "log_bias", "log_df")
"""What the columns of `landmark` are; scales in units of `typical`, `log_df` where noise is not Gaussian."""

CENTRE = (0.0, 0.0, 0.0, math.log(0.5), math.log(5))
CENTRE_SCALE = (1.0, 1.0, 0.5, 0.7, 0.7)
"""Prior of the centre: mean and standard deviation."""

SPREAD = (0.4, 0.4, 0.2, 0.3, 0.2)
PAIR_SPREAD = (0.1, 0.1, 0.1, 0.1, 0.1)
SPREAD_SCALE = 0.7
"""Prior of spreads, of groups and of half-differences: median, and standard deviation of the logarithm."""

TAU_SPREAD = (0.2, 0.1)
"""Median of the prior of the spread of u and of v; its logarithm has `SPREAD_SCALE`."""

EXPONENT = (0.5, 0.5)
"""Prior of gamma: mean and standard deviation."""


@dataclass(frozen=True)
class Design:
    """Which label is whose: M labels of N cells (a landmark in an object), by A annotators, of K landmarks.

    Attributes:
        noise: "gaussian", "student_t" or "flow".
        annotators: A.
        group: (K,), a pair of sides or a lone landmark, in 0..G-1.
        side: (K,), 1 and -1 for the two of a pair, 0 otherwise.
        pair: (K,), in 0..P-1; anything where there is none.
        cell: (M,).
        annotator: (M,).
        cell_object: (N,).
        cell_landmark: (N,).
        log_size: (N,), log of sqrt(area) / reference; 0 where unknown.
        xy: (M, 2), labels relative to their cell's origin, in units of `typical`.
        origin: (N, 2), in the labels' unit.
        typical: size of errors, in the labels' unit.
        reference: square root of the area where s = 1; 1 where sizes are unknown.
        sized: sizes are known and differ.
        warp: F of the noise, where it has been learned; otherwise "flow" is Student-t.
    """

    noise: str
    annotators: int
    group: Tensor
    side: Tensor
    pair: Tensor
    cell: Tensor
    annotator: Tensor
    cell_object: Tensor
    cell_landmark: Tensor
    log_size: Tensor
    xy: Tensor
    origin: Tensor
    typical: float
    reference: float
    sized: bool
    warp: Warp | None = None

    @classmethod
    def of(cls, labels: RepeatedLabels, noise: str = "gaussian", typical: float | None = None) -> Design:
        """The design of labels.

        Args:
            labels: M labels.
            noise: "gaussian", "student_t" or "flow".
            typical: size of errors in the labels' unit; by default 1.48 times the median absolute difference of two
                labels of a cell over sqrt(2).

        Raises:
            DataError: labels of the same landmark do not differ, so that errors have no size.
        """
        K = len(labels.landmarks)
        cells, cell = np.unique(labels.object * K + labels.landmark, return_inverse=True)
        origin = np.stack([np.bincount(cell, labels.xy[:, d]) for d in (0, 1)], -1) / np.bincount(cell)[:, None]
        size = typical or _typical(labels, cell)
        group, side, pair = _groups(labels)
        log_size, reference = _sizes(labels)
        return cls(
            noise=noise,
            annotators=len(labels.annotators),
            group=torch.from_numpy(group),
            side=torch.from_numpy(side),
            pair=torch.from_numpy(pair),
            cell=torch.from_numpy(cell),
            annotator=torch.from_numpy(labels.annotator),
            cell_object=torch.from_numpy(cells // K),
            cell_landmark=torch.from_numpy(cells % K),
            log_size=torch.from_numpy(log_size[cells // K]),
            xy=torch.from_numpy((labels.xy - origin[cell]) / size),
            origin=torch.from_numpy(origin),
            typical=size,
            reference=reference,
            sized=labels.sizes_known,
        )

    @property
    def landmark(self) -> Tensor:
        """(M,)."""
        return self.cell_landmark[self.cell]

    @property
    def columns(self) -> int:
        """C: how many of `COLUMNS` there are."""
        return 4 if self.noise == "gaussian" else 5

    @property
    def groups(self) -> int:
        """G."""
        return int(self.group.max()) + 1

    @property
    def pairs(self) -> int:
        """P."""
        return int((self.side > 0).sum())

    @property
    def basis(self) -> Tensor:
        """Q, (A, A-1): orthonormal columns, each summing to zero."""
        return torch.from_numpy(helmert(self.annotators).T.copy())


def annotation_model(design: Design) -> None:
    """The generative program, in units of `design.typical`."""
    A, K, C = design.annotators, len(design.group), design.columns
    like = design.xy
    with pyro.plate("column", C):
        centre = pyro.sample("centre", Normal(like.new_tensor(CENTRE[:C]), like.new_tensor(CENTRE_SCALE[:C])))
        log_spread = pyro.sample("log_spread", Normal(like.new_tensor(SPREAD[:C]).log(), SPREAD_SCALE))
        with pyro.plate("group", design.groups):
            latent = {"mean": pyro.sample("mean", Normal(centre, log_spread.exp()))}
        if design.pairs:
            log_pair = pyro.sample("log_pair_spread", Normal(like.new_tensor(PAIR_SPREAD[:C]).log(), SPREAD_SCALE))
            with pyro.plate("pair", design.pairs):
                latent["difference"] = pyro.sample("difference", Normal(0.0, log_pair.exp()))
    if design.sized:
        latent["exponent"] = pyro.sample("exponent", Normal(like.new_tensor(EXPONENT[0]), EXPONENT[1]))
    landmark = pyro.plate("landmark", K, dim=-1)
    free = pyro.plate("contrast", A - 1, dim=-2)
    if A > 2:
        with pyro.plate("level", 2):
            log_tau = pyro.sample("log_tau_spread", Normal(like.new_tensor(TAU_SPREAD).log(), SPREAD_SCALE))
        with free:
            latent["u"] = pyro.sample("u", Normal(like.new_zeros(1), log_tau[0].exp()))
            with landmark:
                latent["v"] = pyro.sample("v", Normal(0.0, log_tau[1].exp()))
    with free, landmark:
        latent["c"] = pyro.sample("c", Normal(like.new_zeros(2), 1.0).to_event(1))  # type: ignore[no-untyped-call]
    with pyro.plate("cell", len(design.origin)):
        flat = ImproperUniform(constraints.real_vector, (), (2,))  # type: ignore[no-untyped-call]
        truth = pyro.sample("truth", flat)
    theta = label_parameters(design, parts_of(design, latent), latent["c"], truth)
    with pyro.plate("label", len(design.xy)):
        pyro.sample("xy", noise_of(theta, design.warp), obs=design.xy)


@dataclass(frozen=True)
class Parts:
    """What the latent variables mean, of any leading shape; scales in units of `typical`.

    Attributes:
        log_scale: (..., K, 2), log l.
        atanh_rho: (..., K).
        log_bias: (..., K), log omega.
        log_df: (..., K), or None for Gaussian noise.
        log_tau: (..., A, K).
        exponent: (...), gamma; 0 where sizes are not known.
    """

    log_scale: Tensor
    atanh_rho: Tensor
    log_bias: Tensor
    log_df: Tensor | None
    log_tau: Tensor
    exponent: Tensor

    def coloured(self, z: Tensor) -> Tensor:
        """L z, (..., K, 2), of z (..., K, 2)."""
        rho = self.atanh_rho.tanh()
        x, y = (z * self.log_scale.exp()).unbind(-1)
        first = z[..., 0] * self.log_scale[..., 1].exp()
        return torch.stack([x, rho * first + y / self.atanh_rho.cosh()], -1)


def parts_of(design: Design, latent: Latent) -> Parts:
    """Scales, correlations, precisions and tails of landmarks and annotators, from the program's sites."""
    mean = latent["mean"]
    landmark = mean[..., design.group, :]
    if design.pairs:
        landmark = landmark + design.side.unsqueeze(-1) * latent["difference"][..., design.pair, :]
    log_tau = mean.new_zeros(*mean.shape[:-2], design.annotators, len(design.group))
    if "u" in latent:
        log_tau = design.basis @ (latent["u"] + latent["v"])
    return Parts(
        log_scale=landmark[..., :2],
        atanh_rho=torch.where(design.side < 0, -1.0, 1.0) * landmark[..., 2],
        log_bias=landmark[..., 3],
        log_df=landmark[..., 4] if design.columns > 4 else None,
        log_tau=log_tau,
        exponent=latent.get("exponent", mean.new_zeros(mean.shape[:-2])),
    )


def bias_of(design: Design, parts: Parts, c: Tensor) -> Tensor:
    """b = omega L Q c, (..., A, K, 2)."""
    contrast = torch.einsum("af,...fkd->...akd", design.basis, c) * parts.log_bias.exp()[..., None, :, None]
    spread = Parts(
        parts.log_scale.unsqueeze(-3),
        parts.atanh_rho.unsqueeze(-2),
        parts.log_bias,
        None,
        parts.log_tau,
        parts.exponent,
    )
    return spread.coloured(contrast)


def label_parameters(design: Design, parts: Parts, c: Tensor, truth: Tensor) -> Tensor:
    """Location, log scale, atanh rho and log df (infinite for Gaussian noise) of each label's law, (..., M, 6)."""
    landmark, annotator = design.landmark, design.annotator
    log_size = parts.exponent.unsqueeze(-1) * design.log_size[design.cell]
    bias = bias_of(design, parts, c)[..., annotator, landmark, :]
    location = truth[..., design.cell, :] + log_size.exp().unsqueeze(-1) * bias
    log_scale = (log_size + parts.log_tau[..., annotator, landmark]).unsqueeze(-1) + parts.log_scale[..., landmark, :]
    log_df = torch.full_like(log_size, math.inf) if parts.log_df is None else parts.log_df[..., landmark]
    shape = torch.stack([parts.atanh_rho[..., landmark], log_df], -1)
    return torch.cat([location, log_scale, shape], -1)


def _typical(labels: RepeatedLabels, cell: Index) -> float:
    """1.48 times the median absolute difference of consecutive labels of a cell over sqrt(2), over both axes."""
    order = np.argsort(cell, kind="stable")
    same = np.diff(cell[order]) == 0
    steps = np.abs(np.diff(labels.xy[order], axis=0)[same])
    size = 1.4826 * float(np.median(steps)) or float(np.sqrt((steps**2).mean()))
    if not size > 0:
        raise DataError(
            f"{labels.name}: all labels of a landmark of an object are equal, so errors have no size. "
            "Give labels that annotators made independently."
        )
    return size / math.sqrt(2)


def _groups(labels: RepeatedLabels) -> tuple[Index, Array, Index]:
    """Group, side and pair of each landmark."""
    K = len(labels.landmarks)
    leader, side, pair = np.arange(K), np.zeros(K), np.zeros(K, dtype=np.int64)
    for number, (left, right) in enumerate(labels.pairs):
        leader[right] = left
        side[[left, right]] = 1.0, -1.0
        pair[[left, right]] = number
    return np.unique(leader, return_inverse=True)[1], side, pair


def _sizes(labels: RepeatedLabels) -> tuple[Array, float]:
    """log(sqrt(area) / reference), (I,), and the reference, the geometric mean of the sizes that are known."""
    if not labels.sizes_known:
        return np.zeros(len(labels.objects)), 1.0
    log_size = np.log(labels.area) / 2
    middle = float(np.nanmean(log_size))
    return np.nan_to_num(log_size - middle), math.exp(middle)
