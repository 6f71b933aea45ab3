"""The door to the package: what `import probpose` costs, and names that are typed, documented and found."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import probpose as pp

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = [name for name in pp.__all__ if inspect.isfunction(getattr(pp, name))]
CLASSES = [name for name in pp.__all__ if inspect.isclass(getattr(pp, name))]


def callables() -> list[tuple[str, Callable[..., Any]]]:
    """Public functions, and the public methods of public classes."""
    found: list[tuple[str, Callable[..., Any]]] = [(name, getattr(pp, name)) for name in FUNCTIONS]
    found += [(f"densities.{name}", getattr(pp.densities, name)) for name in ("fit",)]
    for owner in (*(getattr(pp, name) for name in CLASSES), pp.densities.ErrorDensity):
        own = [(name, value) for name, value in vars(owner).items() if not name.startswith("_")]
        for name, value in own:
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if inspect.isfunction(function):
                found.append((f"{owner.__name__}.{name}", function))
    return found


CALLABLES = callables()


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    given = list(inspect.signature(inspect.unwrap(function)).parameters.values())
    return [one for one in given if one.name not in ("self", "cls")]


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, probpose; dir(probpose); print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "probpose" in loaded
    assert not {"arviz", "cv2", "matplotlib", "numpy", "pandas", "pyro", "rich", "scipy", "torch"} & loaded
    assert done.stderr == ""


def test_dir_shows_public_names_only() -> None:
    assert dir(pp) == sorted([*pp.__all__, "__version__"])
    assert len(set(pp.__all__)) == len(pp.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'probpose' has no attribute 'calibrat'"):
        pp.calibrat  # noqa: B018
    with pytest.raises(ImportError):
        exec("from probpose import calibrat")


def test_every_name_is_stated_for_type_checkers_where_it_lives() -> None:
    source = (ROOT / "probpose" / "__init__.py").read_text()
    for name, home in pp._HOMES.items():
        assert f"    from {home} import {name} as {name}\n" in source
        assert name in sys.modules[home].__all__, f"{home} does not export {name}"


@pytest.mark.parametrize("name", pp.__all__)
def test_every_name_resolves_and_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(getattr(pp, name))
    assert text
    assert text.splitlines()[0].endswith((".", "?", ":", "`.")), text.splitlines()[0]


@pytest.mark.parametrize(("name", "function"), CALLABLES, ids=[name for name, _ in CALLABLES])
def test_every_function_is_typed(name: str, function: Callable[..., Any]) -> None:
    signature = inspect.signature(inspect.unwrap(function))
    assert signature.return_annotation is not inspect.Parameter.empty
    assert [one.name for one in parameters(function) if one.annotation is inspect.Parameter.empty] == []


@pytest.mark.parametrize(("name", "function"), CALLABLES, ids=[name for name, _ in CALLABLES])
def test_every_argument_is_named_in_the_docstring(name: str, function: Callable[..., Any]) -> None:
    text = inspect.getdoc(function)
    if not text:  # an override has its base's docstring
        owner = getattr(pp, name.split(".")[0])
        text = next(filter(None, (inspect.getdoc(getattr(base, function.__name__, None)) for base in owner.__mro__)))
    if "Args:" in text:
        missing = [one.name for one in parameters(function) if f"\n    {one.name}: " not in text]
        assert missing == []
    elif name in FUNCTIONS:
        assert parameters(function) == []


@pytest.mark.parametrize("name", ["Gaussian", "Laplace", "Samples", "Heatmap", "Distribution"])
def test_every_argument_of_a_distribution_is_named_in_its_class(name: str) -> None:
    made = getattr(pp, name)
    text = inspect.getdoc(made) or ""
    assert [one.name for one in parameters(made.__init__) if f"\n    {one.name}: " not in text] == []
