"""A direction of persons: what it is in a picture and in its mirror, and a network that learns it."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import probpose as pp
from probpose.data.crops import Augmentation
from probpose.data.loading import make_loader
from probpose.data.persons import Persons
from probpose.models.backbones import build_backbone
from probpose.skeleton import Skeleton

c = pp.circular
EXAMPLE = Path(__file__).parents[1] / "examples" / "direction.py"
JOINTS = ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "nose")
SKELETON = Skeleton.from_names(JOINTS)


def body(turn: float, width: float = 10.0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Joints (5, 2) about the origin, upright and seen from the front at 0; negative widths are seen from behind."""
    upright = np.array([[width, -20], [-width, -20], [width / 2, 20], [-width / 2, 20], [0, -35]])
    cos, sin = math.cos(turn), math.sin(turn)
    return np.asarray(upright @ np.array([[cos, sin], [-sin, cos]]))


def points(*turns: float, width: float = 10.0) -> Tensor:
    return torch.from_numpy(np.stack([body(turn, width) for turn in turns]))


def test_the_direction_is_where_the_left_side_lies() -> None:
    assert c.LEFTWARD.angles(points(0.0, 0.7, -2.0), SKELETON).tolist() == pytest.approx([0.0, 0.7, -2.0])
    assert c.LEFTWARD.angles(points(0.0, width=-10.0), SKELETON).abs().item() == pytest.approx(math.pi)


def test_in_the_mirror_left_and_right_change_places() -> None:
    found = c.LEFTWARD.angles(points(0.0, 0.7, -2.0), SKELETON, torch.tensor([True, True, False]))
    assert found.tolist() == pytest.approx([0.0, -0.7, -2.0])
    along = c.Direction(("left_hip", "right_hip"), ("nose",))
    there = along.angles(points(0.3), SKELETON, torch.tensor([True]))
    assert there.item() == pytest.approx(-math.pi / 2 - 0.3)  # up, leaning to the right, leans to the left


def picture(turn: float) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """A body whose left side is red."""
    image = np.full((96, 96, 3), 40, dtype=np.uint8)
    at = body(turn) + 47.5
    for joint, colour in ((0, (250, 30, 30)), (2, (250, 30, 30)), (1, (30, 250, 30)), (3, (30, 250, 30))):
        cv2.circle(image, np.round(16 * at[joint]).astype(int).tolist(), 16 * 4, colour, -1, cv2.LINE_AA, 4)
    return image


def crowd(count: int, seed: int) -> Persons:
    turns = np.random.default_rng(seed).uniform(-math.pi, math.pi, count)
    keypoints = np.stack([body(turn) + 47.5 for turn in turns])
    boxes = np.tile([17.5, 17.5, 61.0, 61.0], (count, 1))
    return pp.persons([picture(turn) for turn in turns], keypoints, skeleton=JOINTS, boxes=boxes)


def test_labels_of_turned_and_mirrored_crops_are_what_is_seen_in_them() -> None:
    """Red lies where the label says that left is, and in a mirror green does."""
    persons = crowd(12, seed=1)
    augmentation = Augmentation(rotation=180.0, scale=(1, 1), shift=0, colour=0)
    (batch,) = make_loader(persons, (64, 64), 12, augmentation=augmentation, seed=3)
    assert 0 < batch.flipped.sum() < 12
    said = c.LEFTWARD.angles(batch.keypoints.double(), persons.skeleton, batch.flipped)
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy"), -1).double()
    excess = batch.image[:, 0].double() - batch.image[:, 1].double()
    shares = [part / part.sum((1, 2), keepdim=True) for part in (excess.clamp_min(0), (-excess).clamp_min(0))]
    where = [torch.einsum("nhw,hwd->nd", share, grid) for share in shares]
    vector = (where[0] - where[1]) * torch.where(batch.flipped, -1, 1).unsqueeze(-1)
    seen = torch.atan2(vector[:, 1], vector[:, 0])
    assert (torch.remainder(said - seen + math.pi, 2 * math.pi) - math.pi).abs().max() < 0.1


def test_a_network_learns_it_and_knows_how_well() -> None:
    model = c.fit(crowd(64, seed=1), c.LEFTWARD, c.family("multibin"), side=24, epochs=12, batch_size=16, turned=180.0)
    scores = c.score_model(model, crowd(60, seed=2), turned=180.0)
    assert scores.nats.mean() < 1.0  # knowing nothing is 1.838
    assert np.abs(scores.error_deg).mean() < 30


def test_training_is_a_function_of_its_seed() -> None:
    persons, again = crowd(16, seed=1), []
    for seed in (0, 0, 1):
        model = c.fit(persons, c.LEFTWARD, c.family("von-mises"), side=16, epochs=1, batch_size=8, seed=seed)
        again.append(c.score_model(model, persons).nats)
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])


def test_it_starts_at_a_network_that_is_given_and_leaves_it_as_it_is() -> None:
    torch.manual_seed(7)
    given = build_backbone("small")
    before = {name: value.clone() for name, value in given.state_dict().items()}
    said = {}
    for backbone in (given, "small"):
        model = c.fit(
            crowd(8, seed=1), c.LEFTWARD, c.family("von-mises"), backbone=backbone, side=16, epochs=1, lr=1e-9
        )  # a step that changes next to nothing
        said[backbone] = next(model.backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    first = next(given.parameters())
    assert torch.allclose(said[given], first, atol=1e-6)
    assert not torch.allclose(said["small"], first, atol=1e-3)


def test_the_example_writes_its_table_and_pictures(figures: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("direction", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    options = f"--data-root {figures} --persons 8 --epochs 1 --side 16 --seeds 2 --out {tmp_path}"
    models = ["--model", "von Mises", "--model", "Multi-Bin, bound by arc"]
    done = CliRunner().invoke(example.main, [*options.split(), *models])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [(row["model"], row["seeds"]) for row in rows] == [
        ("von Mises", 2), ("Multi-Bin, bound by arc", 2), (example.NO_PICTURE, 2)
    ]  # fmt: skip
    assert all(0 < row["nats"] < 4 for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == {"table.md", "table.json", "calibration.png", "roses.png"}


def test_persons_without_the_labels_are_left_out_and_none_is_an_error() -> None:
    persons = crowd(4, seed=1)
    hidden = np.zeros(persons.labelled.shape, dtype=bool)
    hidden[1, 2] = True
    assert c.LEFTWARD.known(persons.without_labels(hidden)).image_id.tolist() == [0, 2, 3]
    hidden[:, 2] = True
    with pytest.raises(pp.ProbposeError, match="no person with labels of right_shoulder, right_hip, left_shoulder"):
        c.LEFTWARD.known(persons.without_labels(hidden))
    with pytest.raises(pp.ProbposeError, match="a direction needs tail: there are left_shoulder"):
        c.Direction(("nose",), ("tail",)).known(persons)


def test_nothing_to_train_on_is_an_error() -> None:
    persons = crowd(3, seed=1)
    with pytest.raises(pp.ProbposeError, match="1 persons"):
        c.fit(persons.select([0]), c.LEFTWARD, c.family("von-mises"))
    with pytest.raises(pp.ProbposeError, match="0 epochs"):
        c.fit(persons, c.LEFTWARD, c.family("von-mises"), epochs=0)
