"""A comparison as one HTML file that loads nothing."""

from __future__ import annotations

__all__ = ["write_html"]

import base64
from pathlib import Path

from jinja2 import Template

from probpose.analysis.comparison import Comparison
from probpose.analysis.comparison_tables import comparison_markdown
from probpose.inference.files import write_atomically

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
