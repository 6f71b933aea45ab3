"""A registered diagnostic is part of every diagnosis, tells the faults of fakes apart, and is shown everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

import probpose as pp
from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.base import Diagnostic, DiagnosticRecord, Result, Setting
from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.calibration.diagnostics.diagnosis import Diagnosis, Questions, diagnosis_record
from probpose.analysis.calibration.diagnostics.record import DiagnosisRecord
from probpose.analysis.calibration.diagnostics.registry import DIAGNOSTICS, register_diagnostic
from probpose.analysis.calibration.record import CalibrationRecord
from probpose.analysis.calibration.report.page import report_html
from probpose.analysis.calibration.tables import calibration_tables
from probpose.errors import ConfigError, DataError
from probpose.json_codec import from_json, to_json
from probpose.models.scores import LabelScores
from tests.calibration_cases import JOINTS, fake_cases
from tests.report_outcomes import fake_outcome
from tests.test_report import Page
from tests.test_table import printed

ODD = "[red]error[/red] <b>&"
"""A name that rich would colour and a browser would set in bold."""


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    assert not DIAGNOSTICS
    yield
    DIAGNOSTICS.clear()


class NormalisedError(Diagnostic):
    """Mean of e' S^-1 e / 2 of errors e with predicted covariance S."""

    meaning = "Mean of e' S^-1 e / 2; <i>1</i> when calibrated."

    def __init__(self, setting: Setting) -> None:
        self.sums = setting.bootstrap(["labels", "squares"])

    def add(self, scores: LabelScores, cases: Cases) -> None:
        covariance = cases.predictive.covariance.numpy()[cases.labelled]
        scaled = np.linalg.solve(covariance, scores.error[..., None])[..., 0]
        squares = (scores.error * scaled).sum(axis=-1) / 2
        self.sums.add(scores.image, {"labels": np.ones(len(scores)), "squares": squares})

    def result(self) -> Result:
        return self.sums.interval(self.sums.ratio("squares", "labels"))


class Covered(Diagnostic):
    """The coverage of 90% regions again."""

    meaning = "Share of the labels in 90% regions; 0.9 when calibrated."

    def __init__(self, setting: Setting) -> None:
        self.sums = setting.bootstrap(["labels", "inside"])

    def add(self, scores: LabelScores, cases: Cases) -> None:
        self.sums.add(scores.image, {"labels": np.ones(len(scores)), "inside": scores.level <= 0.9})

    def result(self) -> Result:
        return self.sums.share(self.sums.ratio("inside", "labels"), int(self.sums.sum("labels")))


class LargestError(Diagnostic):
    """Of each joint; minus infinity, and so undefined, where it has no label."""

    meaning = "Largest error."
    unit = "px"

    def __init__(self, setting: Setting) -> None:
        self.joints, self.largest = setting.joints, np.full(len(setting.joints), -np.inf)

    def add(self, scores: LabelScores, cases: Cases) -> None:
        np.maximum.at(self.largest, scores.joint, scores.error_px)

    def result(self) -> Result:
        return dict(zip(self.joints, self.largest.tolist(), strict=True))


class Given(Diagnostic):
    """Gives what it is made with."""

    meaning = "Given."

    def __init__(self, given: Result) -> None:
        self.given = given

    def add(self, scores: LabelScores, cases: Cases) -> None: ...

    def result(self) -> Result:
        return self.given


def diagnosed(cases: Cases, chunks: int = 1) -> DiagnosisRecord:
    """With what is registered, in chunks of whole images."""
    diagnosis = Diagnosis(Questions.of(fake_cases(seed=10_000)), 1, replicates=200, energy_labels=0, seed=3)
    for rows in np.array_split(np.arange(len(cases)), chunks):
        diagnosis.add(cases.select(rows))
    return diagnosis_record(diagnosis)


def interval_of(record: DiagnosticRecord) -> Interval:
    assert isinstance(record.value, Interval)
    return record.value


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("exact", 1.0),
        ("over-confident", 0.7**-2),
        ("under-confident", 1.4**-2),
        ("biased", 1.0 + 0.3**2 / 2),
        ("wrong-tailed", 1.0),  # Laplace errors of the predicted variance
    ],
)
def test_each_fake_gives_what_is_expected(fault: str, expected: float) -> None:
    register_diagnostic("normalised error", NormalisedError)
    found = interval_of(diagnosed(fake_cases(fault, persons=2000)).further["normalised error"])
    standard_error = (found.high - found.low) / (2 * 1.96)
    assert abs(found.value - expected) < 3.5 * standard_error
    assert 0 < standard_error < 0.02 * expected  # 10800 labels, and e' S^-1 e / 2 varies by its mean or a little more


def test_chunks_give_what_the_whole_gives() -> None:
    register_diagnostic("normalised error", NormalisedError)
    register_diagnostic("largest error", LargestError)
    cases = fake_cases(persons=300)
    whole, parts = diagnosed(cases).further, diagnosed(cases, chunks=7).further
    assert interval_of(whole["normalised error"]).value == pytest.approx(interval_of(parts["normalised error"]).value)
    assert whole["largest error"] == parts["largest error"]
    scores = cases.scores()
    expected = {name: scores.error_px[scores.joint == k].max() for k, name in enumerate(cases.joints)}
    assert whole["largest error"].groups == expected


def test_the_bootstrap_has_the_weights_of_all_others() -> None:
    register_diagnostic("covered", Covered)
    found = diagnosed(fake_cases(persons=300), chunks=4)
    assert interval_of(found.further["covered"]) == found.hdr_coverage[0.9]


def test_other_numbers_do_not_depend_on_what_is_registered() -> None:
    cases = fake_cases(persons=200)
    without = to_json(diagnosed(cases))
    assert "further" not in without
    register_diagnostic("normalised error", NormalisedError)
    with_one = to_json(diagnosed(cases))
    assert set(with_one.pop("further")) == {"normalised error"}
    assert with_one == without


def test_results_are_plain_numbers() -> None:
    infinite, interval = float("inf"), Interval(1.0, 0.5, 1.5)
    values: dict[str, tuple[Interval | float | None, object]] = {
        "interval": (interval, interval),
        "number": (2.5, 2.5),
        "whole": (3, 3.0),
        "of numpy": (np.float32(0.5), 0.5),  # type: ignore[dict-item]
        "none": (None, None),
        "not a number": (float("nan"), None),
        "without value": (Interval(infinite, 0.0, 1.0), None),
        "without bounds": (Interval(1.0, 0.5, infinite), 1.0),
    }
    record = Given({name: given for name, (given, _) in values.items()}).record()
    assert record == DiagnosticRecord("Given.", groups={name: plain for name, (_, plain) in values.items()})  # type: ignore[misc]
    assert from_json(DiagnosticRecord, json.loads(json.dumps(to_json(record), allow_nan=False))) == record
    assert Given(interval).record() == DiagnosticRecord("Given.", value=interval)


@pytest.mark.parametrize("result", ["0.5", np.ones(2), True, {"all": [1.0]}])
def test_another_result_is_refused(result: Result) -> None:
    with pytest.raises(TypeError, match=r"result of Given holds a (str|ndarray|bool|list): give an Interval"):
        Given(result).record()


def test_a_diagnostic_has_a_meaning() -> None:
    class Wordless(Diagnostic):
        def add(self, scores: LabelScores, cases: Cases) -> None: ...

        def result(self) -> Result: ...

    with pytest.raises(TypeError, match=r"abstract .*meaning"):
        Wordless()  # type: ignore[abstract]


def test_a_name_stands_for_one() -> None:
    register_diagnostic("covered", Covered)
    with pytest.raises(ConfigError, match="there is a diagnostic called 'covered' already"):
        register_diagnostic("covered", LargestError)
    assert DIAGNOSTICS["covered"] is Covered


def test_calibration_shows_it_before_and_after() -> None:
    """In calibration.json, where it is read back unregistered, in the terminal and in the report, escaped."""
    register_diagnostic(ODD, NormalisedError)
    register_diagnostic("largest error", LargestError)
    outcome = fake_outcome("over-confident", persons=300, names=("nose", "<u>left</u>_knee"))
    record = outcome.record
    assert record.after is not None
    before, after = (interval_of(one.further[ODD]) for one in (record.before, record.after))
    assert before.low > 1.5
    assert after.low < 1 < after.high
    DIAGNOSTICS.clear()
    assert CalibrationRecord.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record

    text = printed(calibration_tables(record))
    assert ODD in text
    assert "largest error, px" in text
    cells = [f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in (before, after)]
    assert all(cell in text for cell in cells)

    html = report_html(outcome)
    page = Page(html)
    assert page.tables["further"][:2] == [["diagnostic", "group", "before", "after"], [ODD, "all", *cells]]
    assert [row[:2] for row in page.tables["further"][2:]] == [
        ["largest error, px", "nose"],
        ["largest error, px", "<u>left</u>_knee"],
    ]
    assert "[red]error[/red] &lt;b&gt;&amp;: Mean of e&#39; S^-1 e / 2; &lt;i&gt;1&lt;/i&gt; when calibrated." in html


def test_it_can_be_tried_alone() -> None:
    cases = fake_cases("over-confident", persons=400, per_image=2)
    labels = np.where(cases.labelled[..., None], cases.keypoints, np.nan)
    predictions = pp.Distribution(cases.predictive, cases.joints)
    apart, together = (
        interval_of(pp.diagnose(predictions, labels, NormalisedError, images=images))
        for images in (None, cases.image.tolist())
    )
    error = (cases.keypoints - predictions.mean) / predictions.sigma_px
    assert apart.value == pytest.approx(together.value)
    assert apart.value == pytest.approx((error[cases.labelled] ** 2).mean())
    assert together.high - together.low > 1.1 * (apart.high - apart.low)  # half of the persons are doubles
    register_diagnostic("largest error", LargestError)
    assert len(pp.diagnose(predictions, labels, "largest error").groups) == JOINTS
    with pytest.raises(ConfigError, match="unknown diagnostic 'squares': choose one of largest error"):
        pp.diagnose(predictions, labels, "squares")
    with pytest.raises(DataError, match="there is no label"):
        pp.diagnose(predictions, np.full_like(labels, np.nan), NormalisedError)
