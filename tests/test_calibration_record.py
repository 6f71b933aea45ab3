"""calibration.json: read back as it was written, its keys are documented, and files that were kept are still read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from probpose.analysis.calibration.calibrate import Outcome
from probpose.analysis.calibration.record import CalibrationRecord
from probpose.analysis.calibration.save import load_calibration
from probpose.analysis.calibration.tables import calibration_tables
from probpose.errors import DataError
from probpose.json_codec import from_json, to_json
from tests.report_outcomes import fake_outcome
from tests.test_table import printed

EXAMPLE = Path(__file__).parent / "examples" / "calibration.json"
"""Of 160 images with two joints, written before gains and reasons were; numbers to four digits."""

COMMANDS = Path(__file__).parents[1] / "docs" / "commands.md"


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return fake_outcome("over-confident", persons=300, outliers=3)


def plain(record: CalibrationRecord) -> Any:
    return json.loads(json.dumps(record.to_json(), allow_nan=False))


def documented() -> set[str]:
    """Keys of calibration.json in the table of docs/commands.md."""
    text = COMMANDS.read_text(encoding="utf-8").partition("\n## probpose calibrate\n")[2].partition("\n## ")[0]
    table = re.search(r"\| key of `calibration\.json` .*?\n\n", text, re.DOTALL)
    assert table is not None
    first = [line.split("|")[1] for line in table[0].strip().splitlines()[2:]]
    return {key for cell in first for key in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("fault", ["over-confident", "exact"])
def test_what_is_written_is_read(fault: str) -> None:
    record = fake_outcome(fault, persons=200).record
    again = CalibrationRecord.from_json(plain(record))
    assert again == record
    assert again.to_json() == record.to_json()


def test_a_kept_file_is_read() -> None:
    """Nothing is lost and nothing is added: the numbers and the keys are those of the file."""
    record = load_calibration(EXAMPLE)
    assert plain(record) == json.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert (record.source.kind, record.source.scale) == ("table", "scales of the file")
    assert record.recalibrated.name == "density"
    assert record.after is not None
    assert record.after.hdr_coverage[0.9].value == record.recalibrated.hdr_coverage[0.9]
    assert [one.name for one in record.recalibrations if one.chosen] == ["density"]
    assert record.recalibrations[0].gain_nats is None
    assert record.outlier_count == len(record.outliers or ()) == 2
    assert "After recalibration (density)" in printed(calibration_tables(record))


def test_keys_are_documented(outcome: Outcome) -> None:
    assert documented() == set(outcome.record.to_json()) == set(json.loads(EXAMPLE.read_text(encoding="utf-8")))


def test_words_of_now_have_the_keys_of_then(outcome: Outcome) -> None:
    document = outcome.record.to_json()
    assert document["suspect_count"] == len(document["suspects"]) == outcome.record.outlier_count == 3
    assert [row["method"] for row in document["cures"]] == [one.name for one in outcome.record.recalibrations]
    assert {row["cure"] for row in document["elpd"]} == {one.name for one in outcome.record.elpd}
    assert document["recalibrated"]["reason"] == outcome.record.recalibrated.reason != ""


def test_the_terminal_says_what_was_done(outcome: Outcome) -> None:
    text = " ".join(printed(calibration_tables(outcome.record)).split())
    assert outcome.record.verdict.text in text
    assert outcome.record.recalibrated.reason in text
    assert f"{outcome.record.recalibrated.name} (chosen)" in text
    assert "What deviates before recalibration" in text
    gain = outcome.record.recalibrations[1]
    assert f"{gain.gain_nats:+.3f} ± {gain.gain_se_nats:.3f}" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 7}, "format 7"),
        ({"format": None}, "format None"),
        ({"name": None}, r"\.name is no str"),
        ({"keypoints": 1.5}, r"\.keypoints is no int"),
        ({"joints": {}}, r"\.joints is no tuple"),
        ({"split": {"seed": 0, "fit": 1, "calibrate": 1}}, r"\.split has no 'test'"),
        ({"suspects": [{"image": True}]}, r"\.suspects\[0\]\.image is no int"),
    ],
)
def test_another_file_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(json.loads(EXAMPLE.read_text(encoding="utf-8")) | change))
    with pytest.raises(DataError, match=message):
        load_calibration(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '"text"'])
def test_no_calibration_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    with pytest.raises(DataError, match="cannot be read"):
        load_calibration(file)
    file.write_text(text)
    with pytest.raises(DataError, match=r"is not a calibration of this version|has format None"):
        load_calibration(file)


@dataclass(frozen=True)
class Inner:
    value: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    table: dict[float, Inner | None]
    renamed: int = field(metadata={"key": "then"})
    matrix: tuple[tuple[float | None, ...], ...]
    added: str = ""


def test_types_say_how_values_are_read() -> None:
    outer = Outer({0.5: Inner(1, ("a", "b")), 0.9: None}, 3, ((1.0, None), ()))
    document = to_json(outer)
    assert document == {
        "table": {"0.5": {"value": 1, "words": ["a", "b"]}, "0.9": None},
        "then": 3,
        "matrix": [[1.0, None], []],
    }
    assert from_json(Outer, json.loads(json.dumps(document)) | {"unknown": 1}) == outer
    with pytest.raises(DataError, match=r"\.matrix\[0\]\[1\] is no float: 'x'"):
        from_json(Outer, document | {"matrix": [[1.0, "x"]]})
