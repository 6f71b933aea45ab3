"""Many draws of a predictive distribution at the price of few: residuals are taken again from the nodes of R.

Groups of an InferenceData: predicted and labelled keypoints, and the posterior of the residuals.
"""

from __future__ import annotations

__all__ = ["Columns", "Groups", "from_nodes", "groups_of_cases", "groups_of_posterior"]

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.analysis.calibration.cases import Cases
from probpose.arrays import Index, as_array
from probpose.errors import ConfigError
from probpose.inference.fitting.residual_posterior import ResidualPosterior
from probpose.models.densities import Residual
from probpose.models.predictive.contract import Predictive
from probpose.models.residual_model import COLUMNS
from probpose.models.scores import LabelScores


def from_nodes(predictive: Predictive) -> Predictive:
    """The same distribution, whose `sample` chooses each residual among the weighted nodes that represent R.

    Exact draws of a learned R pass through its flow, ten times over where levels are mapped; 2^16 nodes have passed
    through it already. Two draws have the same residual with a probability of 1 / (effective number of nodes).
    Families without a residual density are given back as they are.
    """
    try:
        return predictive.map_location_scale(
            lambda located: located.replace(residual=_drawn_from_nodes(located.residual))
        )
    except ConfigError:
        return predictive


def _drawn_from_nodes(residual: Residual) -> Residual:
    native = residual.native
    content = native.weights.cumsum(-1)

    def sample(count: int) -> Tensor:
        uniform = torch.rand(len(content), count, dtype=content.dtype, device=content.device) * content[:, -1:]
        chosen = torch.searchsorted(content, uniform).clamp_max(content.shape[-1] - 1)
        return native.nodes.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))

    return replace(residual, native=replace(native, sample=sample))


Columns = dict[str, npt.NDArray[Any]]

_CHUNK = 256

_DIMS: dict[str, tuple[str, ...]] = {
    "keypoints": ("person", "joint", "axis"),
    "mean": ("person", "joint", "axis"),
    "sigma_px": ("person", "joint", "axis"),
    "pit": ("person", "joint", "axis"),
    "hdr_level": ("person", "joint"),
    "log_prob": ("person", "joint"),
    "visibility": ("person", "joint"),
    "image": ("person",),
    "instance": ("person",),
    "box": ("person", "side"),
    "location": ("joint", "axis"),
    "scale": ("joint", "axis"),
    "half_width": ("joint", "axis"),
    "rho": ("joint",),
    "df": ("joint",),
    "centre": ("parameter",),
    "spread": ("parameter",),
    "residual": ("label", "axis"),
    "residual_joint": ("label",),
    "residuals_used": ("joint",),
    "residuals_available": ("joint",),
    "bias": ("annotator", "joint", "axis"),
    "tau": ("annotator", "joint"),
    "bias_spread": ("joint",),
    "xy": ("label", "axis"),
    "label": ("scored",),
    "label_object": ("label",),
    "label_annotator": ("label",),
    "label_joint": ("label",),
    "area": ("object",),
    "truth_mean": ("object", "joint", "axis"),
    "truth_covariance": ("object", "joint", "axis", "along"),
}


@dataclass
class Groups:
    """Arrays by group and name, with the coordinates of their dimensions and attributes of the whole.

    Attributes:
        arrays: group -> name -> array; those of draws begin with (chain, draw).
        coords: dimension -> its values.
        dims: name -> its dimensions after (chain, draw); `log_likelihood` has no axis, `log_prior` none.
        attrs: of the file.
    """

    arrays: dict[str, Columns]
    coords: dict[str, Any]
    attrs: dict[str, str | int | float] = field(default_factory=dict)

    def dims(self, group: str) -> dict[str, list[str]]:
        """The dimensions of each array of a group after (chain, draw)."""
        if group == "log_prior":
            return {name: [] for name in self.arrays[group]}
        drop = {"axis"} if group == "log_likelihood" else set()
        names = self.arrays[group]
        return {name: [dim for dim in _DIMS[name] if dim not in drop] for name in names if name in _DIMS}

    def join(self, other: Groups) -> Groups:
        """Both together; arrays of `other` replace a group's draws of another number."""
        arrays = {group: dict(columns) for group, columns in self.arrays.items()}
        for group, columns in other.arrays.items():
            kept = {} if group == "log_likelihood" else arrays.get(group, {})
            arrays[group] = kept | columns
        return Groups(arrays, self.coords | other.coords, self.attrs | other.attrs)


def groups_of_cases(cases: Cases, scores: LabelScores, rows: Index, draws: int, seed: int) -> Groups:
    """Draws of keypoints, labels, their log density and what else is known of the persons in `rows`.

    Args:
        cases: N persons.
        scores: of all their labels, with `level` and `axes`.
        rows: (n,), the persons to take.
        draws: of each keypoint.
        seed: of the draws.

    Raises:
        ValueError: `scores` are not of the labels of `cases`.
    """
    if len(scores) != cases.labelled.sum():
        raise ValueError(f"{len(scores)} scored labels are not those of the cases, which have {cases.labelled.sum()}")
    kept = cases.select(rows)
    log_prob, level, pit = (_spread(cases, column)[rows] for column in (scores.log_prob, scores.level, scores.pit))
    return Groups(
        arrays={
            "posterior_predictive": {"keypoints": _draws(kept, draws, seed)[None]},
            "log_likelihood": {"keypoints": log_prob[None, None]},
            "observed_data": {"keypoints": np.where(kept.labelled[..., None], kept.keypoints, np.nan)},
            "constant_data": {
                "mean": as_array(kept.predictive.mean),
                "sigma_px": as_array(kept.predictive.sigma),
                "log_prob": log_prob,
                "hdr_level": level,
                "pit": pit,
                "visibility": kept.visibility,
                "image": kept.image,
                "instance": kept.instance,
                "box": kept.box,
            },
        },
        coords={
            "person": rows,
            "joint": list(cases.joints),
            "axis": ["x", "y"],
            "side": ["x", "y", "width", "height"],
        },
    )


def groups_of_posterior(posterior: ResidualPosterior) -> Groups:
    """Draws, divergences, the residuals whose log density was kept, and that density."""
    return Groups(
        arrays={
            "posterior": dict(posterior.draws),
            "sample_stats": {"diverging": posterior.diverging},
            "log_likelihood": {"residual": posterior.log_likelihood},
            "observed_data": {"residual": posterior.point},
            "constant_data": {
                "residual_joint": posterior.point_joint,
                "residuals_used": posterior.labels,
                "residuals_available": posterior.available,
            },
        },
        coords={
            "joint": list(posterior.joints),
            "axis": ["x", "y"],
            "label": posterior.point_row,
            "parameter": list(COLUMNS),
        },
        attrs={
            "residual_seed": posterior.seed,
            "residuals_thinned": int((posterior.labels < posterior.available).any()),
            "residual_log_likelihood": f"{len(posterior.point)} of {posterior.labels.sum()} residuals",
            "divergences": posterior.convergence.divergences,
        },
    )


def _spread(cases: Cases, column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A column (M, ...) of the scores as (N, K, ...), NaN where there is no label."""
    table = np.full((*cases.labelled.shape, *column.shape[1:]), np.nan)
    table[cases.labelled] = column
    return table


def _draws(cases: Cases, draws: int, seed: int) -> npt.NDArray[np.float32]:
    """Draws (S, N, K, 2), single precision."""
    table = np.empty((draws, *cases.keypoints.shape), dtype=np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predictive = from_nodes(cases.predictive)
        for start in range(0, len(cases), _CHUNK):
            part = slice(start, start + _CHUNK)
            table[:, part] = predictive.rows(part).sample((draws,)).numpy()
    return table
