"""The outcome of a calibration: what is written to calibration.json and shown in the report."""

from __future__ import annotations

__all__ = ["Index", "Outcome", "Residuals", "residuals_of"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.estimates import Array, as_array
from probpose.models.densities import Residual
from probpose.models.located import Located

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Residuals:
    """Test residuals z = L^-1 (label - location) of M labels beside the density that was predicted for them.

    Attributes:
        density: R, shared or one a joint.
        z: (M, 2), in the units of R.
        joint: (M,).
    """

    density: Residual
    z: Array
    joint: Index


@dataclass(frozen=True)
class Outcome:
    """A calibration.

    Attributes:
        record: plain JSON, the content of calibration.json (docs/commands.md says what it holds).
        before: residuals under the prediction as it was; None where it is not of the location-scale family.
        after: the same under the recalibrated prediction; None without one that has a density.
        test: the test persons under the recalibrated prediction, thinned to about 100,000 labels.
        scores: log density (M,) of their labels under each cure that has one, nats, and the image (M,) of each.
    """

    record: dict[str, Any]
    before: Residuals | None
    after: Residuals | None
    test: Cases
    scores: dict[str, tuple[Array, Index]]


def residuals_of(cases: Cases) -> Residuals | None:
    """The residuals of labels under a location-scale prediction; None under another."""
    predictive = cases.predictive
    if not isinstance(predictive, Located):
        return None
    z = as_array(predictive.standardised(cases.filled))
    joint = np.nonzero(cases.labelled)[1]
    return Residuals(predictive.residual, z[cases.labelled], joint)
