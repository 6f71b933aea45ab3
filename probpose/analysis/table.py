"""A table, for the terminal, in Markdown, in HTML and as CSV: what others have named is escaped in each."""

from __future__ import annotations

__all__ = ["Cell", "Column", "Table", "letters", "number"]

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import rich.table
from jinja2 import Environment
from rich import box
from rich.text import Text

from probpose.text import formula_free, shown

Cell: TypeAlias = str | int | float | None

HUGE = 1e6
"""Numbers from here on are written short."""

_MARKDOWN = re.compile(r"[\\|<&*`~]|(?<!\w)_|_(?!\w)|\](?=[(\[])")
"""What Markdown would read as something else than a letter: a backslash before it makes it one."""


def number(value: float | None, decimals: int) -> str:
    """A number, never minus zero, short where it is huge; a dash where undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:z.{decimals}f}" if abs(value) < HUGE else f"{value:.3g}"


@dataclass(frozen=True)
class Column:
    """How the cells of a column are written.

    Attributes:
        heading: above them.
        decimals: of its numbers; integers have none.
        words: whether cells are aligned to the left, as those of the first column always are.
        style: of all cells.
    """

    heading: str = ""
    decimals: int = 3
    words: bool = False
    style: Literal["", "bold", "dim"] = ""

    def text(self, cell: Cell) -> str:
        """A cell in letters."""
        return number(cell, self.decimals) if cell is None or isinstance(cell, float) else shown(str(cell))


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under headings.

    Attributes:
        columns: C of them; the first one names the row. There is no head where no column has a heading.
        rows: of C cells each; None stands for undefined.
        name: of its place in a page, where it has a title.
        title: a few words.
        caption: says how to read it.
        marked: indices of rows that stand out.

    Raises:
        ValueError: a row has not as many cells as there are columns.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    name: str = ""
    title: str = ""
    caption: str = ""
    marked: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        odd = [row for row in self.rows if len(row) != len(self.columns)]
        if odd:
            raise ValueError(f"{len(self.columns)} columns, and {len(odd[0])} cells in the row {odd[0]}")

    @property
    def headings(self) -> list[str]:
        """One a column."""
        return [shown(column.heading) for column in self.columns]

    @property
    def texts(self) -> list[list[str]]:
        """The cells of each row in letters."""
        return [[column.text(cell) for column, cell in zip(self.columns, row, strict=True)] for row in self.rows]

    @property
    def is_words(self) -> list[bool]:
        """Whether each column is aligned to the left."""
        return [index == 0 or column.words for index, column in enumerate(self.columns)]

    def terminal(self) -> rich.table.Table:
        """To be printed by a `rich.console.Console`."""
        table = rich.table.Table(
            box=box.SIMPLE_HEAD,
            title=letters(self.title, "bold") if self.title else None,
            title_justify="left",
            caption=letters(f"{self.caption}\n", "dim") if self.caption else None,
            caption_justify="left",
            show_header=any(self.headings),
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for column, heading, words in zip(self.columns, self.headings, self.is_words, strict=True):
            justify: Literal["left", "right"] = "left" if words else "right"
            table.add_column(letters(heading), justify=justify, style=column.style, overflow="fold")
        for index, cells in enumerate(self.texts):
            table.add_row(*map(letters, cells), style="bold" if index in self.marked else "")
        return table

    def markdown(self) -> str:
        """Title and caption, where there are any, and one line a row; ends with a line break."""
        words = [_escaped(self.title) and f"**{_escaped(self.title)}**", _escaped(self.caption)]
        head = [f"{text}\n" for text in words if text]
        ruler = "|".join(" --- " if words else " ---: " for words in self.is_words)
        rows = [[_escaped(cell) for cell in row] for row in self.texts]
        for index in self.marked:
            rows[index][0] = f"**{rows[index][0]}**"
        lines = [_line([_escaped(heading) for heading in self.headings]), f"|{ruler}|", *map(_line, rows)]
        return "\n".join([*head, *lines]) + "\n"

    def html(self) -> str:
        """Title and caption, where there are any, and the table in a block that scrolls by itself."""
        return _TEMPLATE.render(table=self, title=shown(self.title), caption=shown(self.caption), words=self.is_words)

    def csv(self) -> str:
        """Headings and values, not rounded; blank where undefined; no cell is a formula."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        for row in ([column.heading for column in self.columns], *self.rows):
            writer.writerow([formula_free(value) if isinstance(value, str) else value for value in row])
        return buffer.getvalue()


def letters(text: str, style: str = "", **options: Any) -> Text:
    """A line for the terminal that it shows and does not obey.

    Args:
        text: is no markup.
        style: of all of it.
        options: of `rich.text.Text`.
    """
    return Text(shown(text), style=style, **options)


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(shown(text).splitlines()))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


_TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
{% if title %}
<h3 id="{{ table.name }}">{{ title }}</h3>
{% endif %}
{% if caption %}
<p class="caption">{{ caption }}</p>
{% endif %}
<div class="scroll" role="region"{% if title %} aria-labelledby="{{ table.name }}"{% endif %} tabindex="0">
<table>
{% if table.headings | join %}
<thead><tr>
{%- for heading in table.headings -%}
<th scope="col"{% if words[loop.index0] %} class="words"{% endif %}>{{ heading }}</th>
{%- endfor -%}
</tr></thead>
{% endif %}
<tbody>
{% for row in table.texts %}
<tr{% if loop.index0 in table.marked %} class="marked"{% endif %}><th scope="row">{{ row[0] }}</th>
{%- for cell in row[1:] -%}
<td{% if words[loop.index] %} class="words"{% endif %}>{{ cell }}</td>
{%- endfor -%}
</tr>
{% endfor %}
</tbody>
</table>
</div>
"""
)
