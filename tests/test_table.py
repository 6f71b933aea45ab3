"""One table, shown in four ways: the numbers are the same, and names from others are only names in each."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console
from rich.markdown import Markdown

from probpose.analysis.table import Column, Table, number

NASTY = [
    "[bold red]nose[/]",
    "[/]",
    "a|b",
    "<b>knee</b>",
    "<script>alert(1)</script>",
    "*ankle*",
    "`hip`",
    "_ear_",
    "left_knee",
    "two\nlines",
    "[here](javascript:alert(1))",
    "R&D &amp; more",
    "back\\slash",
    ":smile: 'quoted' \"twice\"",
]
"""Names of joints and files as somebody else may write them."""


class Cells(HTMLParser):
    """Rows of cells and every tag of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.text = ""
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = tag in ("th", "td")
        if tag == "tr":
            self.rows.append([])
        if self._inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside:
            self.rows[-1][-1] += data


def printed(what: object, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(what)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def named(name: str) -> Table:
    return Table(
        columns=[Column(name), Column("value", 2)], rows=[[name, 1.0]], name="names", title=name, caption=f"Of {name}."
    )


@pytest.fixture
def table() -> Table:
    columns = [Column("joint"), Column("labels"), Column("error px", 1), Column("note", words=True)]
    rows = [("nose", 12, 3.456, "a"), ("knee", 0, None, ""), ("hip", 3, -0.01, "c")]
    return Table(
        columns=columns, rows=rows, name="joints", title="Joints", caption="In pixels.", marked=frozenset({0, 2})
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.23456, "1.235"), (-0.0001, "0.000"), (None, "–"), (float("nan"), "–"), (float("inf"), "–"), (2.5e7, "2.5e+07")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value, 3) == text


def test_the_same_cells_everywhere(table: Table) -> None:
    texts = [["nose", "12", "3.5", "a"], ["knee", "0", "–", ""], ["hip", "3", "0.0", "c"]]
    assert table.texts == texts
    lines = [line.split() for line in printed(table.terminal()).splitlines()]
    assert ["joint", "labels", "error", "px", "note"] in lines
    assert [line for line in lines if line and line[0] in ("nose", "knee", "hip")] == [
        [cell for cell in row if cell] for row in texts
    ]
    assert Cells(table.html()).rows == [table.headings, *texts]
    assert "| knee | 0 | – |  |\n" in table.markdown()


def test_title_caption_alignment_and_marks(table: Table) -> None:
    head, caption, _, ruler, nose, knee, hip = re.split(r"\n+", table.markdown().strip())
    assert (head, caption) == ("**Joints**", "In pixels.")
    assert ruler == "| --- | ---: | ---: | --- |"
    assert nose.startswith("| **nose** |")
    assert knee.startswith("| knee |")
    assert hip.startswith("| **hip** |")
    page = table.html()
    assert '<h3 id="joints">Joints</h3>' in page
    assert 'aria-labelledby="joints"' in page
    assert page.count('<tr class="marked">') == 2
    assert page.count('class="words"') == 2 + 3
    text = printed(table.terminal())
    assert "Joints" in text
    assert "In pixels." in text
    assert re.search(r"^ nose +12 +3\.5  a", text, re.MULTILINE)


def test_csv_is_not_rounded(table: Table) -> None:
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert rows == [table.headings, ["nose", "12", "3.456", "a"], ["knee", "0", "", ""], ["hip", "3", "-0.01", "c"]]


def test_without_headings_there_is_no_head() -> None:
    table = Table(columns=[Column(), Column()], rows=[["persons", 3]])
    assert printed(table.terminal()).split() == ["persons", "3"]
    assert "thead" not in Cells(table.html()).tags
    assert "aria-labelledby" not in table.html()


def test_nothing_is_lost_where_the_terminal_is_narrow() -> None:
    table = Table(columns=[Column("name"), Column("value")], rows=[("a_name_of_many_letters", 1.0)])
    text = printed(table.terminal(), 20)
    assert "".join(re.findall(r"^ ([a-z_]+)", text, re.MULTILINE)) == "name" + "a_name_of_many_letters"
    assert "…" not in text


def test_rows_fit_the_columns() -> None:
    with pytest.raises(ValueError, match="2 columns, and 1 cells"):
        Table(columns=[Column("a"), Column("b")], rows=[["x", 1], ["y"]])


@pytest.mark.parametrize("name", NASTY)
def test_names_are_letters_in_the_terminal(name: str) -> None:
    text = printed(named(name).terminal())
    for line in name.split("\n"):
        assert text.count(line) >= 4  # title, caption, heading, cell


def test_a_terminal_obeys_no_name() -> None:
    text = printed(named("\x1b[2Jnose\x9b31m\r\x07").terminal())
    assert text.count(r"\x1b[2Jnose\x9b31m\r\x07") == 4
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


@pytest.mark.parametrize("name", NASTY)
def test_names_are_letters_in_markdown(name: str) -> None:
    """As a reader of Markdown shows them; and the table keeps its columns."""
    text = named(name).markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 3
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)
    shown = printed(Markdown(text), 200)
    assert shown.count(" ".join(name.split("\n"))) == 4


@pytest.mark.parametrize("name", NASTY)
def test_names_are_letters_in_html(name: str) -> None:
    page = Cells(named(name).html())
    assert page.rows == [[name, "value"], [name, "1.00"]]
    assert page.tags == {"h3", "p", "div", "table", "thead", "tbody", "tr", "th", "td"}
    assert page.text.count(name) == 4


@pytest.mark.parametrize("name", NASTY)
def test_names_are_cells_in_csv(name: str) -> None:
    assert list(csv.reader(io.StringIO(named(name).csv())))[1] == [name, "1.0"]
