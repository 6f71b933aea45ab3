"""Residual densities learned by a flow alone."""

from __future__ import annotations

__all__ = ["FlowResidual", "PublishedResidual"]

from torch import Tensor
from torch.nn import functional as F

from probpose.errors import ConfigError
from probpose.models.densities.base import ResidualDensity, closed_form
from probpose.models.densities.residual import Native
from probpose.models.flows import RealNVP
from probpose.models.gauge import Gauge
from probpose.models.nodes import normal_nodes


class FlowResidual(ResidualDensity):
    """R is a RealNVP standardised by its own draws.

    Args:
        flow: the flow, whose `batch` is the family's; a RealNVP of the published size by default.
    """

    def __init__(
        self, batch: int = 1, *, gauge: Gauge = "moment", full: bool = False, flow: RealNVP | None = None
    ) -> None:
        super().__init__(batch, gauge=gauge, full=full)
        self.flow = flow or RealNVP(batch)

    def native(self, uniform: Tensor, replicates: int) -> Native:
        return closed_form(self.flow.log_prob, lambda u: self.flow(normal_nodes(u)), uniform, self.batch)


class PublishedResidual(FlowResidual):
    """The flow of the published RLE codes, in no gauge: sigma means whatever its training left it at.

    The published loss is not a log density. Its flow receives gradient only as a log density of (prediction - label) /
    sigma, so the flow alone, mirrored, is the density that the training fits, and the one that is judged in nats.

    Raises:
        ConfigError: a gauge other than `native`.
    """

    gauges = ("native",)

    def __init__(
        self, batch: int = 1, *, gauge: Gauge = "native", full: bool = False, flow: RealNVP | None = None
    ) -> None:
        if gauge != "native":
            raise ConfigError("rle-published reproduces a loss without a gauge: leave the gauge out.")
        super().__init__(batch, gauge=gauge, full=full, flow=flow or RealNVP(batch, activation=F.leaky_relu))

    def native(self, uniform: Tensor, replicates: int) -> Native:
        return closed_form(lambda w: self.flow.log_prob(-w), lambda u: -self.flow(normal_nodes(u)), uniform, self.batch)
