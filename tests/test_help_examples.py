"""The examples of every --help run as they stand, in a folder that holds what they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from probpose.analysis.figures.canvas import LiteralFigure
from probpose.cli import COMMANDS, main
from probpose.cli.lazy import LazyGroup
from probpose.cli.types import OUT, OUT_FILE, OUT_FOLDER
from probpose.inference.fitting import label_em
from probpose.inference.training.config import load_config, save_config
from tests.example_files import Desk

LINE = re.compile(r"^  ((?:torchrun .* -m )?probpose .+)$", re.MULTILINE)

NOT_RUN = {
    "torchrun --nproc-per-node 8 -m probpose train --dataset coco --data-root data/coco --out runs/coco": (
        "needs eight processes: tests/test_many_processes.py starts two"
    ),
    "probpose calibrate 'shards/*.parquet' --cluster tcp://head:8786": (
        "needs a scheduler of Dask at that address: tests/test_cluster.py starts one of its own"
    ),
}
"""Examples that are understood here and run nowhere, and why."""

TRAINING = shlex.split(
    "--epochs 1 --backbone small --input-size 32x32 --batch-size 16 --warmup 0 --device cpu --workers 0"
)
CHEAP = {
    "train": TRAINING,
    "compare": [*TRAINING, "--seeds", "1"],
    "calibrate": ["--no-report", "--residual", "gaussian"],
    "annotators": ["--draws", "8", "--warmup", "8"],
    "oks-sigmas": ["--draws", "8"],
    "models": ["--backbone", "small", "--input-size", "32x32", "--joints", "2"],
}
"""What is added behind the examples of a command, to save time alone."""

FEW_DRAWS = ("annotators", "oks-sigmas")
"""Commands that write and say so with exit status 1 where a posterior is not reached, as it is not by so few draws."""

WRITTEN = {
    "annotators": "annotators/annotators.json",
    "audit": "*audit/audit.html",
    "calibrate": "*calibration/calibration.json",
    "compare": "comparison.md",
    "data check": None,
    "data pack": "train.npz",
    "data stats": "stats.json",
    "data synth": "annotations/person_keypoints_val2017.json",
    "ensemble": "members.json",
    "evaluate": "evaluation.json",
    "export": "*.json",
    "import": "best.safetensors",
    "models": None,
    "oks-sigmas": "oks_sigmas.json",
    "predict": "*.json",
    "show": "show.html",
    "train": "last.safetensors",
}
"""The file that a command writes, somewhere below where it works; None where it only prints."""


def commands() -> Iterator[tuple[str, click.Command]]:
    """All, the group of all first, and those of a group after it."""
    yield "", main
    for name in COMMANDS:
        command = main.load(name)
        yield name, command
        if isinstance(command, LazyGroup):
            yield from ((f"{name} {own}", command.load(own)) for own in command.commands)


def examples(command: click.Command) -> list[str]:
    """Those of a command; a line that ends in a backslash goes on."""
    text = re.sub(r"\\\n\s*", "", command.epilog or "")
    return LINE.findall(text)


def words_of(example: str) -> list[str]:
    """The arguments of `probpose`."""
    words = shlex.split(example)
    return words[words.index("probpose") + 1 :]


def understood(arguments: list[str]) -> tuple[str, click.Context]:
    """The command that arguments call, and what it makes of them, without running it."""
    command: click.Command = main
    names = []
    while isinstance(command, LazyGroup):
        names.append(arguments[0])
        command, arguments = command.load(arguments[0]), arguments[1:]
    return " ".join(names), command.make_context(command.name, list(arguments))


def outputs(context: click.Context) -> list[str]:
    """What the arguments name to be written."""
    values = [
        context.params[one.name or ""] for one in context.command.params if one.type in (OUT, OUT_FILE, OUT_FOLDER)
    ]
    return [str(value) for value in values if value]


EXAMPLES = list(dict.fromkeys(example for _, command in commands() for example in examples(command)))


def test_every_command_has_examples_and_what_is_not_run_is_one() -> None:
    assert [name for name, command in commands() if not examples(command)] == []
    assert len(EXAMPLES) > 60
    assert set(NOT_RUN) <= set(EXAMPLES)
    for example in NOT_RUN:
        understood(words_of(example))
    with pytest.raises(click.NoSuchOption):
        understood(["evaluate", "--flip-tset"])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(autouse=True)
def only_as_good_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank pictures, and few steps of the fit of label errors: other tests judge both."""
    saved = LiteralFigure.savefig

    def blank(figure: LiteralFigure, file: Any, **options: Any) -> None:
        Path(file).touch() if isinstance(file, str | Path) else saved(figure, file, **options)

    monkeypatch.setattr(LiteralFigure, "savefig", blank)
    monkeypatch.setattr(label_em, "STEPS", 4)


def cheap(name: str, words: list[str]) -> list[str]:
    """What to add to an example of a command, where it has an effect there."""
    refused = {
        "train": "--resume" in words,
        "compare": "--residual" not in words,
        "oks-sigmas": "--predictions" in words,
    }
    return [] if refused.get(name) else CHEAP.get(name, [])


def files_in(folder: Path) -> set[Path]:
    """All files, those behind links to folders not among them."""
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("example", EXAMPLES, ids=EXAMPLES)
def test_an_example_runs(example: str, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if example in NOT_RUN:
        pytest.skip(NOT_RUN[example])
    monkeypatch.chdir(tmp_path)
    words = words_of(example)
    name, context = understood(words)
    for word in ["data", "runs/my-run", *(set(words) - set(outputs(context)))]:
        desk.lay(word, tmp_path)
    if "--resume" in words:
        begun = tmp_path / "runs" / "my-run" / "config.toml"
        save_config(load_config(begun).changed(epochs=2), begun)
    before = {file: file.stat().st_mtime_ns for file in files_in(tmp_path)}
    done = CliRunner().invoke(main, [*words, *cheap(name, words)], catch_exceptions=False)
    assert done.exit_code == 0 or (name in FEW_DRAWS and "Sample longer" in done.output), done.output
    new = {file for file in files_in(tmp_path) if file.stat().st_mtime_ns != before.get(file)}
    pattern = WRITTEN[name]
    assert bool(new) == (pattern is not None), new
    assert pattern is None or any(file.match(pattern) for file in new), new
    assert [path for path in outputs(context) if not Path(path).exists()] == []
