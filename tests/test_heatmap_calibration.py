"""Heatmaps of any model: judged as densities, cured by temperature and blur, read from files that may be faulty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import probpose as pp
from benchmarks.heatmap_fakes import MadeUp, made_up
from probpose.analysis.calibration.recalibration.heatmap import HeatmapRecalibration, fit_heatmap
from probpose.analysis.calibration.recalibration.store import load_recalibration, save_recalibration
from probpose.api.labels import cases_of_arrays
from probpose.cli import main
from probpose.errors import CheckpointError, ConfigError, DataError
from probpose.models.predictive.mixtures import EqualMixture
from tests.calibration_cases import fake_cases


def cases(found: MadeUp) -> Any:
    heat = pp.Heatmap(found.maps, found.boxes)
    return cases_of_arrays(heat, found.labels, None, None, None, found.boxes, None, "maps")


@pytest.mark.parametrize("surface", ["constant", "bilinear"])
def test_softened_maps_are_densities_of_the_stated_kind(surface: Any) -> None:
    found = made_up(persons=2, joints=1)
    heat = pp.Heatmap(found.maps, found.boxes, surface=surface)
    hot = heat.density.softened(2.0, 0.0).log_cells.exp().numpy()
    root = np.sqrt(found.maps)
    np.testing.assert_allclose(hot, root / root.sum((-2, -1), keepdims=True), rtol=1e-6)
    wide = heat.density.softened(1.0, 1.5).log_cells.exp().numpy()
    np.testing.assert_allclose(wide.sum((-2, -1)), 1, rtol=1e-9)
    places = np.arange(found.maps.shape[-1])
    variance = [(m * places**2).sum() - (m * places).sum() ** 2 for m in (found.maps.sum(2)[0, 0], wide.sum(2)[0, 0])]
    assert variance[1] - variance[0] == pytest.approx(1.5**2 + 1 / 12, rel=0.1)  # and that of the cells' own width
    same = heat.density.softened(1.0, 0.0).log_cells
    torch.testing.assert_close(same, heat.density.log_cells)
    both = EqualMixture([heat.predictive, heat.predictive])
    value = heat.predictive.mean
    torch.testing.assert_close(
        both.softened(2.0, 1.0).log_prob(value), heat.predictive.softened(2.0, 1.0).log_prob(value)
    )
    assert both.cells == found.maps[0, 0].size
    with pytest.raises(ConfigError, match="only heatmaps have a temperature"):
        fit_heatmap(fake_cases(persons=5), "blur")
    with pytest.raises(ConfigError, match="only heatmaps have a temperature"):
        fake_cases(persons=5).predictive.softened(1.0, 1.0)


@pytest.mark.parametrize(
    ("temperature", "blur", "cure"), [(2.0, 0.0, "temperature"), (0.5, 0.0, "temperature"), (1.0, 1.5, "blur")]
)
def test_what_is_wrong_is_found_to_within_its_error(temperature: float, blur: float, cure: Any) -> None:
    found = [fit_heatmap(cases(made_up(temperature, blur, persons=300, seed=seed)), cure) for seed in range(3)]
    labels = 300 * 3 * 3
    # of log T of a Gaussian on the plane the information is 1 a label; of its spread s 4 / s^2, of which blur is a part
    if cure == "temperature":
        error = 4 * np.sqrt(1.3 / labels)
        assert abs(np.mean([np.log(one.temperature) for one in found]) - np.log(temperature)) < error
    else:
        spread = np.hypot(1.4, blur)
        assert abs(np.mean([one.blur for one in found]) - blur) < 4 * spread / 2 / np.sqrt(labels) * spread / blur
    assert all(one.temperature == 1 or cure == "temperature" for one in found)


@pytest.mark.parametrize(
    ("temperature", "blur", "names"),
    [
        (1.0, 0.0, {"none"}),
        (2.5, 0.0, {"temperature"}),
        (1.0, 2.0, {"blur"}),
    ],
)
def test_the_cure_is_the_one_that_the_truth_has(temperature: float, blur: float, names: set[str]) -> None:
    found = made_up(temperature, blur, persons=400, seed=3)
    calibration = pp.calibrate(pp.Heatmap(found.maps, found.boxes), found.labels, boxes=found.boxes)
    record = calibration.record
    assert record.recalibrated.name in names, record.recalibrated.reason
    after = record.after or record.before
    assert abs(after.coverage[0.5] - 0.5) < 4 * np.sqrt(0.25 / record.keypoints)
    assert abs(after.coverage[0.9] - 0.9) < 4 * np.sqrt(0.09 / record.keypoints)
    if record.after is None:
        assert calibration.calibrated is not False
        return
    assert calibration.calibrated is False
    assert calibration.method == "heatmap"
    new = made_up(temperature, blur, persons=300, seed=4)
    mended = calibration.apply(pp.Heatmap(new.maps, new.boxes))
    truth = pp.Heatmap(new.maps, new.boxes).predictive.softened(temperature, blur)
    value = torch.from_numpy(new.labels)
    lost = (truth.log_prob(value) - mended.predictive.log_prob(value)).numpy()
    assert abs(lost.mean()) < 0.01  # nats: half a squared error of one number, 1 / 1000 labels, and chance


def test_a_cure_is_kept(tmp_path: Path) -> None:
    cure = HeatmapRecalibration(2.0, 0.5)
    save_recalibration(tmp_path / "cure.safetensors", cure, {})
    assert load_recalibration(tmp_path / "cure.safetensors")[0] == cure
    save_recalibration(tmp_path / "broken.safetensors", HeatmapRecalibration(-1.0), {})
    with pytest.raises(CheckpointError, match="temperature of a heatmap is positive"):
        load_recalibration(tmp_path / "broken.safetensors")


def annotations_of(found: MadeUp, file: Path) -> None:
    persons, joints = found.labels.shape[:2]
    flat = np.concatenate([found.labels, np.full((persons, joints, 1), 2.0)], axis=-1).reshape(persons, -1)
    rows = [
        {"id": i + 1, "image_id": i + 1, "category_id": 1, "keypoints": flat[i].tolist(), "num_keypoints": joints,
         "bbox": found.boxes[i].tolist(), "area": float(found.boxes[i, 2:].prod()), "iscrowd": 0}
        for i in range(persons)
    ]  # fmt: skip
    images = [{"id": i + 1, "file_name": f"{i + 1}.jpg", "width": 900, "height": 900} for i in range(persons)]
    category = {"id": 1, "name": "thing", "keypoints": ["tip", "middle", "base"], "skeleton": []}
    file.write_text(json.dumps({"images": images, "annotations": rows, "categories": [category]}))


def test_the_command_judges_a_file_and_hands_it_back(tmp_path: Path) -> None:
    found = made_up(2.5, persons=150, seed=5)
    annotations_of(found, tmp_path / "labels.json")
    order = np.random.default_rng(0).permutation(150)
    joints = np.array(["base", "tip", "middle"])  # by name, in another order
    maps = found.maps[order][:, [2, 0, 1]].astype(np.float32)
    np.savez(tmp_path / "maps.npz", maps=maps, boxes=found.boxes[order], image_id=order + 1, joints=joints)
    command = ["calibrate", str(tmp_path / "maps.npz"), "--annotations", str(tmp_path / "labels.json")]
    done = CliRunner().invoke(main, [*command, "--no-report", "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["recalibrated"]["method"] == "heatmap"
    assert record["keypoints"] == 60 * 3
    back = pp.Heatmap.read(tmp_path / "maps-calibration" / "recalibrated.npz")
    assert back.joints == ("tip", "middle", "base")
    truth = pp.Heatmap(found.maps, found.boxes).predictive.softened(2.5, 0.0)
    value = torch.from_numpy(found.labels)
    assert abs(float((truth.log_prob(value) - back.predictive.log_prob(value)).mean())) < 0.02


def broken(**changes: Any) -> dict[str, Any]:
    found = made_up(persons=3)
    return {"maps": found.maps, "boxes": found.boxes, "image_id": np.array([7, 8, 9]), **changes}


def changed(array: str, place: tuple[int, ...], value: float) -> dict[str, Any]:
    found = broken()
    found[array][place] = value
    return found


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            changed("maps", (1, 2, 3, 4), -0.1),
            r"record 1 \(image 8\): the map of 2 has negative values: are these logits",
        ),
        (changed("maps", (2, 0, 3, 4), np.nan), r"record 2 \(image 9\): the map of 0 holds NaN"),
        (changed("maps", (0, 1), 0.0), r"record 0 \(image 7\): the map of 1 is 0 everywhere \(1 such maps\)"),
        (changed("boxes", (1, 2), 0.0), r"record 1 \(image 8\): the box .* has no area"),
        (changed("boxes", (1, 0), np.nan), r"record 1 \(image 8\): the box .* is not finite"),
        (broken(maps=np.ones((3, 4, 5))), r"maps has shape \(3, 4, 5\)"),
        (broken(boxes=np.ones((2, 4))), r"boxes has shape \(2, 4\)"),
        (broken(joints=np.array(["a", "b"])), r"joints is of type <U1 and shape \(2,\), expected 3 texts"),
        (broken(maps=np.ones((0, 4, 5, 5)), boxes=np.ones((0, 4)), image_id=np.ones(0)), "there is nothing in it"),
        (broken(image_id=np.array([1, 2])), r"image_id has shape \(2,\)"),
        ({"boxes": np.ones((2, 4))}, "maps missing, found boxes"),
    ],
)
def test_faulty_files_are_refused_by_record(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "maps.npz"
    np.savez(file, **arrays)
    with pytest.raises(DataError, match=message) as error:
        pp.Heatmap.read(file)
    assert str(file) in str(error.value)


def test_a_truncated_file_and_no_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "maps.npz", **broken())
    whole = (tmp_path / "maps.npz").read_bytes()
    (tmp_path / "maps.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="holds no heatmaps"):
        pp.Heatmap.read(tmp_path / "maps.npz")
    with pytest.raises(DataError, match="cannot be read"):
        pp.Heatmap.read(tmp_path / "none.npz")
