"""Draws from the prior of the annotators' model, by the names of its posterior."""

from __future__ import annotations

__all__ = ["draw_prior"]

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pyro import poutine

from probpose.arrays import Array
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_posterior import Noise
from probpose.models.annotation_model import Design, Latent, annotation_model, bias_of, parts_of


def draw_prior(labels: RepeatedLabels, noise: Noise, count: int, seed: int) -> dict[str, Array]:
    """What is believed of annotators before their labels are seen, but for the size of errors, which is read off them.

    Args:
        labels: whose annotators, landmarks and sizes count.
        noise: law of the errors.
        count: of draws.
        seed: of them.

    Returns:
        `AnnotationPosterior.draws` with one chain: (1, count, ...) each.
    """
    design = _without_labels(Design.of(labels, noise))
    program = poutine.condition(annotation_model, data={"truth": torch.zeros_like(design.origin)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        traces: list[Any] = [poutine.trace(program).get_trace(design) for _ in range(count)]
    sites = [name for name in traces[0].stochastic_nodes if name != "truth"]
    latent: Latent = {name: torch.stack([trace.nodes[name]["value"] for trace in traces]) for name in sites}
    parts = parts_of(design, latent)
    found = {
        "bias": bias_of(design, parts, latent["c"]) * design.typical,
        "tau": parts.log_tau.exp(),
        "scale": parts.log_scale.exp() * design.typical,
        "rho": parts.atanh_rho.tanh(),
        "bias_spread": parts.log_bias.exp(),
    }
    if parts.log_df is not None:
        found["df"] = parts.log_df.exp()
    if design.sized:
        found["size_exponent"] = parts.exponent
    if "log_tau_spread" in latent:
        found["tau_spread"], found["tau_spread_landmark"] = latent["log_tau_spread"].exp().unbind(-1)
    return {name: np.asarray(value.numpy(), dtype=np.float64)[None] for name, value in found.items()}


def _without_labels(design: Design) -> Design:
    """The design with one label, at 0: of what is drawn, nothing depends on labels."""
    one = torch.zeros(1, dtype=torch.int64)
    return replace(
        design, cell=one, annotator=one, cell_object=one, cell_landmark=one, log_size=design.log_size[:1] * 0,
        xy=design.xy[:1] * 0, origin=design.origin[:1] * 0,
    )  # fmt: skip
