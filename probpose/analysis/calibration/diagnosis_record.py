"""The diagnosis as plain JSON: what calibration.json holds, and what the report is drawn from."""

from __future__ import annotations

__all__ = ["diagnosis_record", "interval_record"]

import math
from typing import Any

from probpose.analysis.calibration.bootstrap import Interval
from probpose.analysis.calibration.coverage import CURVE, LEVELS
from probpose.analysis.calibration.dependence import dependence, overdispersion
from probpose.analysis.calibration.deviations import Deviation
from probpose.analysis.calibration.diagnosis import Diagnosis
from probpose.analysis.calibration.location import AXES
from probpose.analysis.calibration.proper_scores import SCORES, mean_score
from probpose.analysis.estimates import Array

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
