"""Pages that are made of the package: its public names, the help of its commands, and the notebooks."""

from __future__ import annotations

__all__ = ["GROUPS", "api_pages", "command_pages", "tutorial_pages"]

from types import ModuleType
from typing import Any

import click

import probpose as pp
from probpose.cli import COMMANDS, main
from probpose.cli.lazy import LazyGroup
from website.links import MODULES, ROOT, entry_of

GROUPS = {
    "distributions": (
        "Distributions and scores",
        "Predictions of any make as densities, and how well they did on labels.",
        "Distribution Gaussian Laplace Samples Heatmap Decomposition score Scores coverage verdict",
    ),
    "calibration": (
        "Calibration",
        "Whether predicted uncertainty can be believed, and what makes it so.",
        "calibrate calibrate_results calibrate_table Calibration diagnose",
    ),
    "posterior": (
        "Saved posteriors",
        "Test labels and predictions as ArviZ keeps them.",
        "save_posterior load_posterior loo summary draw_levels draw_pit LevelMap",
    ),
    "training": (
        "Training, and runs",
        "Models that are trained, found again, compared, put together and imported.",
        "fit train resume load newest new_folder Run Poses compare ensemble draw_last_layer import_model",
    ),
    "data": (
        "Data sets",
        "Persons with boxes and labels, from any source.",
        "open_data persons Persons Skeleton match_joints list_images pack_data synthesise check_data describe_data "
        "read_records",
    ),
    "predictions": (
        "Predictions in files",
        "Results of any model, read from a dozen formats and handed back.",
        "read_predictions Instances write_predictions write_results to_movement to_supervision",
    ),
    "labels": (
        "Labels and annotators",
        "Which labels are wrong, how annotators err, and the OKS sigmas that follow.",
        "audit Audit save_audit decide save_corrected check_corrected annotators Annotators repeated_labels "
        "RepeatedLabels oks_sigmas save_oks_sigmas",
    ),
    "looking": (
        "Tables, pages, errors",
        "What results look like, and what goes wrong.",
        "show tables bars ProbposeError",
    ),
}
"""Of each page: title, a sentence, and the public names on it."""


def api_pages() -> dict[str, str]:
    """Markdown by file name: one page for each group of public names, one for each public module."""
    pages = {name: _group_page(title, sentence, names.split()) for name, (title, sentence, names) in GROUPS.items()}
    return pages | {name: _module_page(getattr(pp, name), name) for name in MODULES}


def _group_page(title: str, sentence: str, names: list[str]) -> str:
    return "\n".join([f"# {title}\n\n{sentence}\n", *map(_entry, names)])


def _module_page(module: ModuleType, name: str) -> str:
    head = f"# pp.{name}\n\n::: probpose.{name}\n    options: {{members: false, show_root_heading: false}}\n"
    return "\n".join([head, *(_entry(f"{name}.{own}") for own in module.__all__)])


def _entry(name: str) -> str:
    return f"::: {entry_of(name)}\n    options: {{heading: pp.{name}, toc_label: pp.{name}}}\n"


_SECTIONS = {"data": "probpose-data-check", "ensemble": "several-networks"}
"""Of docs/commands.md where they are not called as the command."""


def command_pages() -> dict[str, str]:
    """Markdown by file name: the help of each command, and of the commands in it."""
    return {name: _command_page(name, main.load(name)) for name in COMMANDS}


def _command_page(name: str, command: click.Command) -> str:
    told = f"In words: [the commands](../commands.md#{_SECTIONS.get(name, f'probpose-{name}')})."
    return f"# probpose {name}\n\n{COMMANDS[name]} {told}\n\n{_help(f'probpose {name}', command)}"


def _help(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    text = f"```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, LazyGroup):
        for own in command.list_commands(context):
            text += f"\n## {name} {own}\n\n{_help(f'{name} {own}', command.load(own))}"
    return text


def tutorial_pages() -> dict[str, str]:
    """Markdown by file name: each notebook, as the tests run it."""
    import jupytext  # type: ignore[import-untyped]

    return {file.stem: _tutorial(jupytext.read(file), file.stem) for file in sorted((ROOT / "notebooks").glob("*.py"))}


def _tutorial(notebook: Any, name: str) -> str:
    """Without header and empty cells, and with the notebook to download below the title."""
    import jupytext

    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    title, rest = jupytext.writes(notebook, fmt="md").split("\n---\n", 1)[-1].strip().split("\n", 1)
    return f"{title}\n\n[Download the notebook]({name}.ipynb), which the tests run.\n{rest}\n"
