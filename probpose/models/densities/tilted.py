"""A residual density reweighted by the level of its highest-density regions: q(z) = R(z) g(u(z)) / Z.

u(z) is the content of the smallest highest-density region of R that holds z, uniform under R, so that q integrates to
the integral of g over (0, 1): 1 for a density g. Z, which only the end of the nodes makes differ from 1, is computed.
"""

from __future__ import annotations

__all__ = ["tilted"]

from collections.abc import Callable

from torch import Tensor

from probpose.models.densities.residual import Native, Residual

_PROPOSALS = 8


def tilted(residual: Residual, log_g: Callable[[Tensor], Tensor]) -> Residual:
    """R reweighted, in the coordinates and with the gauge of R.

    Args:
        residual: frozen.
        log_g: log density of the levels, elementwise on (0, 1).
    """
    nodes = residual.nodes
    log_weights = residual.native.weights.log() + log_g(_levels(residual, nodes))
    log_z = log_weights.logsumexp(-1)

    def log_prob(z: Tensor) -> Tensor:
        value = _value(residual, z)
        tilt = log_g(residual.hdr_level(value)) + residual.log_prob(value)
        return _batch_first(residual, tilt) - log_z.unsqueeze(-1)

    def sample(count: int) -> Tensor:
        """Draws of R, chosen again in proportion to g from `_PROPOSALS` times as many."""
        draws = residual.sample((_PROPOSALS * count,))
        points = draws.unsqueeze(0) if residual.batch_shape == () else draws.transpose(0, 1)
        chosen = log_g(_levels(residual, points)).softmax(-1).multinomial(count, replacement=True)
        return points.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))

    native = Native(log_prob, nodes, log_weights.softmax(-1), sample, log_z, residual.native.log_z_error)
    return Residual(native, residual.gauge, standardised=True)


def _levels(residual: Residual, z: Tensor) -> Tensor:
    """Levels (B, n) of z (B, n, 2)."""
    return _batch_first(residual, residual.hdr_level(_value(residual, z)))


def _value(residual: Residual, z: Tensor) -> Tensor:
    """z (B, n, 2) as `Residual` takes it: (n, 2), or (n, K, 2)."""
    return z[0] if residual.batch_shape == () else z.transpose(0, 1)


def _batch_first(residual: Residual, result: Tensor) -> Tensor:
    return result.unsqueeze(0) if residual.batch_shape == () else result.transpose(0, 1)
