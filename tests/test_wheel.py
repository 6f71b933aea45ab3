"""The wheel holds the package and nothing else, and works where the repository is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("probpose", "models", "inference", "analysis", "tests", "benchmarks", "notebooks", "docs")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
BUILD = [*PIP, "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command, without this process's import path; its error stream in the failure."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_folder(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the repository, links and tests included, with what is installed: no download."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        shutil.copy(ROOT / name, tree)
    for folder in filter(Path.exists, (ROOT / name for name in FOLDERS)):
        copy_folder(folder, tree / folder.name)
    run(*BUILD, "--wheel-dir", tree / "dist", ".", cwd=tree)
    (built,) = (tree / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it; the dependencies, but not the working copy, come from this one."""
    home = tmp_path_factory.mktemp("clean") / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    run(*PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    # A folder named in a .pth file is searched last, and .pth files in it (an editable install is one) are not read.
    paths = {
        name: sysconfig.get_path(name, vars={"base": str(home), "platbase": str(home)})
        for name in ("purelib", "platlib")
    }
    here = {sysconfig.get_path(name) for name in paths}
    Path(paths["purelib"], "dependencies.pth").write_text("\n".join(sorted(here)) + "\n")
    return python


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"probpose", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}
    assert "probpose/py.typed" in names
    assert "probpose/analysis/pages/templates/report.html" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_describes_itself_by_the_readme(wheel: Path) -> None:
    """As Markdown, which the package index renders: without this type it would be taken for reStructuredText."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    told = message_from_bytes(archive.read(name))
    assert told["Description-Content-Type"] == "text/markdown"
    assert told["Name"] == "probpose"
    text = told.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_the_package_index_can_render_the_readme(wheel: Path) -> None:
    if find_spec("twine") is None:
        pytest.skip("needs twine, which the extra test installs")
    assert "PASSED" in run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", wheel, cwd=wheel.parent)


def test_wheel_holds_every_module(wheel: Path) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "probpose").rglob("*.py")}
    assert modules == {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}


def test_library_imports_from_the_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    code = "import probpose.models, probpose.data, probpose.inference, probpose.analysis; print(probpose.__file__)"
    assert Path(run(clean_python, "-c", code, cwd=tmp_path).strip()).is_relative_to(clean_python.parents[1])


def test_command_runs_in_the_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    version = run(clean_python, "-c", "import probpose; print(probpose.__version__)", cwd=tmp_path).strip()
    assert version in run(clean_python.with_name("probpose"), "--version", cwd=tmp_path)
    usage = run(clean_python.with_name("probpose"), "--help", cwd=tmp_path)
    assert all(command in usage for command in ("train", "evaluate", "predict"))
