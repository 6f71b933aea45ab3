"""Uniform numbers that are functions of integer keys, whatever the order and the number of them drawn at once.

SplitMix64: the keys are taken in one after the other, each followed by the generator's increment and its finaliser, a
bijection of 64 bits in which every bit depends on all others (Steele, Lea and Flood, "Fast Splittable Pseudorandom
Number Generators", OOPSLA 2014).
"""

from __future__ import annotations

__all__ = ["keyed_bits", "keyed_uniform", "name_keys"]

from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, Index

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_STEPS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST = np.uint64(31)


def keyed_uniform(seed: int, *keys: Index) -> Array:
    """Numbers in (0, 1), one a tuple of keys: 52 bits of their hash, and half a step, so that neither end is reached.

    Args:
        seed: the first key of all.
        keys: whole numbers of shapes that broadcast to that of the result.
    """
    return np.asarray((keyed_bits(seed, *keys) >> np.uint64(12)) + 0.5) * 2.0**-52


def keyed_bits(seed: int, *keys: Index) -> npt.NDArray[np.uint64]:
    """64 random bits, one a tuple of keys; for the arguments see `keyed_uniform`."""
    state = _mixed(np.array([seed % 2**64], dtype=np.uint64))
    for key in keys:
        state = _mixed(state ^ np.atleast_1d(key).astype(np.uint64))
    return state


def name_keys(names: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Keys (M,) of names: whole numbers are their own, of text its letters are taken in one after the other."""
    if names.dtype.kind != "U":
        return names.astype(np.uint64)
    state = np.zeros(len(names), dtype=np.uint64)
    for letter in np.ascontiguousarray(names).view(np.uint32).reshape(len(names), -1).T:
        state = np.where(letter > 0, _mixed(state ^ letter), state)  # whatever follows the end of a shorter name
    return state


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = state + _INCREMENT
    for shift, factor in _STEPS:
        state = (state ^ (state >> shift)) * factor
    return state ^ (state >> _LAST)
