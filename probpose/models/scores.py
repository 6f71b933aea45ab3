"""The table of scores: one row a labelled keypoint, with how well its predictive distribution did.

The level of a label is the content of the smallest highest-density region that holds it, uniform on (0, 1) where labels
are drawn from the density (Hyndman, "Computing and graphing highest density regions", The American Statistician 1996).
On a plateau of the density it is any number between two bounds (`Predictive.hdr_bounds`), and one is drawn: by a hash
of the label's image, annotation and joint, so that a label has the same level whatever it is scored together with.
"""

from __future__ import annotations

__all__ = ["Group", "LabelScores", "Labels"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from probpose.arrays import Array, Index, Mask, as_array
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.keyed_uniform import keyed_uniform
from probpose.models.predictive.axis_scores import axis_scores, energy_score
from probpose.models.predictive.contract import Predictive

Group = Literal["level", "sigma", "axes", "radii", "energy"]
"""Columns that are computed where they are asked for."""

_GROUPS: dict[Group, tuple[str, ...]] = {
    "level": ("level",),
    "sigma": ("sigma_px",),
    "axes": ("pit", "crps_px", "interval_px", "half_width_px", "axis_correlation"),
    "radii": ("r50_px", "r90_px"),
    "energy": ("energy_px",),
}


@dataclass(frozen=True)
class Labels:
    """Labels of N persons with K joints, in pixels of the original images.

    Attributes:
        joints: K names.
        person: (N,), what the rows are called in the table of scores.
        image: (N,) image ids.
        instance: (N,) annotation ids.
        keypoints: (N, K, 2); anything where there is no label.
        visibility: (N, K): 0 unlabelled, 1 labelled but occluded, 2 visible.
        place: says where a person, 0 to N - 1, comes from, for messages.
    """

    joints: tuple[str, ...]
    person: Index
    image: Index
    instance: Index
    keypoints: Array
    visibility: Index
    place: Callable[[int], str]

    @classmethod
    def of_persons(cls, persons: Persons, rows: Index) -> Labels:
        """Those of the persons in `rows` (N,) of a table."""
        return cls(
            joints=persons.skeleton.joints,
            person=rows,
            image=persons.image_id[rows],
            instance=persons.annotation_id[rows],
            keypoints=persons.keypoints[rows],
            visibility=persons.visibility[rows],
            place=lambda index: str(persons.path(int(rows[index]))),
        )

    @property
    def labelled(self) -> Mask:
        """(N, K), True where the joint has a label."""
        return self.visibility > 0

    def filled(self, mean: Tensor) -> Tensor:
        """(N, K, 2), the labels, with `mean` (N, K, 2) where there is none; of its type and on its device."""
        labelled = torch.from_numpy(self.labelled).to(mean.device).unsqueeze(-1)
        return torch.where(labelled, torch.from_numpy(self.keypoints).to(mean), mean)

    def uniform(self, seed: int) -> Array:
        """(N, K), a number in (0, 1) of each joint of each annotation."""
        return keyed_uniform(seed, self.image[:, None], self.instance[:, None], np.arange(len(self.joints)))

    def check_finite(self, log_prob: Array) -> None:
        """Raise a DataError that names the first label whose log density, one of (M,), is not finite."""
        broken = np.flatnonzero(~np.isfinite(log_prob))
        if len(broken):
            row, joint = (int(index[broken[0]]) for index in np.nonzero(self.labelled))
            x, y = self.keypoints[row, joint]
            raise DataError(
                f"{self.place(row)}, annotation {self.instance[row]}, {self.joints[joint]}: the log density of the "
                f"label ({x:g}, {y:g}) is {log_prob[broken[0]]} ({len(broken)} such labels). Check label and "
                "prediction; if both are right, the predicted density is broken: use another checkpoint."
            )


@dataclass(frozen=True)
class LabelScores:
    """Scores of M labelled keypoints, person by person, in pixels of the original images.

    Attributes:
        person: (M,), row in the table that the labels are from.
        image: (M,) image id.
        instance: (M,) annotation id.
        joint: (M,).
        visibility: (M,), 1 or 2.
        log_prob: (M,), log density of the label in nats.
        error: (M, 2), label minus predictive mean.
        optional: the columns of the groups that were asked for, by name; read them as attributes.
    """

    person: Index
    image: Index
    instance: Index
    joint: Index
    visibility: Index
    log_prob: Array
    error: Array
    optional: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.person)

    @classmethod
    @torch.no_grad()
    def of(
        cls, predictive: Predictive, labels: Labels, *groups: Group, seed: int = 0, finite: bool = True
    ) -> LabelScores:
        """Score labels.

        Args:
            predictive: of the same N persons and K joints, in pixels.
            labels: of any of their joints.
            groups: of columns that are wanted beside the others; all of them cost points of the density, where it is
                not of the location-scale family.
            seed: of the levels on plateaus.
            finite: refuse labels without a finite log density.

        Raises:
            DataError: the log density of a label is not finite.
        """
        person, joint = at = np.nonzero(labels.labelled)
        mean = predictive.mean
        value = labels.filled(mean)
        height = predictive.log_prob(value)
        log_prob = as_array(height)[at]
        if finite:
            labels.check_finite(log_prob)
        optional: dict[str, Array] = {}
        for group in groups:
            optional |= _columns(predictive, value, height, labels, group, seed)
        return cls(
            person=labels.person[person],
            image=labels.image[person],
            instance=labels.instance[person],
            joint=joint,
            visibility=labels.visibility[at],
            log_prob=log_prob,
            error=as_array(value - mean)[at],
            optional={name: column[at] for name, column in optional.items()},
        )

    @classmethod
    def join(cls, parts: Sequence[LabelScores]) -> LabelScores:
        """The scores of several batches with the same columns, one after the other."""
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _always()}
        optional = {name: np.concatenate([part.optional[name] for part in parts]) for name in parts[0].optional}
        return cls(**columns, optional=optional)

    def select(self, chosen: Mask | Index) -> LabelScores:
        """The rows that `chosen`, a mask (M,) or indices, picks."""
        columns = {name: getattr(self, name)[chosen] for name in _always()}
        return LabelScores(**columns, optional={name: column[chosen] for name, column in self.optional.items()})

    def coverage(self, content: float) -> float:
        """Share of the labels in the highest-density region that should hold `content`."""
        return float((self.level <= content).mean())

    @property
    def error_px(self) -> Array:
        """(M,), distance from the mean to the label."""
        return np.asarray(np.linalg.norm(self.error, axis=-1))

    @property
    def scale_px(self) -> Array:
        """(M,), geometric mean of sigma over both axes."""
        return np.asarray(np.sqrt(self.sigma_px.prod(axis=-1)))

    @property
    def level(self) -> Array:
        """(M,), content of the smallest highest-density region that holds the label; uniform when calibrated."""
        return self._asked_for("level")

    @property
    def sigma_px(self) -> Array:
        """(M, 2), scale per axis."""
        return self._asked_for("sigma_px")

    @property
    def pit(self) -> Array:
        """(M, 2), probability integral transform per image axis; uniform when calibrated."""
        return self._asked_for("pit")

    @property
    def crps_px(self) -> Array:
        """(M, 2), continuous ranked probability score per image axis."""
        return self._asked_for("crps_px")

    @property
    def interval_px(self) -> Array:
        """(M, 2), score of the central 90% interval per image axis."""
        return self._asked_for("interval_px")

    @property
    def half_width_px(self) -> Array:
        """(M, 2), half the predicted 16-84% width per image axis."""
        return self._asked_for("half_width_px")

    @property
    def axis_correlation(self) -> Array:
        """(M,), of the PIT along x and y beyond what the density expects; 0 on average when calibrated."""
        return self._asked_for("axis_correlation")

    @property
    def r50_px(self) -> Array:
        """(M,), radius about the mean that holds 50%."""
        return self._asked_for("r50_px")

    @property
    def r90_px(self) -> Array:
        """(M,), radius about the mean that holds 90%."""
        return self._asked_for("r90_px")

    @property
    def energy_px(self) -> Array:
        """(M,), energy score."""
        return self._asked_for("energy_px")

    def _asked_for(self, name: str) -> Array:
        if name not in self.optional:
            group = next(group for group, names in _GROUPS.items() if name in names)
            raise ValueError(f"The column {name} was not computed: ask LabelScores.of for the group {group!r}.")
        return self.optional[name]


def _always() -> list[str]:
    """Names of the columns that every table has."""
    return [f.name for f in fields(LabelScores) if f.name != "optional"]


def _columns(
    predictive: Predictive, value: Tensor, log_prob: Tensor, labels: Labels, group: Group, seed: int
) -> dict[str, Array]:
    """The columns of a group by name, each (N, K, ...), of values (N, K, 2) with log densities (N, K)."""
    if group == "level":
        uniform = torch.from_numpy(labels.uniform(seed)).to(value.device)
        found = [as_array(predictive.drawn_level(value, uniform, log_prob))]
    elif group == "sigma":
        found = [as_array(predictive.sigma)]
    elif group == "axes":
        axes = axis_scores(predictive, value)
        found = [axes.pit, axes.crps_px, axes.interval_px, as_array(predictive.half_width), axes.correlation]
    elif group == "radii":
        found = [as_array(radius) for radius in predictive.radius([0.5, 0.9])]
    else:
        found = [as_array(energy_score(predictive, value))]
    return dict(zip(_GROUPS[group], found, strict=True))
