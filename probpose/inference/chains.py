"""Whether chains have converged: split R-hat, effective sample size, divergences."""

from __future__ import annotations

__all__ = ["LARGEST_R_HAT", "LEAST_ESS", "Convergence"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

LARGEST_R_HAT = 1.05
"""Above that, chains or their halves do not agree."""

LEAST_ESS = 100
"""Effective draws a chain under which quantiles of the posterior are not settled (Vehtari et al., "Rank-Normalization,
Folding, and Localization: An Improved R-hat", Bayesian Analysis 2021, advise as much for four chains)."""


@dataclass(frozen=True)
class Convergence:
    """Diagnostics of all chains together.

    Attributes:
        r_hat: largest split R-hat of any number, by variable (Gelman et al., "Bayesian Data Analysis", 2013).
        ess: least effective sample size of any number, by variable.
        divergences: draws after warm-up whose trajectory diverged.
        chains: number of chains.
    """

    r_hat: dict[str, float]
    ess: dict[str, float]
    divergences: int
    chains: int

    @classmethod
    def of(cls, draws: Mapping[str, Tensor], divergences: int) -> Convergence:
        """Diagnose draws (chains, S, ...) by name, at least 4 a chain."""
        return cls(
            r_hat={
                name: float(split_gelman_rubin(value).max())  # type: ignore[no-untyped-call]
                for name, value in draws.items()
            },
            ess={name: _least_ess(value) for name, value in draws.items()},
            divergences=divergences,
            chains=next(iter(draws.values())).shape[0],
        )

    @property
    def warnings(self) -> list[str]:
        """What is wrong and what to do; empty when nothing is."""
        lines = [
            f"R-hat of {name} is {value:.3f}, over {LARGEST_R_HAT}: chains have not converged. Sample longer."
            for name, value in self.r_hat.items()
            if not value <= LARGEST_R_HAT
        ]
        least = LEAST_ESS * self.chains
        lines += [
            f"{name} has {value:.0f} effective draws, under {least}: its intervals are not settled. Sample longer."
            for name, value in self.ess.items()
            if not value >= least
        ]
        if self.divergences:
            lines.append(f"{self.divergences} draws diverged: the posterior may be biased. Lengthen the warm-up.")
        return lines


def _least_ess(draws: Tensor) -> float:
    """Least effective sample size of draws (chains, S, ...).

    Where draws are so antithetic that the estimate of their autocorrelation time is not positive, it is N log10 N of
    all N draws, the bound that Stan sets.
    """
    total = draws.shape[0] * draws.shape[1]
    bound = total * math.log10(total)
    ess = torch.as_tensor(effective_sample_size(draws))  # type: ignore[no-untyped-call]
    return float(torch.where(ess > 0, ess, bound).clamp_max(bound).min())
