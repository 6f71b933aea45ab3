"""The outcome of a calibration in numbers and in words: the content of calibration.json, format 1; None is undefined.

Some keys of the format are older than the words that are used now: `cures` are recalibrations, `suspects` outliers.
"""

from __future__ import annotations

__all__ = [
    "FORMAT",
    "CalibrationRecord",
    "ElpdRecord",
    "OutlierRecord",
    "RecalibratedRecord",
    "RecalibrationRecord",
    "SampleRecord",
    "SourceRecord",
    "SplitRecord",
    "VerdictRecord",
    "verdict_text",
]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.calibration.diagnostics.coverage import LEAST_IMAGES, LEVELS
from probpose.analysis.calibration.diagnostics.location import CORRELATED
from probpose.analysis.calibration.diagnostics.record import DiagnosisRecord
from probpose.errors import DataError
from probpose.json_codec import from_json, to_json

FORMAT = 1

_ALIKE = 1.1
"""Standard deviation and half width that differ by a smaller factor are of one shape, the predicted one."""

_GROSS = 3.0
"""Where the standard deviation exceeds the half width by a larger factor, a few errors make it."""

_NAMED = 3
"""Groups that the verdict names at most."""


@dataclass(frozen=True)
class SourceRecord:
    """What was calibrated.

    Attributes:
        kind: "run", "results" or "table".
        file: the run's folder, or the file.
        epoch: of the run's checkpoint.
        residual: density of the run.
        scale: where the scale of the prediction came from, in words; None for a run.
    """

    kind: str
    file: str
    epoch: int | None = None
    residual: str | None = None
    scale: str | None = None


@dataclass(frozen=True)
class SampleRecord:
    """Labels that stand for all of a part, of images that were chosen by a hash.

    Attributes:
        fit: labels of this part that recalibrations were fitted on.
        calibrate: labels of this part that they were compared on.
        labels: of all parts, sampled or not.
    """

    fit: int
    calibrate: int
    labels: int


@dataclass(frozen=True)
class SplitRecord:
    """The split by image.

    Attributes:
        seed: of it.
        fit: images in this part, and likewise calibrate and test.
        sample: what was used of *fit* and *calibrate*; None where that is all.
    """

    seed: int
    fit: int
    calibrate: int
    test: int
    sample: SampleRecord | None = None


@dataclass(frozen=True)
class VerdictRecord:
    """The verdict on the prediction as it was.

    Attributes:
        calibrated: as `Verdict` has it.
        refuted: as `Verdict` has it.
        text: the verdict and what recalibration did, in sentences.
    """

    calibrated: bool
    refuted: bool
    text: str


@dataclass(frozen=True)
class RecalibratedRecord:
    """The headline after recalibration.

    Attributes:
        method: of recalibration; "none" where the prediction stands as it was.
        name: such as "scale per joint".
        calibrated: as `Verdict` has it.
        nll_nats: mean over the test labels; None without a density.
        hdr_coverage: by content of the region.
        reason: why it was chosen, in a sentence.
        gauge: what sigma is after it, in what is handed back too: "moment" for a standard deviation, "quantile" for
            half the 16-84% width.
        parameters: numbers of the recalibration, by name, where it has only a few.
    """

    method: str
    name: str
    calibrated: bool
    nll_nats: float | None
    hdr_coverage: dict[float, float]
    reason: str = ""
    gauge: str = "moment"
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class OutlierRecord:
    """A label with a probable gross error.

    Attributes:
        image: its id.
        instance: annotation id.
        joint: name.
        error_px: distance from the predicted mean.
        probability: of a gross error.
        part: of the split.
    """

    image: int
    instance: int
    joint: str
    error_px: float
    probability: float
    part: str


@dataclass(frozen=True, kw_only=True)
class RecalibrationRecord:
    """A recalibration that was fitted; the prediction as it is comes first.

    Attributes:
        name: such as "scale per joint".
        nll_calibrate_nats: mean negative log density on *calibrate*; None without a density.
        gain_nats: mean gain over the prediction as it is on *calibrate*, by which it is chosen; None for that itself,
            and without a density.
        gain_se_nats: its standard error over images; None for a single image too.
        nll_nats: mean over the test labels; None without a density.
        nll_interval: the same with its interval.
        coverage50: of the 50% regions on the test labels.
        coverage90: of the 90% regions.
        chosen: whether it is the chosen one.
    """

    name: str = field(metadata={"key": "method"})
    nll_calibrate_nats: float | None
    nll_nats: float | None
    nll_interval: Interval | None
    coverage50: Interval | None
    coverage90: Interval | None
    chosen: bool
    gain_nats: float | None = None
    gain_se_nats: float | None = None


@dataclass(frozen=True)
class ElpdRecord:
    """Held-out log scores of a recalibration, summed per image, as ArviZ compares them.

    Attributes:
        name: of the recalibration.
        elpd: sum over the test images, nats.
        elpd_difference: by how much it is behind the best.
        elpd_difference_se: its standard error.
        difference_nats: by how much it is behind the best, per label.
        difference_se_nats: its standard error.
    """

    name: str = field(metadata={"key": "cure"})
    elpd: float
    elpd_difference: float
    elpd_difference_se: float
    difference_nats: float
    difference_se_nats: float


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """A calibration; everything but the split, the outliers and the gains is of the test images.

    Attributes:
        source: what was calibrated.
        gauge: of the prediction as it was.
        left_out: one line for each thing, or kind of things, that was not used.
        format: of the file.
        name: of the data.
        joints: names.
        split: by image.
        verdict: on the prediction as it was.
        keypoints: labels, and likewise persons and images.
        nll_nats: mean negative log density of the prediction as it was.
        hdr_coverage: of the prediction as it was, by content of the region.
        recalibrated: the same after recalibration.
        not_fitted: why a recalibration could not be fitted, by name.
        outliers: labels of all parts with a probable gross error, the first of them, the largest errors first; None
            where no outlier component was fitted, and so are the next two.
        outlier_count: number of all of them.
        outlier_share: of all labels.
        before: diagnosis of the prediction as it was.
        after: the same of the recalibrated prediction; None where nothing was changed.
        recalibrations: all that were fitted.
        elpd: those that have a density, the best first; empty for a single test image.
    """

    source: SourceRecord
    gauge: str
    left_out: tuple[str, ...]
    format: int
    name: str
    joints: tuple[str, ...]
    split: SplitRecord
    verdict: VerdictRecord
    keypoints: int
    persons: int
    images: int
    nll_nats: float | None
    hdr_coverage: dict[float, float]
    recalibrated: RecalibratedRecord
    not_fitted: dict[str, str]
    outliers: tuple[OutlierRecord, ...] | None = field(metadata={"key": "suspects"})
    outlier_count: int | None = field(metadata={"key": "suspect_count"})
    outlier_share: float | None = field(metadata={"key": "suspect_share"})
    before: DiagnosisRecord
    after: DiagnosisRecord | None
    recalibrations: tuple[RecalibrationRecord, ...] = field(metadata={"key": "cures"})
    elpd: tuple[ElpdRecord, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; docs/commands.md names the keys."""
        return dict(to_json(self))

    @classmethod
    def from_json(cls, document: object) -> Self:
        """What `to_json` gave.

        Raises:
            DataError: another format, a key that is missing, or a value of another type.
        """
        found = document.get("format") if isinstance(document, dict) else None
        if found != FORMAT:
            raise DataError(f"calibration.json has format {found!r}, and this version of probpose reads {FORMAT}.")
        return from_json(cls, document)


def verdict_text(
    before: DiagnosisRecord, after: DiagnosisRecord | None, name: str, sample: SampleRecord | None = None
) -> str:
    """A few sentences.

    Args:
        before: of the prediction as it was.
        after: of the recalibrated prediction; None where nothing was changed.
        name: of the recalibration.
        sample: that it was fitted on; None where that is all of its part.
    """
    sentences = [_state(before), *([_cause(before), _correlated(before)] if before.refuted else [_uneven(before)])]
    sentences.append(before.causes.named)
    if after is None:
        sentences.append(_unchanged(before))
    else:
        sentences += [f"After recalibration ({name}) {_held(after)}.", _uneven(after)]
    if sample is not None:
        sentences.append(
            f"Recalibrations were fitted on {sample.fit:,} and chosen by {sample.calibrate:,} of {sample.labels:,} "
            "labels, those of images taken by a hash; all of the third part was judged."
        )
    return " ".join(sentence for sentence in sentences if sentence)


def _state(record: DiagnosisRecord) -> str:
    if record.calibrated:
        return f"Calibrated: {_held(record)}."
    if record.refuted:
        return f"Not calibrated: {_held(record)}."
    if record.images < LEAST_IMAGES:
        few = f"{record.images}; there is no verdict on fewer than {LEAST_IMAGES}"
        return f"Too few images to tell ({few}): {_held(record)}."
    return f"Too few images to tell ({record.images}), or off by too little: {_held(record)}."


def _unchanged(record: DiagnosisRecord) -> str:
    found = "no recalibration is better than the prediction as it is beyond chance."
    return f"Nothing is changed: {found}" if record.refuted else f"Nothing to mend: {found}"


def _held(record: DiagnosisRecord) -> str:
    """What the regions hold, with intervals."""
    parts = []
    for content in LEVELS:
        value, low, high = (100 * share for share in vars(record.hdr_coverage[content]).values())
        parts.append(f"{100 * content:.0f}% regions hold {value:.1f}% ({low:.1f} to {high:.1f})")
    return f"{' and '.join(parts)} of the labels"


def _uneven(record: DiagnosisRecord) -> str:
    """The groups whose coverage surely deviates, the surest first, where that of all labels does not say so."""
    off = [one for one in record.deviations if one.group is not None and one.what.startswith("coverage")]
    groups = list(dict.fromkeys(one.group for one in off if one.group is not None))
    if not groups:
        return ""
    ranges = {row.group: row.range for row in record.groups}
    named = [f"{group} ({ranges[group]})" if ranges.get(group) else group for group in groups[:_NAMED]]
    more = f" and {len(groups) - _NAMED} more" if len(groups) > _NAMED else ""
    return f"Coverage is not right in every group: {', '.join(named)}{more}."


def _correlated(record: DiagnosisRecord) -> str:
    named = any(one.what == CORRELATED and one.group is None for one in record.deviations)
    return "Errors along x and y are correlated otherwise than predicted." if named else ""


def _cause(record: DiagnosisRecord) -> str:
    """By how much sigma is off, overall and on the joint where it is worst of those that surely deviate.

    Sigma is judged as what its gauge says: as a standard deviation, or as half the 16-84% width. Where both differ, the
    errors have another shape than predicted.
    """
    rows = [row for row in record.joints if row.scale_too_small_by and row.rms_too_small_by]
    labels = sum(row.keypoints for row in rows)
    if not labels:
        return ""
    widths = {row.joint: row.scale_too_small_by or 1.0 for row in rows}
    squares = sum((row.rms_too_small_by or 1.0) ** 2 * row.keypoints for row in rows)
    width, rms = sum(widths[row.joint] * row.keypoints for row in rows) / labels, (squares / labels) ** 0.5
    if record.gauge != "moment":
        return f"{_off(record, width, widths)} That is half the 16-84% width."
    if rms > _GROSS * width:
        return (
            f"Sigma is {_times(width)} for most labels, by half the 16-84% width of their errors, and {_times(rms)} as "
            "a standard deviation, which gross errors decide."
        )
    if max(rms / width, width / rms) < _ALIKE:
        return _off(record, rms, {row.joint: row.rms_too_small_by or 1.0 for row in rows})
    if record.causes.named:
        return f"Sigma is {_times(rms)} as a standard deviation, and not by one factor."
    tails = "heavier" if rms > width else "lighter"
    return (
        f"Sigma is {_times(rms)} as a standard deviation. The errors have another shape than predicted: half their "
        f"16-84% width is {_number(width)} times the predicted one, so that the tails are {tails}, and no factor "
        "mends that."
    )


def _off(record: DiagnosisRecord, overall: float, by_joint: Mapping[str, float]) -> str:
    sure = {group.group for group in record.groups if group.deviates}
    off = {joint: factor for joint, factor in by_joint.items() if f"joint: {joint}" in sure}
    if not off:
        return f"Sigma is {_times(overall)}."
    worst = max(off, key=lambda joint: max(off[joint], 1 / off[joint]))
    return f"Sigma is {_times(overall)} overall, and {_times(off[worst])} on {worst}."


def _times(factor: float) -> str:
    if 0.95 < factor < 1.05:
        return "right to 5%"
    return f"{_number(factor)} times too small" if factor > 1 else f"{_number(1 / factor)} times too large"


def _number(factor: float) -> str:
    """A factor with two decimals, or without from 100 on."""
    return f"{factor:,.0f}" if factor >= 100 else f"{factor:.2f}"
