"""How the modules hang together: how many, the longest chain of imports, and what `probpose calibrate` runs through.

    python -m benchmarks.rooms [PACKAGE_FOLDER] [--run RUN]

Counts, for docs/design.md: modules; modules that exactly one other imports; the longest chain of imports; places
outside probpose/models/predictive that ask a predictive distribution for its class instead of using the contract; and,
with a run, the modules and functions of the package that run while the command `calibrate` calibrates it.
"""

from __future__ import annotations

__all__ = ["main", "path_of_calibrate", "structure"]

import ast
import sys
from collections import defaultdict
from functools import cache
from importlib import import_module
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType

import click

from benchmarks.tables import report

Graph = dict[str, set[str]]

CONTRACT = "Predictive"
"""The class whose subclasses nobody should ask for by name."""


def structure(folder: Path) -> dict[str, int]:
    """The counts of a package by name.

    Args:
        folder: of the package, such as probpose.
    """
    trees = {_name(file, folder): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.py"))}
    homes = _constant(trees[folder.name], "_HOMES") or {}
    imports = {
        name: (_imports(tree, trees) | _asked_of(tree, folder.name, homes)) - {name} for name, tree in trees.items()
    }
    for name, tree in trees.items():
        imports[name] |= {f"{name}.{command}" for command in _constant(tree, "COMMANDS") or {}} & set(trees)
    importers: Graph = defaultdict(set)
    for name, targets in imports.items():
        for target in targets:
            importers[target].add(name)
    return {
        "modules": len(trees),
        "imported by exactly one other": sum(len(importers[name]) == 1 for name in trees),
        "longest chain of imports": _longest(imports),
        "isinstance of a predictive subclass": sum(_walks(trees, _subclasses(trees, CONTRACT)).values()),
    }


def _name(file: Path, folder: Path) -> str:
    parts = file.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.AST, known: dict[str, ast.Module]) -> set[str]:
    """Modules of the package that a module imports, wherever in it the import stands, but not for types alone."""
    typing = {id(n) for block in ast.walk(tree) if _for_types(block) for n in ast.walk(block)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in typing:
            found |= {_module(node.module, alias.name, known) for alias in node.names}
        elif isinstance(node, ast.Import) and id(node) not in typing:
            found |= {alias.name for alias in node.names}
    return found & set(known)


def _asked_of(tree: ast.AST, package: str, homes: dict[str, str]) -> set[str]:
    """Homes of the names that a module asks of the package itself, which imports them then."""
    return {
        homes[node.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in {package, "pp"} and node.attr in homes
    }


def _constant(tree: ast.Module, name: str) -> dict[str, str] | None:
    """A dictionary of texts that a module holds by that name."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return dict(ast.literal_eval(node.value))
    return None


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def _module(module: str, name: str, known: dict[str, ast.Module]) -> str:
    return f"{module}.{name}" if f"{module}.{name}" in known else module


def _longest(imports: Graph) -> int:
    """Modules on the longest chain; one that comes back to a module ends there."""

    @cache
    def length(name: str) -> int:
        open_names.add(name)
        found = 1 + max((length(target) for target in imports[name] if target not in open_names), default=0)
        open_names.discard(name)
        return found

    open_names: set[str] = set()
    return max(length(name) for name in imports)


def path_of_calibrate(run: Path) -> dict[str, int]:
    """How many functions of the package, and modules of these, run while the command `calibrate` calibrates a run."""
    ran: set[CodeType] = set()
    sys.setprofile(lambda frame, event, _: ran.add(frame.f_code) if event == "call" else None)
    try:
        import_module("probpose.cli").main(["calibrate", str(run)], standalone_mode=False)
    finally:
        sys.setprofile(None)
    functions = {code for code in ran if "probpose/" in code.co_filename and code.co_flags & CO_OPTIMIZED}
    return {
        "modules that calibrate runs through": len({code.co_filename for code in functions}),
        "functions that calibrate runs through": len(functions),
    }


def _subclasses(trees: dict[str, ast.Module], root: str) -> set[str]:
    """Names of the classes below `root`."""
    bases = {
        node.name: {getattr(base, "id", "") for base in node.bases}
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {root}
    while more := {name for name, parents in bases.items() if parents & found and name not in found}:
        found |= more
    return found - {root}


def _walks(trees: dict[str, ast.Module], classes: set[str]) -> dict[str, int]:
    """isinstance calls that name one of the classes, by module."""
    return {
        name: sum(
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "isinstance"
            and any(getattr(part, "id", "") in classes for part in ast.walk(node.args[1]))
            for node in ast.walk(tree)
        )
        for name, tree in trees.items()
    }


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("probpose"))
@click.option("--run", type=click.Path(path_type=Path, exists=True), help="Run to be calibrated; is written to.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write the table to.")
def main(folder: Path, run: Path | None, out: Path | None) -> None:
    """Print the counts."""
    counts = structure(folder) | ({} if run is None else path_of_calibrate(run))
    report([{"what": name, "count": count} for name, count in counts.items()], {"what": "what", "count": "count"}, out)


if __name__ == "__main__":
    main()
