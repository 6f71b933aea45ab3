"""Which recalibration: candidates are fitted on *fit*, and the one of greatest likelihood on *calibrate* is chosen."""

from __future__ import annotations

__all__ = ["METHODS", "Candidate", "Choice", "Method", "choose", "log_prob"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np

from probpose.analysis.calibration.cases import PARTS, Cases, Split
from probpose.analysis.calibration.recalibration.base import NoRecalibration, Recalibration, fit_level, fit_scale
from probpose.analysis.calibration.recalibration.conformal import fit_conformal
from probpose.arrays import Array
from probpose.errors import ConfigError, DataError

Method = Literal["auto", "scale", "density", "level", "conformal"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Candidate:
    """A fitted recalibration.

    Attributes:
        name: such as "scale per joint".
        recalibration: fitted.
        log_prob: (M,), log density in nats of the labels of *calibrate*, cross-fitted where it was fitted there;
            None without a density.
    """

    name: str
    recalibration: Recalibration
    log_prob: Array | None

    @property
    def nll_calibrate_nats(self) -> float | None:
        """Mean negative log density on *calibrate*."""
        return None if self.log_prob is None else float(-self.log_prob.mean())


@dataclass(frozen=True)
class Choice:
    """What was fitted, and what was chosen.

    Attributes:
        candidates: the prediction as it is first.
        chosen: one of them.
        failed: why a recalibration could not be fitted, by name, such as for too few labels.
    """

    candidates: list[Candidate]
    chosen: Candidate
    failed: dict[str, str]


def choose(
    fit: Cases,
    calibrate: Cases,
    method: Method,
    *,
    density: Callable[[Cases], Recalibration] | None,
    per_joint: bool = False,
    seed: int = 0,
) -> Choice:
    """Fit the recalibrations and choose one.

    Args:
        fit: fits scale and density.
        calibrate: fits level and conformal, and chooses.
        method: `auto` takes the likeliest on *calibrate*, which may be the prediction as it is; otherwise the likeliest
            of that method. Maps of levels and conformal regions go on top of the likeliest of the others.
        density: fits a refitted residual density, or None for no such candidate.
        per_joint: conformal guarantees by joint.
        seed: of splits and choices.

    Raises:
        ConfigError: the method is not possible for these predictions.
        DataError: there are too few labels for the method.
    """
    failed: dict[str, str] = {}

    def attempt(name: str, make: Callable[[], Candidate]) -> list[Candidate]:
        try:
            return [make()]
        except (ConfigError, DataError) as error:
            failed[name] = str(error)
            return []

    def fitted(name: str, make: Callable[[], Recalibration]) -> Candidate:
        recalibration = make()
        return Candidate(name, recalibration, log_prob(recalibration, calibrate))

    based = [fitted("none", NoRecalibration)]
    makers = {
        "scale": lambda: fit_scale(fit, per_joint=False),
        "scale per joint": lambda: fit_scale(fit, per_joint=True),
    } | ({} if density is None else {"density": lambda: density(fit)})
    for name, make in makers.items():
        based += attempt(name, partial(fitted, name, make))
    best = _best(based).recalibration
    level = attempt("level", lambda: _level(best, calibrate, seed))
    conformal = Candidate("conformal", fit_conformal(best, calibrate, per_joint=per_joint, seed=seed), None)
    candidates = [*based, *level, conformal]
    allowed = [c for c in candidates if c.recalibration.method == method] if method != "auto" else [*based, *level]
    if not allowed:
        reasons = [reason for name, reason in failed.items() if name.startswith(method)]
        raise DataError(f"--recalibrate {method} is not possible: {' '.join(reasons) or 'nothing to fit.'}")
    return Choice(candidates, _best(allowed), failed)


def _level(base: Recalibration, calibrate: Cases, seed: int) -> Candidate:
    crossed = _cross_fitted(base, calibrate, seed)
    return Candidate("level", fit_level(base, calibrate, seed=seed), crossed)


def _best(candidates: Sequence[Candidate]) -> Candidate:
    """The likeliest on labels that fitted none of them; the first of equals."""
    return min(candidates, key=lambda c: np.inf if c.nll_calibrate_nats is None else c.nll_calibrate_nats)


def log_prob(recalibration: Recalibration, cases: Cases) -> Array:
    """Log density (M,) of the labels under a recalibration, nats."""
    return cases.under(recalibration.apply(cases)).scores().log_prob


def _cross_fitted(base: Recalibration, cases: Cases, seed: int) -> Array:
    """Log density (M,) under a map of the levels, each half of the images judged by the map of the other half."""
    split = Split.of(cases.image, shares=(0.5, 0.5), seed=seed, name=cases.name)
    found = np.full(cases.labelled.shape, np.nan)
    for one, other in (PARTS[:2], PARTS[1::-1]):
        rows = split.rows(cases.image, one)
        half = cases.select(rows)
        recalibration = fit_level(base, split.select(cases, other), seed=seed)
        found[rows] = _scattered(log_prob(recalibration, half), half)
    return np.asarray(found[cases.labelled])


def _scattered(values: Array, cases: Cases) -> Array:
    """Values (M,) of labels at their places (N, K)."""
    table = np.full(cases.labelled.shape, np.nan)
    table[cases.labelled] = values
    return table
