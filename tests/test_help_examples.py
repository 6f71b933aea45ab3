"""The examples of every --help: each is understood, and those that need nothing but synthetic data run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from probpose.cli import COMMANDS, main
from probpose.cli.lazy import LazyGroup

LINE = re.compile(r"^  (?:torchrun .* -m )?probpose (.+)$", re.MULTILINE)
FILE = re.compile(r"[\w/.-]+\.(?:json|csv|npz|jpg|toml)")


def commands() -> Iterator[tuple[str, click.Command]]:
    """All, and those of a group after it."""
    for name in COMMANDS:
        command = main.load(name)
        yield name, command
        if isinstance(command, LazyGroup):
            yield from ((f"{name} {own}", command.load(own)) for own in command.commands)


def examples(command: click.Command) -> list[list[str]]:
    """Arguments of the examples of a command; a line that ends in a backslash goes on."""
    text = (command.epilog or "").replace("\\\n", " ")
    return [shlex.split(line) for line in LINE.findall(text)]


def understood(arguments: list[str]) -> click.Context:
    """What a command makes of its arguments, without running it."""
    command: click.Command = main
    while isinstance(command, LazyGroup):
        command, arguments = command.load(arguments[0]), arguments[1:]
    return command.make_context(command.name, list(arguments))


EXAMPLES = [(name, example) for name, command in commands() for example in examples(command)]


@pytest.mark.parametrize("example", [example for _, example in EXAMPLES], ids=" ".join)
def test_every_example_is_understood(example: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in example:
        if FILE.fullmatch(word):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
        elif word.startswith("runs/"):
            Path(word).mkdir(parents=True, exist_ok=True)
    understood(example)


def test_every_command_has_examples_and_a_wrong_one_is_not_understood() -> None:
    assert [name for name, command in commands() if not examples(command)] == []
    assert len(EXAMPLES) > 60
    with pytest.raises(click.NoSuchOption):
        understood(["evaluate", "--flip-tset"])


@pytest.mark.parametrize(("words", "written"), [("data check", ""), ("data pack", "packed/*")])
def test_first_examples_run(
    words: str, written: str, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of other commands run in the tests of these."""
    shutil.copytree(figures, tmp_path / "data" / "synthetic")
    monkeypatch.chdir(tmp_path)
    example = next(found for name, found in EXAMPLES if name == words)
    done = CliRunner().invoke(main, example, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert not written or list(tmp_path.glob(written))
