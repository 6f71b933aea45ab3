"""The table of scores: columns on request, levels that depend on the label alone, and what is broken is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from probpose.errors import DataError
from probpose.keyed_uniform import keyed_uniform
from probpose.models.predictive.axis_scores import axis_scores, energy_score
from probpose.models.predictive.conformal import Conformal
from probpose.models.scores import Group, Labels, LabelScores
from tests.calibration_cases import JOINTS, drawn_cases, fake_cases
from tests.densities import counted, random_density
from tests.fakes import table
from tests.predictives import VARIANTS, random_predictive

GROUPS: tuple[Group, ...] = ("level", "sigma", "axes", "radii", "energy")
PLATEAUS = ("heatmap", "simcc, coarse")


def drawn(variant: str, persons: int, seed: int = 0) -> tuple[Labels, torch.Tensor]:
    """Labels of persons with ids of their own, and the draws of a predictive distribution that they are."""
    predictive = random_predictive(variant, persons=persons, seed=seed)
    torch.manual_seed(seed)
    value = predictive.sample()
    return labels_at(value), value


def labels_at(value: torch.Tensor) -> Labels:
    persons, joints = value.shape[:2]
    rng = np.random.default_rng(1)
    return Labels(
        joints=tuple(f"joint {k}" for k in range(joints)),
        person=np.arange(persons, dtype=np.int64),
        image=rng.integers(0, 10**12, persons),
        instance=np.arange(persons, dtype=np.int64) - 3,
        keypoints=value.double().numpy(),
        visibility=rng.integers(0, 3, (persons, joints)),
        place=lambda row: f"row {row}",
    )


def part_of(labels: Labels, rows: np.ndarray) -> Labels:
    columns = ("person", "image", "instance", "keypoints", "visibility")
    return replace(labels, **{name: getattr(labels, name)[rows] for name in columns})


def test_uniform_numbers_depend_on_every_key_and_on_nothing_else() -> None:
    image, instance, joint = (np.arange(n, dtype=np.int64) for n in (60, 50, 17))
    found = keyed_uniform(0, image[:, None, None], instance[:, None], joint)
    assert found.shape == (60, 50, 17)
    assert ((found > 0) & (found < 1)).all()
    assert len(np.unique(found)) == found.size
    assert stats.kstest(found.ravel(), "uniform").pvalue > 1e-4
    for axis in range(3):
        ahead, behind = np.moveaxis(found, axis, 0)[1:], np.moveaxis(found, axis, 0)[:-1]
        assert abs(np.corrcoef(ahead.ravel(), behind.ravel())[0, 1]) < 4 / np.sqrt(ahead.size)
    turned = keyed_uniform(0, image[::-1, None, None], instance[:, None], joint[3:])
    np.testing.assert_array_equal(turned, found[::-1, :, 3:])
    assert abs(np.corrcoef(keyed_uniform(1, np.arange(50_000)), keyed_uniform(0, np.arange(50_000)))[0, 1]) < 0.02
    np.testing.assert_array_equal(keyed_uniform(2**40, -image), keyed_uniform(2**40, -image))


def test_the_generator_is_splitmix64() -> None:
    """The first outputs from state 0 (Vigna's splitmix64.c), which are the hash of the seeds 0 and its increments."""
    increment = 0x9E3779B97F4A7C15
    expected = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
    for step, output in enumerate(expected):
        assert float(keyed_uniform(step * increment)[0]) == ((output >> 12) + 0.5) * 2.0**-52


@pytest.mark.parametrize("variant", ["regression", "heatmap", "heatmap, bilinear", "simcc, coarse", "mixture"])
def test_scores_do_not_depend_on_what_else_is_scored(variant: str) -> None:
    predictive = random_predictive(variant, persons=9)
    labels, _ = drawn(variant, 9)
    whole = LabelScores.of(predictive, labels, "level")
    order = np.array([4, 2, 8, 0, 1, 7, 3, 6, 5])
    parts = [
        LabelScores.of(predictive.rows(torch.from_numpy(rows)), part_of(labels, rows), "level")
        for rows in np.split(order, [1, 4])
    ]
    joined = LabelScores.join(parts)
    back = np.lexsort((joined.joint, joined.person))
    for name in ("person", "joint", "image", "instance", "visibility", "log_prob", "level"):
        np.testing.assert_array_equal(getattr(joined.select(back), name), getattr(whole, name))
    if variant in PLATEAUS:
        assert bool((LabelScores.of(predictive, labels, "level", seed=1).level != whole.level).any())


def test_columns_are_those_of_their_definitions() -> None:
    cases = fake_cases(persons=20)
    scores = cases.scores(*GROUPS)
    at, value = np.nonzero(cases.labelled), cases.filled
    np.testing.assert_array_equal(scores.person, at[0])
    np.testing.assert_array_equal(scores.joint, at[1])
    np.testing.assert_array_equal(scores.instance, cases.instance[at[0]])
    np.testing.assert_array_equal(scores.visibility, cases.visibility[at])
    np.testing.assert_array_equal(scores.error, (value - cases.predictive.mean).numpy()[at])
    np.testing.assert_allclose(scores.error_px, np.hypot(*scores.error.T))
    np.testing.assert_allclose(scores.scale_px, np.sqrt(scores.sigma_px[:, 0] * scores.sigma_px[:, 1]))
    np.testing.assert_array_equal(scores.level, cases.predictive.hdr_level(value).numpy()[at])
    np.testing.assert_array_equal(scores.pit, axis_scores(cases.predictive, value).pit[at])
    np.testing.assert_array_equal(scores.half_width_px, cases.predictive.half_width.numpy()[at])
    np.testing.assert_array_equal(scores.energy_px, energy_score(cases.predictive, value).numpy()[at])
    r50, r90 = cases.predictive.radius([0.5, 0.9]).numpy()
    np.testing.assert_array_equal(scores.r50_px, r50[at])
    np.testing.assert_array_equal(scores.r90_px, r90[at])
    assert scores.coverage(0.5) == (scores.level <= 0.5).mean()


@pytest.mark.parametrize("batch", [1, JOINTS])
def test_a_density_is_evaluated_once_a_label(batch: int) -> None:
    cases = drawn_cases(random_density("rle", "moment", batch=batch), persons=5)
    located = cases.predictive.as_location_scale()
    residual, points = counted(located.residual)
    assert residual.heights.shape == residual.native.weights.shape
    points.clear()
    found = cases.under(located.replace(residual=residual)).scores(*GROUPS)
    assert sum(points) == cases.labelled.size
    np.testing.assert_allclose(found.level, cases.scores("level").level, atol=1e-12)
    np.testing.assert_allclose(found.level, located.hdr_level(cases.filled).numpy()[cases.labelled], atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_log_density_that_is_known_changes_no_level(variant: str) -> None:
    inside = random_predictive(variant, persons=3)
    there = inside.affine(torch.tensor([[[30.0, 4.0], [0.0, 20.0]]]).expand(3, 2, 2), torch.full((3, 2), 50.0))
    contents, levels = torch.tensor([0.5]).double(), torch.full((inside.batch_shape[1], 1), 0.6).double()
    for predictive in (there, Conformal(there, contents, levels)):
        value = predictive.sample()
        uniform = torch.full(value.shape[:-1], 0.3).to(value)
        known = predictive.drawn_level(value, uniform, predictive.log_prob(value))
        torch.testing.assert_close(known, predictive.drawn_level(value, uniform), atol=1e-4, rtol=0)


def test_columns_that_were_not_asked_for_say_which_group_to_ask_for() -> None:
    scores = fake_cases(persons=5).scores("axes")
    assert scores.crps_px.shape == (len(scores), 2)
    for name, group in (("level", "level"), ("r90_px", "radii"), ("energy_px", "energy")):
        with pytest.raises(ValueError, match=rf"{name} was not computed: ask LabelScores.of for the group '{group}'"):
            getattr(scores, name)
        with pytest.raises(ValueError, match="was not computed"):
            getattr(scores.select(scores.joint == 0), name)


def test_selected_and_joined_tables_keep_their_columns() -> None:
    scores = fake_cases(persons=30).scores(*GROUPS)
    odd = scores.joint % 2 == 1
    parts = LabelScores.join([scores.select(odd), scores.select(np.flatnonzero(~odd))])
    assert len(parts) == len(scores)
    np.testing.assert_array_equal(np.sort(parts.energy_px), np.sort(scores.energy_px))
    np.testing.assert_array_equal(parts.crps_px[: odd.sum()], scores.crps_px[odd])


def test_broken_labels_are_named_or_left_to_the_caller(tmp_path: Path) -> None:
    persons = table(tmp_path, 3)
    labels = Labels.of_persons(persons, np.array([2, 0]))
    assert labels.place(0) == str(persons.path(2))
    log_prob = np.zeros(2 * 17)
    log_prob[17 + 9] = -np.inf
    with pytest.raises(DataError, match=r"0\.png, annotation 100, left_wrist: the log density .* is -inf \(1 such"):
        labels.check_finite(log_prob)
    cases = fake_cases(persons=4)
    far = replace(cases, keypoints=np.full_like(cases.keypoints, 1e200))
    assert np.isneginf(LabelScores.of(far.predictive, far.labels, finite=False).log_prob).all()
    with pytest.raises(DataError, match="is -inf"):
        far.scores()
