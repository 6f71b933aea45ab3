"""The notebooks: each pair says the same, and each runs and answers its own question."""

from __future__ import annotations

from pathlib import Path

import jupytext  # type: ignore[import-untyped]
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def read(name: str) -> nbformat.NotebookNode:
    text = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    return nbformat.reads(text, as_version=4)  # type: ignore[no-any-return, no-untyped-call]


def execute(notebook: nbformat.NotebookNode, folder: Path) -> str:
    """Run a notebook in a new kernel that starts in `folder`; what it printed."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made cases, whatever files there are, and figures where a notebook has them."""
    for name in ("PROBPOSE_POSTERIOR", "PROBPOSE_ANNOTATIONS", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROBPOSE_PREDICTIONS", "")
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
