"""Fitting a noise model: maximum likelihood by stochastic variational inference with an empty guide.

A density of few parameters is fitted to all labels by L-BFGS until no gradient exceeds `TOLERANCE`; one that its own
draws standardise takes the same nodes throughout, which it is too stiff to move its mass between. A flow starts where a
Laplace density ended, as in the training of `rle`, and ends by Adam on new nodes, in batches of labels.
"""

from __future__ import annotations

__all__ = ["NoiseData", "fit_noise", "knots_of"]

from dataclasses import dataclass

import numpy as np
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from probpose.arrays import Array
from probpose.errors import DataError, TrainingError
from probpose.inference.fitting.svi import EmptyGuide
from probpose.models.densities import LaplaceResidual, ResidualDensity
from probpose.models.densities.gauge import QUANTILE_LEVELS
from probpose.models.noise_model import NoiseModel
from probpose.models.predictive.location_scale import LocationScale

MOST_LABELS = 50_000
"""Labels, drawn at random person by person, from which scales are learned at first."""

ITERATIONS = 400
"""Of L-BFGS at most."""

TOLERANCE = 1e-6
"""Largest gradient of the mean log density of a label, in nats, at which L-BFGS is done."""

NEAR = 1e-3
"""The same where Adam goes on from there with a flow."""

QUADRATURE = 2**12
"""Nodes that standardise a density during L-BFGS."""

FEW = 64
"""Parameters at most, of each of the densities, for L-BFGS."""

STEPS = 250
BATCH = 1024
"""Labels of one step, about: whole persons."""

LR = 0.01
FLOW_LR = 6e-3
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

    claimed: LocationScale
    keypoints: Tensor
    labelled: Tensor
    confidence: Tensor | None


def knots_of(confidence: Array) -> list[float]:
    """Knots at quantiles of confidences (M,), increasing; none where they hardly vary."""
    knots = np.unique(np.quantile(confidence, np.linspace(0, 1, _KNOTS))) if len(confidence) else np.zeros(0)
    return [float(knot) for knot in knots] if len(knots) > 2 else []


def fit_noise(data: NoiseData, core: ResidualDensity, *, steps: int = STEPS, seed: int = 0) -> NoiseModel:
    """Fit a noise model.

    Starts at robust scales per joint, so that gross errors do not decide where the search begins.

    Args:
        data: at least `LEAST_LABELS` labels.
        core: family of the residual density, untrained.
        steps: of Adam, for a flow, whose learning rate falls to zero along a cosine.
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
        if sum(p.numel() for p in core.parameters()) <= FEW * core.batch:
            _converge(model, data, basis)
        else:
            model.residual.core = LaplaceResidual(core.batch, full=core.full)
            _converge(model, data, basis, NEAR)
            model.residual.core = core
            _maximise(model, data, basis, steps)
    return model.requires_grad_(False).eval()


@torch.no_grad()
def _start(model: NoiseModel, data: NoiseData) -> None:
    """Half the 16-84% width of the errors per joint and axis, in units of the claimed scale, and their median."""
    errors = data.claimed.standardised(data.keypoints)
    everywhere = errors[data.labelled]
    model.log_size.copy_(data.claimed.log_abs_det.median() / 2)
    levels = torch.tensor(QUANTILE_LEVELS, dtype=errors.dtype)
    for joint in range(model.joints):
        own = errors[:, joint][data.labelled[:, joint]]
        low, middle, high = torch.quantile(own if len(own) >= _FEWEST else everywhere, levels, dim=0)
        width = ((high - low) / 2).clamp_min(1e-9)
        model.log_scale[joint] = width.log()
        model.shift[joint] = middle / width


def _converge(model: NoiseModel, data: NoiseData, basis: Tensor | None, tolerance: float = TOLERANCE) -> None:
    """The likelihood's maximum by L-BFGS, on the same nodes throughout."""
    nodes, residual = model.residual.training_nodes, model.residual
    residual.fresh, residual.training_nodes = False, QUADRATURE
    rows = torch.randperm(len(data.labelled))[: max(1, MOST_LABELS // model.joints)]
    arguments = [None if value is None else value[rows] for value in _arguments(data, basis, torch.float64)]
    loss_of = Trace_ELBO()(model.double(), EmptyGuide())  # type: ignore[no-untyped-call]
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = loss_of(*arguments)
        _check_finite(loss)
        loss.backward()
        return loss

    optimizer.step(closure)
    model.float()
    residual.fresh, residual.training_nodes = True, nodes


def _arguments(data: NoiseData, basis: Tensor | None, dtype: torch.dtype) -> tuple[Tensor | None, ...]:
    """Those of `NoiseModel.model`, the prediction as origin: pixels of a large image have no digits to lose."""
    errors = (data.keypoints - data.claimed.loc).to(dtype)
    scale = data.claimed.scale.to(dtype)
    return torch.zeros_like(errors), scale, None if basis is None else basis.to(dtype), errors, data.labelled


def _maximise(model: NoiseModel, data: NoiseData, basis: Tensor | None, steps: int) -> None:
    flow = [p for name, p in model.residual.core.named_parameters() if "flow" in name]
    own = {id(p) for p in flow}
    groups = [{"params": [p for p in model.parameters() if id(p) not in own], "lr": LR}]
    groups += [{"params": flow, "lr": FLOW_LR}] if flow else []
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss_of = Trace_ELBO()(model, EmptyGuide())  # type: ignore[no-untyped-call]
    arguments = _arguments(data, basis, torch.float32)
    persons = len(data.labelled)
    batch = min(persons, -(-BATCH * persons // int(data.labelled.sum())))
    for _ in range(steps):
        rows = torch.randint(persons, (batch,))
        optimizer.zero_grad()
        loss = loss_of(*(None if value is None else value[rows] for value in arguments))
        _check_finite(loss)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()


def _check_finite(loss: Tensor) -> None:
    if not torch.isfinite(loss):
        raise TrainingError(f"the likelihood of the noise model is {float(loss)}: check predictions and labels.")
