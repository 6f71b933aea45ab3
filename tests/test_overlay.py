"""Overlays: the regions hold what they say, and are drawn where the prediction is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.path import Path as Curve

from probpose.analysis.figures.overlays import Drawn, draw_overlay, save_overlays
from probpose.analysis.figures.regions import Outline, regions
from probpose.analysis.prediction.predict import predict_table
from probpose.models.densities import GaussianResidual, LaplaceResidual
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import EqualMixture
from probpose.skeleton import COCO
from tests.fakes import Array, ConstantRegressor, fake_model, spread_out, table


def area(outline: Outline) -> float:
    """Area inside closed curves, by the shoelace formula."""
    parts = (0.5 * float((c[:-1, 0] * c[1:, 1] - c[1:, 0] * c[:-1, 1]).sum()) for c in outline)
    return abs(sum(parts))


def located(family: type[GaussianResidual] | type[LaplaceResidual], shift: float = 0.0) -> LocationScale:
    loc = torch.tensor([[[10.0, 20.0], [30.0, 5.0]], [[-3.0, 4.0], [7.0, 7.0]]], dtype=torch.float64) + shift
    scale = torch.tensor([[2.0, 0.0], [1.5, 3.0]], dtype=torch.float64) * torch.tensor([1.0, 4.0])[None, :, None, None]
    return LocationScale(loc, scale.expand(2, 2, 2, 2), family().frozen())


def share_inside(outline: Outline, draws: Array) -> float:
    inside = np.array([Curve(part).contains_points(draws) for part in outline])
    return float(inside.any(0).mean())


def test_gaussian_regions_are_the_ellipses() -> None:
    predictive = located(GaussianResidual)
    for n, person in enumerate(regions(predictive, (0.5, 0.9))):
        for k, joint in enumerate(person):
            for level, outline in zip((0.5, 0.9), joint, strict=True):
                determinant = float(predictive.scale[n, k].det())
                assert area(outline) == pytest.approx(-2 * np.pi * np.log(1 - level) * determinant, rel=0.02)
                centre = outline[0][:-1].mean(0)
                np.testing.assert_allclose(centre, predictive.loc[n, k], atol=0.05 * determinant**0.5)


@pytest.mark.parametrize("kind", ["laplace", "mixture", "apart"])
def test_regions_hold_their_share_of_the_draws(kind: str) -> None:
    torch.manual_seed(0)
    single = located(LaplaceResidual)
    predictive: Predictive = single
    if kind != "laplace":
        predictive = EqualMixture([single, located(LaplaceResidual, 3.0 if kind == "mixture" else 60.0)])
    draws = predictive.sample((4000,)).numpy()
    for n, person in enumerate(regions(predictive, (0.5, 0.9))):
        for k, joint in enumerate(person):
            for level, outline in zip((0.5, 0.9), joint, strict=True):
                assert share_inside(outline, draws[:, n, k]) == pytest.approx(level, abs=0.045)
                assert kind != "apart" or k == 1 or len(outline) == 2


def one_person(presence: float) -> Drawn:
    point = np.column_stack([np.linspace(20, 60, 17), np.linspace(10, 80, 17)])
    circle = np.array([[np.cos(t), np.sin(t)] for t in np.linspace(0, 2 * np.pi, 30)])
    outlines = [[[p + 3 * circle], [p + 6 * circle]] for p in point]
    return Drawn(point, np.full(17, presence), outlines)


def pixels(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], persons: list[Drawn]) -> Array:
    figure = draw_overlay(image, persons, COCO, title="a_$very$_" + 40 * "long_name" + ".png")
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba(), dtype=np.float64)[..., :3]  # type: ignore[attr-defined]


def test_small_images_are_enlarged_and_points_lie_where_they_should() -> None:
    image = np.zeros((90, 80, 3), dtype=np.uint8)
    person = one_person(1.0)
    shown = pixels(image, [person])
    height, width = shown.shape[:2]
    assert height == 900 + 30
    assert width == 800
    for joint in (5, 6):  # a left shoulder is blue, a right one orange
        x, y = (person.point[joint] + 0.5) * 10
        red, _, blue = shown[round(y), round(x)]
        assert (blue > red + 100) == (joint == 5)
        assert (red > blue + 100) == (joint == 6)


def test_joints_that_are_probably_unlabelled_are_fainter() -> None:
    image = np.zeros((90, 80, 3), dtype=np.uint8)
    likely, unlikely = (pixels(image, [one_person(p)])[:880].mean() for p in (1.0, 0.2))
    assert unlikely < 0.6 * likely


def test_small_persons_are_zoomed_in_on() -> None:
    image = np.zeros((900, 1200, 3), dtype=np.uint8)
    image[40:50, 40:50] = 255
    assert (pixels(image, [one_person(0.0)])[:600] > 190).mean() > 5 * (image[:600] > 190).mean()


def test_one_overlay_an_image_with_all_its_persons(tmp_path: Path) -> None:
    model = fake_model(ConstantRegressor(*spread_out()))
    predictions = predict_table(model, table(tmp_path, 3, files=2), (16, 12), batch_size=2)
    done: list[int] = []
    files = save_overlays(predictions, tmp_path / "overlays", progress=done.append)
    assert [file.name for file in files] == ["0.png", "1.png"]
    assert done == [1, 2]
    both = cv2.imread(str(files[0]))
    best = max(row["score"] for row in predictions.rows)
    none = cv2.imread(str(save_overlays(predictions, tmp_path / "none", least_score=best + 1)[0]))
    assert both is not None
    assert none is not None
    assert (both > 40).mean() > 2 * (none > 40).mean()
    assert (tmp_path / "overlays" / "0.png").stat().st_size > 1000
