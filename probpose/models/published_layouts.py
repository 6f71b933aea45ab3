"""Checkpoints of other codes as keypoint models: the published RLE code's, and those of mmpose's RLE models.

Li et al., "Human Pose Regression with Residual Log-likelihood Estimation", ICCV 2021, predict mu and sigma from the
pooled features f of a ResNet, sigma through a sigmoid, and train them beside a flow G of (mu - x) / sigma:

| | `rle` | `mmpose` |
| --- | --- | --- |
| mu | W f / |f| + b, a fraction of the crop minus 1/2 | W f + b, a fraction of the crop |
| input | RGB / 255 minus a mean | RGB / 255 by ImageNet's mean and deviation |
| names | `preact`, `fc_{coord,sigma}.linear`, `flow` | `backbone`, `head.fc`, `head.loss_module.flow_model` |

Both divide a coordinate p of the crop, 0 at the centre of its first pixel, by the crop's size. Here that centre is at
u = 0.5 / W - 1/2, so that the bias of mu gets half a pixel more. R is the flow mirrored, in no gauge
(`PublishedResidual`). Neither code predicts whether a joint is labelled: the probability is 1/2.
"""

from __future__ import annotations

__all__ = ["LAYOUTS", "RESIDUAL", "Published", "fill", "sift"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from probpose.errors import CheckpointError, ConfigError
from probpose.models.backbones.registry import build_backbone
from probpose.models.densities.published import from_published
from probpose.models.keypoint_model import KeypointModel

RESIDUAL = "rle-published"
COUPLINGS, WIDTH = 6, 64
_LINEAR = ("weight", "bias")
_COUNTER = "num_batches_tracked"
"""Of batch normalisation; says nothing, and old files do not have it."""

_GUESSED = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))
_SHOWN = 4

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How one code names its weights.

    Attributes:
        what: whose it is, for messages.
        backbone: before the names of the backbone's weights.
        flow: before those of the flow's.
        heads: linear layers, without `.weight` and `.bias`: one that gives mu, and one that gives sigma or both.
        older: what earlier versions write in place of the beginning of a name.
        unused: names that may be there and say nothing.
        options: of the family `regression`.
        origin: the fraction of the crop that its middle is at, in the code.
    """

    what: str
    backbone: str
    flow: str
    heads: tuple[str, ...]
    older: Mapping[str, str]
    unused: tuple[str, ...]
    options: Mapping[str, Any]
    origin: float

    @property
    def per_joint(self) -> int:
        """Numbers that each linear layer gives a joint."""
        return 4 // len(self.heads)


LAYOUTS: Mapping[str, Layout] = {
    "rle": Layout(
        "the published RLE code", "preact.", "flow.", ("fc_coord.linear", "fc_sigma.linear"), {}, (), {"layout": "rle"},
        origin=0.0,
    ),
    "mmpose": Layout(
        "an RLE model of mmpose", "backbone.", "head.loss_module.flow_model.", ("head.fc",),
        {"keypoint_head.loss.": "head.loss_module.", "head.loss.": "head.loss_module.", "keypoint_head.": "head."},
        ("head.loss_module.flow_model.loc", "head.loss_module.flow_model.cov"), {}, origin=0.5,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """What a checkpoint holds.

    Attributes:
        layout: of `LAYOUTS`.
        backbone: name of the image network.
        joints: K.
        weights: by the names of the layout.
    """

    layout: Layout
    backbone: str
    joints: int
    weights: Weights


def sift(weights: Weights, layout: str, backbone: str | None = None) -> Published:
    """The weights of a checkpoint: all of them there, and no others.

    Args:
        weights: by name.
        layout: a key of `LAYOUTS`.
        backbone: name of the image network; by default the ResNet whose names they are.

    Raises:
        ConfigError: an unknown layout or backbone.
        CheckpointError: names are missing or not known, or shapes do not fit; the first are named.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"there is no layout {layout!r}: choose {' or '.join(LAYOUTS)}.")
    form = LAYOUTS[layout]
    found = {_renamed(name, form.older): value for name, value in weights.items()}
    found = {name: value for name, value in found.items() if name not in form.unused and not name.endswith(_COUNTER)}
    backbone = backbone or _guess(part(found, form.backbone)) or _GUESSED[2]
    joints = len(found.get(f"{form.heads[0]}.bias", ())) // form.per_joint
    expected = _shapes(form, backbone, joints)
    missing, other = [n for n in expected if n not in found], [n for n in found if n not in expected]
    if missing or other:
        raise CheckpointError(
            f"the file is not of {form.what} on {backbone}: {_listed('missing', missing)}{_listed('not known', other)}"
            f"expected {form.backbone}* as in torchvision's {backbone}, {', '.join(f'{h}.*' for h in form.heads)}, "
            f"{form.flow}mask and {form.flow}{{s,t}}.I.J.*. Name another layout (--from) or --backbone."
        )
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise CheckpointError(
                f"{name} has shape {tuple(found[name].shape)}, {form.what} on {backbone} with {joints} joints has "
                f"{tuple(shape)}: name another --backbone, or save the weights again."
            )
    return Published(form, backbone, joints, found)


def fill(model: KeypointModel, published: Published, input_size: tuple[int, int]) -> None:
    """Load the weights into a model of family `regression` with the layout's options and `RESIDUAL`.

    Args:
        model: with the backbone and joints of `published`.
        published: of `sift`.
        input_size: height and width of the crop, pixels, that the network was trained on.

    Raises:
        CheckpointError: the flow moves the axes in another order than that of the published codes.
    """
    form, weights, joints = published.layout, published.weights, published.joints
    heads = [
        {end: weights[f"{head}.{end}"].unflatten(0, (joints, -1)) for end in ("weight", "bias")} for head in form.heads
    ]
    loc = {end: value[:, :2].flatten(0, 1) for end, value in heads[0].items()}
    scale = {end: value[:, -2:].flatten(0, 1) for end, value in heads[-1].items()}
    height, width = input_size
    half_pixel = torch.tensor([0.5 / width, 0.5 / height]) - form.origin
    loc["bias"] = loc["bias"] + half_pixel.repeat(joints)
    try:
        flow = from_published(part(weights, form.flow))
    except ValueError as error:
        raise CheckpointError(f"{form.flow}mask: {error}") from error
    regressor: Any = model.regressor
    regressor.backbone.load_state_dict(part(weights, form.backbone), strict=False)  # strict but for the counters
    regressor.loc.load_state_dict(loc)
    regressor.scale.linear.load_state_dict(scale)
    model.residual.flow.load_state_dict(flow.state_dict())  # type: ignore[union-attr]
    with torch.no_grad():
        regressor.presence.weight.zero_()
        regressor.presence.bias.zero_()


def part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _renamed(name: str, older: Mapping[str, str]) -> str:
    return next((new + name.removeprefix(old) for old, new in older.items() if name.startswith(old)), name)


def _guess(state: Weights) -> str | None:
    """The ResNet that has weights of these names."""
    return next((name for name in _GUESSED if _backbone_shapes(name).keys() == state.keys()), None)


@cache
def _backbone_shapes(name: str) -> Mapping[str, torch.Size]:
    with torch.device("meta"):
        state = build_backbone(name).state_dict()
    return {key: value.shape for key, value in state.items() if not key.endswith(_COUNTER)}


def _shapes(form: Layout, backbone: str, joints: int) -> dict[str, torch.Size]:
    """Names and shapes of all weights of a layout."""
    own = _backbone_shapes(backbone)
    with torch.device("meta"):
        channels = build_backbone(backbone).channels
    rows = form.per_joint * joints
    heads = {f"{head}.{end}": (rows, channels)[: 1 + (end == "weight")] for head in form.heads for end in _LINEAR}
    nets = [(net, i, layer) for net in "st" for i in range(COUPLINGS) for layer in range(3)]
    sizes = (2, WIDTH, WIDTH, 2)
    flow: dict[str, tuple[int, ...]] = {"mask": (COUPLINGS, 2)}
    for net, i, j in nets:
        flow |= {f"{net}.{i}.{2 * j}.weight": (sizes[j + 1], sizes[j]), f"{net}.{i}.{2 * j}.bias": (sizes[j + 1],)}
    named = {form.backbone + name: shape for name, shape in own.items()}
    return named | {name: torch.Size(shape) for name, shape in heads.items()} | {
        form.flow + name: torch.Size(shape) for name, shape in flow.items()
    }  # fmt: skip


def _listed(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what} {', '.join(names[:_SHOWN])}{more}; " if names else ""
