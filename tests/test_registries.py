"""What is registered can be chosen by name wherever it fits, and a name stands for one thing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from probpose.analysis.calibration.recalibration.noise import fit_noise_recalibration
from probpose.errors import ConfigError
from probpose.models.backbones.registry import BACKBONES, backbone_names, build_backbone, register_backbone
from probpose.models.densities import GaussianResidual
from probpose.models.registry import FAMILIES, build_model, family_names, family_of, register_family
from probpose.models.residual_families import (
    RESIDUALS,
    ResidualFamily,
    refittable,
    register_residual,
    residual_family_of,
    residual_names,
)
from tests.calibration_cases import fake_cases
from tests.predictives import OPTIONS, PixelBackbone, images

NEW = "tests-own"


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    yield
    for entries in (RESIDUALS, FAMILIES, BACKBONES):
        entries.pop(NEW, None)


def test_each_family_takes_the_densities_that_fit() -> None:
    likelihoods = {"laplace", "gaussian", "student_t", "flow", "rle", "vae"}
    expected = {
        "regression": {*likelihoods, "l1", "l2", "rle-published"},
        "conditional": {"laplace", "gaussian", "student_t"},
        "softargmax": likelihoods,
        "mixture": {"laplace", "gaussian", "student_t"},
        "multibin": {"laplace", "gaussian"},
        "heatmap": {"student_t"},
        "field": likelihoods,
        "simcc": {"student_t"},
    }
    assert {name: set(family.residuals) for name, family in FAMILIES.items()} == expected
    assert {name: family.residuals[0] for name, family in FAMILIES.items()} == {
        **dict.fromkeys(expected, "laplace"), "regression": "rle",
        **dict.fromkeys(("heatmap", "field", "simcc"), "student_t"),
    }  # fmt: skip
    assert set(refittable()) == likelihoods


def test_fields_of_an_entry_are_true_of_its_density() -> None:
    for name, entry in RESIDUALS.items():
        native = entry.residual(1, gauge=entry.gauges[0])().native
        assert not entry.independent_axes or native.axis is not None, name
        assert not entry.closed_form or bool((native.log_z == 0).all()), name


def test_a_registered_density_is_accepted_wherever_it_fits() -> None:
    register_residual(NEW, ResidualFamily("the Gaussian again", GaussianResidual, closed_form=True))
    assert NEW in residual_names()
    assert NEW in refittable()
    fits = [name for name, family in FAMILIES.items() if NEW in family.residuals]
    assert fits == ["regression", "conditional", "softargmax", "mixture", "field"]
    for family in fits:
        model = build_model(NEW, PixelBackbone(), [1, 0], family=family, options=OPTIONS[family], input_size=(16, 16))
        assert bool(model(images()).mean.isfinite().all())
    with pytest.raises(ConfigError, match=f"family heatmap cannot use residual {NEW}: choose student_t"):
        build_model(NEW, PixelBackbone(), [1, 0], family="heatmap")
    cases = fake_cases("over-confident", persons=60)
    found, expected = (fit_noise_recalibration(cases, family) for family in (NEW, "gaussian"))
    label = torch.from_numpy(cases.keypoints)
    torch.testing.assert_close(found.apply(cases).log_prob(label), expected.apply(cases).log_prob(label))


def test_what_is_not_trained_by_likelihood_is_not_refitted() -> None:
    with pytest.raises(ConfigError, match="residual l1 cannot be refitted: choose one of rle, flow"):
        fit_noise_recalibration(fake_cases(persons=60), "l1")


def test_a_registered_family_and_backbone_are_found() -> None:
    register_family(NEW, FAMILIES["mixture"])
    register_backbone(NEW, lambda maps: PixelBackbone())
    assert NEW in family_names()
    assert NEW in backbone_names()
    model = build_model("laplace", build_backbone(NEW), [1, 0], family=NEW)
    assert model(images()).batch_shape == (1, 2)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is a residual family called 'laplace' already"):
        register_residual("laplace", residual_family_of("gaussian"))
    with pytest.raises(ConfigError, match="there is a family called 'mixture' already: choose another name"):
        register_family("mixture", family_of("multibin"))
    with pytest.raises(ConfigError, match="there is a backbone called 'small' already"):
        register_backbone("small", lambda maps: PixelBackbone())
    assert residual_family_of("laplace") is not residual_family_of("gaussian")
    with pytest.raises(ConfigError, match="unknown backbone 'tiny': choose one of small, resnet18"):
        build_backbone("tiny")


def test_a_family_that_is_gone_says_what_took_its_place() -> None:
    with pytest.raises(ConfigError, match="the family gross is gone: train with --robust"):
        family_of("gross")
