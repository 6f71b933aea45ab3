"""The rows of this checkout on the probpose of another one, in a process of its own."""

from __future__ import annotations

__all__ = ["as_json", "before", "from_json"]

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.speed.rows import Turns

BENCHMARKS = Path(__file__).resolve().parents[1]
LACKS = "n/a"
"""What the table says where the other checkout cannot do what is measured."""

START = """
import runpy, sys
sys.meta_path[:] = [one for one in sys.meta_path if not getattr(one, "__module__", "").startswith("__editable__")]
runpy.run_module("benchmarks.speed", run_name="__main__")
"""
"""Without the finders of editable installs: they would lend the other checkout the modules that it lacks."""


def before(name: str, checkout: Path) -> Turns | str:
    """The row called `name` with the probpose of `checkout`, by the benchmarks of this one."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "benchmarks").symlink_to(BENCHMARKS)
        (Path(folder) / "probpose").symlink_to(checkout.resolve() / "probpose")
        raw = Path(folder) / "raw.json"
        done = subprocess.run(
            [sys.executable, "-c", START, "--only", name, "--raw", str(raw)],
            cwd=folder, env=os.environ | {"PYTHONPATH": folder}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not raw.exists():
            sys.stderr.write(f"{name} on {checkout}: {done.stderr.strip().splitlines()[-1:]}\n")
            return LACKS
        return from_json(json.loads(raw.read_text())[name])


def as_json(turns: Turns | str) -> Any:
    """Turns, or why there are none, for a file."""
    return turns if isinstance(turns, str) else {"ours": turns.ours, "peer": turns.peer}


def from_json(value: Any) -> Turns | str:
    """The inverse of `as_json`."""
    return value if isinstance(value, str) else Turns(tuple(value["ours"]), tuple(value["peer"]))
