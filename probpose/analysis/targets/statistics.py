"""How well a Gaussian, a Laplace and a Student-t fit one coordinate: nats per label at maximum likelihood.

Silverman's test for more than one mode.

B. W. Silverman, "Using kernel density estimates to investigate multimodality", JRSS B 43 (1981), with the calibration
of P. Hall and M. York, "On the calibration of Silverman's test for multimodality", Statistica Sinica 11 (2001): as it
stands the test is too cautious. Own code: Hartigan's dip test has a library, but under the GPL, and this one has none.

How the targets are distributed before any image is looked at: what a likelihood has to fit.

A target is where a label lies in the un-augmented crop, in network units u from -0.5 to 0.5. Its distribution is that
of poses, not of errors: what remains once an image has been looked at is another matter, and is learned in training.
"""

from __future__ import annotations

__all__ = [
    "LEVEL",
    "JointTargets",
    "ModeTest",
    "TargetStatistics",
    "gaussian_nats",
    "laplace_nats",
    "silverman_test",
    "student_nats",
]

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.ndimage import gaussian_filter1d

from probpose.arrays import Array
from probpose.data.persons import Persons, target_points

_FEWEST = 20
_LEAST_FREEDOM = 1.0


def gaussian_nats(u: Array) -> float:
    """Mean negative log density of u (n,), with spread, under the Gaussian of its mean and variance."""
    return 0.5 * math.log(2 * math.pi * math.e * float(u.var()))


def laplace_nats(u: Array) -> float:
    """Mean negative log density of u (n,), with spread, under the Laplace of its median and mean deviation."""
    return math.log(2 * math.e * float(np.abs(u - np.median(u)).mean()))


def student_nats(u: Array, sample: Array) -> float | None:
    """Mean negative log density of u (n,) under the Student-t whose freedom, location and scale fit `sample` best.

    The freedom is at least 1: below, the likelihood grows without bound where values repeat. The Gaussian is the limit
    of many degrees of freedom, so a Student-t that fits no better than it has its nats.

    Returns:
        None for fewer than 20 values.
    """
    if len(sample) < _FEWEST:
        return None
    with np.errstate(all="ignore"):
        freedom, location, scale = stats.t.fit(sample)
        if freedom < _LEAST_FREEDOM:
            freedom, location, scale = stats.t.fit(sample, f0=_LEAST_FREEDOM)
    found = float(-stats.t.logpdf(u, freedom, location, scale).mean())
    return min(found, gaussian_nats(u)) if math.isfinite(found) else None


_BINS = 512
_INNER = (0.01, 0.99)
_CALIBRATION = 1.13
"""Hall and York's factor on the critical bandwidth, for a level of 5%."""


@dataclass(frozen=True)
class ModeTest:
    """Whether a sample comes from a density with one mode.

    Attributes:
        p_value: small when it does not; valid at levels about 5%.
        critical_bandwidth: the width of the Gaussian kernel, in standard deviations of the sample, under which the
            density estimate has more than one mode: how much has to be smoothed away. 3,000 normal values have about
            0.1, two equal normal components 4 of their standard deviations apart have 0.7.
    """

    p_value: float
    critical_bandwidth: float


def silverman_test(sample: Array, *, draws: int = 200, seed: int = 0) -> ModeTest | None:
    """Test for one mode between the 1% and 99% quantiles of the sample; beyond, single values make modes of their own.

    A density with a plateau is at the border of the hypothesis, and is rejected more often than the level says.

    Args:
        sample: (n,), independent.
        draws: smoothed bootstrap samples.
        seed: of the bootstrap.

    Returns:
        None for fewer than 20 values, or without spread.
    """
    spread = float(sample.std())
    if len(sample) < 20 or spread == 0:
        return None
    critical = _critical_bandwidth(sample, spread)
    rng = np.random.default_rng(seed)
    several = sum(_modes(_smoothed(sample, critical, spread, rng), _CALIBRATION * critical) > 1 for _ in range(draws))
    return ModeTest((several + 1) / (draws + 1), critical / spread)


def _critical_bandwidth(sample: Array, spread: float) -> float:
    """The least bandwidth with one mode; the number of modes falls as a Gaussian kernel widens."""
    low, high = 0.01 * spread, 2.0 * spread
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if _modes(sample, middle) > 1 else (low, middle)
    return high


def _smoothed(sample: Array, bandwidth: float, spread: float, rng: np.random.Generator) -> Array:
    """A draw of the sample's size from its kernel density estimate, shrunk to the sample's variance."""
    centred = rng.choice(sample, len(sample)) - sample.mean() + bandwidth * rng.standard_normal(len(sample))
    return np.asarray(sample.mean() + centred / np.sqrt(1 + (bandwidth / spread) ** 2))


def _modes(sample: Array, bandwidth: float) -> int:
    """Local maxima of the kernel density estimate between the inner quantiles, on a grid of bins."""
    low, high = sample.min() - 3 * bandwidth, sample.max() + 3 * bandwidth
    counts, edges = np.histogram(sample, _BINS, (low, high))
    density = gaussian_filter1d(
        counts.astype(np.float64), bandwidth / (edges[1] - edges[0]), mode="constant", truncate=6
    )
    inner = np.searchsorted(edges, np.quantile(sample, _INNER))
    slopes = np.sign(np.diff(density[inner[0] : inner[1] + 1]))
    slopes = slopes[slopes != 0]
    return int(((slopes[:-1] > 0) & (slopes[1:] < 0)).sum())


LEVEL = 0.05
"""False discovery rate at which a target is called multimodal (Benjamini and Hochberg over joints and axes)."""

_MOST_TESTED = 20_000
_HALF_A_PIXEL = 0.5 + 1e-6
_BOX = ("width", "height", "area", "aspect")


@dataclass(frozen=True)
class JointTargets:
    """The targets of one joint on one axis; u in units of the crop's width or height. None where undefined.

    Attributes:
        joint: its name.
        axis: `x` or `y`.
        labels: number of labels.
        occluded: share of the labels that are marked occluded.
        outside: share of the labels outside the crop on this axis.
        border: share of the labels within half a pixel of an edge of the person's box on this axis. Large where boxes
            are drawn around the labels: then the box gives these coordinates away, and no label is outside.
        mean: of u.
        std: of u.
        q16: quantile of u; q50 and q84 likewise.
        skewness: 0 for a symmetric distribution.
        kurtosis: excess, 0 for a Gaussian, 3 for a Laplace.
        gaussian_nats: mean negative log density under the Gaussian fitted by maximum likelihood.
        laplace_nats: the same of the Laplace.
        student_nats: the same of the Student-t.
        p_value: of Silverman's test for one mode, on the labels off the border: those on it have no density.
        critical_bandwidth: of that test, in standard deviations.
        multimodal: whether the test rejects one mode, at a false discovery rate of `LEVEL` over joints and axes.
    """

    joint: str
    axis: str
    labels: int
    occluded: float | None = None
    outside: float | None = None
    border: float | None = None
    mean: float | None = None
    std: float | None = None
    q16: float | None = None
    q50: float | None = None
    q84: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None
    gaussian_nats: float | None = None
    laplace_nats: float | None = None
    student_nats: float | None = None
    p_value: float | None = None
    critical_bandwidth: float | None = None
    multimodal: bool = False


@dataclass(frozen=True)
class TargetStatistics:
    """What is known of a data set's targets.

    Attributes:
        name: of the data set.
        input_size: height and width of the crops; only their ratio matters.
        persons: annotated persons.
        images: of those.
        joints: one row a joint and axis.
        visibility: by joint, number of persons for whom it is unlabelled, occluded, visible.
        outside_crop: by joint, share of the labels outside the crop on either axis; None without labels.
        boxes: 5, 50 and 95% quantiles of the boxes' width, height (pixels), area and aspect (width over height).
        labelled_joints: number of persons by number of labelled joints, 0 to K.
    """

    name: str
    input_size: tuple[int, int]
    persons: int
    images: int
    joints: list[JointTargets]
    visibility: dict[str, tuple[int, int, int]]
    outside_crop: dict[str, float | None]
    boxes: dict[str, tuple[float, float, float]]
    labelled_joints: list[int]

    @classmethod
    def of(cls, persons: Persons, input_size: tuple[int, int], *, seed: int = 0) -> TargetStatistics:
        """Describe the targets of a table of persons; images are not opened.

        Labels of one joint mostly come from different persons and are taken as independent. The test for modes and the
        fit of the Student-t look at 20,000 labels of a joint at most, drawn with `seed`.
        """
        points = target_points(persons, input_size)
        border = _on_border(persons)
        names = persons.skeleton.joints
        rows = [
            _joint(name, axis, points[:, joint, i], border[:, joint, i], persons.visibility[:, joint], seed)
            for joint, name in enumerate(names)
            for i, axis in enumerate("xy")
        ]
        outside = (np.abs(points) > 0.5).any(axis=-1) & persons.labelled
        labels = persons.labelled.sum(axis=0)
        return cls(
            name=persons.name,
            input_size=input_size,
            persons=len(persons),
            images=len(np.unique(persons.image_id)),
            joints=_judged(rows),
            visibility={
                name: tuple(int((persons.visibility[:, k] == flag).sum()) for flag in range(3))  # type: ignore[misc]
                for k, name in enumerate(names)
            },
            outside_crop={name: _share(outside[:, k].sum(), labels[k]) for k, name in enumerate(names)},
            boxes=_boxes(persons),
            labelled_joints=np.bincount(persons.labelled.sum(axis=1), minlength=len(names) + 1).tolist(),
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as one JSON object."""
        return asdict(self)


def _on_border(persons: Persons) -> npt.NDArray[np.bool_]:
    """(P, K, 2), whether a coordinate is that of an edge of the box, as pixel centres or as edges."""
    low = persons.box[:, None, :2] - 0.5
    high = low + persons.box[:, None, 2:]
    distance = np.minimum(np.abs(persons.keypoints - low), np.abs(persons.keypoints - high))
    return np.asarray(distance <= _HALF_A_PIXEL)


def _joint(
    name: str, axis: str, column: Array, border: npt.NDArray[np.bool_], visibility: Any, seed: int
) -> JointTargets:
    """One row, not yet judged for modes."""
    known = np.isfinite(column)
    u, border = column[known], border[known]
    if len(u) < 2 or np.ptp(u) == 0:
        return JointTargets(name, axis, len(u))
    inside = u[~border]
    modes = silverman_test(_some(inside, seed), seed=seed) if len(inside) else None
    q16, q50, q84 = (float(q) for q in np.quantile(u, [0.16, 0.5, 0.84]))
    return JointTargets(
        joint=name,
        axis=axis,
        labels=len(u),
        occluded=float((visibility[visibility > 0] == 1).mean()),
        outside=float((np.abs(u) > 0.5).mean()),
        border=float(border.mean()),
        mean=float(u.mean()),
        std=float(u.std()),
        q16=q16,
        q50=q50,
        q84=q84,
        skewness=float(stats.skew(u)),
        kurtosis=float(stats.kurtosis(u)),
        gaussian_nats=gaussian_nats(u),
        laplace_nats=laplace_nats(u),
        student_nats=student_nats(u, _some(u, seed)),
        p_value=modes.p_value if modes else None,
        critical_bandwidth=modes.critical_bandwidth if modes else None,
    )


def _some(u: Array, seed: int) -> Array:
    """At most 20,000 of the values."""
    return u if len(u) <= _MOST_TESTED else np.random.default_rng(seed).choice(u, _MOST_TESTED, replace=False)


def _judged(rows: list[JointTargets]) -> list[JointTargets]:
    """The rows with `multimodal` set."""
    tested = [i for i, row in enumerate(rows) if row.p_value is not None]
    if not tested:
        return rows
    adjusted = stats.false_discovery_control([rows[i].p_value for i in tested])
    found = {i for i, p in zip(tested, adjusted, strict=True) if p <= LEVEL}
    return [replace(row, multimodal=i in found) for i, row in enumerate(rows)]


def _boxes(persons: Persons) -> dict[str, tuple[float, float, float]]:
    width, height = persons.box[:, 2], persons.box[:, 3]
    columns = dict(zip(_BOX, (width, height, width * height, width / height), strict=True))
    return {name: tuple(float(q) for q in np.quantile(c, [0.05, 0.5, 0.95])) for name, c in columns.items()}  # type: ignore[misc]


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
