"""Draws of the annotators' model, of its posterior or its prior, in the model's units; named at the edge."""

from __future__ import annotations

__all__ = ["AnnotationDraws"]

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from probpose.arrays import Array
from probpose.inference.fitting.annotation_coordinates import Coordinates, Values
from probpose.inference.fitting.annotation_predictive import Draw, StudentLaw
from probpose.inference.fitting.warp_table import WarpTable
from probpose.models.annotation_model import (
    CENTRE,
    CENTRE_SCALE,
    EXPONENT,
    PAIR_SPREAD,
    SPREAD,
    SPREAD_SCALE,
    TAU_SPREAD,
)


@dataclass(frozen=True)
class AnnotationDraws:
    """S draws a chain, in units of `typical`.

    Attributes:
        sites: of the program by name, each (chains, S, ...).
        values: what they mean.
        bias: (chains, S, A, K, 2).
        warp: of the noise, where it was learned.
    """

    sites: dict[str, Array]
    values: Values
    bias: Array
    warp: WarpTable | None = None

    @classmethod
    def of_contrasts(
        cls, coordinates: Coordinates, sites: dict[str, Array], e: Array, warp: WarpTable | None = None
    ) -> AnnotationDraws:
        """From the program's sites, and contrasts of biases (chains, S, A-1, K, 2)."""
        return cls(sites, coordinates.values(sites), np.einsum("af,csfkd->csakd", coordinates.basis, e), warp)

    @property
    def shape(self) -> tuple[int, int]:
        """Chains and S."""
        chains, draws = self.bias.shape[:2]
        return chains, draws

    def __getitem__(self, at: tuple[int, int]) -> Draw:
        """One draw."""
        values = Values(self.values.landmark[at], self.values.log_tau[at], self.values.exponent[at])
        df = values.landmark[:, 4:5]
        return Draw(values, self.bias[at], StudentLaw(np.exp(df[:, 0]), self.warp) if df.size else None)

    def each(self) -> Iterator[Draw]:
        """The draws one by one."""
        for chain, draw in np.ndindex(self.shape):
            yield self[chain, draw]

    def chosen(self, count: int, rng: np.random.Generator) -> Iterator[Draw]:
        """Draws at random, each at most once where there are enough."""
        chains, draws = self.shape
        for number in rng.choice(chains * draws, count, replace=count > chains * draws).tolist():
            yield self[divmod(number, draws)]

    @property
    def tau_spread(self) -> Array:
        """Of log tau, over all landmarks and by landmark, (chains, S, 2); 0 of two annotators."""
        spread = self.sites.get("log_tau_spread")
        return np.zeros((*self.shape, 2)) if spread is None else np.exp(spread)

    @property
    def log_prior(self) -> dict[str, Array]:
        """Log prior density of each hyperparameter, (chains, S) nats by its name: what power-scaling scales.

        Members of the hierarchies, given those, are not among them (Kallioinen, Paananen, Buerkner and Vehtari,
        "Detecting and Diagnosing Prior and Likelihood Sensitivity with Power-Scaling", Statistics and Computing 2024,
        section 2.4, on hierarchical models).
        """
        C = self.sites["centre"].shape[-1]
        priors = {
            "centre": ("centre", CENTRE[:C], CENTRE_SCALE[:C]),
            "spread": ("log_spread", np.log(SPREAD[:C]), SPREAD_SCALE),
            "pair_spread": ("log_pair_spread", np.log(PAIR_SPREAD[:C]), SPREAD_SCALE),
            "tau_spread": ("log_tau_spread", np.log(TAU_SPREAD), SPREAD_SCALE),
        }
        found = {
            name: stats.norm.logpdf(self.sites[site], loc, scale).sum(-1)
            for name, (site, loc, scale) in priors.items()
            if site in self.sites
        }
        if "exponent" in self.sites:
            found["size_exponent"] = stats.norm.logpdf(self.sites["exponent"], *EXPONENT)
        return found

    def named(self, typical: float) -> dict[str, Array]:
        """The draws by the names that `AnnotationPosterior` explains, in the labels' unit."""
        landmark = self.values.landmark
        draws = {
            "bias": typical * self.bias,
            "tau": np.exp(self.values.log_tau),
            "scale": typical * np.exp(landmark[..., :2]),
            "rho": np.tanh(landmark[..., 2]),
            "bias_spread": np.exp(landmark[..., 3]),
            "centre": self.sites["centre"],
            "spread": np.exp(self.sites["log_spread"]),
        }
        if landmark.shape[-1] > 4:
            draws["df"] = np.exp(landmark[..., 4])
        if "exponent" in self.sites:
            draws["size_exponent"] = self.sites["exponent"]
        if "log_tau_spread" in self.sites:
            draws |= {"tau_spread": self.tau_spread[..., 0], "tau_spread_landmark": self.tau_spread[..., 1]}
        return draws
