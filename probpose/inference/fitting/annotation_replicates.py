"""Labels that the model of annotators makes: from draws of its prior, and again from draws of the posterior."""

from __future__ import annotations

__all__ = ["Known", "prior_draws", "replicate"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro import poutine

from probpose.arrays import Array
from probpose.inference.fitting.annotation_coordinates import Coordinates
from probpose.inference.fitting.annotation_predictive import Draw, StudentLaw, factors
from probpose.models.annotation_model import Design, annotation_model


@dataclass(frozen=True)
class Known:
    """A draw of the prior: its sites by the program's names, and what they mean."""

    sites: dict[str, Array]
    draw: Draw


def prior_draws(design: Design, draws: int, seed: int = 0) -> list[Known]:
    """Draws of the program's prior for the annotators, landmarks and sizes of a design; its labels do not matter.

    Args:
        design: whose label is which.
        draws: S.
        seed: of the draws.
    """
    coordinates = Coordinates.of(design)
    flat = {"truth": torch.zeros_like(design.origin)}
    found = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for _ in range(draws):
            nodes: Any = poutine.trace(poutine.condition(annotation_model, data=flat)).get_trace(design).nodes
            names = [name for name, node in nodes.items() if node["type"] == "sample" and not node["is_observed"]]
            found.append(_known(coordinates, {name: nodes[name]["value"].numpy() for name in names}))
    return found


def _known(coordinates: Coordinates, sites: dict[str, Array]) -> Known:
    values = coordinates.values(sites)
    lower = np.exp(values.landmark[:, 3])[:, None, None] * factors(values.landmark)
    bias = np.einsum("kij,af,fkj->aki", lower, coordinates.basis, sites["c"])
    law = StudentLaw(np.exp(values.landmark[:, 4])) if values.landmark.shape[1] > 4 else None
    return Known(sites, Draw(values, bias, law))


def replicate(design: Design, draw: Draw, truth: Array, rng: np.random.Generator) -> Array:
    """Labels (M, 2) of a design's annotators by a draw, in units of `typical` and relative to the cells' origins.

    Args:
        design: whose label is which.
        draw: by which they err.
        truth: (N, 2), in the same units.
        rng: of the noise.
    """
    landmark, who, cell = design.landmark.numpy(), design.annotator.numpy(), design.cell.numpy()
    z = rng.standard_normal((len(cell), 2))
    if isinstance(draw.law, StudentLaw):
        df = draw.law.df[landmark]
        z = z * np.sqrt(df / rng.chisquare(df))[:, None]
    values = draw.values
    z = z * np.exp(values.log_tau[who, landmark])[:, None]
    error = draw.bias[who, landmark] + np.einsum("mij,mj->mi", factors(values.landmark)[landmark], z)
    return np.asarray(truth[cell] + np.exp(values.exponent * design.log_size.numpy())[cell][:, None] * error)
