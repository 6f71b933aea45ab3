"""The contract of predictive distributions keeps its promise: nothing asks of which class a distribution is."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from probpose.models.predictive.contract import Predictive

PACKAGE = Path(__file__).resolve().parents[1] / "probpose"


def families() -> set[str]:
    """Names of all classes of predictive distributions in the package."""
    for folder in ("predictive", "heads"):
        for path in (PACKAGE / "models" / folder).glob("*.py"):
            importlib.import_module(f"probpose.models.{folder}.{path.stem}")
    found, left = set[str](), Predictive.__subclasses__()
    while left:
        family = left.pop()
        left += family.__subclasses__()
        if family.__module__.startswith("probpose."):
            found.add(family.__name__)
    return found


def kinds(tree: ast.AST) -> Iterator[ast.expr]:
    """What isinstance and issubclass, comparisons of types and class patterns ask for."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kind]):
                yield kind
            case ast.Compare(ops=[ast.Is() | ast.Eq()], comparators=[kind]):
                yield kind
            case ast.MatchClass(cls=kind):
                yield kind


def questions(source: str, names: set[str]) -> Iterator[tuple[int, str]]:
    """Line and function of every question whether something is one of the classes `names`."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for kind in kinds(tree):
        asked = {getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(kind)}
        if asked & names:
            within = [f.name for f in functions if f.lineno <= kind.lineno <= (f.end_lineno or f.lineno)]
            yield kind.lineno, within[-1] if within else ""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(p):\n    return isinstance(p, Mixture)", [(2, "f")]),
        ("isinstance(p, int | mixtures.Mixture)", [(1, "")]),
        ("isinstance(p, (int, Mixture))", [(1, "")]),
        ("type(p) is Mixture", [(1, "")]),
        ("match p:\n    case Mixture():\n        pass", [(2, "")]),
        ("isinstance(p, int)\nMixture(p)\ntype(p).join([p])", []),
    ],
)
def test_the_scan_finds_questions(source: str, found: list[tuple[int, str]]) -> None:
    assert list(questions(source, {"Mixture"})) == found


def test_nothing_asks_of_which_class_a_distribution_is() -> None:
    names = families()
    assert {"LocationScale", "Conformal", "EqualMixture", "HeatmapDensity"} <= names
    asked = [
        f"{path.relative_to(PACKAGE)}:{line}, {function}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, function in questions(path.read_text(), names)
    ]
    assert asked == []
