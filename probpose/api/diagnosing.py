"""A diagnostic of one's own, tried on predictions and labels without a calibration."""

from __future__ import annotations

__all__ = ["DiagnosticRecord", "diagnose"]

from collections.abc import Hashable, Sequence

import numpy.typing as npt
from torch import Tensor

from probpose.analysis.calibration.diagnostics.base import DIAGNOSED, DiagnosticRecord, Setting
from probpose.analysis.calibration.diagnostics.registry import DIAGNOSTICS, Make
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.api.distributions import Distribution
from probpose.api.labels import cases_of_arrays
from probpose.models.named import lookup


def diagnose(
    predictions: Distribution,
    labels: npt.ArrayLike | Tensor,
    diagnostic: str | Make,
    *,
    images: Sequence[Hashable] | npt.ArrayLike | None = None,
    visibility: npt.ArrayLike | None = None,
    confidence: npt.ArrayLike | None = None,
    boxes: npt.ArrayLike | None = None,
    oks_sigmas: npt.ArrayLike | None = None,
    seed: int = 0,
) -> DiagnosticRecord:
    """One diagnostic of all labels under the predictions as they are (docs/extend/add_a_diagnostic.md).

    Args:
        predictions: of N rows with K joints.
        labels: (N, K, 2) pixels, NaN where unlabelled.
        diagnostic: a class of diagnostics, or the name of a registered one.
        images: N ids or names: rows of one image are not independent; each row is an image by default.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible.
        confidence: (N, K), the model's own, for a diagnostic that looks at it; likewise the next two.
        boxes: (N, 4) x, y, width, height that the predictions were made from.
        oks_sigmas: (K,) of the joints.
        seed: of the bootstrap over images, and of levels on plateaus of a density.

    Raises:
        ConfigError: no diagnostic has that name.
        DataError: another shape, no label, or a label whose log density is not finite, by name.
    """
    make = lookup(DIAGNOSTICS, "diagnostic", diagnostic) if isinstance(diagnostic, str) else diagnostic
    cases = cases_of_arrays(predictions, labels, images, visibility, confidence, boxes, oks_sigmas, "predictions")
    found = make(Setting(cases.joints, seed=seed))
    for chunk in MemorySource(cases).chunks():
        if chunk.labelled.any():
            found.add(chunk.scores(*DIAGNOSED, seed=seed), chunk)
    return found.record()
