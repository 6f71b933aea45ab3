"""The model that training starts from: built, told what it is to maximise, and started at the targets."""

from __future__ import annotations

__all__ = ["check_model", "for_training", "initial_model", "training_targets"]

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from probpose.data.persons import Persons, target_points
from probpose.errors import ConfigError
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.runs import untrained_model
from probpose.models.backbones.registry import build_backbone
from probpose.models.backbones.weights import load_backbone_weights
from probpose.models.expected_metric import OKS, PCK, Exact, Expectation, Metric, WithExpected
from probpose.models.heads.base import Targets
from probpose.models.heads.cell_labels import CellLabels
from probpose.models.keypoint_model import KeypointModel
from probpose.models.objectives import WeightPrior
from probpose.models.robust import Robust
from probpose.skeleton import Skeleton

PRETRAINED = "pretrained"
"""In place of a file of weights: those that the hub of a backbone has."""


@torch.no_grad()
def check_model(config: TrainConfig) -> None:
    """Refuse settings of a model that do not go together, before anything is read or written.

    A small model of the family and the residual is built, and its density of an empty crop looked at.

    Raises:
        ConfigError: with the setting that does not go with the others.
    """
    model = untrained_model(config.changed(backbone="small"), Skeleton.from_names(("left", "right"))).eval()
    chosen = config.model
    if chosen.expected_by == "exact" or not (chosen.oks_weight or chosen.pck_weight):
        return
    crop = torch.zeros(1, 3, *config.input_size, dtype=torch.uint8)
    density = model.predictive(model.heads(crop).condition(torch.ones(1, 2)))  # as training knows what is visible
    serving = ["exact", *(name for name, estimate in _drawn().items() if estimate.serves(density))]
    if chosen.expected_by not in serving:
        raise ConfigError(
            f"--expected-by {chosen.expected_by} does not fit the density of the family {chosen.family}: choose "
            f"{' or '.join(serving)}."
        )


def initial_model(config: TrainConfig, train: Persons) -> tuple[KeypointModel, list[str]]:
    """The model that training starts from, and what there is to say of its weights."""
    torch.manual_seed(config.seed)
    model = untrained_model(config, train.skeleton)
    notes = []
    if (weights := config.model.weights) == PRETRAINED:
        hub = build_backbone(config.model.backbone, pretrained=True)
        model.regressor.backbone.load_state_dict(hub.state_dict())
        notes.append(f"{config.model.backbone}: with the weights of its hub")
    elif weights is not None:
        loaded = load_backbone_weights(model.regressor.backbone, Path(weights))
        notes.append(f"{weights}: {loaded.loaded} tensors, missing {_listed(loaded.missing)}")
        notes.append(f"  not used: {_listed(loaded.unused)}")
    model.start_at(training_targets(train, config.input_size))
    return for_training(model, config, train), notes


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:6]) or "none"
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


def for_training(model: KeypointModel, config: TrainConfig, train: Persons) -> KeypointModel:
    """The model with what only training needs: blurred labels, the metric's term, label errors, a prior on weights."""
    chosen = config.model
    if run := chosen.options.get("label_density"):
        from probpose.experimental.learned_blur import learned_blur

        model.objective = CellLabels(learned_blur(Path(run), train))
    height, width = config.input_size
    metrics: tuple[tuple[float, Metric], ...] = (
        (chosen.oks_weight, OKS.of_crop(train.skeleton.oks_sigmas, width / height)),
        (chosen.pck_weight, PCK.of_crop(len(train.skeleton), width / height)),
    )
    for weight, metric in metrics:
        if weight:
            model.objective = WithExpected(model.objective, weight, metric, _expectation(chosen.expected_by))
    if chosen.robust:
        model.objective = Robust(model.objective, train.skeleton.flip_permutation, sides=chosen.exchanged_sides)
    if chosen.prior is not None:
        model.prior = WeightPrior(chosen.prior, chosen.prior_scale, max(1, int(train.labelled.sum())))
    return model


def _expectation(name: str) -> Expectation:
    """How expected metrics are estimated."""
    return Exact() if name == "exact" else _drawn()[name]


def _drawn() -> Mapping[str, Expectation]:
    """Estimates through draws, by name."""
    from probpose.experimental.gradient_estimators import ESTIMATORS

    return {name: make() for name, make in ESTIMATORS.items()}


def training_targets(persons: Persons, input_size: tuple[int, int]) -> Targets:
    """Where the labels lie in the un-augmented training crops, network units."""
    points = np.nan_to_num(target_points(persons, input_size))
    return Targets.of(torch.from_numpy(points).float(), torch.from_numpy(persons.labelled))
