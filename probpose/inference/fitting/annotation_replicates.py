"""Labels that the model of annotators makes: from draws of its prior, and again from draws of the posterior."""

from __future__ import annotations

__all__ = ["draw_prior", "replicate"]

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample

from probpose.arrays import Array
from probpose.inference.fitting.annotation_coordinates import Coordinates
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_predictive import Draw, factors
from probpose.inference.fitting.warp_table import WarpTable
from probpose.models.annotation_model import Design, annotation_model


def draw_prior(design: Design, count: int, seed: int = 0, warp: WarpTable | None = None) -> AnnotationDraws:
    """What is believed of annotators before their labels are seen, but for the size of errors, which is read off them.

    Args:
        design: whose annotators, landmarks and sizes count; its labels do not matter.
        count: of draws, in one chain.
        seed: of them.
        warp: of the noise, where it was learned: it has no prior.
    """
    blank, coordinates = _without_labels(design), Coordinates.of(design)
    program = poutine.condition(annotation_model, data={"truth": torch.zeros_like(blank.origin)})
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        traces: list[Any] = [poutine.trace(program).get_trace(blank) for _ in range(count)]
    first = traces[0].nodes
    names = [name for name in traces[0].stochastic_nodes if not site_is_subsample(first[name])]
    sites = {name: np.stack([trace.nodes[name]["value"].numpy() for trace in traces])[None] for name in names}
    landmark = coordinates.values(sites).landmark
    lower = np.exp(landmark[..., 3])[..., None, None] * factors(landmark)
    return AnnotationDraws.of_contrasts(coordinates, sites, np.einsum("cskij,csfkj->csfki", lower, sites["c"]), warp)


def _without_labels(design: Design) -> Design:
    """The design with one label, at 0: of what is drawn, nothing depends on labels."""
    one = torch.zeros(1, dtype=torch.int64)
    return replace(
        design, cell=one, annotator=one, cell_object=one, cell_landmark=one, log_size=design.log_size[:1] * 0,
        xy=design.xy[:1] * 0, origin=design.origin[:1] * 0, warp=None,
    )  # fmt: skip


def replicate(design: Design, draw: Draw, truth: Array, rng: np.random.Generator) -> Array:
    """Labels (M, 2) of a design's annotators by a draw, in units of `typical` and relative to the cells' origins.

    Args:
        design: whose label is which.
        draw: by which they err.
        truth: (N, 2), in the same units.
        rng: of the noise.
    """
    landmark, who, cell = design.landmark.numpy(), design.annotator.numpy(), design.cell.numpy()
    z = rng.standard_normal((len(cell), 2)) if draw.law is None else draw.law.sample(landmark, rng)
    values = draw.values
    z = z * np.exp(values.log_tau[who, landmark])[:, None]
    error = draw.bias[who, landmark] + np.einsum("mij,mj->mi", factors(values.landmark)[landmark], z)
    return np.asarray(truth[cell] + np.exp(values.exponent * design.log_size.numpy())[cell][:, None] * error)
