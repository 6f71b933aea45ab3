"""Which recalibration: candidates are fitted on *fit*, and compared by their log density on *calibrate*.

A candidate's gain is how much its log density of a label exceeds that of the prediction as it is, which both fitted
nothing to. Its standard error is over images, because the keypoints of one image are dependent. Two steps:

1. The prediction as it is stays unless a gain is positive beyond chance: by a one-sided paired t-test over images at
   `CHANCE`, which is two standard errors of many images. One standard error would not do: of exact predictions it
   changes 10 to 18%, the t-test under 5% down to 20 images. And it has to be `LEAST_NATS`, or there is nothing to see.
2. Among the candidates that pass, the simplest within one standard error of the best is chosen (Breiman, Friedman,
   Olshen and Stone, "Classification and Regression Trees", 1984, section 3.4.3): what is more complex has to earn it.

A label counts with a gain or loss of `MOST_NATS` at most. Under an exact prediction q / p > e^t has a probability of
e^-t at most for any density q (Markov), so that nothing is lost; but one gross error would otherwise make the standard
error as large as the mean, and hide that sigma is wrong for all the other labels.
"""

from __future__ import annotations

__all__ = ["METHODS", "Candidate", "Choice", "Gains", "Method", "choose", "log_prob"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
from scipy import special

from probpose.analysis.calibration.cases import PARTS, Cases, Split
from probpose.analysis.calibration.recalibration.base import NoRecalibration, Recalibration, fit_level, fit_scale
from probpose.analysis.calibration.recalibration.conformal import fit_conformal
from probpose.analysis.calibration.recalibration.heatmap import HEATMAP_CURES, fit_heatmap
from probpose.analysis.calibration.recalibration.levels import ENOUGH
from probpose.analysis.calibration.recalibration.size import fit_size, sizes_vary
from probpose.analysis.evaluation.statistics import Difference, paired_difference
from probpose.analysis.table import number
from probpose.arrays import Array, Index
from probpose.errors import ConfigError, DataError

Method = Literal["auto", "scale", "size", "heatmap", "density", "level", "conformal"]
METHODS: tuple[Method, ...] = get_args(Method)

CHANCE = 0.025
"""Probability that a candidate that is as good as the prediction as it is passes for better."""

LEAST_NATS = 0.001
"""Mean gain that is worth a change."""

MOST_NATS = 10.0
"""Gain or loss of a label that counts."""


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
        candidates: the prediction as it is first, the simpler before the more complex.
        chosen: one of them.
        gains: over the prediction as it is, nats per label of *calibrate*, by name; of the others that have a density.
        reason: why it was chosen, in a sentence.
        failed: why a recalibration could not be fitted, by name, such as for too few labels.
    """

    candidates: list[Candidate]
    chosen: Candidate
    gains: dict[str, Difference]
    reason: str
    failed: dict[str, str]

    @property
    def is_change(self) -> bool:
        """Whether the prediction does not stay as it is."""
        return self.chosen is not self.candidates[0]


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
        method: `auto` leaves the prediction as it is unless a recalibration is better beyond chance, and then takes the
            simplest that is about as good as the best; otherwise the simplest such of that method. Maps of levels and
            conformal regions go on top of what is chosen in this way of the others.
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

    image = calibrate.units[np.nonzero(calibrate.labelled)[0]]
    bases = [_candidate("none", NoRecalibration, calibrate)]
    for name, make in _makers(fit, density, asked_for=method).items():
        bases += attempt(name, partial(_candidate, name, make, calibrate))
    base = Gains(bases, image).choose()[0].recalibration
    with_density = [*bases, *attempt("level", partial(_level, base, calibrate, seed, asked_for=method == "level"))]
    conformal = Candidate("conformal", fit_conformal(base, calibrate, per_joint=per_joint, seed=seed), None)
    gains = Gains(with_density, image)
    if method == "auto":
        chosen, reason = gains.choose()
    else:
        chosen, reason = _asked_for(method, [*with_density, conformal], gains, failed)
    return Choice([*with_density, conformal], chosen, gains.over_none(), reason, failed)


def _makers(
    fit: Cases, density: Callable[[Cases], Recalibration] | None, asked_for: Method
) -> dict[str, Callable[[], Recalibration]]:
    """What fits the recalibrations that need no other one, by name, the simpler before the more complex."""
    makers: dict[str, Callable[[], Recalibration]] = {"scale": partial(fit_scale, fit, per_joint=False)}
    if asked_for == "size" or sizes_vary(fit):
        makers["size"] = partial(fit_size, fit)
    makers["scale per joint"] = partial(fit_scale, fit, per_joint=True)
    if fit.predictive.cells:
        makers |= {name: partial(fit_heatmap, fit, name) for name in HEATMAP_CURES}
    return makers if density is None else makers | {"density": partial(density, fit)}


def _candidate(name: str, make: Callable[[], Recalibration], calibrate: Cases) -> Candidate:
    recalibration = make()
    return Candidate(name, recalibration, log_prob(recalibration, calibrate))


def _asked_for(
    method: Method, candidates: Sequence[Candidate], gains: Gains, failed: dict[str, str]
) -> tuple[Candidate, str]:
    """The simplest about as good as the best of those of a method, and the reason.

    Raises:
        DataError: there is none.
    """
    found = [one for one in candidates if one.recalibration.method == method]
    if not found:
        reasons = [reason for name, reason in failed.items() if name.startswith(method)]
        raise DataError(f"--recalibrate {method} is not possible: {' '.join(reasons) or 'nothing to fit.'}")
    if found[0].log_prob is None:
        return found[0], f"{found[0].name} was asked for; it changes the regions, and the density stays as it is."
    chosen, _ = gains.simplest(found)
    return chosen, f"{chosen.name} was asked for; on the part calibrate it gains {_words(gains.lead(chosen))}."


class Gains:
    """Gains of each label, and the rule.

    Args:
        candidates: with densities, the prediction as it is first, the simpler before the more complex.
        image: (M,), of each label of *calibrate*.
    """

    def __init__(self, candidates: Sequence[Candidate], image: Index) -> None:
        self._none, *self._others = candidates
        self._image = image
        nats = {one.name: one.log_prob for one in candidates if one.log_prob is not None}
        self._nats = nats
        # of few images a standard error is itself uncertain
        self._critical = -float(special.stdtrit(max(1, len(np.unique(image)) - 1), CHANCE))

    def lead(self, one: Candidate, other: Candidate | None = None) -> Difference:
        """By how much the gain of one exceeds that of another, or the prediction as it is; nats per label."""
        ahead = np.clip(self._nats[one.name] - self._nats[(other or self._none).name], -MOST_NATS, MOST_NATS)
        return paired_difference([ahead], [np.zeros_like(ahead)], self._image)

    def over_none(self) -> dict[str, Difference]:
        """The gain of each of the others, by name."""
        return {one.name: self.lead(one) for one in self._others}

    def choose(self) -> tuple[Candidate, str]:
        """The chosen one and the reason."""
        better = [one for one in self._others if self._is_better(self.lead(one))]
        if not better:
            return self._none, self._why_none()
        chosen, best = self.simplest(better)
        gains = f"On the part calibrate {chosen.name} gains {_words(self.lead(chosen))} over the prediction as it is"
        if chosen is best:
            return chosen, f"{gains}, the most beyond chance."
        lead = _words(self.lead(best, chosen))
        return (
            chosen,
            f"{gains}, and is the simplest within one standard error of {best.name}, which is ahead by {lead}.",
        )

    def simplest(self, candidates: Sequence[Candidate]) -> tuple[Candidate, Candidate]:
        """The first one of which the best is not ahead by more than a standard error, and the best."""
        best = max(candidates, key=lambda one: self.lead(one).mean)
        leads = ((one, self.lead(best, one)) for one in candidates)
        return next(one for one, lead in leads if lead.mean <= lead.se), best

    def _is_better(self, gain: Difference) -> bool:
        return gain.mean >= LEAST_NATS and gain.mean > self._critical * gain.se

    def _why_none(self) -> str:
        rule = f"No gain on the part calibrate exceeds {self._critical:.2f} standard errors and {LEAST_NATS:g} nats"
        if not self._others:
            return f"{rule}: nothing could be fitted."
        best = max(self._others, key=lambda one: self.lead(one).mean)
        return f"{rule}; the largest is that of {best.name}, {_words(self.lead(best))}."


def _words(difference: Difference) -> str:
    return f"{number(difference.mean, 3)} ± {number(difference.se, 3)} nats a keypoint"


def _level(base: Recalibration, calibrate: Cases, seed: int, *, asked_for: bool) -> Candidate:
    labels = int(calibrate.labelled.sum())
    if not asked_for and labels < ENOUGH:
        raise DataError(f"{labels} labels are too few to choose a map of the levels by: {ENOUGH} are needed.")
    crossed = _cross_fitted(base, calibrate, seed)
    return Candidate("level", fit_level(base, calibrate, seed=seed), crossed)


def log_prob(recalibration: Recalibration, cases: Cases) -> Array:
    """Log density (M,) of the labels under a recalibration, nats."""
    return cases.under(recalibration.apply(cases)).scores().log_prob


def _cross_fitted(base: Recalibration, cases: Cases, seed: int) -> Array:
    """Log density (M,) under a map of the levels, each half of the images judged by the map of the other half."""
    split = Split.of(cases.units, shares=(0.5, 0.5), seed=seed, name=cases.name)
    found = np.full(cases.labelled.shape, np.nan)
    for one, other in (PARTS[:2], PARTS[1::-1]):
        rows = split.rows(cases.units, one)
        half = cases.select(rows)
        recalibration = fit_level(base, split.select(cases, other), seed=seed)
        found[rows] = _scattered(log_prob(recalibration, half), half)
    return np.asarray(found[cases.labelled])


def _scattered(values: Array, cases: Cases) -> Array:
    """Values (M,) of labels at their places (N, K)."""
    table = np.full(cases.labelled.shape, np.nan)
    table[cases.labelled] = values
    return table
