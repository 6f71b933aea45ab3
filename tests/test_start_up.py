"""Starting costs little: nothing heavy is imported before a command runs; and what is stated beforehand is true."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from probpose.cli import main
from probpose.cli.lazy import LazyGroup
from tests.test_cli import first_example

HEAVY = {"arviz", "cv2", "matplotlib", "numpy", "pyro", "rich", "scipy", "torch"}
ROOT = Path(__file__).resolve().parents[1]

LIGHT = """
import json, sys
sys.argv[1:] = {arguments}
try:
    {code}
except SystemExit:
    pass
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


def imported(code: str, *arguments: str) -> set[str]:
    """The packages that are in memory at the end of a statement in a new process."""
    script = LIGHT.format(code=code, arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def commands(group: LazyGroup = main, path: tuple[str, ...] = ()) -> Iterator[tuple[LazyGroup, tuple[str, ...]]]:
    """Every command below a group: the group that it is in, and its words."""
    for name in group.places:
        yield group, (*path, name)
        command = group.load(name)
        if isinstance(command, LazyGroup):
            yield from commands(command, (*path, name))


COMMANDS = list(commands())


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--version",), ("data", "--help"), ("no-command",)])
def test_the_command_alone_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not HEAVY & imported("from probpose.cli import main; main()", *arguments)


def test_the_package_imports_nothing_heavy() -> None:
    assert not (HEAVY | {"click"}) & imported("import probpose")


def test_a_run_is_opened_without_what_only_reports_need() -> None:
    assert not {"arviz", "matplotlib", "pandas", "xarray"} & imported("from probpose.api import runs, settings, tables")


@pytest.mark.parametrize("command", ["evaluate", "predict", "audit", "data check", "data stats", "data synth"])
def test_help_of_a_command_does_without_torch(command: str) -> None:
    loaded = imported("from probpose.cli import main; main()", *command.split(), "--help")
    assert not {"arviz", "matplotlib", "pyro", "torch"} & loaded


@pytest.mark.parametrize(("group", "words"), COMMANDS, ids=[" ".join(words) for _, words in COMMANDS])
def test_the_stated_line_is_the_first_of_the_help(group: LazyGroup, words: tuple[str, ...]) -> None:
    stated, command = group.commands[words[-1]].short_help, group.load(words[-1])
    assert command.name == words[-1]
    assert command.help is not None
    assert command.help.splitlines()[0] == stated
    assert stated in " ".join(CliRunner().invoke(main, [*words[:-1], "--help"]).output.split())


@pytest.mark.parametrize("words", [words for _, words in COMMANDS], ids=" ".join)
def test_every_command_shows_an_example(words: tuple[str, ...]) -> None:
    assert first_example(list(words))[: len(words)] == list(words)


def test_a_wrong_command_is_answered_with_a_near_one() -> None:
    result = CliRunner().invoke(main, ["evalute"])
    assert result.exit_code == 2
    assert "evaluate" in result.output


def test_shell_completion_knows_the_commands() -> None:
    context = click.Context(main)
    assert [item.value for item in main.shell_complete(context, "c")] == ["calibrate", "compare"]
