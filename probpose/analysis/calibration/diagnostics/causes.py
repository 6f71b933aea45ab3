"""Why sigma is wrong: empirical over predicted scale, regressed on what an object and its prediction are like.

    log(distance / sigma) = a_joint + p log size + b confidence + o [occluded] + noise

distance being that of the label from the predicted mean and size the square root of the box's area. Whatever shape the
errors have, p, b and o are 0 where sigma has the right dependence on size, confidence and visibility. A sigma that was
divided by the object's size, because the loss divides the squared Mahalanobis distance by the area and the converter to
pixels forgets it, has p = 1: it is too large by size^-1.

Least squares from sums over images, so that the bootstrap over images gives intervals. The joints' means are taken from
the data that the questions were fixed on, and subtracted: what is left of a_joint is one constant.
"""

from __future__ import annotations

__all__ = ["CausesRecord", "Covariates", "cause_columns", "cause_names", "causes", "causes_text"]

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Self

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap, Interval
from probpose.arrays import Array, Index
from probpose.models.scores import LabelScores

NAMES = ("size", "confidence", "occluded")

SURE = 0.998
"""Content of the intervals by which a cause is named: about what 500 replicates reach."""

LEAST_POWER = 0.2
LEAST_FACTOR = 1.2
"""Dependence on the size, and on confidence or visibility, that is worth a sentence."""

SINGLED_OUT = 0.25
"""Half the width, at most, of an interval that holds one whole power and tells it from others."""

_LEAST_SPREAD = 0.02
_FLOOR = 0.01
"""Of the median error: smaller ones count as that, as they are decided by the rounding of labels."""
_PARTS = ("one", *NAMES, "ratio")


@dataclass(frozen=True)
class Covariates:
    """What the labels of other data are like, which those that are judged are compared with.

    Attributes:
        present: of `NAMES`, those that are known and vary.
        mean: (K, 4), of `NAMES` and of log(distance / sigma) by joint; those of all labels where a joint has none.
        spread: standard deviation of the confidence.
        least_px: distance that smaller ones count as.
    """

    present: tuple[str, ...]
    mean: Array
    spread: float
    least_px: float

    @classmethod
    def of(cls, scores: LabelScores, cases: Cases) -> Self:
        """Those of the labels of cases."""
        least = _FLOOR * float(np.median(scores.error_px))
        rows = _rows(scores, cases, least)
        columns = dict(zip(NAMES, rows.T, strict=False))
        present = tuple(name for name, column in columns.items() if _spread(column) > _LEAST_SPREAD)
        rows = np.where(np.isfinite(rows), rows, 0.0)
        return cls(
            present=present,
            mean=_means(rows, scores.joint, len(cases.joints)),
            spread=_spread(columns["confidence"]) or 1.0,
            least_px=least,
        )


@dataclass(frozen=True)
class CausesRecord:
    """How the scale of the errors over sigma depends on what the object is like, with 95% intervals over images.

    Attributes:
        size: power p: errors over sigma go as size^p; 0 when calibrated. None where boxes are unknown or all alike, and
            the others likewise.
        confidence: factor on errors over sigma of one standard deviation more of the model's own confidence; 1 when
            calibrated.
        occluded: factor of occluded joints over visible ones; 1 when calibrated.
        named: what is sure, in sentences.
    """

    size: Interval | None = None
    confidence: Interval | None = None
    occluded: Interval | None = None
    named: str = ""


def cause_names() -> list[str]:
    """Names of the columns that `cause_columns` gives."""
    return [_name(*pair) for pair in combinations_with_replacement(_PARTS, 2)]


def cause_columns(scores: LabelScores, cases: Cases, covariates: Covariates) -> dict[str, npt.NDArray[np.generic]]:
    """The products of the regression for each of M labels; 0 where something that is known of others is unknown.

    Args:
        scores: of the labels.
        cases: that they are of.
        covariates: of other data.
    """
    rows = _rows(scores, cases, covariates.least_px) - covariates.mean[scores.joint]
    rows[:, 1] /= covariates.spread
    used = np.array([name in covariates.present for name in NAMES] + [True])
    rows = np.where(used, rows, 0.0)
    known = np.asarray(np.isfinite(rows).all(axis=1))
    rows = np.column_stack([np.ones(len(rows)), rows]) * known[:, None]
    values = dict(zip(_PARTS, np.where(known[:, None], rows, 0.0).T, strict=True))
    return {_name(one, other): values[one] * values[other] for one, other in combinations_with_replacement(_PARTS, 2)}


def causes(sums: ImageBootstrap, covariates: Covariates) -> CausesRecord:
    """What the sums of `cause_columns` say."""
    if not covariates.present or not sums.sum(_name("one", "one")):
        return CausesRecord()
    found = dict(zip(covariates.present, _slopes(sums, covariates.present), strict=True))
    estimates = {name: value if name == "size" else np.exp(value) for name, value in found.items()}
    sure = {name: sums.interval(value, SURE) for name, value in estimates.items()}
    return CausesRecord(
        **{name: sums.interval(value) for name, value in estimates.items()}, named=causes_text(estimates_sure=sure)
    )


def causes_text(estimates_sure: dict[str, Interval]) -> str:
    """Sentences on what is sure, empty where nothing is.

    Args:
        estimates_sure: by name in `NAMES`, with intervals of content `SURE`.
    """
    size, others = estimates_sure.get("size"), {name: one for name, one in estimates_sure.items() if name != "size"}
    sentences = [] if size is None else [_size_text(size)]
    sentences += [_factor_text(name, one) for name, one in others.items()]
    return " ".join(filter(None, sentences))


_WHOLE = {
    1: "it was divided by the object's size (its covariance by the area), or is in units of the object and was taken "
    "for pixels",
    2: "it was divided by the object's area",
    -1: "it was multiplied by the object's size once too often",
    -2: "it was multiplied by the object's area",
}


def _size_text(power: Interval) -> str:
    if power.low <= 0 <= power.high or abs(power.value) < LEAST_POWER:
        return ""
    whole = [each for each in _WHOLE if power.low <= each <= power.high]
    found = f"Sigma is off by size^{-power.value:.2f} ({-power.high:.2f} to {-power.low:.2f})"
    if len(whole) == 1 and power.high - power.low <= 2 * SINGLED_OUT:
        return f"{found}: {_WHOLE[whole[0]]}."
    return f"{found}: it grows too {'slowly' if power.value > 0 else 'fast'} with the size of the object."


def _factor_text(name: str, factor: Interval) -> str:
    if factor.low <= 1 <= factor.high or max(factor.value, 1 / factor.value) < LEAST_FACTOR:
        return ""
    times = f"{factor.value:.2f} times ({factor.low:.2f} to {factor.high:.2f})"
    if name == "occluded":
        return f"On occluded joints errors are {times} as large, in units of sigma, as on visible ones."
    return f"A standard deviation more of confidence makes errors {times} as large in units of sigma."


def _rows(scores: LabelScores, cases: Cases, least: float) -> Array:
    """(M, 4), log size, confidence, 1 for occluded joints, and log(distance / sigma); NaN where unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.log(cases.size_px[scores.person])
        ratio = np.log(np.maximum(scores.error_px, least) / scores.scale_px)
    rows = np.column_stack([size, cases.label_confidence, scores.visibility == 1, ratio])
    return np.where(np.isfinite(rows), rows, np.nan)


def _spread(column: Array) -> float:
    """Standard deviation of what is known; 0 where nothing is."""
    known = column[np.isfinite(column)]
    return float(known.std()) if len(known) else 0.0


def _means(rows: Array, joint: Index, joints: int) -> Array:
    """(K, 4), the means of rows (M, 4) by joint."""
    count = np.bincount(joint, minlength=joints)[:, None]
    sums = np.stack([np.bincount(joint, column, minlength=joints) for column in rows.T], axis=-1)
    return np.where(count > 0, sums / np.maximum(count, 1), rows.mean(axis=0))


def _slopes(sums: ImageBootstrap, present: tuple[str, ...]) -> Array:
    """(P, 1 + B) slopes of the covariates that are present, of the data and of each replicate."""
    parts = ("one", *present)
    matrix = np.stack([np.stack([sums.sums(_name(one, other)) for one in parts], -1) for other in parts], -1)
    target = np.stack([sums.sums(_name(one, "ratio")) for one in parts], -1)
    return np.asarray((np.linalg.pinv(matrix, hermitian=True) @ target[..., None])[:, 1:, 0].T)


def _name(one: str, other: str) -> str:
    first, second = sorted((one, other), key=_PARTS.index)
    return f"cause {first} x {second}"
