"""A comparison for readers: tables in Markdown, CSV and HTML, and a figure."""

from __future__ import annotations

__all__ = [
    "comparison_figure",
    "comparison_markdown",
    "draw_comparison",
    "markdown_table",
    "write_comparison",
    "write_html",
]

import base64
import csv
import io
import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from jinja2 import Template
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probpose.analysis.evaluation.comparison import Comparison, Row
from probpose.analysis.evaluation.scores import PCK_FRACTIONS
from probpose.analysis.evaluation.tables import number
from probpose.analysis.prediction.estimates import ESTIMATORS
from probpose.files import write_atomically


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with one line a row, which ends with a line break."""
    lines = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


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


_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #8885; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; background: white; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<img alt="Likelihood, accuracy, coverage and radii of the models" src="data:image/png;base64,{{ picture }}">
{% for text, headings, rows in blocks %}
{% if text %}<p>{{ text }}</p>{% endif %}
<div class="wide"><table>
<tr>{% for heading in headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endfor %}
</body>
</html>
""",
    autoescape=True,
)


def write_html(comparison: Comparison, picture: Path, file: Path) -> Path:
    """Write the tables of `comparison_markdown` under the figure; returns `file`.

    Args:
        comparison: to show.
        picture: its figure, PNG.
        file: to write.

    Raises:
        OSError: the folder is not writable.
    """
    encoded = base64.b64encode(picture.read_bytes()).decode()
    blocks = _blocks(comparison_markdown(comparison))
    page = _PAGE.render(title=f"Models compared on {comparison.dataset}", picture=encoded, blocks=blocks)
    write_atomically(file, page.encode())
    return file


def _blocks(markdown: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """Text before each table, its headings and its rows."""
    blocks, text = [], ""
    for part in markdown.split("\n\n"):
        for lines in _paragraphs(part):
            if lines[0].startswith("|"):
                cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
                blocks.append((text, cells[0], cells[2:]))
                text = ""
            else:
                text = " ".join(lines)
    return blocks


def _paragraphs(part: str) -> list[list[str]]:
    """Lines of a part, those of a table apart from those of text."""
    groups: list[list[str]] = []
    for line in filter(None, part.splitlines()):
        if not groups or groups[-1][0].startswith("|") != line.startswith("|"):
            groups.append([])
        groups[-1].append(line)
    return groups


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
    figure = Figure(figsize=(width, 1.6 + 0.38 * len(rows)), layout="constrained")
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
