"""What labels, boxes and pictures look like where they are not what they should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import probpose as pp
from probpose.analysis.figures import curves
from probpose.data.check import check_data
from probpose.data.datasets.coco import examine_coco, read_coco
from probpose.data.persons import Persons
from probpose.data.plausible import (
    dark_pictures,
    fit_to_train,
    look_at_pictures,
    looks,
    oddities,
    refuse_other_predictions,
    refuse_other_units,
    remarks_on,
    spoilt_labels,
)
from probpose.errors import DataError
from probpose.inference.training.initial import training_targets
from probpose.models.heads.base import Targets
from tests.conftest import Document, coco_document, person_record
from tests.faulty import IMAGES, write_data

Write = Callable[[object], Path]


def sound(change: Callable[[Document], object] = lambda _: None, count: int = 8) -> Document:
    """Persons of about 40 pixels in images of 100 x 120, somewhere in them."""
    rng, records = np.random.default_rng(0), []
    for i in range(1, count + 1):
        corner, points = rng.uniform(25, 50, 2), rng.uniform(4, 36, (17, 2))
        keypoints = [v for point in points for v in (*(corner + point).round(2).tolist(), 2)]
        box = [*corner.round(2).tolist(), 40, 40]
        records.append(person_record(i, image=i, keypoints=keypoints, bbox=box, area=850.0))
    document = coco_document(records, images=count)
    change(document)
    return document


@pytest.fixture
def opened(write_json: Write, tmp_path: Path) -> Callable[..., Persons]:
    def read(change: Callable[[Document], object] = lambda _: None) -> Persons:
        return read_coco(write_json(sound(change)), tmp_path)

    return read


Open = Callable[..., Persons]


def label(value: object, row: int = 2, joint: int = 3) -> Callable[[Document], object]:
    """A label at another place."""

    def change(document: Document) -> None:
        document["annotations"][row]["keypoints"][3 * joint : 3 * joint + 2] = value

    return change


def boxes(of: Callable[[list[float]], list[float]]) -> Callable[[Document], object]:
    return lambda document: [record.update(bbox=of(record["bbox"])) for record in document["annotations"]]


def test_sound_data_are_sound(opened: Open) -> None:
    persons = opened()
    assert remarks_on(persons) == []
    assert fit_to_train(persons) is persons
    refuse_other_units(persons)


@pytest.mark.parametrize("value", [[1e4, 1e4], [9999, 20], [30, -9999], [1e6, 0.0], [-1e5, -1e5]])
def test_a_label_many_boxes_away_is_named_and_not_trained_on(value: list[float], opened: Open) -> None:
    persons = opened(label(value))
    kept = fit_to_train(persons)
    assert int(kept.labelled.sum()) == int(persons.labelled.sum()) - 1
    (line,) = kept.left_out
    assert line.startswith("1 x label more than 5 boxes from its box, left out (--keep-wild keeps it), the first: ann")
    assert "annotation 3 in file.json (3.jpg, left_ear, (" in line
    assert fit_to_train(persons, keep_wild=True) is persons
    assert any("label more than 5 boxes from its box, the first" in line for line in remarks_on(persons))


@pytest.mark.parametrize("value", [-(2**31), 2**31 - 1, 1e18, -1e30, 1e300, -(10**18), "1e18"])
def test_a_label_beyond_any_image_is_no_label(value: Any, write_json: Write, tmp_path: Path) -> None:
    reading = examine_coco(write_json(sound(label([value, value]))), tmp_path)
    assert not reading.persons.labelled[2, 3]
    assert len(reading.persons) == 8
    (finding,) = reading.left_out
    assert (finding.reason, finding.annotation_id, finding.joint) == ("label beyond any image", 3, "left_ear")
    assert np.abs(reading.persons.keypoints).max() < 200


@pytest.mark.parametrize("value", [-(2**31), 1e18, 1e30, 10**400, float("nan"), 1e8])
@pytest.mark.parametrize("place", range(4))
def test_a_box_beyond_any_image_is_a_fault(place: int, value: Any, write_json: Write, tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document["annotations"][1]["bbox"][place] = value

    reading = examine_coco(write_json(sound(change)), tmp_path)
    assert len(reading.persons) == 7
    assert [finding.reason for finding in reading.left_out] == ["box without area or not finite"]


@pytest.mark.parametrize("value", [[0, 0], [-1, -1], [0.0, 0.0]])
def test_missing_joints_at_the_corner_are_counted_and_not_trained_on(value: list[float], opened: Open) -> None:
    persons = opened(label(value))
    (line,) = remarks_on(persons)
    assert line.startswith("1 x label at exactly (0, 0) or (-1, -1): a missing joint?, the first: annotation 3")
    assert not fit_to_train(persons).labelled[2, 3]
    assert spoilt_labels(persons)[2, 3]


def test_a_label_in_the_corner_of_its_box_is_one(opened: Open) -> None:
    def corner(document: Document) -> None:
        document["annotations"][0].update(bbox=[0, 0, 60, 60])
        document["annotations"][0]["keypoints"][:2] = [0, 0]

    assert fit_to_train(opened(corner)).labelled[0, 0]


def test_a_person_of_absurd_labels_alone_is_left_out(opened: Open) -> None:
    def all_far(document: Document) -> None:
        document["annotations"][0]["keypoints"] = [9999, 9999, 2] * 17

    assert fit_to_train(opened(all_far)).annotation_id.tolist() == list(range(2, 9))


@pytest.mark.parametrize("what", ["labels", "boxes"])
def test_coordinates_between_0_and_1_are_refused(what: str, opened: Open) -> None:
    def normalise(document: Document) -> None:
        for record in document["annotations"]:
            if what == "labels":
                record["keypoints"] = [v if i % 3 == 2 else v / 120 for i, v in enumerate(record["keypoints"])]
            else:
                record["bbox"] = [v / 120 for v in record["bbox"]]

    persons = opened(normalise)
    with pytest.raises(DataError, match=rf"coordinates of the {what} look normalised .*multiply them by the width and"):
        refuse_other_units(persons)
    assert f"of the {what} look normalised" in remarks_on(persons)[0]


def test_predictions_between_0_and_1_are_refused_where_labels_are_pixels() -> None:
    for pair, what in (((0.99, 120.0), "predictions"), ((640.0, 1.01), "labels")):
        with pytest.raises(DataError, match=f"mine: the {what} look normalised"):
            refuse_other_predictions("mine", *pair)
    for pair in ((0.9, 0.8), (100.0, 120.0), (0.0, 120.0)):
        refuse_other_predictions("mine", *pair)


@pytest.mark.parametrize("stated", [True, False])
def test_boxes_that_are_two_corners_are_called_so(stated: bool, opened: Open) -> None:
    persons = opened(boxes(lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]))
    assert persons.stated_size is not None
    persons = persons if stated else replace(persons, stated_size=np.full((8, 2), np.nan))
    (line,) = looks(persons)
    assert "the boxes look like two corners, x1, y1, x2, y2" in line


def test_whole_images_are_no_corners(opened: Open) -> None:
    assert looks(opened(boxes(lambda _: [0, 0, 100, 120]))) == []
    assert looks(opened(boxes(lambda _: [1, 1, 98, 118]))) == []


def test_boxes_and_their_image_and_labels_are_compared(opened: Open) -> None:
    persons = opened(boxes(lambda box: [box[0] + 45, box[1], 40, 40]))
    reasons = {finding.reason for finding in oddities(persons)}
    assert reasons == {"box reaches beyond the image", "box holds less than half of its labels"}
    away = opened(boxes(lambda box: [box[0] - 500, box[1] - 500, 40, 40]))
    assert {f.reason for f in oddities(away)} >= {"box does not touch the image"}
    unknown = {finding.reason for finding in oddities(away, np.full((8, 2), np.nan))}
    assert unknown == {"label more than 5 boxes from its box", "box holds less than half of its labels"}


@pytest.mark.parametrize(("area", "odd"), [(850.0, False), (1e5, True), (2.0, True), (0.53, True), (1600, False)])
def test_areas_that_are_no_share_of_the_box_are_counted(area: float, odd: bool, opened: Open) -> None:
    persons = opened(lambda document: document["annotations"][0].update(area=area))
    assert [f.reason.split(",")[0] for f in oddities(persons)] == ["area is no share of the box"] * odd


def test_pictures_of_another_size_and_black_ones_are_named(tmp_path: Path) -> None:
    def change(document: Document, images: Path) -> None:
        for i in range(1, IMAGES + 1):
            assert cv2.imwrite(str(images / f"{i}.jpg"), np.full((64, 48, 3), 15, dtype=np.uint8))

    file = write_data(tmp_path, change)
    reading = examine_coco(file, tmp_path / "images")
    size, dark = look_at_pictures(reading.persons)
    assert "8 of 8 images that were looked at have another size than stated, the first: 1.jpg is 48 x 64" in size
    assert "8 of 8 images are nearly black, with values up to 15 of 255" in dark
    names = [fault.name for fault in check_data(reading).faults]
    assert "image of another size than stated" in names
    assert any("12 of 12 images are nearly black" in name for name in names)
    assert dark_pictures([15, 200, 220]) == []


def test_the_start_of_location_and_scale_does_not_follow_one_label() -> None:
    rng = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(400, 3, 2, generator=rng) + torch.tensor([0.1, -0.2])
    labelled = torch.rand(400, 3, generator=rng) < 0.8
    labelled[:, 2] = False
    sound, spoilt = Targets.of(points, labelled), points.clone()
    spoilt[0, 0], labelled[0, 0] = 1e20, True
    found = Targets.of(spoilt, labelled)
    torch.testing.assert_close(found.median, torch.tensor([0.1, -0.2]).expand(3, 2), atol=0.02, rtol=0)
    torch.testing.assert_close(found.spread, torch.full((3, 2), 0.1), atol=0.02, rtol=0)
    torch.testing.assert_close(found.median, sound.median, atol=1e-3, rtol=0)
    none = Targets.of(points, torch.zeros_like(labelled))
    assert torch.isfinite(none.median).all()
    assert (none.spread > 0).all()


def test_one_absurd_label_does_not_spoil_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "draw_curves", lambda *_: None)

    def spoilt(document: Document, _: Path) -> None:
        document["annotations"][3]["keypoints"][0:2] = [1e5, 1e5]

    file, images = write_data(tmp_path, spoilt), tmp_path / "images"
    run = pp.train(
        train_annotations=file, image_dir=images, epochs=1, batch_size=8, backbone="small", input_size=(32, 32),
        residual="laplace", workers=0, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    persons = pp.open_data(annotations=file, image_dir=images)
    assert training_targets(fit_to_train(persons), (32, 32)).keypoints.abs().max() < 5
    assert any("without the 1 labels that are hardly labels" in line for line in run.evaluate(persons).remarks)
    log = json.loads((run.path / "log.jsonl").read_text().splitlines()[0])
    assert log["train_epe_px"] < 100
