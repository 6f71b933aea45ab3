"""Maximum likelihood as stochastic variational inference with an empty guide.

With nothing latent, the evidence lower bound is the log likelihood, so minimising Pyro's negative ELBO is maximum
likelihood. The ELBO is a module, so its parameters are those of the model and any torch optimizer fits it.
"""

from __future__ import annotations

__all__ = ["EmptyGuide", "negative_log_likelihood"]


from typing import Any

from pyro.infer import Trace_ELBO
from pyro.infer.elbo import ELBOModule
from pyro.nn import PyroModule

from probpose.models.keypoint_model import KeypointModel, Program


class EmptyGuide(PyroModule):
    """A guide for a model without latent variables."""

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to sample."""


def negative_log_likelihood(model: KeypointModel) -> ELBOModule:
    """The training loss as a module: call it with the arguments of `KeypointModel.model`, then `backward`.

    The value is in nats per labelled keypoint (network units), plus the presence term per keypoint.
    """
    elbo: Any = Trace_ELBO()  # type: ignore[no-untyped-call]
    module: ELBOModule = elbo(Program(model), EmptyGuide())
    return module
