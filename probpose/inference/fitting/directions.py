"""Learn a direction of persons from their crops: any backbone, and a family of densities on the circle.

Maximum likelihood, or the family's own loss, by Adam with cosine decay. Crops are loaded and varied as in every other
training; the label of a crop that is turned or mirrored is the direction that is seen in it.
"""

from __future__ import annotations

__all__ = ["DirectionModel", "fit_direction"]

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from probpose.arrays import Index
from probpose.data.crops import Augmentation
from probpose.data.directions import Direction
from probpose.data.loading import Batch, CropDataset, loader
from probpose.data.persons import Persons
from probpose.errors import ConfigError, DataError, TrainingError
from probpose.models.backbones.base import IMAGE_MEAN, IMAGE_STD, Backbone
from probpose.models.backbones.registry import build_backbone
from probpose.models.circular.contract import Circular
from probpose.models.circular.families import Family
from probpose.models.heads.base import pooled
from probpose.progress import Counting, silent

AT_ONCE = 128
"""Crops that are judged together."""
FASTER = 10.0
"""Rate of a family's own parameters, which every crop informs, relative to the network's."""


class DirectionModel(nn.Module):
    """Crops (N, 3, H, W), uint8 RGB -> densities of a direction.

    Args:
        direction: what is predicted.
        family: what the network's numbers are read as.
        backbone: the image network.
        side: of the crops, pixels.
    """

    def __init__(self, direction: Direction, family: Family, backbone: Backbone, side: int) -> None:
        super().__init__()
        self.direction, self.family, self.side = direction, family, side
        self.backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.linear = nn.Linear(self.backbone.channels, family.outputs)
        nn.init.normal_(self.linear.weight, std=1e-2)
        with torch.no_grad():
            self.linear.bias.copy_(family.start())
        self.mean: Tensor
        self.std: Tensor
        for name, values in (("mean", IMAGE_MEAN), ("std", IMAGE_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def raw(self, image: Tensor) -> Tensor:
        """The network's numbers (N, outputs)."""
        normalised = (image.float() / 255 - self.mean) / self.std
        raw: Tensor = self.linear(pooled(self.backbone(normalised.contiguous(memory_format=torch.channels_last))))
        return raw

    def forward(self, image: Tensor) -> Circular:
        density: Circular = self.family(self.raw(image))
        return density

    @torch.no_grad()
    def predict(
        self, persons: Persons, *, turned: float = 0.0, seed: int = 0
    ) -> Iterator[tuple[Index, Circular, Tensor]]:
        """Rows (n,) of persons, their densities and labels (n,), batch by batch.

        Args:
            persons: with labels of the joints (`Direction.known`).
            turned: the greatest angle in degrees by which each crop is turned at random, with its label.
            seed: of these.

        Raises:
            DataError: an image cannot be read.
        """
        self.eval()
        varied = Augmentation(flip=0, scale=(1, 1), shift=0, rotation=turned, colour=0)
        crops = CropDataset(persons, (self.side, self.side), augmentation=varied, seed=seed, cache=False)
        for batch in loader(crops, AT_ONCE):
            yield _readable(batch).person.numpy(), self(batch.image), labels_of(batch, self.direction, persons)


def fit_direction(
    persons: Persons,
    direction: Direction,
    family: Family,
    *,
    backbone: str | Backbone = "small",
    side: int = 64,
    epochs: int = 12,
    batch_size: int = 32,
    lr: float = 2e-3,
    turned: float = 0.0,
    seed: int = 0,
    counting: Counting = silent,
) -> DirectionModel:
    """Train a network to say a direction.

    Args:
        persons: with labels of the joints (`Direction.known`).
        direction: what is learned.
        family: of densities; its own parameters are trained too.
        backbone: name of the image network; or a network to start at, such as `model.regressor.backbone` of a finished
            run, which stays as it is.
        side: of the crops, pixels.
        epochs: passes over the persons.
        batch_size: crops a step.
        lr: learning rate at the start.
        turned: the greatest angle in degrees by which crops are turned at random.
        seed: of weights, order and variation of crops.
        counting: shows how far it is, in epochs.

    Raises:
        DataError: fewer persons than two, or an image that cannot be read.
        ConfigError: no epoch, or an unknown backbone.
        TrainingError: the loss is not finite.
    """
    if len(persons) < 2 or epochs < 1:
        raise (DataError if epochs >= 1 else ConfigError)(f"{len(persons)} persons, {epochs} epochs: nothing to train.")
    batch_size = min(batch_size, len(persons))
    crops = CropDataset(persons, (side, side), augmentation=Augmentation(rotation=turned), seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_backbone(backbone) if isinstance(backbone, str) else copy.deepcopy(backbone)
        model = DirectionModel(direction, family, network, side)
        own = [parameter for parameter in family.parameters() if parameter.requires_grad]
        others = [*model.backbone.parameters(), *model.linear.parameters()]
        optimiser = torch.optim.Adam([{"params": others, "lr": lr}, {"params": own, "lr": FASTER * lr}])
        steps = epochs * (len(persons) // batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        model.train()
        with counting("epochs", epochs) as move:
            for epoch in range(epochs):
                for batch in loader(crops, batch_size, shuffle=True, epoch=epoch, drop_last=True):
                    _step(model, _readable(batch), persons, optimiser)
                    schedule.step()
                move(epoch + 1)
    model.eval()
    return model


def _step(model: DirectionModel, batch: Batch, persons: Persons, optimiser: torch.optim.Optimizer) -> None:
    loss = model.family.loss(model.raw(batch.image), labels_of(batch, model.direction, persons)).mean()
    if not bool(torch.isfinite(loss)):
        raise TrainingError(f"the loss became {float(loss)}: lower the learning rate.")
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimiser.step()


def labels_of(batch: Batch, direction: Direction, persons: Persons) -> Tensor:
    """Directions (N,) that are seen in square crops."""
    return direction.angles(batch.keypoints.double(), persons.skeleton, batch.flipped)


def _readable(batch: Batch) -> Batch:
    if batch.unreadable:
        raise DataError(f"{batch.unreadable[0]}: leave this person out, or mend the image.")
    return batch
