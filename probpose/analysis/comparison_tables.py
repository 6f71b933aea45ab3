"""A comparison as Markdown, CSV and JSON."""

from __future__ import annotations

__all__ = ["comparison_markdown", "write_comparison"]

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

from probpose.analysis.comparison import Comparison, Row
from probpose.analysis.estimates import ESTIMATORS
from probpose.analysis.markdown import markdown_table
from probpose.analysis.scores import PCK_FRACTIONS
from probpose.analysis.tables import number
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
    """Densities, the point metrics of each estimator, both with paired differences, cost, and ArviZ's comparison."""
    c = comparison
    head = (
        f"{c.dataset}: {c.keypoints} labelled keypoints of {c.persons} persons in {c.images} images. NLL in nats per "
        "labelled keypoint, original-image pixels. Values ± standard deviation over seeds; differences from "
        f"{c.reference}, paired by keypoint and seed, ± standard error (summed per image, and between seeds).\n"
    )
    return "\n".join([head, _densities(c), _points(c), _cost(c), *_elpd(c)])


def _densities(c: Comparison) -> str:
    headings = ["model", "seeds", "NLL", "difference", "in 50%", "in 90%", "r90 px", "AP"]
    rows = [
        [
            row.model,
            str(row.seeds),
            _spread(row, "nll_nats", 3),
            _difference(row, "nll_nats", 3),
            _spread(row, "coverage50", 3),
            _spread(row, "coverage90", 3),
            _spread(row, "r90_px", 1),
            _spread(row, "AP", 3),
        ]
        for row in c.rows
    ]
    return markdown_table(headings, rows)


def _points(c: Comparison) -> str:
    metrics = {f"pck{fraction:g}": (f"PCK@{fraction:g}", 3) for fraction in PCK_FRACTIONS} | {"epe_px": ("EPE px", 2)}
    headings = ["model", "point", *(title for name, _ in metrics.values() for title in (name, "difference"))]
    rows = [
        [
            row.model if first else "",
            estimator,
            *_cells(row, {f"{m}_{estimator}": d for m, (_, d) in metrics.items()}),
        ]
        for row in c.rows
        for first, estimator in zip((True, False, False), ESTIMATORS, strict=True)
    ]
    return markdown_table(headings, rows)


def _cost(c: Comparison) -> str:
    rows = [
        [
            row.model,
            f"{row.values['parameters'] or 0:,.0f}",
            f"{(row.values['flops'] or 0) / 1e9:.2f}",
            number(row.values["images_per_s"], 0),
        ]
        for row in c.rows
    ]
    return markdown_table(["model", "parameters", "GFLOPs", "images/s"], rows)


def _elpd(c: Comparison) -> list[str]:
    """ArviZ's table with a sentence on it; nothing for a single model."""
    if not c.elpd:
        return []
    head = (
        "Expected log predictive density: held-out log scores, averaged over seeds and summed per image, by "
        "`arviz.compare`; `weight` is that of stacking.\n"
    )
    rows = [
        [row["model"], *(number(row[key], 1) for key in ("elpd_loo", "se", "elpd_diff", "dse")), f"{row['weight']:.2f}"]
        for row in c.elpd
    ]
    return [head, markdown_table(["model", "ELPD, nats", "s.e.", "behind the best", "s.e.", "weight"], rows)]


def _cells(row: Row, decimals: dict[str, int]) -> list[str]:
    return [
        cell for key, count in decimals.items() for cell in (_spread(row, key, count), _difference(row, key, count))
    ]


def _difference(row: Row, key: str, decimals: int) -> str:
    found = row.differences.get(key)
    return "" if found is None else f"{found.mean:+.{decimals}f} ± {found.se:.{decimals}f}"


def _spread(row: Row, key: str, decimals: int) -> str:
    spread = row.spread[key]
    text = number(row.values[key], decimals)
    return text if spread is None else f"{text} ± {spread:.{decimals}f}"


def _csv(comparison: Comparison) -> str:
    records = comparison.records()
    columns = list(dict.fromkeys(key for record in records for key in record))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()
