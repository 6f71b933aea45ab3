"""Statistics that are counted in parts and merged: any split of the images and any order give the same result."""

from __future__ import annotations

__all__ = ["Mergeable"]

from collections.abc import Mapping
from typing import Any, ClassVar, Self


class Mergeable:
    """A statistic all of whose state is sums over images.

    Attributes:
        summed: names of the attributes that are sums: numbers, arrays, or mergeable themselves, also by name; None
            where nothing is counted. All others are settings, equal in what is merged.
    """

    summed: ClassVar[tuple[str, ...]] = ()

    def merge(self, other: Self) -> None:
        """Count what `other` has counted, of other images."""
        for name in self.summed:
            setattr(self, name, _together(getattr(self, name), getattr(other, name)))


def _together(own: Any, other: Any) -> Any:
    if own is None:
        return None
    if isinstance(own, Mergeable):
        own.merge(other)
        return own
    if isinstance(own, Mapping):
        return {name: _together(value, other[name]) for name, value in own.items()}
    return own + other
