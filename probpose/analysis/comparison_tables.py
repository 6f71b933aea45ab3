"""A comparison as Markdown, CSV and JSON."""

from __future__ import annotations

__all__ = ["comparison_markdown", "write_comparison"]

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from probpose.analysis.comparison import Comparison, Row
from probpose.analysis.estimates import ESTIMATORS
from probpose.analysis.scores import PCK_FRACTIONS
from probpose.inference.files import write_atomically


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write comparison.csv, comparison.json and comparison.md; returns their paths.

    Raises:
        OSError: the folder is not writable.
    """
    facts = {key: value for key, value in vars(comparison).items() if key != "rows"}
    document = facts | {"rows": [asdict(row) for row in comparison.rows]}
    contents = {
        "comparison.csv": _csv(comparison),
        "comparison.json": json.dumps(document, indent=1, allow_nan=False),
        "comparison.md": comparison_markdown(comparison),
    }
    for name, text in contents.items():
        write_atomically(folder / name, text.encode())
    return [folder / name for name in contents]


def comparison_markdown(comparison: Comparison) -> str:
    """Three tables: densities and cost, point metrics for each estimator, and paired differences."""
    c = comparison
    head = (
        f"{c.dataset}: {c.keypoints} labelled keypoints of {c.persons} persons in {c.images} images. NLL in nats per "
        "labelled keypoint, original-image pixels; ± is the standard deviation over seeds.\n"
    )
    return "\n".join([head, _densities(c), _points(c), _differences(c)])


def _densities(c: Comparison) -> str:
    headings = ["residual", "seeds", "NLL", "in 50%", "in 90%", "r90 px", "AP", "parameters", "GFLOPs", "images/s"]
    rows = [
        [
            row.residual,
            str(row.seeds),
            _spread(row, "nll_nats", 3),
            _spread(row, "coverage50", 3),
            _spread(row, "coverage90", 3),
            _spread(row, "r90_px", 1),
            _spread(row, "AP", 3),
            f"{row.values['parameters'] or 0:,.0f}",
            f"{(row.values['flops'] or 0) / 1e9:.2f}",
            _number(row.values["images_per_s"], 0),
        ]
        for row in c.rows
    ]
    return _markdown(headings, rows)


def _points(c: Comparison) -> str:
    names = [f"pck{fraction:g}" for fraction in PCK_FRACTIONS] + ["epe_px"]
    titles = [f"PCK@{fraction:g}" for fraction in PCK_FRACTIONS] + ["EPE px"]
    headings = ["residual", *(f"{title} {estimator}" for title in titles for estimator in ESTIMATORS)]
    rows = [
        [row.residual, *(_spread(row, f"{n}_{e}", 2 if n == "epe_px" else 3) for n in names for e in ESTIMATORS)]
        for row in c.rows
    ]
    return _markdown(headings, rows)


def _differences(c: Comparison) -> str:
    keys = {"nll_nats": "NLL"}
    keys |= {f"pck{f:g}_{e}": f"PCK@{f:g} {e}" for f in PCK_FRACTIONS for e in ESTIMATORS}
    keys |= {f"epe_px_{e}": f"EPE px {e}" for e in ESTIMATORS}
    headings = [f"minus {c.reference}", *keys.values()]
    rows = [[row.residual, *(_difference(row, key) for key in keys)] for row in c.rows if row.differences]
    if not rows:
        return ""
    note = (
        "Paired differences, ± one standard error: differences summed per image, and between seeds where there are "
        "several. Of a PCK more is better, of the others less.\n"
    )
    return note + "\n" + _markdown(headings, rows)


def _difference(row: Row, key: str) -> str:
    found = row.differences[key]
    decimals = 2 if key.startswith("epe") else 3
    return f"{found.mean:+.{decimals}f} ± {found.se:.{decimals}f}"


def _spread(row: Row, key: str, decimals: int) -> str:
    spread = row.spread[key]
    text = _number(row.values[key], decimals)
    return text if spread is None else f"{text} ± {spread:.{decimals}f}"


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _csv(comparison: Comparison) -> str:
    records = comparison.records()
    columns = list(dict.fromkeys(key for record in records for key in record))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()
