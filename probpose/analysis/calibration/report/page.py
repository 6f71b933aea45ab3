"""The page: verdict, pictures and tables in one HTML file that loads nothing and runs no script."""

from __future__ import annotations

__all__ = ["Section", "render"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from probpose.analysis.calibration.report.picture import Picture
from probpose.analysis.calibration.report.table import Table, number, percent

Record = Mapping[str, Any]

_TEMPLATES = Environment(
    loader=PackageLoader("probpose.analysis.calibration.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Section:
    """Pictures and tables under one heading."""

    title: str
    pictures: Sequence[Picture] = field(default_factory=list)
    tables: Sequence[Table] = field(default_factory=list)


def render(record: Record, sections: Sequence[Section]) -> str:
    """The page as text.

    Args:
        record: the content of calibration.json.
        sections: to show below the verdict, in their order; inside the context `style()`.
    """
    return _TEMPLATES.get_template("report.html").render(
        record=record,
        state=_state(record["verdict"]),
        headline=_headline(record),
        facts=_facts(record),
        sections=sections,
    )


def _state(verdict: Record) -> str:
    if verdict["calibrated"]:
        return "calibrated"
    return "not calibrated" if verdict["refuted"] else "undecided"


def _headline(record: Record) -> list[tuple[str, str, str | None]]:
    """Name, value before, and value after recalibration."""
    after = record["after"]
    rows: list[tuple[str, str, str | None]] = []
    for content in ("0.5", "0.9"):
        found = [percent(one["hdr_coverage"][content]) for one in (record["before"], after) if one]
        rows.append((f"% of the labels in {100 * float(content):.0f}% regions", found[0], found[1] if after else None))
    nll = record["recalibrated"]["nll_nats"]
    rows.append(("NLL, nats per keypoint", number(record["nll_nats"], 3), number(nll, 3) if after else None))
    return rows


def _facts(record: Record) -> list[str]:
    """Where the numbers come from, in a few words each."""
    facts = []
    if source := record.get("source"):
        facts.append(f"{source['kind']} {source['file']}")
    facts.append(f"judged on {record['keypoints']} labels of {record['persons']} persons in {record['images']} images")
    split = record["split"]
    parts = ", ".join(f"{_images(split[part])} to {part}" for part in ("fit", "calibrate", "test"))
    facts.append(f"images split with seed {split['seed']}: {parts}")
    if gauge := record.get("gauge"):
        meanings = {"moment": "sigma is a standard deviation", "quantile": "sigma is half the 16-84% width"}
        facts.append(meanings.get(gauge, f"gauge {gauge}"))
    if record["recalibrated"]["method"] != "none":
        facts.append(f"recalibrated by {record['recalibrated'].get('name', record['recalibrated']['method'])}")
    return facts


def _images(part: int | Record) -> int:
    return part if isinstance(part, int) else int(part["images"])
