"""The pages of this folder run as doctests: each in an empty folder, and without leaving names registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from probpose.data.datasets import catalogue


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def same_datasets() -> Iterator[None]:
    """Forget the datasets that a page registers."""
    before = dict(catalogue._READERS)
    yield
    catalogue._READERS.clear()
    catalogue._READERS.update(before)
