"""The layout of the repository: links at the root, one shape for all modules, tools that see each file once."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKS = ("models", "inference", "analysis")
CODE = ("probpose", "tests", "benchmarks", "docs", "notebooks")


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def absolute_imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def canonical(requirement: str) -> str:
    """The name of a distribution without its version, spelt in one way."""
    return re.split(r"[<>=!~ \[]", requirement)[0].lower().replace("_", "-")


def imports_a_link(source: str) -> bool:
    return any(name.split(".")[0] in LINKS for name in absolute_imports(ast.parse(source)))


def module_shape(source: str) -> list[str]:
    """What is missing from "docstring, from __future__, __all__, imports", in that order."""
    tree = ast.parse(source)
    faults = [] if ast.get_docstring(tree) else ["no docstring"]
    assigned = [
        n.lineno for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"
    ]
    imports = [
        n.lineno
        for n in tree.body
        if isinstance(n, ast.Import) or (isinstance(n, ast.ImportFrom) and n.module != "__future__")
    ]
    if not assigned:
        faults.append("no __all__")
    elif imports and min(imports) < assigned[0]:
        faults.append("__all__ after the imports")
    return faults


def module_faults(path: Path) -> list[str]:
    """The faults of a module; an __init__ without exports needs no __all__, one with them may end with it."""
    allowed = set()
    if path.name == "__init__.py":
        bare = len(ast.parse(path.read_text()).body) == 1
        allowed = {"no __all__"} if bare else {"__all__ after the imports"}
    return [fault for fault in module_shape(path.read_text()) if fault not in allowed]


@pytest.fixture(scope="module")
def tools() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        tool: dict[str, Any] = tomllib.load(file)["tool"]
    return tool


@pytest.mark.parametrize("link", LINKS)
def test_root_link_points_into_the_package(link: str) -> None:
    path = ROOT / link
    assert path.is_symlink()
    assert os.readlink(path) == f"probpose/{link}"  # relative, so that it survives a clone
    assert (path / "__init__.py").samefile(ROOT / "probpose" / link / "__init__.py")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import models", True),
        ("import os, inference.svi as svi", True),
        ("def f():\n    from analysis.report import table", True),
        ("import probpose.models", False),
        ("from probpose import models", False),
        ("from torchvision.models import resnet18", False),
        ("from . import models", False),
    ],
)
def test_scan_tells_links_from_the_package(source: str, expected: bool) -> None:
    assert imports_a_link(source) is expected


def test_no_module_imports_through_a_root_link() -> None:
    files = modules(*CODE)
    assert len(files) > 10
    assert [str(f.relative_to(ROOT)) for f in files if imports_a_link(f.read_text())] == []


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ('"""One line."""\n\nfrom __future__ import annotations\n\n__all__ = ["os"]\n\nimport os\n', []),
        ('"""One line."""\nimport os\n__all__ = ["os"]\n', ["__all__ after the imports"]),
        ("import os\n", ["no docstring", "no __all__"]),
    ],
)
def test_module_shape_names_the_fault(source: str, faults: list[str]) -> None:
    assert module_shape(source) == faults


def test_modules_open_with_docstring_then_all_then_imports() -> None:
    faults = {str(path.relative_to(ROOT)): module_faults(path) for path in modules("probpose")}
    assert {path: fault for path, fault in faults.items() if fault} == {}


def test_dependencies_are_those_that_the_package_imports() -> None:
    names = {
        name.split(".")[0] for path in modules("probpose") for name in absolute_imports(ast.parse(path.read_text()))
    }
    owners = packages_distributions()
    imported = {canonical(owners.get(name, [name])[0]) for name in names - set(sys.stdlib_module_names) - {"probpose"}}
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared = {canonical(requirement) for requirement in tomllib.load(file)["project"]["dependencies"]}
    assert imported == declared


def test_ruff_sees_each_file_once() -> None:
    ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if ruff is None:
        pytest.skip("ruff is not installed")
    command = [ruff, "check", "--show-files", "--no-cache", ".", *LINKS]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    rooms = {Path(line).resolve().relative_to(ROOT).parts[:2] for line in shown}
    assert {("probpose", link) for link in LINKS} <= rooms  # the exclusion of the links spares the rooms themselves
    assert not [line for line in shown if Path(line).relative_to(ROOT).parts[0] in LINKS]


def test_mypy_and_pytest_leave_the_links_out(tools: dict[str, Any]) -> None:
    pytest_options = tools["pytest"]["ini_options"]
    assert not set(LINKS) & {*tools["mypy"]["files"], *pytest_options["testpaths"]}
    for link in LINKS:
        assert link in tools["mypy"]["exclude"][0]
        assert f"--ignore={link}" in pytest_options["addopts"]


def test_coverage_counts_each_file_once(tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    script, data = tmp_path / "nothing.py", f"--data-file={tmp_path / 'coverage'}"
    script.write_text("import probpose\n")
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "run", data, str(script)], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(
        [*coverage, "json", data, "-o", str(tmp_path / "report.json")], cwd=ROOT, capture_output=True, check=True
    )
    counted = {Path(name).parts[:2] for name in json.loads((tmp_path / "report.json").read_text())["files"]}
    assert {("probpose", link) for link in LINKS} <= counted
    assert not [parts for parts in counted if parts[0] in LINKS]


def test_pytest_collects_nothing_through_a_link() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *LINKS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
