"""The pages run as doctests: each in an empty folder, and without leaving names registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from probpose.analysis.calibration.diagnostics.registry import DIAGNOSTICS
from probpose.data.datasets import catalogue


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def same_names() -> Iterator[None]:
    """Forget the datasets and diagnostics that a page registers."""
    registries: list[dict[str, Any]] = [catalogue._READERS, DIAGNOSTICS]
    before = [dict(entries) for entries in registries]
    yield
    for entries, kept in zip(registries, before, strict=True):
        entries.clear()
        entries.update(kept)
