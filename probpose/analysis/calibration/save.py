"""What a calibration leaves behind: calibration.json, the report with its figures, and the saved posterior."""

from __future__ import annotations

__all__ = ["save_calibration"]

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probpose.analysis.calibration.outcome import Outcome
from probpose.analysis.calibration.report import write_report
from probpose.errors import DataError
from probpose.inference.files import write_atomically


def save_calibration(outcome: Outcome, facts: Mapping[str, Any], folder: Path, *, report: bool = True) -> list[Path]:
    """Write calibration.json, report.html and figures/.

    Args:
        outcome: of `calibrate`.
        facts: about the source, put first into the record.
        folder: made where missing.
        report: write report.html and figures/ too.

    Returns:
        The files that a user opens.

    Raises:
        DataError: the disk is full or the folder is not writable.
    """
    whole = Outcome({**facts, **outcome.record}, outcome.before, outcome.after)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(whole.record, indent=1, allow_nan=False)
        write_atomically(folder / "calibration.json", text.encode())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}. Make room, or name another --out."
        ) from error
    return [folder / "calibration.json", *([write_report(whole, folder)] if report else [])]
