"""The diagnosis as plain JSON, and its verdict in plain words."""

from __future__ import annotations

__all__ = ["diagnosis_record", "interval_record", "verdict_text"]

import math
from collections.abc import Mapping
from typing import Any

from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.calibration.diagnostics.coverage import CURVE, LEVELS
from probpose.analysis.calibration.diagnostics.dependence import dependence, overdispersion
from probpose.analysis.calibration.diagnostics.deviations import Deviation
from probpose.analysis.calibration.diagnostics.diagnosis import Diagnosis
from probpose.analysis.calibration.diagnostics.location import AXES
from probpose.analysis.calibration.diagnostics.proper_scores import SCORES, mean_score
from probpose.arrays import Array

Record = dict[str, Any]


def interval_record(interval: Interval | None) -> Record | None:
    """{"value", "low", "high"}, 95%; None where there is none."""
    if interval is None or not math.isfinite(interval.value):
        return None
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def diagnosis_record(diagnosis: Diagnosis) -> Record:
    """Everything that a diagnosis found; None stands for undefined."""
    verdict = diagnosis.coverage.verdict()
    off = diagnosis.deviations()
    return {
        "keypoints": diagnosis.coverage.keypoints(),
        "persons": diagnosis.persons,
        "images": diagnosis.sums.images,
        "calibrated": verdict.calibrated,
        "refuted": verdict.refuted,
        "hdr_coverage": {str(content): interval_record(diagnosis.coverage.at(content)) for content in CURVE},
        "groups": _groups(diagnosis, off),
        "deviations": [_deviation(deviation) for deviation in off],
        "scores": {name: interval_record(mean_score(diagnosis.sums, name)) for name in SCORES},
        "axes": {axis: _axis(diagnosis, index) for index, axis in enumerate(AXES)},
        "reliability": [vars(one) for one in diagnosis.reliability.bins() if one is not None],
        "dependence": _dependence(diagnosis),
        "usefulness": _usefulness(diagnosis),
        "joints": _joints(diagnosis),
    }


def _groups(diagnosis: Diagnosis, off: list[Deviation]) -> list[Record]:
    named = {deviation.group for deviation in off if deviation.what.startswith("coverage")}
    return [
        {
            "group": group,
            "keypoints": diagnosis.coverage.keypoints(group),
            "hdr_coverage": {str(c): interval_record(diagnosis.coverage.at(c, group)) for c in LEVELS},
            "deviates": group in named,
        }
        for group in diagnosis.questions.groups.present
    ]


def _deviation(deviation: Deviation) -> Record:
    return vars(deviation) | {"value": interval_record(deviation.value)}


def _axis(diagnosis: Diagnosis, axis: int) -> Record:
    nominal, observed = diagnosis.axes.curve(axis)
    return {
        "pit_histogram": diagnosis.axes.histogram[axis].astype(int).tolist(),
        "central_intervals": {"nominal": nominal.tolist(), "observed": observed.tolist()},
        **vars(diagnosis.axes.errors(axis)),
    }


def _dependence(diagnosis: Diagnosis) -> Record:
    return {
        "correlation": interval_record(diagnosis.sums.interval(dependence(diagnosis.sums))),
        "overdispersion": interval_record(overdispersion(diagnosis.sums)),
        "matrix": dict(zip(AXES, (_plain(one) for one in diagnosis.correlations.matrix()), strict=True)),
    }


def _usefulness(diagnosis: Diagnosis) -> Record:
    curves = diagnosis.ranks.sparsification()
    found: Record = {"spearman": diagnosis.ranks.spearman(), "ause": None, "sparsification": None}
    if curves is not None:
        found["ause"] = curves.ause
        names = ("removed", "by_scale", "oracle")
        found["sparsification"] = {name: getattr(curves, name).tolist() for name in names}
    within = diagnosis.within
    if within is not None:
        cut_off = within.cut_off()
        found["within"] = {
            "radius_px": within.radius_px,
            "confidence_edges": within.edges.tolist(),
            "keypoints": within.counts.astype(int).tolist(),
            "share": _plain(within.shares()),
            "cut_off": None if cut_off is None else vars(cut_off) | {"confidence": _finite(cut_off.confidence)},
        }
    if diagnosis.oks.counts.any():
        names = ("score", "oks", "persons")
        bins = [dict(zip(names, one, strict=True)) for one in diagnosis.oks.bins()]
        found["oks"] = {"spearman": diagnosis.oks.spearman(), "bins": bins}
    return found


def _joints(diagnosis: Diagnosis) -> list[Record]:
    radii = [diagnosis.radii.radius(share) for share in (0.5, 0.9)]
    bins = diagnosis.by_joint.bins()
    columns = zip(diagnosis.questions.joints, diagnosis.radii.labels(), *radii, bins, strict=True)
    return [
        {
            "joint": name,
            "keypoints": int(labels),
            "error_r50_px": _finite(r50),
            "error_r90_px": _finite(r90),
            "scale_px": None if one is None else one.predicted_px,
            "scale_too_small_by": None if one is None else one.factor,
        }
        for name, labels, r50, r90, one in columns
    ]


def _plain(values: Array) -> list[Any]:
    """Nested lists with None for NaN."""
    return [_plain(row) for row in values] if values.ndim > 1 else [_finite(value) for value in values]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


Finding = Mapping[str, Any]


def verdict_text(before: Finding, after: Finding | None, method: str) -> str:
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


def _state(record: Finding) -> str:
    if record["calibrated"]:
        return f"Calibrated: {_held(record)}."
    if record["refuted"]:
        return f"Not calibrated: {_held(record)}."
    return f"Too few images to tell ({record['images']}), or off by too little: {_held(record)}."


def _held(record: Finding) -> str:
    """What the regions hold, with intervals."""
    parts = []
    for content in LEVELS:
        found = record["hdr_coverage"][str(content)]
        low, high = 100 * found["low"], 100 * found["high"]
        parts.append(f"{100 * content:.0f}% regions hold {100 * found['value']:.1f}% ({low:.1f} to {high:.1f})")
    return f"{' and '.join(parts)} of the labels"


def _cause(record: Finding) -> str:
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
