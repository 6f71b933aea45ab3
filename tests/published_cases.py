"""State dicts in the layouts of the published RLE code and of mmpose, and what these networks compute: by description.

Li et al., ICCV 2021, on ResNets (He et al., CVPR 2016) with torchvision's names; written with `torch.nn.functional`
alone, apart from what it is compared with.
"""

from __future__ import annotations

__all__ = ["DEPTHS", "flow_log_prob", "mmpose_outputs", "mmpose_state", "rle_outputs", "rle_state"]

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

DEPTHS = {"resnet18": (False, (2, 2, 2, 2)), "resnet50": (True, (3, 4, 6, 3))}
"""Whether blocks are bottlenecks, and how many a stage has."""

State = dict[str, Tensor]


def rle_state(backbone: str, joints: int) -> State:
    """Random weights by the names of the published RLE code."""
    width = 2048 if DEPTHS[backbone][0] else 512
    heads = {f"fc_{name}.linear.{end}": value for name in ("coord", "sigma") for end, value in
             _linear(width, 2 * joints).items()}  # fmt: skip
    return _prefixed("preact.", _resnet(backbone)) | heads | _prefixed("flow.", _flow())


def mmpose_state(backbone: str, joints: int) -> State:
    """Random weights by the names of mmpose."""
    width = 2048 if DEPTHS[backbone][0] else 512
    flow = _flow() | {"loc": torch.zeros(2), "cov": torch.eye(2)}
    head = _prefixed("fc.", _linear(width, 4 * joints)) | _prefixed("loss_module.flow_model.", flow)
    return _prefixed("backbone.", _resnet(backbone)) | _prefixed("head.", head)


def rle_outputs(state: State, backbone: str, image: Tensor) -> tuple[Tensor, Tensor]:
    """mu as a fraction of the crop minus 1/2, and sigma, (N, K, 2) each, for RGB images (N, 3, H, W), 0 to 255."""
    mean = torch.tensor([0.406, 0.457, 0.480]).view(3, 1, 1)
    f = _features(state, "preact.", backbone, image / 255 - mean)
    weight, bias = state["fc_coord.linear.weight"], state["fc_coord.linear.bias"]
    coordinates = f @ weight.T / f.norm(dim=1, keepdim=True) + bias
    raw = F.linear(f, state["fc_sigma.linear.weight"], state["fc_sigma.linear.bias"])
    return coordinates.unflatten(1, (-1, 2)), raw.unflatten(1, (-1, 2)).sigmoid()


def mmpose_outputs(state: State, backbone: str, image: Tensor) -> tuple[Tensor, Tensor]:
    """mu as a fraction of the crop, and sigma; see `rle_outputs`."""
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    f = _features(state, "backbone.", backbone, (image - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    out = F.linear(f, state["head.fc.weight"], state["head.fc.bias"]).unflatten(1, (-1, 4))
    return out[..., :2], out[..., 2:].sigmoid()


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def _linear(inputs: int, outputs: int, scale: float = 0.03) -> State:
    return {"weight": scale * torch.randn(outputs, inputs), "bias": scale * torch.randn(outputs)}


def _norm(channels: int) -> State:
    return {"weight": 0.5 + torch.rand(channels), "bias": 0.1 * torch.randn(channels),
            "running_mean": 0.1 * torch.randn(channels), "running_var": 0.5 + torch.rand(channels),
            "num_batches_tracked": torch.tensor(7)}  # fmt: skip


def _conv(inputs: int, outputs: int, size: int) -> State:
    return {"weight": torch.randn(outputs, inputs, size, size) * (inputs * size * size) ** -0.5}


def _shapes(bottleneck: bool, inputs: int, planes: int) -> list[tuple[int, int, int]]:
    """Inputs, outputs and kernel of a block's convolutions."""
    if bottleneck:
        return [(inputs, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)]
    return [(inputs, planes, 3), (planes, planes, 3)]


@cache
def _resnet(backbone: str) -> State:
    """Random weights, made once."""
    bottleneck, depths = DEPTHS[backbone]
    state = _prefixed("conv1.", _conv(3, 64, 7)) | _prefixed("bn1.", _norm(64))
    inputs = 64
    for stage, depth in enumerate(depths):
        planes = 64 * 2**stage
        outputs = planes * (4 if bottleneck else 1)
        for block in range(depth):
            place = f"layer{stage + 1}.{block}."
            for i, shape in enumerate(_shapes(bottleneck, inputs, planes)):
                state |= _prefixed(f"{place}conv{i + 1}.", _conv(*shape))
                state |= _prefixed(f"{place}bn{i + 1}.", _norm(shape[1]))
            if block == 0 and inputs != outputs:
                state |= _prefixed(f"{place}downsample.0.", _conv(inputs, outputs, 1))
                state |= _prefixed(f"{place}downsample.1.", _norm(outputs))
            inputs = outputs
    return state


def _features(state: State, prefix: str, backbone: str, x: Tensor) -> Tensor:
    """Pooled features (N, C)."""
    bottleneck, depths = DEPTHS[backbone]

    def conv(x: Tensor, place: str, i: str, stride: int = 1) -> Tensor:
        weight = state[f"{place}conv{i}.weight" if i.isdigit() else f"{place}{i}0.weight"]
        norm = f"{place}bn{i}." if i.isdigit() else f"{place}{i}1."
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        moments = state[f"{norm}running_mean"], state[f"{norm}running_var"]
        return F.batch_norm(x, *moments, state[f"{norm}weight"], state[f"{norm}bias"], eps=1e-5)

    x = F.max_pool2d(F.relu(conv(x, prefix, "1", 2)), 3, 2, 1)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            place = f"{prefix}layer{stage + 1}.{block}."
            stride = 2 if stage and not block else 1
            strides = (1, stride, 1) if bottleneck else (stride, 1)
            y = x
            for i, step in enumerate(strides):
                y = conv(y, place, str(i + 1), step)
                y = F.relu(y) if i + 1 < len(strides) else y
            shortcut = f"{place}downsample.0.weight" in state
            x = F.relu(y + (conv(x, place, "downsample.", stride) if shortcut else x))
    return x.mean((2, 3))


def _flow() -> State:
    state = {"mask": torch.tensor([[0.0, 1.0], [1.0, 0.0]] * 3)}
    sizes = (2, 64, 64, 2)
    for net in "st":
        for i in range(6):
            for layer in range(3):
                state |= _prefixed(f"{net}.{i}.{2 * layer}.", _linear(sizes[layer], sizes[layer + 1], 0.3))
    return state


def flow_log_prob(state: State, prefix: str, e: Tensor) -> Tensor:
    """Log density (n,) of the flow at e (n, 2)."""
    log_det, z = torch.zeros(len(e), dtype=e.dtype), e
    for i in reversed(range(6)):
        mask = state[f"{prefix}mask"][i].to(e)

        def net(name: str, x: Tensor, i: int = i) -> Tensor:
            for layer in (0, 2, 4):
                place = f"{prefix}{name}.{i}.{layer}."
                x = F.linear(x, state[f"{place}weight"].to(x), state[f"{place}bias"].to(x))
                x = F.leaky_relu(x) if layer < 4 else x
            return x

        s, t = net("s", mask * z).tanh() * (1 - mask), net("t", mask * z) * (1 - mask)
        z = (1 - mask) * (z - t) * (-s).exp() + mask * z
        log_det = log_det - s.sum(1)
    return log_det - z.square().sum(1) / 2 - math.log(2 * math.pi)
