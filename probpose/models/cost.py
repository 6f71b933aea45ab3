"""What regressors cost, parameters and floating-point operations of one crop, and all that can be trained."""

from __future__ import annotations

__all__ = ["Cost", "Entry", "catalogue", "cost_of"]

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from probpose.models.backbones.registry import BACKBONES, build_backbone
from probpose.models.ensemble import Predictor
from probpose.models.registry import FAMILIES, build_model
from probpose.models.residual_families import RESIDUALS


@dataclass(frozen=True)
class Cost:
    """Size and work of a model.

    Attributes:
        parameters: learnable numbers, of the residual density too.
        flops: floating-point operations of convolutions and matrix products for one crop, a multiply-add counted as
            two; the residual density needs none at test time.
    """

    parameters: int
    flops: int


@torch.no_grad()
def cost_of(model: Predictor, input_size: tuple[int, int]) -> Cost:
    """The cost of a model in evaluation mode on crops of height x width pixels."""
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter:
        model.heads(torch.zeros(1, 3, *input_size, dtype=torch.uint8, device=device))
    return Cost(sum(p.numel() for p in model.parameters()), counter.get_total_flops())


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        name: for `--family`, `--residual` or `--backbone`.
        summary: what it is.
        parameters: learnable numbers of the whole model.
        flops: of one crop, a multiply-add counted as two.
    """

    name: str
    summary: str
    parameters: int
    flops: int


def catalogue(backbone: str, input_size: tuple[int, int], joints: int) -> dict[str, list[Entry]]:
    """Families and residual densities on a backbone, and all backbones under `regression` with a Laplace residual.

    Args:
        backbone: a key of `BACKBONES`.
        input_size: height and width of the crops, pixels.
        joints: K.
    """

    def entry(name: str, summary: str, family: str, residual: str, network: str) -> Entry:
        net = build_backbone(network, maps=FAMILIES[family].maps)
        model = build_model(residual, net, range(joints), family=family, input_size=input_size).eval()
        cost = cost_of(model, input_size)
        return Entry(name, summary, cost.parameters, cost.flops)

    return {
        "families": [
            entry(name, family.summary, name, family.residuals[0], backbone) for name, family in FAMILIES.items()
        ],
        "residual densities": [
            entry(name, residual.summary, "regression", name, backbone) for name, residual in RESIDUALS.items()
        ],
        "backbones": [entry(name, "", "regression", "laplace", name) for name in BACKBONES],
    }
