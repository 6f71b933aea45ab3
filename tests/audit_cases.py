"""Audits whose truth is known: labels that were made wrong, and what a model that sees the truth says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from probpose.analysis.audit.record import ACTIONS, Audit, Rate
from probpose.data.persons import Persons
from probpose.models.label_errors import KINDS

Array = npt.NDArray[np.float64]

WRONG = {"inversion": "exchange", "swap": "unlabel", "wrong_joint": "move", "miss": "move"}
"""What is proposed for a label by its kind."""


def corrupted(persons: Persons, share: float = 0.1, seed: int = 0) -> Audit:
    """The audit of labels of which a share is wrong; sides are exchanged in pairs."""
    rng = np.random.default_rng(seed)
    partner = np.asarray(persons.skeleton.flip_permutation)
    labels, size = persons.keypoints.copy(), np.sqrt(persons.box[:, 2] * persons.box[:, 3])
    kind = np.full(persons.labelled.shape, "good", dtype=object)
    for row, joint in np.argwhere(persons.labelled & (rng.uniform(size=persons.labelled.shape) < share)):
        other = partner[joint]
        if other != joint and persons.labelled[row, other] and rng.uniform() < 0.5:
            labels[row, [joint, other]] = persons.keypoints[row, [other, joint]]
            kind[row, [joint, other]] = "inversion"
        elif kind[row, joint] == "good":
            kind[row, joint] = rng.choice(["swap", "wrong_joint", "miss"])
            labels[row, joint] += size[row] * rng.uniform(0.2, 0.5) * rng.choice([-1, 1], 2)
    return _audit(replace(persons, keypoints=labels), persons.keypoints, kind, 0.02 * size, rng)


def _audit(
    persons: Persons, truth: Array, kind: npt.NDArray[np.object_], sigma: Array, rng: np.random.Generator
) -> Audit:
    row, joint = np.nonzero(persons.labelled)
    seen = truth + sigma[:, None, None] * rng.normal(size=truth.shape)
    partner = np.asarray(persons.skeleton.flip_permutation)
    mirror = np.where((partner[joint] == joint)[:, None], np.nan, seen[row, partner[joint]])
    turn = np.array([[1.3, 0.4], [0.4, 0.8]])
    covariance = (sigma[row] ** 2)[:, None, None] * turn
    chosen = [str(name) for name in kind[row, joint]]
    probability = rng.dirichlet(np.full(len(KINDS), 0.1), size=len(row)) * 0.3
    probability[np.arange(len(row)), [KINDS.index(name) for name in chosen]] += 0.7
    action = np.array([ACTIONS.index(WRONG.get(name, "keep")) for name in chosen])
    exchanged = np.array([float((one == "inversion").sum() > 2) * 0.9 for one in kind])
    return Audit(
        persons.name, persons, ("a model",), (Rate("miss", None, 0.01, 0.002),), row, joint, seen[row, joint],
        covariance, mirror, probability, action, truth[row, joint], covariance / 2, exchanged,
    )  # fmt: skip
