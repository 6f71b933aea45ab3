"""Guards: what may go wrong while a density is learned from draws of itself, measured at every epoch."""

from __future__ import annotations

__all__ = [
    "LARGEST_GAP",
    "LEAST_ESS",
    "NonFinite",
    "NormaliserCheck",
    "check_normaliser",
]

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from probpose.errors import TrainingError
from probpose.inference.training.gradients import EXPLODED, largest_growth
from probpose.models.densities import Residual, ResidualDensity

LEAST_ESS = 0.05
"""Effective share of the nodes under which log Z cannot be trusted."""

LARGEST_GAP = 0.1
"""Difference in nats between log Z on the nodes of training and on independent ones that draws do not explain."""

CONSECUTIVE = 25
"""Non-finite steps in a row after which training stops."""


@dataclass(frozen=True)
class NormaliserCheck:
    """How far the normaliser used in training can be believed.

    Attributes:
        ess: effective share of the weighted nodes, the least over joints.
        gap: |log Z on the last training nodes - log Z on independent nodes| in nats, the largest over joints.
    """

    ess: float
    gap: float

    @property
    def complaint(self) -> str | None:
        """What is wrong, or None."""
        if self.gap > LARGEST_GAP:
            return (
                f"log Z on the training nodes is off by {self.gap:.2f} nats: the flow has moved its mass between the "
                "nodes. The NLL of training is not a likelihood; draw fresh nodes at every step."
            )
        if self.ess < LEAST_ESS:
            return f"ESS/N of log Z is {self.ess:.1%}, under {LEAST_ESS:.0%}: its draws hardly meet the density."
        return None


@torch.no_grad()
def check_normaliser(density: ResidualDensity, independent: Residual) -> NormaliserCheck:
    """Compare the nodes that training uses with independent ones.

    Args:
        density: the family in training; called once more, as training would.
        independent: `density.frozen()`, from nodes of its own.
    """
    training = density()
    gap = (training.native.log_z.to(independent.loc) - independent.native.log_z).abs().max()
    return NormaliserCheck(ess=float(independent.native.ess.min()), gap=float(gap))


class NonFinite:
    """Counts steps whose loss or gradient is not finite, and stops training when they persist.

    Args:
        total: non-finite steps of the run so far.
    """

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self._row = 0
        self._first: Mapping[str, float] | None = None
        self._last: Mapping[str, float] = {}

    def skip(self, loss: float, norms: Mapping[str, float], lr: float) -> bool:
        """True when the step must be skipped.

        Raises:
            TrainingError: the last `CONSECUTIVE` steps were all non-finite.
        """
        bad = [stage for stage, norm in norms.items() if not norm < float("inf")]
        if not bad and abs(loss) < float("inf"):
            self._row = 0
            self._first, self._last = self._first or norms, norms
            return False
        self.total += 1
        self._row += 1
        if self._row >= CONSECUTIVE:
            where = f"the gradients of {', '.join(bad)} are" if bad else "the loss is"
            raise TrainingError(
                f"{CONSECUTIVE} steps in a row were skipped because {where} not finite (loss {loss}, learning rate "
                f"{lr:.2g}){self._growth()}. Lower --lr, raise the warm-up, or train in --precision fp32; the last "
                "checkpoint is whole."
            )
        return True

    def _growth(self) -> str:
        """What the gradients did before."""
        stage, times = largest_growth(self._first or {}, self._last)
        return f"; before, the gradient of {stage} had grown {times:.2g} times" if times > EXPLODED else ""
