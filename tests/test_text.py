"""Names from others - of joints, files and data sets - are text in every output, and obeyed in none."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from probpose.analysis.figures.canvas import LiteralFigure, log_scale
from probpose.analysis.figures.overlays import _unlike
from probpose.analysis.table import Column, Table
from probpose.cli import main
from probpose.cli.lazy import ReportingGroup
from probpose.errors import CheckpointError, ConfigError, DataError, RunInUseError, TrainingError
from probpose.progress import bars
from probpose.text import formula_free, is_text, shown, slug

NASTY = ["\x1b[2Jnose", "\x9b31m", "a\rb", "bell\x07", "half \ud800", "\u202egpj.exe", "\u2028", "null\x00", "tab\t"]


@pytest.mark.parametrize("name", NASTY)
def test_what_a_terminal_obeys_is_written_out(name: str) -> None:
    letters = shown(name)
    assert letters.isprintable()
    letters.encode()
    assert letters.encode().decode("unicode_escape").encode("utf-8", "surrogatepass") == name.encode(
        "utf-8", "surrogatepass"
    )


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_written_and_nothing_else_is_changed(text: str) -> None:
    assert shown(shown(text)) == shown(text)
    shown(text).encode()
    if text.isprintable():
        assert shown(text) == text
    name = slug(text)
    assert is_text(name)
    assert "/" not in name
    assert not name.startswith(".")
    assert 0 < len(name) <= 100


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1+cmd|'/c calc'!A1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1"])
def test_no_cell_of_a_table_is_a_formula(name: str) -> None:
    table = Table(columns=[Column(name), Column("number")], rows=[[name, -1.5], ["nose", 2.0]])
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert rows[0][0] == rows[1][0] == formula_free(name)
    assert rows[1][0].startswith("'")
    assert rows[1][1] == "-1.5"
    assert rows[2] == ["nose", "2.0"]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", ["$x", "$a$", "$\\frac{$", "a_{b", "\x1b[2J", "\\alpha"])
def test_a_figure_shows_names_as_they_are_spelt(name: str) -> None:
    figure = LiteralFigure(figsize=(2, 2))
    axes = figure.subplots()
    axes.plot([1, 2], [1e-3, 1e3], label=name)
    axes.set_title(name)
    axes.set_xticks([1, 2], [name, "other"])
    axes.legend()
    log_scale(axes)
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert sum(text.get_text() == shown(name) for text in texts) >= 2
    assert not any(text.get_parse_math() for text in texts)
    assert not any("mathdefault" in text.get_text() for text in texts)


def test_every_figure_is_drawn_literally() -> None:
    """No module makes a figure of matplotlib's own, whose titles are formulas."""
    made = [
        path
        for path in Path("probpose").rglob("*.py")
        if "LiteralFigure(" not in path.read_text() and " Figure(" in path.read_text().replace("class Figure(", "")
    ]
    assert [path.as_posix() for path in made if path.name != "write.py"] == []


def test_only_one_module_makes_tables_for_the_terminal() -> None:
    users = [path for path in Path("probpose").rglob("*.py") if "rich.table" in path.read_text()]
    assert [path.as_posix() for path in users] == ["probpose/analysis/table.py"]


def test_a_bar_takes_brackets_for_letters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda _: True))
    with bars("reading [/bold] [red]", 3) as move:
        move(3)
    assert "reading [/bold] [red]" in capsys.readouterr().err


def test_overlays_never_collide() -> None:
    names = ["a_1", "a_2", "a_2", "A_2", "a_2_2", "b"]
    given_names = _unlike(names)
    assert given_names == ["a_1", "a_2", "a_2_2", "A_2_3", "a_2_2_2", "b"]
    assert len({name.casefold() for name in given_names}) == len(names)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (CheckpointError("x"), 1),
        (DataError("x"), 1),
        (RunInUseError("x"), 1),
        (TrainingError("x"), 1),
        (OSError(28, "No space left on device", "/x"), 1),
        (MemoryError(), 1),
    ],
)
def test_exit_codes_tell_options_from_everything_else(error: Exception, code: int) -> None:
    @click.group(cls=ReportingGroup)
    def group() -> None: ...

    @group.command()
    def fails() -> None:
        raise error

    assert CliRunner().invoke(group, ["fails"]).exit_code == code


@pytest.mark.parametrize("command", ["evaluate", "calibrate", "audit", "predict"])
def test_a_damaged_run_is_no_wrong_option(command: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[[[")
    result = CliRunner().invoke(main, [command, str(tmp_path), *(["a.jpg"] if command == "predict" else [])])
    assert result.exit_code == 1
    assert "config.toml cannot be read as TOML" in result.stderr


def test_no_run_is_no_wrong_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["train", "--resume", "--out", "nowhere"], ["train", "--resume"], ["evaluate"]):
        assert CliRunner().invoke(main, arguments).exit_code == 1


def test_errors_show_escape_sequences() -> None:
    @click.group(cls=ReportingGroup)
    def group() -> None: ...

    @group.command()
    def fails() -> None:
        raise DataError("no joint \x1b[2Jnose\ud800")

    assert r"\x1b[2Jnose\ud800" in CliRunner().invoke(group, ["fails"]).stderr


def test_a_terminal_of_few_letters_gets_codes() -> None:
    code = "import sys; from probpose.cli.lazy import _spell_out; _spell_out(sys.stdout); print('px\u00b2')"
    environment = {"PYTHONIOENCODING": "ascii", "PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert done.stdout.strip() == rb"px\xb2"


@pytest.mark.parametrize("name", NASTY)
def test_every_form_of_a_table_can_be_written(name: str) -> None:
    table = Table(columns=[Column(name), Column("number")], rows=[[name, 1.0]], title=name, name="x", caption=name)
    for text in (table.csv(), table.markdown(), table.html()):
        text.encode()
        assert not any(letter in text for letter in name if shown(letter) != letter)
