"""Densities on the circle in closed form: von Mises, projected normal, mixtures, and Multi-Bin.

A regressor of (cos, sin) says a vector. Two densities follow from the Gaussian about it, N(v, s^2 I): *conditioned* on
the unit circle it is the von Mises density with concentration |v| / s^2; *projected* onto it, the length left open, it
is the projected normal with m = v / s (Mardia and Jupp, "Directional Statistics", 2000, section 3.5). Both
are read off two numbers without a constraint.
"""

from __future__ import annotations

__all__ = ["Mixture", "MultiBin", "ProjectedNormal", "VonMises"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from probpose.models.circular.contract import Circular, on_circle, wrapped

_LOG_TURN = math.log(2 * math.pi)


class VonMises(Circular):
    """exp(k cos(angle - loc)) / (2 pi I0(k)).

    Args:
        loc: (N,) mean direction, radians.
        concentration: k, (N,), not negative; about 1 / sigma^2 where it is large.
    """

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        self._set(on_circle(loc.double()) * concentration.double().unsqueeze(-1))

    @classmethod
    def of_natural(cls, natural: Tensor) -> VonMises:
        """From its natural parameter (N, 2), of length k in the mean direction: log density is concave in it."""
        made = cls.__new__(cls)
        made._set(natural.double())
        return made

    def _set(self, natural: Tensor) -> None:
        self.natural = natural
        super().__init__(len(natural))

    @property
    def concentration(self) -> Tensor:
        """k, (N,)."""
        return _length(self.natural)

    def rows(self, index: slice) -> VonMises:
        return VonMises.of_natural(self.natural[index])

    def log_prob(self, value: Tensor) -> Tensor:
        return von_mises_log_prob(self.natural, value)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return _draw(self.natural.expand(*sample_shape, *self.natural.shape))

    @property
    def first_moment(self) -> Tensor:
        return _moment(self.natural)

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        return _places(self.natural.unsqueeze(1))


class ProjectedNormal(Circular):
    """The direction of a Gaussian vector of mean m and unit covariance on the plane (angular Gaussian).

    With t and c the parts of m along and across the direction, phi and Phi the normal density and distribution,

        p(angle) = exp(-c^2 / 2) (phi(t) + t Phi(t)) / sqrt(2 pi).

    Args:
        vector: m, (N, 2).
    """

    def __init__(self, vector: Tensor) -> None:
        self.vector = vector.double()
        super().__init__(len(vector))

    def rows(self, index: slice) -> ProjectedNormal:
        return ProjectedNormal(self.vector[index])

    def log_prob(self, value: Tensor) -> Tensor:
        cos, sin = value.double().cos(), value.double().sin()
        x, y = self.vector.unbind(-1)
        along, across = x * cos + y * sin, x * sin - y * cos
        return log_expected_ramp(along) - across.square() / 2 - _LOG_TURN / 2

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        x, y = (self.vector + torch.randn(*sample_shape, *self.vector.shape, dtype=torch.float64)).unbind(-1)
        return wrapped(torch.atan2(y, x))

    @property
    def first_moment(self) -> Tensor:
        """Of Bessel functions: sqrt(pi / 8) (I0 + I1)(|m|^2 / 4) exp(-|m|^2 / 4) m."""
        q = self.vector.square().sum(-1) / 4
        length: Tensor = math.sqrt(math.pi / 8) * (torch.special.i0e(q) + torch.special.i1e(q))
        return length.unsqueeze(-1) * self.vector

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """Its width is 1 / |m|, where it is narrow."""
        return self.mean.unsqueeze(-1), (1 + self.vector.square().sum(-1, keepdim=True)).rsqrt()


class Mixture(Circular):
    """sum_c w_c of von Mises densities.

    Args:
        log_weights: (N, C), normalised or not.
        natural: (N, C, 2), the natural parameters of the components: of length k_c in the direction of each.
    """

    def __init__(self, log_weights: Tensor, natural: Tensor) -> None:
        self.log_weights, self.natural = log_weights.double().log_softmax(-1), natural.double()
        super().__init__(len(log_weights))

    def rows(self, index: slice) -> Mixture:
        return Mixture(self.log_weights[index], self.natural[index])

    def component_log_prob(self, value: Tensor) -> Tensor:
        """Log density (..., N, C) of each component at angles (..., N)."""
        return von_mises_log_prob(self.natural, value.unsqueeze(-1))

    def log_prob(self, value: Tensor) -> Tensor:
        log_prob: Tensor = (self.log_weights + self.component_log_prob(value)).logsumexp(-1)
        return log_prob

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        which = torch.distributions.Categorical(logits=self.log_weights).sample(torch.Size(sample_shape))
        natural = self.natural.expand(*sample_shape, *self.natural.shape)
        return _draw(natural.gather(-2, which[..., None, None].expand(*which.shape, 1, 2)).squeeze(-2))

    @property
    def first_moment(self) -> Tensor:
        return (self.log_weights.exp().unsqueeze(-1) * _moment(self.natural)).sum(-2)

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        return _places(self.natural)


class MultiBin(Mixture):
    """A softmax over B bins of the circle, and in each a von Mises density about a predicted offset from its centre.

    Mousavian et al., "3D Bounding Box Estimation Using Deep Learning and Geometry", CVPR 2017. Bin b is centred at
    2 pi b / B. Its mean is the decoding by expectation of Kundu et al. ("3D-RCNN", CVPR 2018), on the circle.

    Args:
        log_weights: (N, B).
        within: (N, B, 2), natural parameters in each bin's own frame: (k, 0) points at its centre.
    """

    def __init__(self, log_weights: Tensor, within: Tensor) -> None:
        self.bins, self.within = log_weights.shape[1], within
        centre = on_circle(2 * math.pi * torch.arange(self.bins, dtype=torch.float64) / self.bins)
        cos, sin = centre.to(within.device).unbind(-1)
        x, y = within.double().unbind(-1)
        super().__init__(log_weights, torch.stack([x * cos - y * sin, x * sin + y * cos], -1))

    def rows(self, index: slice) -> MultiBin:
        return MultiBin(self.log_weights[index], self.within[index])

    @property
    def best_bin(self) -> Tensor:
        """(N,) the direction said in the likeliest bin, the decoding of the paper."""
        best = self.log_weights.argmax(-1)[:, None, None].expand(-1, 1, 2)
        x, y = self.natural.gather(1, best).squeeze(1).unbind(-1)
        return torch.atan2(y, x)

    def distance(self, value: Tensor) -> Tensor:
        """Arcs (N, B), radians, between angles (N,) and the centres of the bins."""
        centre = 2 * math.pi * torch.arange(self.bins, device=value.device) / self.bins
        return wrapped(value.double().unsqueeze(-1) - centre).abs()


def von_mises_log_prob(natural: Tensor, value: Tensor) -> Tensor:
    """Log density (...) of von Mises densities with natural parameters (..., 2) at angles that broadcast to (...)."""
    x, y = natural.unbind(-1)
    k = _length(natural)
    aligned = x * value.double().cos() + y * value.double().sin() - k
    log_prob: Tensor = aligned - torch.special.i0e(k).log() - _LOG_TURN
    return log_prob


def log_expected_ramp(t: Tensor) -> Tensor:
    """log E[max(0, t + Z)] = log(phi(t) + t Phi(t)), Z standard normal, without cancellation where t is negative.

    There it is log phi(t) + log(1 - x m(x)) with x = -t and Mills' ratio m, and far out 1 - x m(x) = 1/x^2 - 3/x^4 +
    15/x^6 - 105/x^8 (Ament et al., "Unexpected Improvements to Expected Improvement", NeurIPS 2023, appendix A).
    """
    near, x = t.clamp_min(-1.0), (-t).clamp_min(1.0)
    right = (_normal(near) + near * torch.special.ndtr(near)).log()
    middle = x.clamp_max(_FAR)
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(middle / math.sqrt(2))
    s = x.clamp_min(_FAR).square().reciprocal()
    series = s * (1 - s * (3 - s * (15 - 105 * s)))
    left = torch.where(x < _FAR, 1 - middle * ratio, series).log() - x.square() / 2 - _LOG_TURN / 2
    return torch.where(t > -1, right, left)


_FAR = 50.0


def _normal(t: Tensor) -> Tensor:
    return torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi)


def _length(vector: Tensor) -> Tensor:
    """Length (...) of vectors (..., 2), with the gradient 0 at the origin, where it has none."""
    return (vector.square().sum(-1) + _TINY).sqrt()


_TINY = 1e-24


def _moment(natural: Tensor) -> Tensor:
    """First moments (..., 2): I1(k) / I0(k) in the direction of each."""
    k = _length(natural)
    share: Tensor = torch.special.i1e(k) / torch.special.i0e(k) / k
    return share.unsqueeze(-1) * natural


def _places(natural: Tensor) -> tuple[Tensor, Tensor]:
    """Directions and widths (N, C) of von Mises components (N, C, 2)."""
    x, y = natural.unbind(-1)
    return torch.atan2(y, x), (1 + _length(natural)).rsqrt()


def _draw(natural: Tensor) -> Tensor:
    """Draws (...) by rejection (Best and Fisher, Applied Statistics 1979)."""
    x, y = natural.unbind(-1)
    k = _length(natural).clamp_min(1e-6)  # torch divides by it
    return wrapped(torch.distributions.VonMises(torch.atan2(y, x), k, validate_args=False).sample())
