"""The command lines of the pages parse; those of guides that make their own data run, in order, in an empty folder."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from probpose.cli import main

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0] not in ("results.md", "results"))
"""All but those of results, whose commands are of their time."""
MADE_HERE = {"own_keypoints": 6, "trackers": 1}
"""Guides whose Python makes the files that their commands read, and how many commands that are."""
OPTIONS = {"calibrate": ["--no-report"]}


def commands(page: Path) -> list[list[str]]:
    """The arguments of each `probpose ...` in the code blocks of a page, torchrun's among them."""
    lines = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8")).splitlines()
    found = (re.match(r"(?: {4,}| *\$ )(?:.*-m )?(probpose .*)", line) for line in lines)
    return [shlex.split(match[1].replace(" /shared/", " shared/"), comments=True)[1:] for match in found if match]


def parse(arguments: list[str]) -> None:
    """As the command line does, without running anything.

    Raises:
        click.UsageError: a command, an option or a value that there is not.
    """
    command: click.Command | None = main
    context = click.Context(main, info_name="probpose")
    while isinstance(command, click.Group):
        name, command, arguments = command.resolve_command(context, arguments)
        if command is not None and not isinstance(command, click.Group):
            command.make_context(name, list(arguments), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_command_lines_of_a_page_parse(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in commands(page):
        parse(arguments)


def test_every_guide_has_commands() -> None:
    guides = [page for page in PAGES if page.parent.name == "guides"]
    assert len(guides) >= 9
    assert [page.name for page in guides if not commands(page)] == []


@pytest.mark.parametrize(
    "line",
    ["calibrate --radios 5", "calibrat", "train --residual student", "calibrate --recalibrate x", "data chek coco"],
)
def test_a_line_that_no_longer_holds_is_refused(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line.split())


@pytest.mark.parametrize("guide", MADE_HERE)
def test_commands_of_a_guide_run_on_what_it_makes(guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "guides" / f"{guide}.md"
    exec("".join(example.source for example in doctest.DocTestParser().get_examples(page.read_text())), {})
    lines = commands(page)
    assert len(lines) == MADE_HERE[guide]
    for arguments in lines:
        result = CliRunner().invoke(main, [*arguments, *OPTIONS.get(arguments[0], [])], catch_exceptions=False)
        assert result.exit_code == 0, (arguments, result.output)
