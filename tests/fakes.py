"""Models whose truth is known, and tables of persons to try them on."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from probpose.data.persons import Persons
from probpose.models.densities import GaussianResidual, ResidualDensity
from probpose.models.heads.base import Regressor
from probpose.models.heads.location_scale import LocationScaleHeads
from probpose.models.keypoint_model import KeypointModel
from probpose.skeleton import COCO, Skeleton

Array = npt.NDArray[np.float64]


class ConstantRegressor(Regressor):
    """Says the same of every image: loc (K, 2), scale (K, 2, 2) in network units, presence logits (K,)."""

    loc_said: Tensor
    scale_said: Tensor
    presence_said: Tensor

    def __init__(self, loc: Array, scale: Array, presence: Array) -> None:
        nn.Module.__init__(self)
        self.joints = len(loc)
        for name, value in (("loc", loc), ("scale", scale), ("presence", presence)):
            self.register_buffer(f"{name}_said", torch.as_tensor(value, dtype=torch.float32))

    def heads(self, maps: Tensor) -> LocationScaleHeads:
        said = (self.loc_said, self.scale_said, self.presence_said)
        return LocationScaleHeads(*(value.expand(len(maps), *value.shape) for value in said))

    def forward(self, image: Tensor) -> LocationScaleHeads:
        return self.heads(image)


class LightRegressor(ConstantRegressor):
    """As `ConstantRegressor`, with the crop's centre of light added to loc."""

    def forward(self, image: Tensor) -> LocationScaleHeads:
        heads = super().forward(image)
        light = image.double().sum(1)
        weight = light / light.sum((1, 2), keepdim=True)
        height, width = image.shape[2:]
        x = (weight.sum(1) * ((torch.arange(width) + 0.5) / width - 0.5)).sum(-1)
        y = (weight.sum(2) * ((torch.arange(height) + 0.5) / height - 0.5)).sum(-1)
        return replace(heads, loc=heads.loc + torch.stack([x, y], -1).float().unsqueeze(1))


def fake_model(
    regressor: Regressor, residual: ResidualDensity | None = None, skeleton: Skeleton = COCO
) -> KeypointModel:
    """A model in eval mode around a fake regressor."""
    return KeypointModel(regressor, residual or GaussianResidual(), skeleton.flip_permutation).eval()


def spread_out(joints: int = 17, seed: int = 0) -> tuple[Array, Array, Array]:
    """Different loc, lower triangular scale and presence logits for each joint."""
    rng = np.random.default_rng(seed)
    loc = rng.uniform(-0.3, 0.3, (joints, 2))
    scale = np.zeros((joints, 2, 2))
    scale[:, 0, 0], scale[:, 1, 1] = rng.uniform(0.02, 0.08, (2, joints))
    scale[:, 1, 0] = rng.uniform(-0.05, 0.05, joints)
    return loc, scale, rng.normal(size=joints)


def table(folder: Path, count: int, *, skeleton: Skeleton = COCO, files: int = 1) -> Persons:
    """Persons with boxes of many shapes in black images, every joint labelled in the middle of the box."""
    rng = np.random.default_rng(1)
    for i in range(files):
        assert cv2.imwrite(str(folder / f"{i}.png"), np.zeros((40, 50, 3), dtype=np.uint8))
    box = np.column_stack([rng.uniform(-5, 20, (count, 2)), rng.uniform(10, 60, (count, 2))])
    image = np.fromiter(itertools.islice(itertools.cycle(range(files)), count), dtype=np.int64)
    middle = box[:, :2] + box[:, 2:] / 2 - 0.5
    return Persons(
        name="fakes",
        skeleton=skeleton,
        image_dir=folder,
        annotations=None,
        image_id=image,
        file_name=tuple(f"{i}.png" for i in image),
        annotation_id=np.arange(count, dtype=np.int64) + 100,
        box=box,
        area=box[:, 2] * box[:, 3],
        keypoints=np.repeat(middle[:, None], len(skeleton), axis=1),
        visibility=np.full((count, len(skeleton)), 2, dtype=np.int64),
    )
