"""What is known of how annotators err: draws of the posterior, predictions of labels, and the true locations."""

from __future__ import annotations

__all__ = ["LARGEST_K_HAT", "AnnotationPosterior", "Method", "Noise"]

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from probpose.arrays import Array, Index, Mask
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_predictive import factors
from probpose.inference.fitting.residual_posterior import Convergence
from probpose.models.annotation_model import Design

Noise = Literal["gaussian", "student_t", "flow"]
Method = Literal["nuts", "svi"]

LARGEST_K_HAT = 0.7
"""Above that, draws of the guide do not represent the posterior (Vehtari et al., "Pareto Smoothed Importance Sampling",
JMLR 2024; Yao et al., "Yes, but Did It Work?", ICML 2018)."""


@dataclass(frozen=True)
class AnnotationPosterior:
    """Draws for A annotators and K landmarks; and what follows for labels and true locations.

    L_k is the scale of the typical annotator's error at the reference size: for Gaussian noise the factor of its
    covariance; for Student-t noise the covariance is L L' df / (df - 2), and for a flow what the warp makes of that.

    Attributes:
        labels: M labels of I objects.
        noise: law of the errors.
        method: how it was sampled.
        sampled: draws, S a chain, in units of `typical`; `draws` has them by name.
        reference_size: square root of the area at which `scale` holds, in the labels' unit; 1 where sizes are unknown.
        diverging: (chains, S).
        log_likelihood: (chains, S, P), nats: the predictive log density of each scored label given the other labels of
            the same landmark and object and the draw; the true location is integrated out. NaN for a label alone.
        scored: (P,), the rows of the labels behind `log_likelihood`.
        truth_mean: (I, K, 2), posterior mean of the true locations; NaN where nobody labelled.
        truth_covariance: (I, K, 2, 2), their posterior covariance, the uncertainty of everything else included. With
            Student-t noise the variance of a label alone is that of 2.1 degrees of freedom at least, and so finite.
        convergence: R-hat, effective sample size and divergences.
        k_hat: Pareto shape of the importance ratios of the guide, for `svi`; otherwise None.
        seed: of chains and guide.
        typical: size of errors in which the priors are stated, in the labels' unit.
    """

    labels: RepeatedLabels
    noise: Noise
    method: Method
    sampled: AnnotationDraws
    reference_size: float
    diverging: Mask
    log_likelihood: Array
    scored: Index
    truth_mean: Array
    truth_covariance: Array
    convergence: Convergence
    k_hat: float | None
    seed: int
    typical: float = 1.0

    @cached_property
    def draws(self) -> dict[str, Array]:
        """The draws by name, each (chains, S, ...).

        `bias` (A, K, 2) in the labels' unit at the reference size, summing to zero over annotators in every landmark;
        `tau` (A, K), an annotator's scale relative to the typical one's, with geometric mean 1 over annotators; `scale`
        (K, 2), standard deviations of L L' per axis, and `rho` (K,) its correlation; `df` (K,), unless noise is
        Gaussian; `size_exponent` (), where sizes are known; `bias_spread` (K,), standard deviation of the annotators'
        biases in units of L; `tau_spread` () and `tau_spread_landmark` (), of the annotators' log tau over all
        landmarks and by landmark, where there are three annotators or more; `centre` and `spread`, (C,), of the
        landmarks' hierarchy, with the columns `COLUMNS` of the model and scales in units of `typical`.
        """
        return self.sampled.named(self.typical)

    @cached_property
    def design(self) -> Design:
        """Which label is whose, all labels included, in the units of the draws."""
        design = Design.of(self.labels, self.noise, self.typical)
        if not design.sized:
            return design
        shift = np.log(design.reference / self.reference_size)
        return replace(design, reference=self.reference_size, log_size=design.log_size + shift)

    @property
    def problems(self) -> list[str]:
        """Why the draws may not be the posterior, and what to do; empty when nothing is wrong."""
        lines = self.convergence.warnings
        if self.k_hat is not None and not self.k_hat <= LARGEST_K_HAT:
            lines.append(
                f"k-hat of the guide is {self.k_hat:.2f}, over {LARGEST_K_HAT}: its draws are not the posterior, and "
                "intervals may be too narrow. Take --method nuts, of fewer objects if need be."
            )
        return lines

    @property
    def converged(self) -> bool:
        """Nothing says that the draws are not the posterior."""
        return not self.problems

    @property
    def unidentified(self) -> list[str]:
        """What the labels cannot tell, in words."""
        lines = ["A bias that all annotators share is invisible: biases are relative to their mean."]
        if len(self.labels.annotators) == 2:
            lines.append("Of two annotators only the pooled precision is identified: both have the relative scale 1.")
        alone = len(self.labels.alone)
        if alone:
            lines.append(f"{alone} of {len(self.labels)} labels stand alone: they say nothing about errors.")
        return lines

    def covariance(self) -> Array:
        """Covariance of the typical annotator's error at the reference size, (chains, S, K, 2, 2), squared unit.

        Infinite where noise has two degrees of freedom or fewer.
        """
        scale, rho = self.draws["scale"], self.draws["rho"]
        unit = np.stack([np.ones_like(rho), rho, rho, np.ones_like(rho)], -1).reshape(*rho.shape, 2, 2)
        covariance = scale[..., :, None] * scale[..., None, :] * unit
        df = self.draws.get("df")
        if df is None:
            return covariance
        if self.sampled.warp is not None:
            lower = factors(self.sampled.values.landmark) * self.typical
            spread = lower @ self.sampled.warp.moments(np.maximum(df, 2.001))[1] @ lower.swapaxes(-1, -2)
            return np.where((df > 2)[..., None, None], spread, np.inf)
        with np.errstate(divide="ignore"):
            return covariance * np.where(df > 2, df / (df - 2), np.inf)[..., None, None]
