"""annotators.html: how annotators err, on one page."""

from __future__ import annotations

__all__ = ["annotators_report"]

from collections.abc import Sequence

from probpose.analysis.annotators.pictures import (
    bias_picture,
    check_picture,
    error_picture,
    sigma_picture,
    tau_picture,
)
from probpose.analysis.annotators.record import AnnotatorsRecord
from probpose.analysis.annotators.tables import annotator_tables
from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.pages.report import Report, Section
from probpose.analysis.table import number
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior


def annotators_report(posterior: AnnotationPosterior, record: AnnotatorsRecord) -> Report:
    """The page; to be made, and rendered, inside the context `style()`.

    Args:
        posterior: of repeated labels.
        record: of it.
    """
    return Report(
        kind="How annotators err",
        name=record.name,
        verdict=_verdict(record),
        state=_state(record),
        reason=" ".join([*record.problems, *record.unidentified]),
        headline=_headline(record),
        facts=_facts(record),
        sections=_sections(posterior, record),
        numbers="annotators.json",
    )


def _state(record: AnnotatorsRecord) -> str:
    if not record.converged:
        return "not calibrated"
    return "undecided" if _failing_checks(record) else "calibrated"


def _failing_checks(record: AnnotatorsRecord) -> list[str]:
    """Names of the checks that fail, where they are more than chance has it."""
    failing = [check.name for check in record.checks if check.p < 0.05]
    return failing if len(failing) > max(1, len(record.checks) // 10) else []


def _verdict(record: AnnotatorsRecord) -> str:
    if not record.converged:
        return "The posterior has not been reached: intervals and consensus labels below are not to be used."
    spread = [row for row in record.annotators if row.tau is not None]
    said = [f"{len(record.annotators)} annotators of {record.objects} objects."]
    if spread:
        best, worst = (pick(spread, key=lambda row: row.tau.value) for pick in (min, max))  # type: ignore[union-attr]
        said.append(
            f"{worst.annotator} scatters {_times(worst.tau, best.tau)} times as widely as {best.annotator}, the most "
            "precise."
        )
    biased = max(record.annotators, key=lambda row: row.bias_sd.value)
    said.append(f"The largest bias, that of {biased.annotator}, is {biased.bias_sd.value:.1f} standard deviations.")
    if record.checks:
        said.append(_said_of(_failing_checks(record), len(record.checks)))
    return " ".join(said)


def _times(one: Interval | None, other: Interval | None) -> str:
    return "" if one is None or other is None else f"{one.value / other.value:.1f}"


def _said_of(failing: Sequence[str], checks: int) -> str:
    if not failing:
        return "Labels drawn from the model look like these."
    such = ", ".join(failing[:3])
    return f"In {len(failing)} of {checks} checks labels drawn from the model look different: {such}."


def _headline(record: AnnotatorsRecord) -> list[tuple[str, str, str | None]]:
    sigmas = [row.sigma.value for row in record.landmarks if row.sigma]
    unit = "" if record.relative else f", {record.unit}"
    rows: list[tuple[str, str, str | None]] = []
    if sigmas:
        rows.append((f"sigma of one label{unit}", f"{min(sigmas):.3g} to {max(sigmas):.3g}", None))
    tau = [row.tau.value for row in record.annotators if row.tau]
    rows.append(("scale over the typical annotator's", f"{min(tau):.2f} to {max(tau):.2f}" if tau else "pooled", None))
    if record.loo is not None:
        error = "" if record.loo.se is None else f" ± {record.loo.se:.3f}"
        rows.append(("left-out label, nats", f"{record.loo.nats_per_label:.3f}{error}", None))
    return rows


def _facts(record: AnnotatorsRecord) -> list[str]:
    size = record.size_exponent
    sizes = [] if size is None else [f"errors grow with size to the power {number(size.value, 2)}"]
    return [
        f"{record.labels} labels of {record.objects} objects in {record.images} images",
        f"{record.noise.replace('_', '-')} noise, {record.method.upper()}, {record.chains} x {record.draws} draws, "
        f"seed {record.seed}",
        record.verdict.rstrip("."),
        *sizes,
        *([record.loo.words.rstrip(".")] if record.loo is not None else []),
        *record.remarks,
    ]


def _sections(posterior: AnnotationPosterior, record: AnnotatorsRecord) -> list[Section]:
    checks = check_picture(record.checks) if record.checks else None
    shown = [error_picture(posterior), sigma_picture(record), tau_picture(record), checks]
    return [
        Section("How far off are labels?", [picture for picture in shown if picture is not None]),
        Section("Who errs in which direction?", [bias_picture(posterior)]),
        Section("Tables", tables=annotator_tables(record)),
    ]
