"""An audit in the terminal: how often labels err, and the most suspicious ones."""

from __future__ import annotations

__all__ = ["audit_tables"]

import math
from typing import Any

from rich.console import Group, RenderableType

from probpose.analysis.audit.record import ACTIONS, Audit
from probpose.analysis.table import Cell, Column, Table
from probpose.models.label_errors import KINDS

LISTED = 12


def audit_tables(audit: Audit) -> RenderableType:
    """Rates, and the first of the suspects, for the terminal."""
    return Group(_rates(audit).terminal(), _suspects(audit).terminal())


def _rates(audit: Audit) -> Table:
    return Table(
        title=f"{audit.name}: {len(audit)} labels of {len(audit.persons)} persons, held against {_models(audit)}",
        columns=[Column("of labels, pairs and persons"), Column("%", 2), Column("sd", 2)],
        rows=[(rate.event.replace("_", " "), 100 * rate.mean, 100 * rate.sd) for rate in audit.rates if not rate.joint],
        caption=_proposed(audit),
    )


def _models(audit: Audit) -> str:
    return " and ".join(audit.models)


def _proposed(audit: Audit) -> str:
    counts = [int((audit.action == index).sum()) for index in range(len(ACTIONS))]
    found = zip(ACTIONS[1:], counts[1:], strict=True)
    return f"proposed with probability over {audit.threshold}: " + ", ".join(f"{name} {count}" for name, count in found)


def _suspects(audit: Audit) -> Table:
    suspects = audit.order[audit.suspicion[audit.order] > audit.threshold]
    columns = [Column("file", words=True), Column("annotation", 0), Column("joint", words=True), Column("error px", 1)]
    columns += [Column("kind", words=True), Column("probability"), Column("proposed", words=True)]
    more = ", the first of them" if len(suspects) > LISTED else ""
    return Table(
        title="suspects",
        columns=columns,
        rows=[_row(audit, audit.entry(index)) for index in suspects[:LISTED].tolist()],
        caption=f"{len(suspects)} labels are about something else than their joint with probability over "
        f"{audit.threshold}{more}",
    )


def _row(audit: Audit, entry: dict[str, Any]) -> list[Cell]:
    error = math.dist((entry["x"], entry["y"]), (entry["predicted_x"], entry["predicted_y"]))
    kind = max(KINDS, key=lambda name: float(entry[name]))
    place = (entry["file_name"], entry["annotation_id"], entry["joint"], error)
    return [*place, kind.replace("_", " "), entry[kind], entry["action"]]
