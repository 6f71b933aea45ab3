"""Networks that are made sick: training says which stage vanished, exploded or diverged, and nothing of a sound one."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.figures.curves import draw_curves
from probpose.errors import TrainingError
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.gradients import EPS, EXPLODED, Gradients
from probpose.inference.training.initial import initial_model
from probpose.inference.training.report import Report, read_log
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import open_split
from probpose.inference.training.trainer import Trainer
from probpose.models.backbones.base import Backbone
from probpose.models.keypoint_model import KeypointModel


class Changed(Backbone):
    """A backbone whose output is changed."""

    def __init__(self, body: Backbone, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.change, self.channels = body, change, body.channels

    def forward(self, image: Tensor) -> Tensor:
        return self.change(self.body(image))


class Plain(Backbone):
    """Convolutions and activations without normalisation or shortcuts.

    Args:
        channels: of the feature maps.
        depth: activations.
        activation: between the convolutions.
        gain: of the weights, relative to those that keep the variance through rectifiers.
    """

    def __init__(self, channels: int, depth: int, activation: nn.Module, gain: float = 1.0) -> None:
        super().__init__()
        self.channels = channels
        sizes = [32] * depth + [channels]
        self.net = nn.Sequential(nn.Conv2d(3, 32, 8, stride=8))
        for inputs, outputs in pairwise(sizes):
            self.net.extend([activation, nn.Conv2d(inputs, outputs, 1)])
        for layer in self.net:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.weight.data *= gain

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.net(image)
        return features


def scaled(model: KeypointModel) -> None:
    model.regressor.backbone = Changed(model.regressor.backbone, lambda maps: 1e-9 * maps)


def dead(model: KeypointModel) -> None:
    model.regressor.backbone = Changed(model.regressor.backbone, lambda maps: torch.relu(maps - 1e3))


def sigmoids(model: KeypointModel) -> None:
    model.regressor.backbone = Plain(model.regressor.backbone.channels, 30, nn.Sigmoid(), gain=0.5)


def plain(model: KeypointModel) -> None:
    model.regressor.backbone = Plain(model.regressor.backbone.channels, 8, nn.ReLU())


def steep(model: KeypointModel) -> None:
    model.regressor.backbone = Plain(model.regressor.backbone.channels, 12, nn.ReLU(), gain=2.0)


def sound(model: KeypointModel) -> None:
    """As it is."""


def trainer_of(figures: Path, folder: Path, change: Callable[[KeypointModel], None], **settings: object) -> Trainer:
    """A trainer of a small network that was changed before its first step."""
    size = {"data_root": str(figures), "batch_size": 4, "input_height": 32, "input_width": 32, "warmup": 0}
    config: TrainConfig = default_config("synthetic", **(size | {"epochs": 2, "residual": "laplace"} | settings))
    train, selection = open_split(config, "train").split_by_image(config.data.selection, config.seed)
    run = RunFolder(folder / "run")
    run.create(config, train.skeleton)
    model, _ = initial_model(config, train)
    change(model)
    return Trainer(config, run, model, train, selection)


def told(trainer: Trainer) -> str:
    """What is printed while it trains."""
    stream = io.StringIO()
    with Report(trainer.recipe.epochs, trainer.steps_per_epoch, stream=stream) as report:
        trainer.fit(report)
    return stream.getvalue()


TOO_FAST = {"lr": 0.1, "clip_norm": 0.0}
SICK = {
    "output times 1e-9": (scaled, {}, {"vanished"}, "for 100% of the weights of backbone"),
    "dead units": (dead, {}, {"vanished"}, "root mean square at most 0"),
    "thirty sigmoids": (sigmoids, {}, {"vanished"}, "of the weights of backbone"),
    "weights twice too large": (steep, {}, {"diverged"}, "nats a keypoint better than the network"),
    "rate times 100": (sound, TOO_FAST, {"diverged"}, "Lower --lr, raise --warmup or set --clip-norm"),
    "rate times 100, clipped": (sound, {"lr": 0.1}, {"diverged"}, "Lower --lr"),
    "rate times 100, nothing normalised": (plain, TOO_FAST, {"diverged"}, "Lower --lr"),
}
SOUND = {
    "laplace": (sound, {}),
    "rle": (sound, {"residual": "rle"}),
    "one scale a joint": (sound, {"residual": "l2"}),
    "mixture": (sound, {"family": "mixture"}),
    "field": (sound, {"family": "field", "residual": "student_t"}),
    "nothing normalised": (plain, {}),
}


@pytest.mark.parametrize("name", SICK)
def test_a_sick_network_is_explained_once_and_logged(name: str, figures: Path, tmp_path: Path) -> None:
    change, settings, kinds, words = SICK[name]
    trainer = trainer_of(figures, tmp_path, change, **settings)
    text = told(trainer)
    troubles = [record["troubles"] for record in read_log(trainer.folder.log)]
    assert kinds <= set().union(*troubles)
    assert words in text
    for kind in kinds:
        first = next(record[kind] for record in troubles if kind in record)
        assert text.count(first) == 1
    assert text.count("warning: epoch") == len(set().union(*troubles))


def test_a_network_whose_sigma_collapses_after_a_sound_epoch_is_explained(figures: Path, tmp_path: Path) -> None:
    """The gradient of a Laplace density's location is that of |x - mu| / sigma, that of its log sigma in proportion."""
    trainer = trainer_of(figures, tmp_path, sound)

    def collapse() -> None:
        trainer.model.regressor.get_parameter("scale.linear.bias").data -= math.log(10 * EXPLODED)

    stream = io.StringIO()
    with Report(2, trainer.steps_per_epoch, stream=stream) as report:
        trainer.fit(report, on_epoch=collapse)
    first, second = (record["troubles"] for record in read_log(trainer.folder.log))
    assert first == {}
    assert second["exploded"] in stream.getvalue()
    for stage in ("backbone", "loc", "scale"):
        assert f"{stage} (norm " in second["exploded"]


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_said_of_a_sound_network(name: str, figures: Path, tmp_path: Path) -> None:
    change, settings = SOUND[name]
    trainer = trainer_of(figures, tmp_path, change, **settings)
    assert "warning" not in told(trainer)
    assert [record["troubles"] for record in read_log(trainer.folder.log)] == [{}, {}]


def test_a_residual_density_that_degenerates_ends_training_in_words(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(figures, tmp_path, sound)
    monkeypatch.setattr(trainer, "_measure", lambda *_: torch.linalg.cholesky(torch.zeros(2, 2)))
    with pytest.raises(TrainingError, match=r"in epoch 1: their scale or R has degenerated\. Lower --lr"):
        told(trainer)


def test_curves_mark_the_epochs_that_were_sick(figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(figures, tmp_path, dead, epochs=1)
    told(trainer)
    drawn: list[LiteralFigure] = []
    monkeypatch.setattr(LiteralFigure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    draw_curves(trainer.folder.log, tmp_path / "curves.png")
    (marks,) = [line for line in drawn[0].axes[3].lines if line.get_label() == "vanished"]
    assert np.array_equal(marks.get_xdata(), [1])


def network() -> tuple[nn.ModuleDict, Gradients]:
    module = nn.ModuleDict({"backbone": nn.Linear(4, 25), "loc": nn.Linear(3, 1), "residual": nn.Linear(2, 1)})
    names = [name for name, _ in module.named_parameters()]
    return module, Gradients(module, {stage: [n for n in names if n.startswith(stage)] for stage in module})


def test_norms_are_those_of_the_gradients_and_tell_none_from_not_finite() -> None:
    module, gradients = network()
    module["backbone"].weight.grad = torch.full((25, 4), 0.3)
    module["backbone"].bias.grad = torch.full((25,), 0.8)
    module["loc"].weight.grad = torch.tensor([[1.0, float("nan"), 0.0]])
    norms = gradients.norms()
    assert norms[:3] == pytest.approx([3.0, 4.0, np.inf])
    assert np.isnan(norms[3:]).all()
    stages = {stage: float(norm) for stage, norm in gradients.by_stage(norms).items()}
    assert stages == {"backbone": pytest.approx(5.0), "loc": np.inf, "residual": 0.0}


def test_a_stage_vanishes_where_adam_hardly_moves_its_weights() -> None:
    """100 weights of the backbone: their root mean square is a tenth of their norm. Biases and R do not count."""
    _, gradients = network()
    steps = np.tile([10 * EPS, 1.0, 1.0, 1.0, 0.0, 0.0], (5, 1))
    assert gradients.troubles(1.1 * steps, [], 0.0) == {}
    text = gradients.troubles(0.9 * steps, [], 0.0)["vanished"]
    assert "100% of the weights of backbone (root mean square at most 9e-09; the first is backbone.weight)" in text
    assert "loc" not in text
    assert "residual" not in text
    one = np.where(np.arange(5)[:, None] == 3, 1.0, 0.9 * steps)  # in one step of five there is a gradient
    assert gradients.troubles(one, [], 0.0) == {}


def test_a_stage_explodes_where_its_norm_is_far_over_that_of_earlier_epochs() -> None:
    """The median of earlier epochs is 2; the first epoch has nothing to be compared with."""
    _, gradients = network()
    past = [{"backbone": norm, "loc": 1.0} for norm in (1.0, 2.0, 50.0)]

    def after(times: float, past: list[dict[str, float]]) -> dict[str, str]:
        norms = np.ones((8, 6))
        norms[:, 1] = 0.0  # the stage's bias
        norms[:2, 0], norms[2:, 0] = 2.0, (2 * times - 0.5) / 0.75
        return gradients.troubles(norms, past, 0.0)

    assert after(0.9 * EXPLODED, past) == {}
    assert after(1.1 * EXPLODED, []) == {}
    text = after(1.1 * EXPLODED, past)["exploded"]
    assert "for backbone (norm 2.2e+02, in the median step 2.9e+02; before, it was 2). Lower --lr" in text
