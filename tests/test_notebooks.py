"""The notebooks: each pair is the same, uses the public API alone, runs, and answers its own question."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext  # type: ignore[import-untyped]
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import probpose

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
CELL_S = 120
"""Seconds after which a cell is stopped and its notebook fails: whole notebooks take about ten."""
PACKAGES = {"IPython", "cv2", "matplotlib", "numpy", "scipy", "statsmodels", *sys.stdlib_module_names}


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def read(name: str) -> nbformat.NotebookNode:
    text = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    return nbformat.reads(text, as_version=4)  # type: ignore[no-any-return, no-untyped-call]


def execute(notebook: nbformat.NotebookNode, folder: Path) -> str:
    """Run a notebook in a new kernel that starts in `folder`; what it printed."""
    NotebookClient(notebook, timeout=CELL_S, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


def imports(tree: ast.AST) -> Iterator[str]:
    """What is imported, but for `import probpose as pp`: with that, the package's names are the attributes of `pp`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if (alias.name, alias.asname) != ("probpose", "pp"))
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def names_of_pp(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pp":
            yield node.attr


def faults(source: str) -> list[str]:
    """What a text uses that is not public: other packages, names within probpose, the folder beside the repository."""
    tree = ast.parse(source)
    foreign = [name for name in imports(tree) if name.split(".")[0] not in PACKAGES]
    private = [f"pp.{name}" for name in names_of_pp(tree) if name not in probpose.__all__]
    return [*foreign, *private, *(["shared"] if "shared" in source else [])]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made cases, whatever files there are, and figures where a notebook has them."""
    for name in ("PROBPOSE_POSTERIOR", "PROBPOSE_PREDICTIONS", "PROBPOSE_ANNOTATIONS", "PROBPOSE_SEED", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROBPOSE_ERRORS", str(NOTEBOOKS / "movenet_errors.npz"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_there_is_a_text_for_each_notebook() -> None:
    assert len(NAMES) >= 3
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_what_jupytext_makes_of_its_text(name: str) -> None:
    notebook, text = read(name), jupytext.read(NOTEBOOKS / f"{name}.py")
    nbformat.validate(notebook)
    assert cells(notebook) == cells(text)
    assert notebook.metadata.jupytext.formats == text.metadata.jupytext.formats == "ipynb,py:percent"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_uses_the_public_api_alone(name: str) -> None:
    source = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")
    assert faults(source) == []
    assert "import probpose as pp" in source


def test_the_page_of_the_notebooks_names_no_folder_beside_the_repository() -> None:
    assert "shared" not in (NOTEBOOKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os, numpy as np\nimport probpose as pp\nfrom scipy import stats\npp.score(np)", []),
        ("import probpose", ["probpose"]),
        ("import probpose.densities as pp", ["probpose.densities"]),
        ("def f():\n    from probpose.analysis.posterior import loo", ["probpose.analysis.posterior"]),
        ("from probpose import analysis", ["probpose"]),
        ("import os, torch", ["torch"]),
        ("from . import x", ["."]),
        ("import probpose as pp\npp.analysis.posterior.loo", ["pp.analysis"]),
        ("pp.densities.fit(x)", []),
        ("folder = 'sha' 'red'  # shared", ["shared"]),
    ],
)
def test_what_is_not_public_is_found(source: str, found: list[str]) -> None:
    assert faults(source) == found


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_its_answer_holds(name: str, tmp_path: Path) -> None:
    assert execute(read(name), tmp_path)
    assert list(tmp_path.iterdir()) == []  # what it makes is elsewhere, and goes with the kernel


def test_predictions_of_a_real_model(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_data / "predictions"
    monkeypatch.setenv("PROBPOSE_PREDICTIONS", str(folder / "litehrnet18_fashion_results.json"))
    monkeypatch.setenv("PROBPOSE_ANNOTATIONS", str(folder / "person_keypoints_fashion.json"))
    assert "litehrnet18_fashion_results.json" in execute(read("any_models_predictions"), tmp_path)


def test_a_notebook_whose_answer_is_wrong_fails(tmp_path: Path) -> None:
    notebook = read("is_my_sigma_calibrated")
    made = next(cell for cell in notebook.cells if "TOO_SMALL * sigma" in cell.source)
    made.source = made.source.replace("TOO_SMALL * sigma", "sigma")  # now sigma is right, and not 1.3 times too small
    with pytest.raises(CellExecutionError, match="AssertionError"):
        execute(notebook, tmp_path)
