"""Fitting a noise model: maximum likelihood by stochastic variational inference with an empty guide."""

from __future__ import annotations

__all__ = ["NoiseData", "fit_noise", "knots_of"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from probpose.errors import DataError, TrainingError
from probpose.inference.likelihood import EmptyGuide
from probpose.models.densities import ResidualDensity
from probpose.models.gauge import QUANTILE_LEVELS
from probpose.models.located import Located
from probpose.models.noise_model import NoiseModel

Array = npt.NDArray[np.float64]

STEPS = 500
BATCH = 64
"""Persons of one step."""

LR = 0.03
FLOW_LR = 3e-3
"""Learning rate of a density learned by a flow."""

LEAST_LABELS = 100
_FEWEST = 20
_KNOTS = 7


@dataclass(frozen=True)
class NoiseData:
    """What a noise model learns from: N persons with K joints, in pixels.

    Attributes:
        claimed: location and scale as predicted.
        keypoints: (N, K, 2), labels; unlabelled ones finite.
        labelled: (N, K).
        confidence: (N, K), or None.
    """

    claimed: Located
    keypoints: Tensor
    labelled: Tensor
    confidence: Tensor | None


def knots_of(confidence: Array) -> list[float]:
    """Knots at quantiles of confidences (M,), increasing; none where they hardly vary."""
    knots = np.unique(np.quantile(confidence, np.linspace(0, 1, _KNOTS))) if len(confidence) else np.zeros(0)
    return [float(knot) for knot in knots] if len(knots) > 2 else []


def fit_noise(data: NoiseData, core: ResidualDensity, *, steps: int = STEPS, seed: int = 0) -> NoiseModel:
    """Fit a noise model.

    Starts at robust scales per joint, so that gross errors do not decide where the search begins; the learning rate
    falls to zero along a cosine.

    Args:
        data: at least `LEAST_LABELS` labels.
        core: family of the residual density, untrained.
        steps: of Adam.
        seed: of the nodes and batches.

    Raises:
        DataError: too few labels.
        TrainingError: the likelihood is not finite.
    """
    labels = int(data.labelled.sum())
    if labels < LEAST_LABELS:
        raise DataError(f"{labels} labels are too few for a noise model: {LEAST_LABELS} are needed.")
    knots = [] if data.confidence is None else knots_of(data.confidence[data.labelled].double().numpy())
    model = NoiseModel(data.labelled.shape[1], core, knots)
    basis = model.confidence_basis(data.confidence) if knots and data.confidence is not None else None
    _start(model, data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _maximise(model, data, basis, steps)
    return model.requires_grad_(False).eval()


@torch.no_grad()
def _start(model: NoiseModel, data: NoiseData) -> None:
    """Half the 16-84% width of the errors per joint and axis, in units of the claimed scale, and their median."""
    errors = data.claimed.standardised(data.keypoints)
    everywhere = errors[data.labelled]
    levels = torch.tensor(QUANTILE_LEVELS, dtype=errors.dtype)
    for joint in range(model.joints):
        own = errors[:, joint][data.labelled[:, joint]]
        low, middle, high = torch.quantile(own if len(own) >= _FEWEST else everywhere, levels, dim=0)
        width = ((high - low) / 2).clamp_min(1e-9)
        model.log_scale[joint] = width.log()
        model.shift[joint] = middle / width


def _maximise(model: NoiseModel, data: NoiseData, basis: Tensor | None, steps: int) -> None:
    flow = [p for name, p in model.residual.core.named_parameters() if "flow" in name]
    own = {id(p) for p in flow}
    groups = [{"params": [p for p in model.parameters() if id(p) not in own], "lr": LR}]
    groups += [{"params": flow, "lr": FLOW_LR}] if flow else []
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss_of = Trace_ELBO()(model, EmptyGuide())  # type: ignore[no-untyped-call]
    loc, scale, keypoints = (value.float() for value in (data.claimed.loc, data.claimed.scale, data.keypoints))
    for step in range(steps):
        rows = torch.randint(len(loc), (min(BATCH, len(loc)),))
        part = None if basis is None else basis[rows]
        optimizer.zero_grad()
        loss = loss_of(loc[rows], scale[rows], part, keypoints[rows], data.labelled[rows])
        if not torch.isfinite(loss):
            raise TrainingError(f"the likelihood of the noise model is {float(loss)} at step {step}: check the labels.")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
