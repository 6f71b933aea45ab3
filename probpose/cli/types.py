"""Types of the values of options."""

from __future__ import annotations

__all__ = ["FLIP_PAIRS", "NAMES", "NUMBERS", "OKS", "OUT", "OUT_FILE", "OUT_FOLDER", "SIZE", "LateChoice"]

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click


class LateChoice(click.Choice[str]):
    """One of names that are asked for when they are needed: what is registered until then can be named.

    Args:
        names: called for the names, so that nothing is imported before.
        prefixes: what names may begin with that are not listed.
    """

    def __init__(self, names: Callable[[], Iterable[str]], prefixes: tuple[str, ...] = ()) -> None:
        self.names, self.prefixes = names, prefixes
        self.case_sensitive = True

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """One of the names, or one that begins as it may."""
        return value if str(value).startswith(self.prefixes) else super().convert(value, param, ctx)

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names."""
        return tuple(self.names())


class _Out(click.Path):
    """What is written in the end: refused at once where it cannot be, and not after minutes of work.

    Args:
        folder: whether it is a folder, and not a file; None for either.
    """

    def __init__(self, *, folder: bool | None) -> None:
        super().__init__(file_okay=not folder, dir_okay=folder is not False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; folders above it that are missing are made later."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        above = next(one for one in (path, *path.absolute().parents) if one.exists())
        if above != path and not above.is_dir():
            self.fail(f"{path} cannot be written: {above} is no folder.", param, ctx)
        if not os.access(above, os.W_OK):
            self.fail(f"{path} cannot be written: {above} is not writable.", param, ctx)
        return path


class _Size(click.ParamType[tuple[int, int]]):
    """HxW."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Height and width of '256x192'."""
        if isinstance(value, tuple):
            return value
        try:
            height, width = (int(part) for part in str(value).lower().split("x"))
        except ValueError:
            self.fail(f"{value!r} is not a size: write height x width, such as 256x192.", param, ctx)
        if min(height, width) < 16:
            self.fail(f"{value!r} is too small: both sides must have at least 16 pixels.", param, ctx)
        return height, width


class _FlipPairs(click.ParamType[tuple[tuple[int, int], ...]]):
    """Pairs of joint numbers."""

    name = "PAIRS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, int], ...]:
        """0-based pairs of '1-2,3-4'."""
        if isinstance(value, tuple):
            return value
        try:
            pairs = [tuple(int(part) for part in pair.split("-")) for pair in str(value).split(",") if pair]
            return tuple((left, right) for left, right in pairs)
        except ValueError:
            self.fail(f"{value!r} is not a list of pairs: write 0-based joint numbers, such as 1-2,3-4.", param, ctx)


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Comma-separated whole numbers."""

    name = "NUMBERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """(170, 200) of '170,200'."""
        try:
            return value if isinstance(value, tuple) else tuple(int(part) for part in str(value).split(",") if part)
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers: write them as 170,200.", param, ctx)


class _Names(click.ParamType[tuple[str, ...]]):
    """Comma-separated models."""

    name = "NAMES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """('laplace', 'multibin[bins=16]') of 'laplace,multibin[bins=16]'."""
        from probpose.api.settings import split_specs

        return value if isinstance(value, tuple) else split_specs(str(value))


class _Threshold(click.ParamType[float]):
    """An OKS, or none."""

    name = "OKS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0.9 of '0.9'; 1, which removes nothing, of 'none'."""
        try:
            threshold = 1.0 if value == "none" else float(value)
        except ValueError:
            threshold = 0.0
        if not 0 < threshold <= 1:
            self.fail(f"{value!r} is not an OKS: give a number above 0 and up to 1, or none.", param, ctx)
        return threshold


SIZE = _Size()
FLIP_PAIRS = _FlipPairs()
NUMBERS = _Numbers()
NAMES = _Names()
OKS = _Threshold()
OUT = _Out(folder=None)
OUT_FILE = _Out(folder=False)
OUT_FOLDER = _Out(folder=True)
