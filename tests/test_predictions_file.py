"""COCO results files of any model, matched to the annotated persons."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import probpose as pp
from probpose.analysis.prediction.estimates import Estimates
from probpose.analysis.prediction.results import result_rows, write_results
from probpose.data.datasets.coco import read_coco
from probpose.data.persons import Persons
from probpose.data.predictions.results import Predictions, read_predictions
from probpose.errors import DataError
from tests.conftest import Document, coco_document, person_record

Write = Callable[[object], Path]
Array = npt.NDArray[np.float64]


@pytest.fixture
def open_persons(tmp_path: Path) -> Callable[[list[Document]], Persons]:
    """Reads annotation records of three images."""

    def read(records: list[Document]) -> Persons:
        file = tmp_path / "annotations.json"
        file.write_text(json.dumps(coco_document(records, images=3)))
        return read_coco(file, tmp_path)

    return read


@pytest.fixture
def persons(open_persons: Callable[[list[Document]], Persons]) -> Persons:
    """One person in each of three images."""
    return open_persons([person_record(i, image=i) for i in (1, 2, 3)])


def moved(number: int, dx: float, dy: float = 0.0, **changes: object) -> Document:
    """An annotation of image 1 at another place."""
    record = person_record(number)
    keypoints = (np.array(record["keypoints"]).reshape(-1, 3) + np.array([dx, dy, 0])).ravel().tolist()
    return record | {"keypoints": keypoints, "bbox": [10 + dx, 20 + dy, 40, 60]} | changes


def result(image: int = 1, dx: float = 0.0, dy: float = 0.0, **changes: object) -> Document:
    """A prediction that is off by dx, dy; confidences 0.1, 0.2, ..."""
    keypoints = [v for k in range(17) for v in (20 + k + dx, 30 + 2 * k + dy, 0.1 * (k + 1))]
    return {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": 0.5} | changes


def pairs(predictions: Predictions) -> list[tuple[int, int]]:
    """Annotation id and place of the record."""
    return list(zip(predictions.persons.annotation_id.tolist(), predictions.record.tolist(), strict=True))


def test_reads_what_the_records_say(persons: Persons, write_json: Write) -> None:
    rows = [result(3, dx=1, bbox=[1, 2, 30, 40]), result(1, dy=2), result(2)]
    predictions = read_predictions(write_json(rows), persons)
    assert pairs(predictions) == [(1, 1), (2, 2), (3, 0)]
    assert predictions.name == "file"
    assert (predictions.point - predictions.persons.keypoints)[:, 0].tolist() == [[0, 2], [0, 0], [1, 0]]
    assert predictions.confidence is not None
    assert predictions.confidence[0].tolist() == pytest.approx([0.1 * k for k in range(1, 18)])  # above 1 as well
    assert predictions.score is not None
    assert predictions.score.tolist() == [0.5] * 3
    assert predictions.box.tolist() == [[10, 20, 40, 60], [10, 20, 40, 60], [1, 2, 30, 40]]
    assert predictions.sigma_px is None
    assert predictions.presence is None
    assert predictions.lines == []


def test_a_gross_error_in_an_image_of_one_person_stays_matched(persons: Persons, write_json: Write) -> None:
    predictions = read_predictions(write_json([result(i, dx=1e5 * (i == 2)) for i in (1, 2, 3)]), persons)
    assert pairs(predictions) == [(1, 0), (2, 1), (3, 2)]
    assert np.abs(predictions.point - predictions.persons.keypoints).max() == 1e5


def test_several_persons_get_their_own_predictions(
    open_persons: Callable[[list[Document]], Persons], write_json: Write
) -> None:
    persons = open_persons([moved(1, 0), moved(2, 15), moved(3, 30), person_record(4, image=2)])
    rows = [result(dx=33), result(dx=-4), result(dx=14), result(2)]
    assert pairs(read_predictions(write_json(rows), persons)) == [(1, 1), (2, 2), (3, 0), (4, 3)]


def test_what_is_left_over_is_counted(open_persons: Callable[[list[Document]], Persons], write_json: Write) -> None:
    persons = open_persons([moved(1, 0), moved(2, 500), person_record(3, image=2)])
    rows = [result(), result(dx=2), result(dy=-900), result(3), result(category_id=7)]
    predictions = read_predictions(write_json(rows), persons)
    assert pairs(predictions) == [(1, 0)]
    assert predictions.left_out == {
        "person without a prediction": 2,  # in image 1 no prediction is near the second, image 2 has none
        "prediction without a person": 3,
        "record of another category": 1,
    }
    assert predictions.lines[0] == "3 x prediction without a person, the first: record 1 in image 1"


def test_a_missed_person_does_not_steal_the_prediction_of_another(
    open_persons: Callable[[list[Document]], Persons], write_json: Write
) -> None:
    persons = open_persons([moved(1, 0), moved(2, 40)])
    predictions = read_predictions(write_json([result(), result(dx=-45)]), persons)
    assert pairs(predictions) == [(1, 0)]  # and not the second pairing of two poor pairs


def test_joints_that_were_not_predicted_are_no_errors(persons: Persons, write_json: Write) -> None:
    lost = result(2)
    lost["keypoints"][3:6] = [0, 0, 0]
    predictions = read_predictions(write_json([result(1), lost, result(3)]), persons)
    assert np.argwhere(~predictions.persons.labelled).tolist() == [[1, 1]]
    assert predictions.lines == ["1 x joint not predicted (0, 0, 0), the first: left_eye of record 1"]


def test_confidences_that_are_all_the_same_say_nothing(persons: Persons, write_json: Write) -> None:
    row = result(1)
    row["keypoints"][2::3] = [1] * 17
    del row["score"]
    predictions = read_predictions(write_json([row]), persons)
    assert predictions.confidence is None
    assert predictions.score is None


def test_our_own_results_come_back(persons: Persons, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    estimates = Estimates(
        rows=np.arange(3),
        point=persons.keypoints + rng.normal(size=(3, 17, 2)),
        sigma_px=rng.uniform(1, 5, (3, 17, 2)),
        presence=rng.uniform(size=(3, 17)),
        confidence=rng.uniform(size=(3, 17)),
    )
    write_results(tmp_path / "results.json", result_rows(estimates, persons, [1, 1, 1]))
    predictions = read_predictions(tmp_path / "results.json", persons)
    back: list[tuple[Array | None, Array, float]] = [
        (predictions.point, estimates.point, 5e-4),
        (predictions.sigma_px, estimates.sigma_px, 5e-4),
        (predictions.presence, estimates.presence, 5e-7),
        (predictions.confidence, estimates.confidence, 5e-7),
        (predictions.score, estimates.confidence.mean(-1), 5e-7),
    ]
    for read, written, rounding in back:
        assert read is not None
        assert np.abs(read - written).max() <= rounding * 1.001


def broken(name: str, index: int, value: object) -> Document:
    """A result with one wrong number in one of its lists."""
    row = result(sigma_px=[1.0] * 34, labelled=[0.5] * 17)
    row[name][index] = value
    return row


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, r"holds a JSON dict, not a list of results.*annotation file\?"),
        ([], "no result of a category with keypoints"),
        ([result(category_id=5)], "no result of a category with keypoints"),
        ([result(), 3], "record 1: a result needs image_id and keypoints"),
        ([{"image_id": 1, "bbox": [0, 0, 1, 1]}], r"record 0: a result needs .*'bbox', 'image_id'"),
        ([result(77)], "record 0: image 77 is not among the 3 usable images"),
        (
            [result() | {"image_id": "x"}],
            r"image 'x' is not among.*such as 1 \(1\.jpg\).*base names and stems were tried",
        ),
        ([result(keypoints=[1.0] * 42)], r"record 0 \(image 1\): keypoints is 42 numbers, expected 51.*17 joints"),
        ([result(keypoints="no")], "keypoints is a JSON str"),
        ([broken("keypoints", 4, float("nan"))], "keypoints of left_eye holds nan.*not a finite number"),
        ([broken("keypoints", 50, None)], "keypoints of right_ankle holds None"),
        ([broken("keypoints", 0, 10**400)], "keypoints of nose holds 1000"),
        ([result(score=float("inf"))], "score is inf"),
        ([broken("sigma_px", 2, 0.0)], "sigma_px of left_eye is not positive"),
        ([result(sigma_px=[1.0] * 17)], "sigma_px is 17 numbers, expected 34"),
        ([broken("labelled", 2, 1.5)], r"outside \[0, 1\]"),
        ([result(sigma_px=[1.0] * 34), result(2)], "record 1 has no 'sigma_px' or 'covariance_px' and others have"),
    ],
)
def test_bad_records_are_named(persons: Persons, write_json: Write, content: object, message: str) -> None:
    file = write_json(content)
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(file, persons)
    assert str(file) in str(caught.value)


def test_a_truncated_file_is_named(persons: Persons, write_json: Write) -> None:
    file = write_json([result()])
    file.write_text(file.read_text()[:-20])
    with pytest.raises(DataError, match=r"not valid JSON.*truncated"):
        read_predictions(file, persons)


def test_predictions_for_no_labelled_person_are_refused(persons: Persons, write_json: Write) -> None:
    with pytest.raises(DataError, match="none of the 1 predictions belongs to one of the 1 labelled persons"):
        read_predictions(write_json([result(2)]), persons.select([0]))


def test_persons_that_were_not_read_from_a_file_do_too(persons: Persons, write_json: Write) -> None:
    table = replace(persons, annotations=None)
    assert len(read_predictions(write_json([result(2, category_id=9)]), table)) == 1
    with pytest.raises(DataError, match="image 9 is not among the 3"):
        read_predictions(write_json([result(9)]), table)


def test_the_public_reader_takes_paths_or_persons(persons: Persons, write_json: Write, tmp_path: Path) -> None:
    file = write_json([result(3), result(1, dx=5)])
    expected = read_predictions(file, persons)
    for known in (persons, tmp_path / "annotations.json", str(tmp_path / "annotations.json")):
        found = pp.read_predictions(str(file), known)
        assert pairs(found) == pairs(expected) == [(1, 1), (3, 0)]
        np.testing.assert_array_equal(found.point, expected.point)
    with pytest.raises(DataError, match=r"none\.json"):
        pp.read_predictions(file, tmp_path / "none.json")


def test_a_real_model_on_real_photos(shared_data: Path) -> None:
    folder = shared_data / "predictions"
    persons = read_coco(folder / "person_keypoints_fashion.json", folder)
    predictions = read_predictions(folder / "litehrnet18_fashion_results.json", persons)
    assert len(predictions) == 1000
    assert int(predictions.persons.labelled.sum()) == 17_000
    assert predictions.left_out == {}
    assert predictions.confidence is not None
    assert predictions.confidence.max() == pytest.approx(1.05, abs=0.001)
    error = np.linalg.norm(predictions.point - predictions.persons.keypoints, axis=-1)
    size = np.sqrt(predictions.box[:, 2] * predictions.box[:, 3])
    assert float(np.median(error / size[:, None])) < 0.05
    assert int((np.median(error, axis=1) > size / 4).sum()) >= 4  # the gross faults are still there


@pytest.mark.parametrize(
    ("written", "way"),
    [
        ([0, 0, 0], "0, 0, 0"), ([0, 0, 1], "0, 0"), ([0.0, -0.0, 0.7], "0, 0"), ([-1, -1, 0], "-1, -1"),
        ([-1, -1, 0.9], "-1, -1"), ([25, 40, 0], "confidence 0"), ([-(2**31), -(2**31), 0.5], "beyond any image"),
        ([1e30, 40, 0.5], "beyond any image"), (["0", "0", "1"], "0, 0"), ([1e300, 1e300, 0], "beyond any image"),
    ],
)  # fmt: skip
def test_a_joint_that_was_not_predicted_is_told_in_every_dialect(
    written: list[object], way: str, persons: Persons, write_json: Write
) -> None:
    lost = result(2)
    lost["keypoints"][3:6] = written
    predictions = read_predictions(write_json([result(1), lost, result(3)]), persons)
    assert np.argwhere(~predictions.persons.labelled).tolist() == [[1, 1]]
    assert predictions.lines == [f"1 x joint not predicted ({way}), the first: left_eye of record 1"]
    assert np.abs(predictions.point).max() < 100


def test_a_file_whose_confidences_are_all_0_says_nothing_of_them(persons: Persons, write_json: Write) -> None:
    row = result(2)
    row["keypoints"][2::3] = [0] * 17
    row["keypoints"][:2] = [0, 0]
    predictions = read_predictions(write_json([row]), persons)
    assert predictions.left_out["joint not predicted (0, 0, 0)"] == 1
    assert int(predictions.persons.labelled.sum()) == 16


@pytest.mark.parametrize("category", [0, "0", 2, "face", "other"])
def test_results_of_another_category_are_told_from_the_annotations(
    category: object, persons: Persons, write_json: Write
) -> None:
    message = rf"1 records have category {category!r}, and the annotations' category with keypoints is 1 \(person\)"
    with pytest.raises(DataError, match=message):
        read_predictions(write_json([result(category_id=category)]), persons)


@pytest.mark.parametrize("category", [1, "1", 1.0, "person", None])
def test_categories_are_matched_by_id_or_name(category: object, persons: Persons, write_json: Write) -> None:
    assert len(read_predictions(write_json([result(category_id=category)]), persons)) == 1


def test_results_between_0_and_1_are_refused(persons: Persons, write_json: Write) -> None:
    rows = [result(i) for i in (1, 2, 3)]
    for row in rows:
        row["keypoints"] = [v if k % 3 == 2 else v / 120 for k, v in enumerate(row["keypoints"])]
    with pytest.raises(DataError, match=r"file\.json: the predictions look normalised"):
        read_predictions(write_json(rows), persons)
