"""A comparison for readers: the same tables in Markdown, CSV and HTML, and one line a model as a figure."""

from __future__ import annotations

__all__ = [
    "comparison_figure",
    "comparison_markdown",
    "comparison_tables",
    "draw_comparison",
    "write_comparison",
    "write_html",
]

import base64
import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jinja2 import Template
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probpose.analysis.evaluation.comparison import Comparison, Row
from probpose.analysis.evaluation.scores import PCK_FRACTIONS
from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.prediction.estimates import ESTIMATORS
from probpose.analysis.table import Column, Table, number
from probpose.files import write_atomically


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write comparison.csv, comparison.json and comparison.md; returns their paths.

    Raises:
        OSError: the folder is not writable.
    """
    contents = {
        "comparison.csv": _records(comparison).csv(),
        "comparison.json": json.dumps(asdict(comparison), indent=1, allow_nan=False),
        "comparison.md": comparison_markdown(comparison),
    }
    for name, text in contents.items():
        write_atomically(folder / name, text.encode())
    return [folder / name for name in contents]


def comparison_markdown(comparison: Comparison) -> str:
    """`comparison_tables`, one below the other."""
    return "\n".join(table.markdown() for table in comparison_tables(comparison))


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Densities, the point metrics of each estimator, both with paired differences, cost, and ArviZ's comparison."""
    tables = [_densities(comparison), _points(comparison), _cost(comparison)]
    return [*tables, _elpd(comparison)] if comparison.elpd else tables


def _densities(c: Comparison) -> Table:
    headings = ["model", "seeds", "NLL", "difference", "in 50%", "in 90%", "r90 px", "AP"]
    return Table(
        name="densities",
        title="Likelihood and coverage",
        caption=f"{c.dataset}: {c.keypoints} labelled keypoints of {c.persons} persons in {c.images} images. NLL in "
        "nats per labelled keypoint, original-image pixels. Values ± standard deviation over seeds; differences from "
        f"{c.reference}, paired by keypoint and seed, ± standard error (summed per image, and between seeds).",
        columns=[Column(heading) for heading in headings],
        rows=[
            [
                row.model,
                row.seeds,
                _spread(row, "nll_nats", 3),
                _difference(row, "nll_nats", 3),
                _spread(row, "coverage50", 3),
                _spread(row, "coverage90", 3),
                _spread(row, "r90_px", 1),
                _spread(row, "AP", 3),
            ]
            for row in c.rows
        ],
    )


def _points(c: Comparison) -> Table:
    metrics = {f"pck{fraction:g}": (f"PCK@{fraction:g}", 3) for fraction in PCK_FRACTIONS} | {"epe_px": ("EPE px", 2)}
    headings = [heading for name, _ in metrics.values() for heading in (name, "difference")]
    return Table(
        name="points",
        title="Point estimates",
        columns=[Column("model"), Column("point", words=True), *map(Column, headings)],
        rows=[
            [
                row.model if first else "",
                estimator,
                *_cells(row, {f"{m}_{estimator}": d for m, (_, d) in metrics.items()}),
            ]
            for row in c.rows
            for first, estimator in zip((True, False, False), ESTIMATORS, strict=True)
        ],
    )


def _cost(c: Comparison) -> Table:
    return Table(
        name="cost",
        title="Cost",
        columns=[Column("model"), Column("parameters"), Column("GFLOPs", 2), Column("images/s", 0)],
        rows=[
            [
                row.model,
                f"{row.values['parameters'] or 0:,.0f}",
                (row.values["flops"] or 0) / 1e9,
                row.values["images_per_s"],
            ]
            for row in c.rows
        ],
    )


def _elpd(c: Comparison) -> Table:
    headings = ["ELPD, nats", "s.e.", "behind the best", "s.e."]
    return Table(
        name="elpd",
        title="Expected log predictive density",
        caption="Held-out log scores, averaged over seeds and summed per image, by arviz.compare; the weight is that "
        "of stacking.",
        columns=[Column("model"), *(Column(heading, 1) for heading in headings), Column("weight", 2)],
        rows=[[row.model, row.elpd_loo, row.se, row.elpd_diff, row.dse, row.weight] for row in c.elpd],
    )


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


def _records(comparison: Comparison) -> Table:
    """All numbers as they are, one row a model."""
    records = comparison.records()
    columns = list(dict.fromkeys(key for record in records for key in record))
    return Table(columns=[Column(name) for name in columns], rows=[[r.get(name) for name in columns] for r in records])


_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h3 { margin: 2rem 0 .3rem; }
.caption { margin: 0 0 .6rem; max-width: 60rem; opacity: .8; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #8885; text-align: right; }
tbody th { font-weight: 400; }
tbody th, .words { text-align: left; }
img { max-width: 100%; background: white; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<img alt="Likelihood, accuracy, coverage and radii of the models" src="data:image/png;base64,{{ picture }}">
{% for table in tables %}
{{ table.html() | safe }}
{% endfor %}
</body>
</html>
""",
    autoescape=True,
)


def write_html(comparison: Comparison, picture: Path, file: Path) -> Path:
    """Write `comparison_tables` under the figure; returns `file`.

    Args:
        comparison: to show.
        picture: its figure, PNG.
        file: to write.

    Raises:
        OSError: the folder is not writable.
    """
    page = _PAGE.render(
        title=f"Models compared on {comparison.dataset}",
        picture=base64.b64encode(picture.read_bytes()).decode(),
        tables=comparison_tables(comparison),
    )
    write_atomically(file, page.encode())
    return file


_COLOURS = {"mean": "#1f6fb2", "median": "#c2571a", "mode": "#3a8f4d"}
_SHIFT = {"mean": -0.2, "median": 0.0, "mode": 0.2}
_SE = 2
_PANELS = 10.5
"""Width of the four panels in inches."""
_LETTER = 0.09
"""Width of a letter of a model's name in inches."""


def draw_comparison(comparison: Comparison, files: Sequence[Path]) -> None:
    """Save `comparison_figure`.

    Args:
        comparison: at least one model.
        files: where to save, such as a PNG and a PDF.
    """
    figure = comparison_figure(comparison)
    for file in files:
        figure.savefig(file, dpi=130)


def comparison_figure(comparison: Comparison) -> Figure:
    """Four panels, one line a model: NLL difference, PCK@0.2 by point estimate, coverage, r90."""
    rows = comparison.rows
    width = _PANELS + _LETTER * max(len(row.model) for row in rows)
    figure = LiteralFigure(figsize=(width, 1.6 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    _likelihood(axes[0], rows, comparison.reference)
    _accuracy(axes[1], rows)
    _coverage(axes[2], rows)
    _radius(axes[3], rows)
    axes[0].set_yticks(range(len(rows)), [row.model for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e8ebee", linewidth=0.6)
        axis.set_axisbelow(True)
    figure.suptitle(f"{comparison.dataset}: {comparison.keypoints} labelled keypoints", fontsize=10)
    return figure


def _likelihood(axis: Axes, rows: Sequence[Row], reference: str) -> None:
    axis.axvline(0, color="#9aa5b1", linewidth=0.8)
    for height, row in enumerate(rows):
        found = row.differences.get("nll_nats")
        mean, se = (found.mean, found.se) if found else (0.0, 0.0)
        axis.errorbar(mean, height, xerr=_SE * se, fmt="o", color="#222222", markersize=4, capsize=2)
    _explain(axis, f"NLL minus that of {reference}, nats", f"± {_SE} s.e.; less is better")


def _accuracy(axis: Axes, rows: Sequence[Row]) -> None:
    for estimator in ESTIMATORS:
        for height, row in enumerate(rows):
            key = f"pck0.2_{estimator}"
            at, spread = (row.values[key] or 0.0, height + _SHIFT[estimator]), row.spread[key] or 0.0
            label = estimator if height == 0 else None
            axis.errorbar(*at, xerr=spread, fmt="o", color=_COLOURS[estimator], markersize=4, label=label)
    _explain(axis, "PCK@0.2", "± s.d. over seeds; more is better")
    axis.legend(frameon=False, fontsize=7, loc="best")


def _coverage(axis: Axes, rows: Sequence[Row]) -> None:
    for level, colour in ((50, "#1f6fb2"), (90, "#8356a8")):
        axis.axvline(level / 100, color=colour, linewidth=0.8, linestyle="--")
        for height, row in enumerate(rows):
            axis.plot(row.values[f"coverage{level}"], height, "o", color=colour, markersize=4)  # type: ignore[arg-type]
    _explain(axis, "labels in the 50% and 90% regions", "dashed: calibrated")


def _radius(axis: Axes, rows: Sequence[Row]) -> None:
    for height, row in enumerate(rows):
        axis.plot(row.values["r90_px"], height, "o", color="#222222", markersize=4)  # type: ignore[arg-type]
    _explain(axis, "median r90, pixels", "small is sharp, if calibrated")


def _explain(axis: Axes, *lines: str) -> None:
    axis.set_xlabel("\n".join(textwrap.fill(line, 34) for line in lines), fontsize=9)
