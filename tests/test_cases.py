"""Cases: their scores, levels on plateaus, groups, chunks of whole images, and what is broken is named."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import probpose as pp
from probpose.analysis.calibration.cases import Split
from probpose.analysis.calibration.diagnostics.coverage import Groups
from probpose.analysis.calibration.sources.base import MemorySource, gather
from probpose.errors import DataError
from probpose.models.densities import Native, Residual
from probpose.models.predictive.location_scale import LocationScale
from tests.calibration_cases import fake_cases


def uniform_square() -> Residual:
    """The uniform density on [-1, 1]^2: one plateau."""
    side = torch.linspace(-0.99, 0.99, 64, dtype=torch.float64)
    nodes = torch.cartesian_prod(side, side).unsqueeze(0)
    weights = torch.full(nodes.shape[:-1], 1 / nodes.shape[1], dtype=torch.float64)

    def log_prob(z: torch.Tensor) -> torch.Tensor:
        inside = (z.abs() <= 1).all(-1)
        return torch.where(inside, -math.log(4), -math.inf).to(z)

    def sample(count: int) -> torch.Tensor:
        return 2 * torch.rand(1, count, 2, dtype=torch.float64) - 1

    zero = torch.zeros(1, dtype=torch.float64)
    return Residual(Native(log_prob, nodes, weights, sample, zero, zero), "quantile", standardised=True)


def test_levels_inside_a_plateau_are_drawn_at_random() -> None:
    cases = fake_cases(persons=400)
    assert isinstance(cases.predictive, LocationScale)
    flat = LocationScale(cases.predictive.loc, cases.predictive.scale, uniform_square())
    drawn = replace(cases, keypoints=flat.sample().numpy(), predictive=flat)
    level = drawn.scores("level").level
    assert stats.kstest(level, "uniform").pvalue > 1e-4
    assert bool((flat.hdr_level(drawn.filled) == 0).all())
    np.testing.assert_array_equal(drawn.scores("level").level, level)
    assert bool((drawn.scores("level", seed=1).level != level).any())


def test_a_label_without_density_is_named() -> None:
    cases = fake_cases(persons=20)
    assert isinstance(cases.predictive, LocationScale)
    flat = LocationScale(cases.predictive.loc, cases.predictive.scale, uniform_square())
    labels = cases.predictive.loc.numpy().copy()
    labels[7, 2] += 1000
    cases.visibility[7, 2] = 2
    with pytest.raises(DataError, match=r"fakes, image 7, annotation 1007, joint 2: the log density .* is -inf"):
        replace(cases, keypoints=labels, predictive=flat).scores()


def test_groups_divide_the_labels() -> None:
    cases = fake_cases(persons=300)
    scores = cases.scores("sigma")
    size = cases.size_px[scores.person]
    groups = Groups.of(scores, size, cases.joints)
    masks = groups.masks(scores, size)
    for kind in ("joint", "visibility", "scale"):
        parts = [mask for name, mask in masks.items() if name.startswith(kind)]
        assert len(parts) > 1
        np.testing.assert_array_equal(np.sum(parts, axis=0), 1)
    assert not [name for name in masks if name.startswith("size")]  # all boxes are large: no group of its own
    shares = [mask.mean() for name, mask in masks.items() if name.startswith("scale")]
    np.testing.assert_allclose(shares, 0.2, atol=0.01)


def test_chunks_hold_whole_images_and_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probpose.analysis.calibration.sources.base.CHUNK", 70)
    rng = np.random.default_rng(0)
    cases = replace(fake_cases(persons=200), image=rng.integers(0, 40, 200))
    chunks = list(MemorySource(cases).chunks())
    assert len(chunks) > 5
    seen = [set(chunk.image.tolist()) for chunk in chunks]
    assert sum(map(len, seen)) == len(set.union(*seen)) == len(np.unique(cases.image))
    assert sorted(np.concatenate([chunk.instance for chunk in chunks])) == sorted(cases.instance)


def test_parts_are_gathered_and_thinned_by_image() -> None:
    cases = fake_cases(persons=300)
    source = MemorySource(cases)
    split = Split.of(source.units, name=source.name)
    whole = gather(source, split)["test"]
    assert sorted(whole.image) == sorted(split.select(cases, "test").image)
    torch.testing.assert_close(whole.predictive.mean, cases.select(whole.image).predictive.mean)
    few = gather(source, split, most=200, seed=1)["test"]
    assert 100 < few.labelled.sum() < 300
    assert set(few.image) < set(whole.image)
    np.testing.assert_array_equal(gather(source, split, most=200, seed=1)["test"].image, few.image)
    unlabelled = replace(cases, visibility=np.zeros_like(cases.visibility))
    with pytest.raises(DataError, match="there is no labelled keypoint in the part 'fit'"):
        gather(MemorySource(unlabelled), split)


def test_bins_that_look_alike_are_told_apart() -> None:
    """Scales and confidences that differ in the fifth digit, or not at all: no bin hides another."""
    cases = fake_cases(persons=300)
    located = cases.predictive.as_location_scale()
    for spread, bins in ((1e-4, 5), (0.0, 1)):
        factor = 1 + spread * torch.rand(300, 6, 1, 1, generator=torch.Generator().manual_seed(0)).double()
        scale = factor * 2 * torch.eye(2).double()
        scores = cases.under(located.replace(scale=scale)).scores("sigma")
        size, confidence = cases.size_px[scores.person], np.round(scores.scale_px, 9)
        confidence[::7] = np.nan
        masks = Groups.of(scores, size, cases.joints, confidence).masks(scores, size, confidence)
        for kind, counted in (("scale", np.ones(len(scores))), ("confidence", np.isfinite(confidence))):
            parts = [mask for name, mask in masks.items() if name.startswith(kind)]
            if bins > 1:
                np.testing.assert_array_equal(np.sum(parts, axis=0), counted)
                assert len(parts) == bins
                assert min(mask.sum() for mask in parts) > 0.15 * len(scores)
            else:
                assert all(mask.any() and not mask.all() for mask in parts)


@pytest.mark.parametrize("images", range(3, 12))
def test_no_part_of_a_split_is_empty(images: int) -> None:
    for seed in range(5):
        counts = np.bincount(Split.of(np.arange(images), seed=seed).part, minlength=3)
        assert counts.min() >= 1
        assert counts.sum() == images
        assert counts[0] + counts[2] >= counts[1]


def test_a_joint_that_is_exact_by_construction_ends_nothing() -> None:
    """A root joint that model and labels both put at the origin: the others are fitted, and it is named."""
    rng = np.random.default_rng(0)
    labels = rng.normal(0, 3, (300, 3, 2))
    labels[:, 0] = 0.0
    predictions = pp.Gaussian(np.zeros_like(labels), sigma=np.full((300, 3), 2.0), joints=("root", "left", "right"))
    report = pp.calibrate(predictions, labels, method="density", residual="gaussian")
    assert any(line.startswith("joint root: ") for line in report.left_out)
    assert not any("joint left" in line for line in report.left_out)
    coverage = pp.coverage(pp.score(report.apply(predictions), labels), 0.9)
    assert not isinstance(coverage, dict)
    assert 0.85 < coverage.value <= 1
