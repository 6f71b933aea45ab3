"""Prediction of persons: from network units to image pixels, the flip test, unreadable images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from probpose.analysis.prediction.forward import freeze, predict_persons
from probpose.data.crops import crop_from_box
from probpose.errors import CheckpointError, DataError
from probpose.models.densities import RLEResidual
from probpose.models.predictive.location_scale import LocationScale
from probpose.skeleton import COCO
from tests.conftest import blob, make_persons, save_image
from tests.fakes import ConstantRegressor, LightRegressor, fake_model, spread_out, table

SIZE = (16, 12)
MIRROR = np.array([-1.0, 1.0])
SWAP = list(COCO.flip_permutation)


def test_predictions_are_in_image_pixels(tmp_path: Path) -> None:
    persons = table(tmp_path, 7)
    loc, scale, presence = spread_out()
    forwards = list(predict_persons(fake_model(ConstantRegressor(loc, scale, presence)), persons, SIZE, batch_size=3))
    crop = crop_from_box(persons.box, SIZE)
    mean = np.concatenate([forward.keypoints.mean for forward in forwards])
    sigma = np.concatenate([forward.keypoints.sigma for forward in forwards])
    np.testing.assert_allclose(
        mean, crop.centre[:, None] + crop.size[:, None] * loc, atol=5e-3
    )  # R's mean is that of its nodes
    expected = np.sqrt((scale**2).sum(-1)) * crop.size[:, None]
    np.testing.assert_allclose(sigma, expected, rtol=2e-3)  # the moments of 2^16 nodes
    assert forwards[0].keypoints.mean.dtype == torch.float64
    assert np.concatenate([forward.rows for forward in forwards]).tolist() == list(range(7))
    np.testing.assert_allclose(forwards[0].presence[0], 1 / (1 + np.exp(-presence)), rtol=1e-5)
    np.testing.assert_allclose(forwards[0].unit_sigma[0], np.sqrt((scale**2).sum(-1)), rtol=1e-5)


def test_prediction_finds_what_is_in_the_image(tmp_path: Path) -> None:
    save_image(tmp_path / "light.png", blob((90, 120), (70.3, 41.8), 6.0))
    persons = make_persons(tmp_path, ["light.png"], [30.0, 5.0, 70.0, 60.0], [[0.0, 0.0]] * 17)
    loc, scale, presence = spread_out()
    model = fake_model(LightRegressor(np.zeros_like(loc), scale, presence))
    for flip_test in (False, True):
        (forward,) = predict_persons(model, persons, (48, 64), flip_test=flip_test)
        np.testing.assert_allclose(forward.keypoints.mean[0], np.tile([70.3, 41.8], (17, 1)), atol=0.15)


def test_flip_test_changes_nothing_for_an_equivariant_model(tmp_path: Path) -> None:
    save_image(tmp_path / "light.png", blob((90, 120), (70.3, 41.8), 6.0))
    persons = make_persons(tmp_path, ["light.png"], [30.0, 5.0, 70.0, 60.0], [[0.0, 0.0]] * 17)
    loc, scale, presence = spread_out()
    loc = (loc + MIRROR * loc[SWAP]) / 2
    scale = (scale + MIRROR[:, None] * scale[SWAP] * MIRROR) / 2
    torch.manual_seed(0)
    residual = RLEResidual()
    for parameter in residual.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # a skewed R: mirroring it would show
    model = fake_model(LightRegressor(loc, scale, (presence + presence[SWAP]) / 2), residual)
    frozen = freeze(model)
    (plain,) = predict_persons(model, persons, (48, 64), residual=frozen)
    (both,) = predict_persons(model, persons, (48, 64), residual=frozen, flip_test=True)
    where = plain.keypoints.sample((20,))
    torch.testing.assert_close(both.keypoints.log_prob(where), plain.keypoints.log_prob(where), atol=1e-3, rtol=0)
    torch.testing.assert_close(both.presence, plain.presence)
    torch.testing.assert_close(both.unit_sigma, plain.unit_sigma)


def test_flip_test_is_the_mixture_with_the_mirrored_and_swapped_density(tmp_path: Path) -> None:
    persons = table(tmp_path, 3)
    loc, scale, presence = spread_out()
    model = fake_model(ConstantRegressor(loc, scale, presence))
    frozen = freeze(model)
    (both,) = predict_persons(model, persons, SIZE, residual=frozen, flip_test=True)
    crop = torch.from_numpy(crop_from_box(persons.box, SIZE).to_image)
    said = torch.tensor(loc).float().double(), torch.tensor(scale).float().double()
    back = said[0][SWAP] * torch.tensor(MIRROR), said[1][SWAP] * torch.tensor(np.outer(MIRROR, MIRROR))
    views = [LocationScale(m.expand(3, -1, -1), s.expand(3, -1, -1, -1), frozen) for m, s in (said, back)]
    views = [view.affine(crop[..., :2], crop[..., 2]) for view in views]
    where = views[0].sample()
    expected = torch.stack([view.log_prob(where) for view in views]).logsumexp(0) - np.log(2)
    torch.testing.assert_close(both.keypoints.log_prob(where), expected)
    probability = 1 / (1 + np.exp(-presence))
    np.testing.assert_allclose(both.presence[0], (probability + probability[SWAP]) / 2, rtol=1e-5)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    persons = table(tmp_path, 6, files=3)
    (tmp_path / "1.png").write_bytes(b"no image")
    done: list[int] = []
    model = fake_model(ConstantRegressor(*spread_out()))
    forwards = list(predict_persons(model, persons, SIZE, batch_size=1, progress=done.append))
    assert np.concatenate([forward.rows for forward in forwards]).tolist() == [0, 2, 3, 5]
    faults = [fault for forward in forwards for fault in forward.unreadable]
    assert len(faults) == 2
    assert all("1.png" in fault for fault in faults)
    assert done == [1, 2, 3, 4, 5, 6]


def test_workers_give_the_same(tmp_path: Path) -> None:
    persons = table(tmp_path, 5, files=2)
    model = fake_model(ConstantRegressor(*spread_out()))
    one, two = (
        [f.keypoints.mean for f in predict_persons(model, persons, SIZE, batch_size=2, workers=w)] for w in (0, 1)
    )
    torch.testing.assert_close(torch.cat(one), torch.cat(two))


def test_training_mode_is_refused(tmp_path: Path) -> None:
    model = fake_model(ConstantRegressor(*spread_out())).train()
    with pytest.raises(ValueError, match="eval"):
        next(predict_persons(model, table(tmp_path, 1), SIZE))


def test_an_empty_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no persons"):
        next(predict_persons(fake_model(ConstantRegressor(*spread_out())), table(tmp_path, 1).select([]), SIZE))


def test_broken_weights_are_named(tmp_path: Path) -> None:
    loc, scale, presence = spread_out()
    loc[3, 1] = np.nan
    persons = replace(table(tmp_path, 2), annotation_id=np.array([41, 42]))
    with pytest.raises(CheckpointError, match=r"0\.png, annotation 41.*not finite"):
        next(predict_persons(fake_model(ConstantRegressor(loc, scale, presence)), persons, SIZE))
