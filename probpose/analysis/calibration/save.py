"""What a calibration leaves behind: calibration.json, the saved posterior, and the report with its figures."""

from __future__ import annotations

__all__ = ["WARMUP", "load_calibration", "save_calibration"]

import json
from collections.abc import Callable
from pathlib import Path

from probpose.analysis.calibration.calibrate import Outcome
from probpose.analysis.calibration.record import CalibrationRecord
from probpose.analysis.calibration.report.page import write_report
from probpose.analysis.posterior import save_posterior
from probpose.errors import DataError
from probpose.files import read_text, reading, write_atomically
from probpose.inference.fitting.residual_posterior import ResidualPosterior, sample_residual_posterior

WARMUP = 300
"""Draws of each chain that adapt and are dropped."""


def save_calibration(
    outcome: Outcome,
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(outcome.record.to_json(), indent=1, allow_nan=False)
        write_atomically(folder / "calibration.json", text.encode())
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}. Make room, or name --out.") from error
    posterior = residual_posterior(outcome, draws, seed, progress) if draws else None
    scores = outcome.test.scores("level", "axes", seed=seed)
    save_posterior(folder / "posterior.nc", outcome.test, scores, seed=seed, posterior=posterior)
    written = [folder / "calibration.json", folder / "posterior.nc"]
    return [*written, write_report(outcome, folder)] if report else written


def load_calibration(file: Path) -> CalibrationRecord:
    """Read calibration.json.

    Raises:
        DataError: the file is missing, or holds something else.
    """
    with reading(file, "is not a calibration of this version", advice="`probpose calibrate` writes it."):
        return CalibrationRecord.from_json(json.loads(read_text(file)))


def residual_posterior(
    outcome: Outcome, draws: int, seed: int, progress: Callable[[int], None] | None
) -> ResidualPosterior:
    """Posterior of the shape of the test residuals, in units of the scale that was predicted at first.

    Raises:
        DataError: the predictions are not location-scale.
    """
    if outcome.before is None:
        raise DataError("the posterior of the residuals' shape needs a predicted scale: leave out --draws.")
    before, joints = outcome.before, outcome.record.joints
    return sample_residual_posterior(
        before.z, before.joint, joints, draws=draws, warmup=WARMUP, seed=seed, progress=progress
    )
