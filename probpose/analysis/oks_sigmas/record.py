"""OKS sigmas as a record: by joint, with intervals; as a table, as a COCO category, and as a line of numpy."""

from __future__ import annotations

__all__ = ["JointSigma", "Kind", "OksSigmas", "curves", "finite", "summarise"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from probpose.analysis.oks_sigmas.collocation import LabelVariance
from probpose.analysis.oks_sigmas.scatter import Statistic
from probpose.analysis.table import Cell, Column, Table
from probpose.arrays import Array
from probpose.errors import DataError
from probpose.json_codec import to_json
from probpose.skeleton import Skeleton

Kind = Literal["repeated labels", "two models or more", "one model"]
"""What sigmas were found from; of one model they are bounds."""


@dataclass(frozen=True, kw_only=True)
class JointSigma:
    """How far one label of a joint lies from the true location; None where it is not known.

    Attributes:
        joint: its name.
        labels: that it was found from.
        sigma: sqrt(E[d^2 / area]), or sqrt(E[d^2]) in the unit of the record.
        low: lower end of its interval, credible of repeated labels, by a bootstrap over images of models; 0 where the
            data do not bound it from below.
        high: upper end.
        kept: share of the labels that were not trimmed as gross errors, of models.
        moments: the same by moments alone, of repeated labels, and the ends of its interval.
        usual: the sigma that the joint has until now, of COCO or of the file.
        curve: of two models or more: sigma, low and high at each of the record's correlations.
    """

    joint: str
    labels: int
    sigma: float | None = None
    low: float | None = None
    high: float | None = None
    kept: float | None = None
    moments: tuple[float, float, float] | None = None
    usual: float | None = None
    curve: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class OksSigmas:
    """Sigmas of a skeleton.

    Attributes:
        name: of the labels.
        kind: what they were found from.
        unit: of sigma; "" where it is relative to the square root of the area, as in COCO.
        level: content of the intervals.
        joints: one a joint, in the order of the labels.
        edges: of the skeleton, 0-based.
        statistic: of models: the core of the errors, or all of them.
        correlation: of models: the range that the correlation of their errors is taken to lie in.
        correlations: those of the curves.
        pairs: of models: sigma of each joint by each pair alone, at both ends of the range of the correlation.
        converged: of repeated labels, nothing says that the posterior was not reached.
        remarks: what is to be said beside the numbers.
    """

    name: str
    kind: Kind
    unit: str
    level: float
    joints: tuple[JointSigma, ...]
    edges: tuple[tuple[int, int], ...] = ()
    statistic: Statistic | None = None
    correlation: tuple[float, float] | None = None
    correlations: tuple[float, ...] = ()
    pairs: dict[str, tuple[tuple[float | None, ...], ...]] | None = None
    converged: bool = True
    remarks: tuple[str, ...] = ()

    @property
    def sigmas(self) -> list[float]:
        """One a joint, all positive: what is known, and what was usual where nothing is.

        Raises:
            DataError: a joint has neither.
        """
        found = [one.sigma or one.usual for one in self.joints]
        lacking = [one.joint for one, sigma in zip(self.joints, found, strict=True) if not sigma]
        if lacking:
            raise DataError(f"{self.name}: nothing is known of the sigma of {', '.join(lacking)}.")
        return [float(sigma) for sigma in found if sigma]

    @property
    def numpy_line(self) -> str:
        """What pycocotools, mmpose and Ultralytics take (docs/commands.md says where), to three digits.

        Raises:
            DataError: sigmas are in a unit, where these expect them relative to the area; or one is not known.
        """
        if self.unit:
            raise DataError(f"{self.name}: sigmas are in {self.unit}; OKS needs the areas of the objects.")
        return f"np.array([{', '.join(f'{sigma:.3g}' for sigma in self.sigmas)}])"

    def to_json(self) -> dict[str, Any]:
        """The record; None where nothing is known."""
        document: dict[str, Any] = to_json(self)
        return document

    def category(self, number: int = 1, name: str = "object") -> dict[str, Any]:
        """An entry of COCO's `categories`, whose `oks_sigmas` this project reads as those of the skeleton.

        Raises:
            DataError: as `numpy_line`.
        """
        self.numpy_line  # noqa: B018 - raises
        return {
            "id": number,
            "name": name,
            "keypoints": [one.joint for one in self.joints],
            "skeleton": [[a + 1, b + 1] for a, b in self.edges],
            "oks_sigmas": [float(f"{sigma:.4g}") for sigma in self.sigmas],
        }

    @property
    def tables(self) -> list[Table]:
        """A row a joint; and the pairs of models side by side, where there are several."""
        return [self.table(), *([pairs] if (pairs := self._pair_table()) else [])]

    def table(self) -> Table:
        """A row a joint."""
        percent = f"{100 * self.level:.0f}%"
        bound = self.kind == "one model"
        columns = [Column("joint"), Column("labels"), Column("sigma at most" if bound else "sigma")]
        columns += [] if bound else [Column(f"{percent} from")]
        columns += [Column(f"{percent} to")]
        columns += [Column("kept", 2)] if self.statistic == "core" else []
        columns += [Column("by moments"), Column("from"), Column("to")] if self.kind == "repeated labels" else []
        columns += [Column("until now")] if not self.unit else []
        return Table(
            columns=columns, rows=[self._row(one) for one in self.joints], title=self._title, caption=self._caption
        )

    def _pair_table(self) -> Table | None:
        if self.pairs is None or len(self.pairs) < 2 or self.correlation is None:
            return None
        columns = [Column("joint")]
        columns += [Column(f"{pair}, {rho:g}") for pair in self.pairs for rho in self.correlation]
        rows: list[list[Cell]] = [
            [one.joint, *(value for pair in self.pairs.values() for value in pair[k])]
            for k, one in enumerate(self.joints)
        ]
        return Table(columns=columns, rows=rows, title="Sigma by each pair of models, at both ends of the correlation")

    def _row(self, one: JointSigma) -> list[Cell]:
        row: list[Cell] = [one.joint, one.labels, one.sigma]
        row += [one.high] if self.kind == "one model" else [one.low, one.high]
        row += [one.kept] if self.statistic == "core" else []
        row += (one.moments or [None] * 3) if self.kind == "repeated labels" else []
        return row + ([one.usual] if not self.unit else [])

    @property
    def _title(self) -> str:
        return f"{self.name}: sigma of one label, from {self.kind}"

    @property
    def _caption(self) -> str:
        unit = f"in {self.unit}" if self.unit else "relative to the square root of the area"
        said = f"sigma = sqrt(E[d^2]) {unit}"
        if self.correlation is not None:
            low, high = self.correlation
            said += f", at correlation {(low + high) / 2:g} of the models' errors; interval over {low:g} to {high:g}"
        if self.statistic is not None:
            said += "; without gross errors" if self.statistic == "core" else "; gross errors included"
        return said


def curves(variance: Array, skeleton: Skeleton, level: float) -> Array:
    """Sigma, low and high (K, G, 3) from variances of the sample and its replicates; the sides of a pair are pooled.

    Args:
        variance: (K, 1 + B, G), NaN where nothing is known of a joint.
        skeleton: whose left and right joints have the same sigma.
        level: content of the intervals.
    """
    both = np.stack([variance, variance[list(skeleton.flip_permutation)]])
    count = np.isfinite(both).sum(axis=0)
    pooled = np.where(count > 0, np.nansum(both, axis=0) / np.maximum(count, 1), np.nan)
    sigma = np.sqrt(pooled)
    ends = np.quantile(sigma[:, 1:], [(1 - level) / 2, (1 + level) / 2], axis=1, method="inverted_cdf")
    return np.stack([sigma[:, 0], np.minimum(ends[0], sigma[:, 0]), np.maximum(ends[1], sigma[:, 0])], axis=-1)


def summarise(found: LabelVariance, correlation: tuple[float, float], level: float) -> OksSigmas:
    """The record of what labels beside models say.

    Several pairs are averaged in every replicate: they share the label, and no pair is known to be the better one. They
    are shown side by side too, because a pair that shares more errors than another says more.

    Args:
        found: variances, whose grid of correlations holds both ends of `correlation` and their middle.
        correlation: the range that it is taken to lie in.
        level: of the intervals.
    """
    skeleton, several = found.skeleton, found.several
    first, last = correlation
    at = [int(np.argmin(np.abs(found.correlation - rho))) for rho in (first, (first + last) / 2, last)]
    curve = curves(found.variance.mean(axis=0), skeleton, level)
    joints = [_joint(found, k, curve[k], at) for k in range(len(skeleton))]
    return OksSigmas(
        name=found.name,
        kind="two models or more" if several else "one model",
        unit="",
        level=level,
        joints=tuple(joints),
        edges=skeleton.edges,
        statistic=found.statistic,
        correlation=correlation if several else None,
        correlations=tuple(found.correlation.tolist()) if several else (),
        pairs=_alone(found, [at[0], at[2]], level) if several else None,
        remarks=tuple(_remarks(joints, skeleton, several=several)),
    )


def _alone(found: LabelVariance, at: Sequence[int], level: float) -> dict[str, tuple[tuple[float | None, ...], ...]]:
    """Sigma of each joint by each pair alone, at the places `at` of the grid."""
    each = {
        pair: curves(own, found.skeleton, level)[:, at, 0]
        for pair, own in zip(found.pairs, found.variance, strict=True)
    }
    return {pair: tuple(tuple(map(finite, row)) for row in sigma.tolist()) for pair, sigma in each.items()}


def _joint(found: LabelVariance, k: int, curve: Array, at: Sequence[int]) -> JointSigma:
    known: dict[str, Any] = {"joint": found.skeleton.joints[k], "usual": found.skeleton.oks_sigmas[k]}
    known["labels"] = int(found.labels[:, k].min())
    if not np.isfinite(curve).all():
        return JointSigma(**known)
    known["kept"] = finite(float(found.kept[:, k].mean()))
    first, middle, last = at
    if not found.several:
        sigma, _, high = curve[0].tolist()
        return JointSigma(**known, sigma=sigma, low=0.0, high=high)
    sigma, low, high = float(curve[middle, 0]), float(curve[last, 1]), float(curve[first, 2])
    return JointSigma(**known, sigma=sigma, low=low, high=high, curve=tuple((s, a, b) for s, a, b in curve.tolist()))


def finite(value: float) -> float | None:
    """The value, None where it is infinite or unknown."""
    return float(value) if math.isfinite(value) else None


def _remarks(joints: Sequence[JointSigma], skeleton: Skeleton, *, several: bool) -> list[str]:
    unknown = [one.joint for one in joints if one.sigma is None]
    open_below = [one.joint for one in joints if one.low == 0.0]
    lines = [f"too few labels of {', '.join(unknown)}: the sigma that they had is kept"] if unknown else []
    if skeleton.flip_pairs:
        lines.append("left and right joints are pooled, as mirror images have one sigma")
    if not several:
        return [*lines, "one model tells an upper bound: its own errors are in it"]
    if open_below:
        lines.append(f"not identified below (the interval reaches 0): {', '.join(open_below)}")
    return [*lines, "a constant offset between labels and a model is no scatter and was taken away, joint by joint"]
