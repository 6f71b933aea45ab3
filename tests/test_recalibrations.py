"""Recalibrations repair what they should, on labels that nothing was fitted to, and survive being saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from probpose.analysis.calibration.cases import PARTS, Split
from probpose.analysis.calibration.recalibration.base import (
    NoRecalibration,
    Recalibration,
    ScaleRecalibration,
    fit_level,
    fit_scale,
)
from probpose.analysis.calibration.recalibration.choose import log_prob
from probpose.analysis.calibration.recalibration.conformal import fit_conformal
from probpose.analysis.calibration.recalibration.store import load_recalibration, save_recalibration
from probpose.errors import CheckpointError, DataError
from probpose.inference.training.checkpoint import save_checkpoint
from probpose.models.predictive.location_scale import LocationScale
from tests.calibration_cases import fake_cases
from tests.densities import counted


def covered(recalibration: Recalibration, fault: str) -> tuple[float, float]:
    """Coverage at 50 and 90% of fresh labels."""
    cases = fake_cases(fault, persons=1500, seed=7)
    level = cases.under(recalibration.apply(cases)).scores("level").level
    return float((level <= 0.5).mean()), float((level <= 0.9).mean())


def test_scale_finds_the_factor() -> None:
    for fault, truth in (("exact", 1.0), ("over-confident", 1 / 0.7), ("under-confident", 1 / 1.4)):
        cases = fake_cases(fault, persons=1000)
        whole, parts = fit_scale(cases, per_joint=False), fit_scale(cases, per_joint=True)
        error = truth / np.sqrt(4 * 1000 * 0.9)  # of a standard deviation from 2 x 900 numbers a joint
        np.testing.assert_allclose(parts.factor, truth, atol=4 * error)
        np.testing.assert_allclose(whole.factor, truth, atol=4 * error / np.sqrt(6))
        assert covered(whole, fault) == pytest.approx((0.5, 0.9), abs=0.02)


def test_scales_of_all_joints_are_found_at_once() -> None:
    cases = fake_cases("over-confident", persons=40)
    located = cases.predictive.as_location_scale()
    residual, points = counted(located.residual)
    fit_scale(cases.under(located.replace(residual=residual)), per_joint=True)
    assert sum(points) <= 30 * cases.labelled.size  # about 16 searches and 3 for the curvature, and not as many a joint


def test_a_joint_without_labels_keeps_its_scale() -> None:
    cases = fake_cases("over-confident", persons=50)
    cases.visibility[:, 2] = 0
    assert fit_scale(cases, per_joint=True).factor[2] == 1.0


@pytest.mark.parametrize("fault", ["over-confident", "wrong-tailed"])
def test_level_map_repairs_what_a_scale_cannot(fault: str) -> None:
    recalibration = fit_level(NoRecalibration(), fake_cases(fault, persons=1000))
    assert covered(recalibration, fault) == pytest.approx((0.5, 0.9), abs=0.025)
    fresh = fake_cases(fault, persons=1000, seed=3)
    assert log_prob(recalibration, fresh).mean() > log_prob(NoRecalibration(), fresh).mean() + 0.02


@pytest.mark.parametrize("fault", ["wrong-tailed", "under-confident"])
def test_conformal_regions_hold_what_they_should(fault: str) -> None:
    recalibration = fit_conformal(NoRecalibration(), fake_cases(fault, persons=3000))
    error = np.sqrt(0.25 / 3000 + 0.25 / 8100)
    assert covered(recalibration, fault) == pytest.approx((0.5, 0.9), abs=4 * error)
    by_joint = fit_conformal(NoRecalibration(), fake_cases(fault, persons=3000), per_joint=True)
    assert len(np.unique(by_joint.levels[:, 9])) == 6
    assert covered(by_joint, fault) == pytest.approx((0.5, 0.9), abs=4 * error)


def test_cures_survive_being_saved(tmp_path: Path) -> None:
    cases = fake_cases("wrong-tailed", persons=300)
    scale = fit_scale(cases, per_joint=True)
    for recalibration in (
        NoRecalibration(),
        scale,
        fit_level(scale, cases),
        fit_conformal(fit_level(scale, cases), cases),
    ):
        save_recalibration(tmp_path / "cure.safetensors", recalibration, {"checkpoint": "abc"})
        again, facts = load_recalibration(tmp_path / "cure.safetensors")
        assert facts == {"checkpoint": "abc"}
        assert json.dumps(again.record()) == json.dumps(recalibration.record())
        value = torch.from_numpy(cases.keypoints)
        one, other = recalibration.apply(cases), again.apply(cases)
        torch.testing.assert_close(one.log_prob(value), other.log_prob(value))
        torch.testing.assert_close(one.hdr_level(value), other.hdr_level(value))


def test_a_foreign_or_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cure.safetensors"
    with pytest.raises(CheckpointError, match="does not exist"):
        load_recalibration(file)
    file.write_bytes(b"not safetensors")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_recalibration(file)
    save_checkpoint(file, {"model": {"w": torch.zeros(1)}}, {"epoch": 3})
    with pytest.raises(CheckpointError, match="holds no recalibration"):
        load_recalibration(file)
    save_checkpoint(file, {}, {"kind": "recalibration", "cure": {"method": "magic"}, "facts": {}})
    with pytest.raises(CheckpointError, match=r"damaged.*magic"):
        load_recalibration(file)


def test_split_is_by_image_and_seeded() -> None:
    image = np.repeat(np.arange(100), 3)
    one, other = Split.of(image, seed=1), Split.of(image, seed=2)
    parts = [one.rows(image, part) for part in PARTS]
    assert [len(part) for part in parts] == [120, 60, 120]
    assert not set(image[parts[0]]) & set(image[parts[2]])
    np.testing.assert_array_equal(Split.of(image, seed=1).part, one.part)
    assert (one.part != other.part).any()
    assert sorted(np.bincount(Split.of(np.arange(3)).part)) == [1, 1, 1]
    with pytest.raises(DataError, match="2 images with labels cannot be split"):
        Split.of(np.array([4, 9]), name="mine")


def test_scale_needs_a_scale() -> None:
    cases = fake_cases(persons=10)
    assert isinstance(ScaleRecalibration(np.array([2.0])).apply(cases), LocationScale)
