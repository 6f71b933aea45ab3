"""Parameters and operations."""

from __future__ import annotations

from probpose.models.backbones.registry import build_backbone
from probpose.models.cost import cost_of
from probpose.models.registry import build_model


def test_resnet50_costs_what_the_literature_says() -> None:
    """4.09 G multiply-adds at 224x224 with its classifier of 2.05 M (torchvision's table); here without it."""
    backbone = build_backbone("resnet50")
    model = build_model("laplace", backbone, range(17)).eval()
    cost = cost_of(model, (224, 224))
    heads = 2048 * (2 * 17 + 2 * 17 + 17)
    assert abs(cost.flops / 2 - (4.0892e9 - 2.048e6 + heads)) < 5e6
    assert cost.parameters == 25_557_032 - 2_049_000 + heads + 85
