"""Types of numpy arrays, and the way from tensors to them."""

from __future__ import annotations

__all__ = ["Array", "Index", "Mask", "as_array"]

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def as_array(tensor: Tensor) -> Array:
    """A float64 array in main memory."""
    return np.asarray(tensor.detach().double().cpu().numpy())
