"""Repeated labels whose law is known, and posteriors that are certain of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_coordinates import Values
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior
from probpose.inference.fitting.residual_posterior import Convergence

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """How A annotators err in K landmarks: see `AnnotationPosterior`."""

    bias: Array
    tau: Array
    scale: Array
    rho: Array
    size_exponent: float = 1.0
    reference_size: float = 100.0

    @classmethod
    def drawn(cls, annotators: int, landmarks: int, seed: int = 0) -> Truth:
        rng = np.random.default_rng(seed)
        scale = rng.uniform(2, 4, (landmarks, 2))
        bias = rng.normal(size=(annotators, landmarks, 2)) * scale / 2
        log_tau = 0.3 * rng.normal(size=(annotators, landmarks))
        return cls(
            bias - bias.mean(axis=0), np.exp(log_tau - log_tau.mean(axis=0)), scale, rng.uniform(-0.5, 0.5, landmarks)
        )

    @property
    def lower(self) -> Array:
        """L, (K, 2, 2)."""
        zero, up = np.zeros_like(self.rho), np.sqrt(1 - self.rho**2)
        unit = np.stack([np.ones_like(self.rho), zero, self.rho, up], -1).reshape(-1, 2, 2)
        return np.asarray(self.scale[:, :, None] * unit)


def draw_labels(
    truth: Truth,
    objects: int,
    *,
    seed: int = 0,
    missing: float = 0.2,
    sized: bool = True,
    landmarks: tuple[str, ...] = (),
) -> tuple[RepeatedLabels, Array]:
    """Labels of objects, two an image, some of them missing; and the true locations (I, K, 2)."""
    rng = np.random.default_rng(seed)
    annotators, K = truth.tau.shape
    size = rng.uniform(50, 200, objects)
    place = rng.uniform(0, 900, (objects, K, 2))
    grow = (size / truth.reference_size) ** truth.size_exponent if sized else np.ones(objects)
    z = rng.normal(size=(objects, annotators, K, 2))
    noise = truth.tau[..., None] * np.einsum("kde,iake->iakd", truth.lower, z)
    xy = place[:, None] + grow[:, None, None, None] * (truth.bias + noise)
    object_, annotator, landmark = np.nonzero(rng.random((objects, annotators, K)) >= missing)
    labels = RepeatedLabels(
        name="simulated",
        objects=tuple(f"{i // 2}.jpg#{i}" for i in range(objects)),
        annotators=tuple(f"annotator {a}" for a in range(annotators)),
        landmarks=tuple(f"point {k}" for k in range(K)),
        pairs=(),
        object=object_,
        annotator=annotator,
        landmark=landmark,
        xy=xy[object_, annotator, landmark],
        area=size**2 if sized else np.full(objects, np.nan),
        images=tuple(f"{i // 2}.jpg" for i in range(objects)),
    )
    return labels, place


def certain(
    labels: RepeatedLabels, truth: Truth, place: Array, *, draws: int = 200, spread: float = 0.0
) -> AnnotationPosterior:
    """A posterior whose draws lie about the truth, with a relative standard deviation."""
    rng, typical = np.random.default_rng(1), float(truth.scale.mean())

    def about(value: Array) -> Array:
        return value * np.exp(spread * rng.normal(size=(2, draws, *np.shape(value))))

    bias, tau, scale, rho = (about(value) for value in (truth.bias, truth.tau, truth.scale, truth.rho))
    columns = [np.log(scale / typical), np.arctanh(rho)[..., None], np.zeros((*rho.shape, 1))]
    exponent = about(np.asarray(truth.size_exponent if labels.sizes_known else 0.0))
    sites = {"centre": np.zeros((2, draws, 4)), "log_spread": np.zeros((2, draws, 4))}
    sites |= {"exponent": exponent} if labels.sizes_known else {}
    sampled = AnnotationDraws(sites, Values(np.concatenate(columns, -1), np.log(tau), exponent), bias / typical)
    spans = np.full((*labels.counts.shape, 2, 2), np.nan)
    spans[labels.counts > 0] = np.array([[4.0, 1.0], [1.0, 9.0]])
    return AnnotationPosterior(
        labels=labels,
        noise="gaussian",
        method="nuts",
        sampled=sampled,
        typical=typical,
        reference_size=truth.reference_size if labels.sizes_known else 1.0,
        diverging=np.zeros((2, draws), dtype=np.bool_),
        log_likelihood=rng.normal(-5, 0.1, (2, draws, len(labels))),
        scored=np.arange(len(labels)),
        truth_mean=np.where((labels.counts > 0)[..., None], place, np.nan),
        truth_covariance=spans,
        convergence=Convergence.of({"mean": torch.from_numpy(rng.normal(size=(2, max(draws, 200), 3)))}, 0),
        k_hat=None,
        seed=0,
    )


def with_tails(posterior: AnnotationPosterior, df: Array) -> AnnotationPosterior:
    """The same with Student-t noise of degrees of freedom (chains, S, K)."""
    values = posterior.sampled.values
    landmark = np.concatenate([values.landmark, np.log(df)[..., None]], -1)
    sampled = replace(posterior.sampled, values=replace(values, landmark=landmark))
    return replace(posterior, noise="student_t", sampled=sampled)
