"""Options for detected boxes, which `evaluate` and `predict` share."""

from __future__ import annotations

__all__ = ["NMS", "detection_options"]

from collections.abc import Callable
from typing import Any

import click

from probpose.analysis.oks_nms import OKS_NMS


class _Threshold(click.ParamType[float]):
    """An OKS, or none."""

    name = "OKS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0.9 of '0.9'; 1, which removes nothing, of 'none'."""
        try:
            threshold = 1.0 if value == "none" else float(value)
        except ValueError:
            threshold = 0.0
        if not 0 < threshold <= 1:
            self.fail(f"{value!r} is not an OKS: give a number above 0 and up to 1, or none.", param, ctx)
        return threshold


NMS = _Threshold()


def detection_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--nms` and `--least-box-score`."""
    nms_help = "Of two poses in detected boxes whose OKS is higher, one goes; 1 or none keeps both."
    for option in (
        click.option("--least-box-score", type=float, help="Leave out boxes with a lower score. [all are used]"),
        click.option("--nms", type=NMS, default=OKS_NMS, show_default=True, help=nms_help),
    ):
        command = option(command)
    return command
