"""Everything that can be trained, with what it costs."""

from __future__ import annotations

__all__ = ["Entry", "catalogue"]

from dataclasses import dataclass

from probpose.models.backbones import BACKBONES, build_backbone
from probpose.models.cost import cost_of
from probpose.models.families import FAMILIES, build_model
from probpose.models.residual_families import RESIDUALS


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
