"""Where labels lie in the crops that a network sees."""

from __future__ import annotations

__all__ = ["target_points"]

import numpy as np

from probpose.data.crop import Array, apply_affine, crop_from_box, invert_affine
from probpose.data.persons import Persons


def target_points(persons: Persons, input_size: tuple[int, int]) -> Array:
    """(P, K, 2) labels in network units of the un-augmented crops; NaN where unlabelled.

    Args:
        persons: the table.
        input_size: height and width of the crops; only their ratio matters.
    """
    to_u = invert_affine(crop_from_box(persons.box, input_size).to_image)
    points = apply_affine(to_u, persons.keypoints)
    return np.asarray(np.where(persons.labelled[..., None], points, np.nan))
