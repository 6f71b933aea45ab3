"""Keypoint regression whose uncertainty means something: predictions of annotated keypoints as densities.

Names are imported when they are first used, so that `import probpose` costs next to nothing. docs/python.md shows the
whole loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import probpose.densities as densities
    from probpose.api.distributions import Distribution as Distribution
    from probpose.api.distributions import Gaussian as Gaussian
    from probpose.api.distributions import Heatmap as Heatmap
    from probpose.api.distributions import Laplace as Laplace
    from probpose.api.distributions import Samples as Samples
    from probpose.api.poses import Poses as Poses
    from probpose.api.runs import Run as Run
    from probpose.api.runs import load as load

__version__ = "0.1.0"

_HOMES = {
    "Distribution": "probpose.api.distributions",
    "Gaussian": "probpose.api.distributions",
    "Heatmap": "probpose.api.distributions",
    "Laplace": "probpose.api.distributions",
    "Poses": "probpose.api.poses",
    "Run": "probpose.api.runs",
    "Samples": "probpose.api.distributions",
    "load": "probpose.api.runs",
}
"""Where the public names live."""

__all__ = ["densities", *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "densities":
        return import_module("probpose.densities")
    if name not in _HOMES:
        raise AttributeError(f"module 'probpose' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
