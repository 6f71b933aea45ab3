"""Recalibration of heatmaps read as densities: a temperature, a blur, or both.

With cells of probability p, temperature T gives p^(1/T) / sum p^(1/T) (Guo, Pleiss, Sun and Weinberger, "On Calibration
of Modern Neural Networks", ICML 2017), which flattens or sharpens a map and keeps its peak; the blur is a Gaussian over
the cells, which spreads it. Both keep the map a density over its box. Each is that of greatest likelihood.
"""

from __future__ import annotations

__all__ = ["HEATMAP_CURES", "HeatmapRecalibration", "fit_heatmap"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.errors import ConfigError
from probpose.models.predictive.contract import Predictive

Cure = Literal["temperature", "blur", "temperature and blur"]
HEATMAP_CURES: tuple[Cure, ...] = get_args(Cure)
"""The simpler before the more complex."""

MOST_CELLS = 2_000_000
"""Cells of all the maps that are fitted to."""

_HOTTEST = float(np.log(20.0))
_WIDEST = 0.5
"""Of a blur, in units of the map's side."""
_TOLERANCE = 5e-3


@dataclass(frozen=True)
class HeatmapRecalibration(Recalibration):
    """Another temperature and a blur of the cells.

    Attributes:
        temperature: that log probabilities are divided by; 1 for none.
        blur: standard deviation, cells; 0 for none.
    """

    temperature: float = 1.0
    blur: float = 0.0
    method = "heatmap"

    def apply(self, cases: Cases) -> Predictive:
        return cases.predictive.softened(self.temperature, self.blur)

    def record(self) -> dict[str, Any]:
        return {"method": self.method, "temperature": self.temperature, "blur": self.blur}


def fit_heatmap(cases: Cases, cure: Cure) -> HeatmapRecalibration:
    """The temperature, the blur, or both, of greatest likelihood, drawn towards no change as `fit_scale` does.

    Args:
        cases: of densities that are made of cells.
        cure: which of the two may change.

    Raises:
        ConfigError: the densities have no cells.
    """
    cells = cases.predictive.cells
    if not cells:
        raise ConfigError("only heatmaps have a temperature and a blur.")
    most = max(1, MOST_CELLS // (cells * len(cases.joints)))
    some = cases.select(np.linspace(0, len(cases) - 1, min(len(cases), most)).astype(np.int64))
    labels, filled = some.labelled, some.filled

    widest = _WIDEST * cells**0.5

    def loss(log_temperature: float, blur: float) -> float:
        log_prob = some.predictive.softened(float(np.exp(log_temperature)), blur).log_prob(filled)
        return -float(log_prob.double().numpy()[labels].mean())

    if cure == "temperature":
        best = _least(lambda value: loss(value, 0.0), -_HOTTEST, _HOTTEST), 0.0
    elif cure == "blur":
        best = 0.0, _least(lambda value: loss(0.0, value), 0.0, widest)
    else:
        best = _least_of_both(loss, widest)
    gain = 2 * int(labels.sum()) * (loss(0.0, 0.0) - loss(*best))
    kept = max(0.0, 1 - len(cure.split(" and ")) / max(gain, 1e-12))
    return HeatmapRecalibration(float(np.exp(kept * best[0])), kept * best[1])


def _least(loss: Callable[[float], float], low: float, high: float) -> float:
    return float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": _TOLERANCE}).x)


def _least_of_both(loss: Callable[[float, float], float], widest: float) -> tuple[float, float]:
    found = minimize(
        lambda at: loss(at[0], at[1]), np.array([0.0, 0.5]), method="Nelder-Mead",
        bounds=[(-_HOTTEST, _HOTTEST), (0.0, widest)], options={"xatol": 1e-2, "fatol": 1e-5, "maxfev": 40},
    )  # fmt: skip
    return float(found.x[0]), float(found.x[1])
