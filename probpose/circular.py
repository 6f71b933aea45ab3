"""Directions as targets: densities on the circle, what a network's numbers are read as, and how well they do.

Angles are in radians, log densities in nats per radian: log(2 pi) = 1.838 nats is knowing nothing.

>>> import torch
>>> p = VonMises(loc=torch.tensor([0.0]), concentration=torch.tensor([4.0]))
>>> truth = torch.tensor([0.3])
>>> round(p.log_prob(truth).item(), 3), round(p.level(truth).item(), 2)      # held by the arc of that content
(-0.442, 0.44)
>>> reading = family("multibin", bins=8, train="bound")                      # a torch module over any network
>>> density = reading(torch.zeros(1, reading.outputs))                       # nothing said: bins of equal weight
>>> round(density.resultant_length.item(), 6)
0.0
"""

from __future__ import annotations

__all__ = [
    "LEFTWARD",
    "Circular",
    "Direction",
    "DirectionModel",
    "Mixture",
    "MultiBin",
    "ProjectedNormal",
    "Scores",
    "VonMises",
    "compare",
    "family",
    "fit",
    "score",
    "score_model",
]

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.analysis.directions import DirectionScores as Scores
from probpose.analysis.directions import compare_directions as compare
from probpose.analysis.directions import score_directions as score_model
from probpose.arrays import numbers
from probpose.data.directions import LEFTWARD, Direction
from probpose.inference.fitting.directions import DirectionModel
from probpose.inference.fitting.directions import fit_direction as fit
from probpose.models.circular.contract import Circular
from probpose.models.circular.densities import Mixture, MultiBin, ProjectedNormal, VonMises
from probpose.models.circular.families import family

AT_ONCE = 256
"""Rows that are scored together: bounds the memory."""


def score(density: Circular, angles: npt.ArrayLike | Tensor, *, images: npt.ArrayLike | Tensor | None = None) -> Scores:
    """Score labelled directions under a density.

    `probpose.coverage(scores.level, 0.9, images=scores.image)` gives the coverage with an interval over images, and
    `probpose.verdict` says whether the directions are calibrated.

    Args:
        density: of N directions.
        angles: (N,), radians.
        images: (N,) whole numbers: rows of one image are not independent; each row is an image by default.

    Raises:
        DataError: another shape, an angle that is not finite, or a label whose log density is not.
    """
    count = int(density.batch_shape[0])
    angle = torch.from_numpy(numbers(angles, "angles", (count,)))
    image = np.arange(count) if images is None else numbers(images, "images", (count,)).astype(np.int64)
    pieces = [slice(start, start + AT_ONCE) for start in range(0, max(1, count), AT_ONCE)]
    return Scores.join([Scores.of(density.rows(at), angle[at], image[at]) for at in pieces])
