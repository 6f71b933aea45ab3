"""Names of data sets and lists of images, which are known without torch."""

from __future__ import annotations

__all__ = ["IMAGE_SETS", "datasets"]

from probpose.data.datasets import catalogue
from probpose.data.datasets.image_lists import IMAGE_SETS


def datasets() -> tuple[str, ...]:
    """Data sets by name."""
    return tuple(catalogue.DATASETS)
