"""ArviZ, imported in one place. Releases before 1 announce the next one on import once a day, which is kept quiet."""

from __future__ import annotations

__all__ = ["az"]

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing a major refactor", category=FutureWarning)
    import arviz

az: Any = arviz
