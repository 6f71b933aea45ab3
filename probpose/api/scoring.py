"""Scores of labels under predictions: one table, one row a labelled keypoint, and what it says of coverage."""

from __future__ import annotations

__all__ = ["Interval", "Scores", "Verdict", "coverage", "score", "verdict"]

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from probpose.analysis.calibration.diagnostics.bootstrap import REPLICATES, ImageBootstrap, Interval
from probpose.analysis.calibration.diagnostics.coverage import Coverage, Verdict, coverage_columns, coverage_names
from probpose.api.distributions import Distribution
from probpose.api.inputs import one_of
from probpose.api.labels import Images, Labelled, image_names, labels_of, numbered
from probpose.arrays import Array, Index, Mask, numbers, share
from probpose.errors import DataError
from probpose.models.scores import Group, Labels, LabelScores

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_GROUPS: tuple[Group, ...] = ("level", "sigma", "axes", "radii", "energy")
_ROWS = 256
"""Rows scored at once: bounds the memory of densities that are many points."""

By = Literal["joint", "visibility", "image"]

_VISIBILITY = {1: "occluded", 2: "visible"}


class Scores:
    """Scores of M labelled keypoints, row by row; made by `score`.

    Attributes:
        table: the same as computed (`probpose.models.scores.LabelScores`), with images as numbers.
        joints: K names.
        image_names: of the images, by number.
        unit: (M,), number of what is independent: the image, unless `score` was given units.
    """

    def __init__(
        self,
        table: LabelScores,
        joints: Sequence[str],
        image_names: Mapping[int, Hashable],
        unit: Index | None = None,
    ) -> None:
        self.table, self.joints, self.image_names = table, tuple(joints), dict(image_names)
        self.unit = table.image if unit is None else unit

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        nats = f": {self.nats.mean():.3f} nats" if len(self) else ""
        return f"Scores({len(self)} labels in {len(np.unique(self.table.image))} images{nats})"

    @property
    def row(self) -> Index:
        """(M,) row of the predictions."""
        return self.table.person

    @property
    def joint(self) -> npt.NDArray[np.str_]:
        """(M,) name."""
        return np.array(self.joints)[self.table.joint]

    @property
    def image(self) -> npt.NDArray[np.object_]:
        """(M,) id or name, as it was given."""
        names = np.empty(len(self), dtype=object)
        names[:] = [self.image_names[number] for number in self.table.image.tolist()]
        return names

    @property
    def nats(self) -> Array:
        """(M,) negative log density of the label, in pixels; less is better."""
        return -self.table.log_prob

    @property
    def level(self) -> Array:
        """(M,) content of the smallest highest-density region that holds the label; uniform when calibrated."""
        return self.table.level

    @property
    def pit(self) -> Array:
        """(M, 2) probability integral transform per axis; uniform when calibrated."""
        return self.table.pit

    @property
    def crps_px(self) -> Array:
        """(M, 2) continuous ranked probability score per axis."""
        return self.table.crps_px

    @property
    def energy_px(self) -> Array:
        """(M,) energy score of the density on the plane."""
        return self.table.energy_px

    @property
    def error(self) -> Array:
        """(M, 2) label minus mean, pixels."""
        return self.table.error

    @property
    def error_px(self) -> Array:
        """(M,) distance from the mean to the label."""
        return self.table.error_px

    @property
    def sigma_px(self) -> Array:
        """(M, 2) predicted scale per axis."""
        return self.table.sigma_px

    @property
    def r50_px(self) -> Array:
        """(M,) predicted radius about the mean that holds 50%."""
        return self.table.r50_px

    @property
    def r90_px(self) -> Array:
        """(M,) predicted radius about the mean that holds 90%."""
        return self.table.r90_px

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """Every column (M,) by name; those with two axes as NAME_x and NAME_y."""
        flat: dict[str, npt.NDArray[np.generic]] = {"row": self.row, "image": self.image, "joint": self.joint}
        flat |= {"visibility": self.table.visibility, "nats": self.nats, "level": self.level}
        for name, values in (("pit", self.pit), ("crps_px", self.crps_px), ("error", self.error)):
            flat |= {f"{name}_{axis}": values[:, i] for i, axis in enumerate("xy")}
        flat |= {"energy_px": self.energy_px, "error_px": self.error_px}
        flat |= {f"sigma_px_{axis}": self.sigma_px[:, i] for i, axis in enumerate("xy")}
        return flat | {"r50_px": self.r50_px, "r90_px": self.r90_px}

    def to_pandas(self) -> pd.DataFrame:
        """The columns as a data frame, one row a labelled keypoint."""
        import pandas as pd

        return pd.DataFrame(self.columns())

    def to_xarray(self) -> xr.Dataset:
        """The columns along a dimension "label"."""
        import xarray as xr

        return xr.Dataset({name: ("label", column) for name, column in self.columns().items()})

    def select(self, chosen: Mask | Index) -> Scores:
        """The rows that a mask (M,) or indices pick."""
        return Scores(self.table.select(chosen), self.joints, self.image_names, self.unit[chosen])


def score(
    predictions: Distribution,
    labels: npt.ArrayLike | Tensor,
    *,
    images: Images | None = None,
    units: Images | None = None,
    visibility: npt.ArrayLike | Tensor | None = None,
    seed: int = 0,
) -> Scores:
    """Score labels under predictions.

    Args:
        predictions: of N rows with K joints, such as `Gaussian`, or what a run predicts.
        labels: (N, K, 2) pixels, NaN where unlabelled.
        images: N ids or names: rows of one image are not independent; each row is an image by default.
        units: N ids or names of what is independent, such as subjects or videos, where images are not: intervals of
            `coverage` and the `verdict` go by them.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible, or a mask; by default 2 where there is a number.
        seed: of levels on plateaus of a density, which are drawn.

    Raises:
        DataError: another shape, no label, or a label whose log density is not finite, by name.
    """
    found = labels_of(predictions, labels, visibility, images)
    starts = range(0, max(1, len(predictions)), _ROWS)
    parts = [_part(predictions, found, slice(start, start + _ROWS), seed) for start in starts]
    table = LabelScores.join(parts)
    unit = None if units is None else numbered(units, len(predictions), "unit")[0][table.person]
    return Scores(table, predictions.joints, found.names, unit)


def _part(predictions: Distribution, found: Labelled, rows: slice, seed: int) -> LabelScores:
    person = np.arange(len(predictions), dtype=np.int64)[rows]
    labels = Labels(
        joints=predictions.joints,
        person=person,
        image=found.image[rows],
        instance=person,
        keypoints=found.keypoints[rows],
        visibility=found.visibility[rows],
        place=lambda index: f"row {person[index]}, image {found.names[found.image[person[index]]]}",
    )
    return LabelScores.of(predictions.predictive.rows(rows), labels, *_GROUPS, seed=seed)


def coverage(
    scores: Scores | npt.ArrayLike | Tensor,
    content: float = 0.9,
    *,
    by: By | None = None,
    images: Images | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | dict[Hashable, Interval]:
    """Share of the labels in the highest-density regions that should hold `content`, with an interval over images.

    Args:
        scores: from `score`; or levels (M,), with `images`.
        content: of the regions, in (0, 1).
        by: one interval for all, or one a joint, visibility or image; of a single image it is from 0 to 1.
        images: (M,) of the labels where `scores` are levels.
        level: of the interval, over images.
        seed: of the bootstrap.

    Raises:
        DataError: the content or the level is no share, there is no label, or levels are not numbers in [0, 1], each
            with its image.
        ConfigError: another `by`.
    """
    share(content, "content")
    share(level, "level")
    if by is not None and not isinstance(scores, Scores):
        raise DataError("levels alone know no groups: give the table of `score`.")
    levels, image = _levels(scores, images)
    groups = _groups(scores, by) if isinstance(scores, Scores) else {}
    if by is None:
        return _interval(levels, image, content, level, seed)
    return {name: _interval(levels[mask], image[mask], content, level, seed) for name, mask in groups.items()}


def verdict(scores: Scores | npt.ArrayLike | Tensor, *, images: Images | None = None, seed: int = 0) -> Verdict:
    """Whether labels are calibrated, from the coverage of the 50% and 90% regions: as `calibrate` decides.

    Args:
        scores: from `score`; or levels (M,), with `images`.
        images: (M,) of the labels where `scores` are levels.
        seed: of the bootstrap over images.

    Returns:
        `calibrated`, `refuted` (neither: there are too few images to tell, as with fewer than 20), and `coverage` by
        content.

    Raises:
        DataError: there is no label, or levels are not numbers in [0, 1], each with its image.
    """
    levels, image = _levels(scores, images)
    sums = ImageBootstrap(coverage_names([]), seed=seed)
    sums.add(image, coverage_columns(levels, {}))
    return Coverage(sums).verdict()


def _levels(scores: Scores | npt.ArrayLike | Tensor, images: Images | None) -> tuple[Array, Index]:
    """Levels (M,) and the number of each one's image."""
    if isinstance(scores, Scores):
        if images is not None:
            raise DataError("the table of `score` knows its images: leave images out.")
        levels, image = scores.level, scores.unit
    else:
        if images is None:
            raise DataError("levels alone need their images: give images, or the table of `score`.")
        levels, names = numbers(scores, "levels", (None,), finite=False), image_names(images)
        if len(names) != len(levels):
            raise DataError(f"levels have shape {levels.shape} and images ({len(names)},): give one of each a label.")
        if not ((levels >= 0) & (levels <= 1)).all():
            raise DataError("levels are contents in [0, 1], and some are not: leave out unlabelled joints (NaN).")
        image, _ = numbered(names, len(names))
    if not len(levels):
        raise DataError("there is no label to count.")
    return levels, image


def _interval(levels: Array, image: Index, content: float, level: float, seed: int) -> Interval:
    sums = ImageBootstrap(["held", "labels"], replicates=REPLICATES, seed=seed)
    sums.add(image, {"held": levels <= content, "labels": np.ones(len(levels))})
    return sums.share(sums.ratio("held", "labels"), len(levels), level)


def _groups(scores: Scores, by: By | None) -> dict[Hashable, Index]:
    """The rows of each group, by name."""
    if by is None:
        return {}
    one_of(by, get_args(By), "by")
    table = scores.table
    columns = {"joint": table.joint, "image": table.image, "visibility": table.visibility}
    names: dict[str, Mapping[int, Hashable]] = {
        "joint": dict(enumerate(scores.joints)), "image": scores.image_names, "visibility": _VISIBILITY,
    }  # fmt: skip
    found, first = np.unique(np.sort(columns[by]), return_index=True)
    rows = np.split(np.argsort(columns[by], kind="stable"), first[1:])
    return {names[by][number]: index for number, index in zip(found.tolist(), rows, strict=True)}
