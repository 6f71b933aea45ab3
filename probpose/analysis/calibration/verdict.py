"""The verdict on a calibration in plain words."""

from __future__ import annotations

__all__ = ["verdict_text"]

from probpose.analysis.calibration.diagnostics.coverage import LEVELS
from probpose.analysis.calibration.diagnostics.record import DiagnosisRecord


def verdict_text(before: DiagnosisRecord, after: DiagnosisRecord | None, name: str) -> str:
    """Two to four sentences.

    Args:
        before: of the prediction as it was.
        after: of the recalibrated prediction; None where nothing was changed.
        name: of the recalibration.
    """
    sentences = [_state(before)]
    if before.refuted:
        sentences.append(_cause(before))
    sentences.append(_unchanged(before) if after is None else f"After recalibration ({name}) {_held(after)}.")
    return " ".join(sentence for sentence in sentences if sentence)


def _state(record: DiagnosisRecord) -> str:
    if record.calibrated:
        return f"Calibrated: {_held(record)}."
    if record.refuted:
        return f"Not calibrated: {_held(record)}."
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


def _cause(record: DiagnosisRecord) -> str:
    """By how much sigma is off, overall and on the joint where it is worst of those that surely deviate."""
    factors = {row.joint: (row.scale_too_small_by, row.keypoints) for row in record.joints if row.scale_too_small_by}
    labels = sum(count for _, count in factors.values())
    if not labels:
        return ""
    overall = sum(factor * count for factor, count in factors.values()) / labels
    sure = {group.group for group in record.groups if group.deviates}
    off = {joint: factor for joint, (factor, _) in factors.items() if f"joint: {joint}" in sure}
    if not off:
        return f"Sigma is {_times(overall)}."
    worst = max(off, key=lambda joint: max(off[joint], 1 / off[joint]))
    return f"Sigma is {_times(overall)} overall, and {_times(off[worst])} on {worst}."


def _times(factor: float) -> str:
    if 0.95 < factor < 1.05:
        return "right to 5%"
    return f"{factor:.2f} times too small" if factor > 1 else f"{1 / factor:.2f} times too large"
