"""The posterior of repeated labels as a saved InferenceData, and what ArviZ says of it."""

from __future__ import annotations

__all__ = ["AnnotatorLoo", "groups_of_annotators", "leave_one_out", "save_annotators"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probpose import __version__
from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.analysis.posterior.archive import write_groups
from probpose.analysis.posterior.groups import Groups
from probpose.analysis.posterior.library import az
from probpose.analysis.posterior.scores import loo
from probpose.arrays import Array, Mask
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_posterior import LARGEST_K_HAT, AnnotationPosterior
from probpose.models.annotation_model import COLUMNS


def groups_of_annotators(
    posterior: AnnotationPosterior, drawn: Array, prior: AnnotationDraws, prior_drawn: Array
) -> Groups:
    """Everything about a posterior of repeated labels.

    Args:
        posterior: of M labels.
        drawn: (S, M, 2), labels drawn again from the posterior.
        prior: draws in units of the posterior's `typical`.
        prior_drawn: (S, M, 2), labels drawn from the prior about the posterior mean of the true locations, which have
            no proper prior.
    """
    labels = posterior.labels
    return Groups(
        arrays={
            "prior": prior.named(posterior.typical),
            "prior_predictive": {"xy": prior_drawn[None].astype(np.float32)},
            "posterior": dict(posterior.draws),
            "log_prior": posterior.sampled.log_prior,
            "sample_stats": {"diverging": posterior.diverging},
            "posterior_predictive": {"xy": drawn[None].astype(np.float32)},
            "log_likelihood": {"label": posterior.log_likelihood},
            "observed_data": {"xy": labels.xy},
            "constant_data": {
                "label_object": labels.object,
                "label_annotator": labels.annotator,
                "label_joint": labels.landmark,
                "area": labels.area,
                "truth_mean": posterior.truth_mean,
                "truth_covariance": posterior.truth_covariance,
            },
        },
        coords={
            "label": np.arange(len(labels)),
            "scored": posterior.scored,
            "object": list(labels.objects),
            "annotator": list(labels.annotators),
            "joint": list(labels.landmarks),
            "axis": ["x", "y"],
            "along": ["x", "y"],
            "parameter": list(COLUMNS[: posterior.draws["centre"].shape[-1]]),
        },
        attrs={
            "created_by": f"probpose {__version__}",
            "data": labels.name,
            "unit": labels.unit,
            "noise": posterior.noise,
            "method": posterior.method,
            "reference_size": posterior.reference_size,
            "seed": posterior.seed,
            "divergences": posterior.convergence.divergences,
        },
    )


def save_annotators(
    file: Path, posterior: AnnotationPosterior, drawn: Array, prior: AnnotationDraws, prior_drawn: Array
) -> None:
    """Write posterior.nc, whole or not at all; see `groups_of_annotators`.

    Raises:
        DataError: the file cannot be written.
    """
    write_groups(file, groups_of_annotators(posterior, drawn, prior, prior_drawn))


@dataclass(frozen=True)
class AnnotatorLoo:
    """Leave-one-label-out predictive density by PSIS-LOO (Vehtari, Gelman and Gabry, Statistics and Computing 2017).

    Attributes:
        nats_per_label: expected log predictive density of a label given all others, in nats per label.
        se: its standard error, clustered by image; None of one image.
        labels: number of labels that others accompany.
        k_hat: the largest Pareto k-hat; None where there are too few draws to tell.
        doubtful: labels whose k-hat says that importance sampling cannot stand in for leaving the label out.
    """

    nats_per_label: float
    se: float | None
    labels: int
    k_hat: float | None
    doubtful: int

    @property
    def words(self) -> str:
        """What k-hat means, in a sentence."""
        if self.k_hat is None:
            return "There are too few draws to tell how far a single label moves the posterior."
        if not self.doubtful:
            return f"k-hat is at most {self.k_hat:.2f}: no single label moves the posterior much, and loo is reliable."
        return (
            f"k-hat is over {LARGEST_K_HAT} for {self.doubtful} of {self.labels} labels (largest {self.k_hat:.2f}): "
            "the posterior leans on them, and loo is too optimistic there. Look at them, or take student_t noise."
        )


def leave_one_out(posterior: AnnotationPosterior) -> AnnotatorLoo:
    """Leave-one-label-out: of a label given all others, true location and parameters integrated out."""
    labels = posterior.labels
    known = np.asarray(np.isfinite(posterior.log_likelihood).all(axis=(0, 1)))
    data = _minimal(posterior, known)
    found = loo(data, "label")
    pointwise, k_hat = (np.asarray(found[name], dtype=np.float64) for name in ("loo_i", "pareto_k"))
    image = labels.image[labels.object[posterior.scored[known]]]
    return AnnotatorLoo(
        nats_per_label=float(pointwise.mean()),
        se=clustered_standard_error(pointwise, image),
        labels=int(known.sum()),
        k_hat=float(k_hat.max()) if np.isfinite(k_hat).all() else None,
        doubtful=int((~(k_hat <= LARGEST_K_HAT)).sum()),
    )


def _minimal(posterior: AnnotationPosterior, known: Mask) -> Any:
    """An InferenceData with what `arviz.loo` needs."""
    return az.from_dict(
        posterior={"scale": posterior.draws["scale"]},
        log_likelihood={"label": posterior.log_likelihood[..., known]},
    )
