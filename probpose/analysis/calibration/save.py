"""What a calibration leaves behind: calibration.json, the saved posterior, and the report with its figures."""

from __future__ import annotations

__all__ = ["WARMUP", "save_calibration"]

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from probpose.analysis.calibration.calibrate import Outcome
from probpose.analysis.calibration.report import write_report
from probpose.analysis.posterior import elpd_table, save_posterior
from probpose.errors import DataError
from probpose.files import write_atomically
from probpose.inference.fitting.residual_posterior import ResidualPosterior, sample_residual_posterior

WARMUP = 300
"""Draws of each chain that adapt and are dropped."""


_ELPD = {
    "elpd_loo": "elpd",
    "elpd_diff": "elpd_difference",
    "dse": "elpd_difference_se",
    "difference": "difference_nats",
    "difference_se": "difference_se_nats",
}
"""Columns of ArviZ's comparison, and what they are called in calibration.json."""


def save_calibration(
    outcome: Outcome,
    facts: Mapping[str, Any],
    folder: Path,
    *,
    report: bool = True,
    draws: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write calibration.json, posterior.nc, report.html and figures/.

    Args:
        outcome: of `calibrate`.
        facts: about the source, put first into the record.
        folder: made where missing.
        report: write report.html and figures/ too.
        draws: of the posterior of the residuals' shape, in each of two chains; 0 for none.
        seed: of thinning and draws.
        progress: called with the number of draws so far, warm-up included.

    Returns:
        The files that a user opens.

    Raises:
        DataError: the disk is full or the folder is not writable.
    """
    whole = replace(outcome, record={**facts, **outcome.record, "elpd": elpd_records(outcome)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(whole.record, indent=1, allow_nan=False)
        write_atomically(folder / "calibration.json", text.encode())
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}. Make room, or name --out.") from error
    posterior = residual_posterior(outcome, draws, seed, progress) if draws else None
    scores = outcome.test.scores("level", "axes", seed=seed)
    save_posterior(folder / "posterior.nc", outcome.test, scores, seed=seed, posterior=posterior)
    written = [folder / "calibration.json", folder / "posterior.nc"]
    return [*written, write_report(whole, folder)] if report else written


def elpd_records(outcome: Outcome) -> list[dict[str, Any]]:
    """Held-out log scores of the recalibrations, summed per image, compared by elpd; best first."""
    if len(outcome.scores) < 2:
        return []
    table = elpd_table(outcome.scores)
    return [{"cure": str(name)} | {to: float(row[of]) for of, to in _ELPD.items()} for name, row in table.iterrows()]


def residual_posterior(
    outcome: Outcome, draws: int, seed: int, progress: Callable[[int], None] | None
) -> ResidualPosterior:
    """Posterior of the shape of the test residuals, in units of the scale that was predicted at first.

    Raises:
        DataError: the predictions are not location-scale.
    """
    if outcome.before is None:
        raise DataError("the posterior of the residuals' shape needs a predicted scale: leave out --draws.")
    joints = tuple(outcome.record["joints"])
    return sample_residual_posterior(
        outcome.before.z, outcome.before.joint, joints, draws=draws, warmup=WARMUP, seed=seed, progress=progress
    )
