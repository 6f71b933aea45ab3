"""The verdict in plain words."""

from __future__ import annotations

__all__ = ["verdict_text"]

from collections.abc import Mapping
from typing import Any

from probpose.analysis.calibration.coverage import LEVELS

Record = Mapping[str, Any]


def verdict_text(before: Record, after: Record | None, method: str) -> str:
    """One to three sentences.

    Args:
        before: what `diagnosis_record` gives of the prediction as it was.
        after: the same of the recalibrated prediction, or None.
        method: of recalibration; "none" where the prediction stands as it was.
    """
    sentences = [_state(before)]
    if before["refuted"]:
        sentences.append(_cause(before))
    if after is not None and method != "none":
        sentences.append(f"After recalibration ({method}) {_held(after)}.")
    return " ".join(sentence for sentence in sentences if sentence)


def _state(record: Record) -> str:
    if record["calibrated"]:
        return f"Calibrated: {_held(record)}."
    if record["refuted"]:
        return f"Not calibrated: {_held(record)}."
    return f"Too few images to tell ({record['images']}), or off by too little: {_held(record)}."


def _held(record: Record) -> str:
    """What the regions hold, with intervals."""
    parts = []
    for content in LEVELS:
        found = record["hdr_coverage"][str(content)]
        low, high = 100 * found["low"], 100 * found["high"]
        parts.append(f"{100 * content:.0f}% regions hold {100 * found['value']:.1f}% ({low:.1f} to {high:.1f})")
    return f"{' and '.join(parts)} of the labels"


def _cause(record: Record) -> str:
    """By how much sigma is off, overall and on the joint where it is worst of those that surely deviate."""
    known = [row for row in record["joints"] if row["scale_too_small_by"]]
    labels = sum(row["keypoints"] for row in known)
    if not labels:
        return ""
    overall = sum(row["scale_too_small_by"] * row["keypoints"] for row in known) / labels
    sure = {group["group"] for group in record["groups"] if group["deviates"]}
    off = [row for row in known if f"joint: {row['joint']}" in sure]
    if not off:
        return f"Sigma is {_times(overall)}."
    worst = max(off, key=lambda row: max(row["scale_too_small_by"], 1 / row["scale_too_small_by"]))
    return f"Sigma is {_times(overall)} overall, and {_times(worst['scale_too_small_by'])} on {worst['joint']}."


def _times(factor: float) -> str:
    if 0.95 < factor < 1.05:
        return "right to 5%"
    return f"{factor:.2f} times too small" if factor > 1 else f"{1 / factor:.2f} times too large"
