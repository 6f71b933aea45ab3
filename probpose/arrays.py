"""Types of numpy arrays, the way from tensors to them, and arrays that users give, checked."""

from __future__ import annotations

__all__ = ["Array", "Index", "Mask", "as_array", "given", "numbers", "share"]

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probpose.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def as_array(tensor: Tensor) -> Array:
    """A float64 array in main memory."""
    return np.asarray(tensor.detach().double().cpu().numpy())


def numbers(values: object, what: str, shape: tuple[int | None, ...] | None = None, *, finite: bool = True) -> Array:
    """A new float64 array of what a user gave: lists, numpy arrays, torch tensors, tables and columns of pandas.

    Args:
        values: numbers.
        what: they are, for messages.
        shape: that is expected; None stands for any size.
        finite: refuse NaN and infinity.

    Raises:
        DataError: they are no numbers, of another shape or not finite; the first place is named.
    """
    array = given(values, what)
    if array.dtype.kind == "O":
        array = _unpacked(array)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{what} is of type {array.dtype}: expected numbers.")
    if shape is not None and not _fits(array.shape, shape):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise DataError(f"{what} has shape {array.shape}, expected ({wanted}).")
    found = np.array(array, dtype=np.float64, order="C")
    if finite and not np.isfinite(found).all():
        broken = np.argwhere(~np.isfinite(found))
        first = broken[0].tolist()
        raise DataError(f"{what}{first} is {found[tuple(first)]}, and {len(broken)} are not finite.")
    return found


def given(values: object, what: str) -> npt.NDArray[Any]:
    """What a user gave as a numpy array of its own type, not copied where that can be helped.

    Args:
        values: anything that numpy takes, or tensors of any device, or a list of tensors.
        what: they are, for messages.

    Raises:
        DataError: rows have different lengths.
    """
    several = isinstance(values, list | tuple) and any(hasattr(one, "detach") for one in values)
    try:
        return np.asarray([_detached(one) for one in values] if several else _detached(values))  # type: ignore[attr-defined]
    except ValueError as error:
        raise DataError(f"{what} is no array: its rows have different lengths.") from error


def share(value: float, what: str) -> float:
    """A number between 0 and 1, without the ends.

    Raises:
        DataError: it is another.
    """
    if not np.ndim(value) == 0 or not 0 < value < 1:
        raise DataError(f"{what} {value} is no share: give a number between 0 and 1, such as 0.9.")
    return float(value)


def _detached(values: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()  # numpy has no bfloat16


def _unpacked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers that are in an array of objects, as columns of mixed type have them."""
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        return array


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(want in (None, size) for size, want in zip(found, wanted, strict=True))
