"""Several models as one: p(x | I) = mean over members of p_m(x | I).

Members are networks that were trained apart (Lakshminarayanan, Pritzel, and Blundell, "Simple and scalable predictive
uncertainty estimation using deep ensembles", NeurIPS 2017), or one network with draws of its last layer, whose backbone
runs once. Either is a `Predictor`, as a single model is: what predicts and judges knows no other interface.
"""

from __future__ import annotations

__all__ = ["Ensemble", "LastLayerDraws", "MemberHeads", "Predictor", "Residuals", "heads_with", "last_layer"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probpose.models.densities import Residual
from probpose.models.heads.base import Heads, Regressor
from probpose.models.keypoint_model import KeypointModel
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.decomposition import MemberMixture


class Predictor(Protocol):
    """What predicts: a `KeypointModel`, or several as one. R is frozen once (`frozen`) and used for all crops."""

    training: bool

    def heads(self, image: Tensor, flipped: Tensor | None = None) -> Heads:
        """See `KeypointModel.heads`."""

    def predictive(self, heads: Any, residual: Any = None) -> Predictive:
        """The predictive distribution in network units; `residual` is what `frozen` gave."""

    def frozen(self) -> Any:
        """R in float64 for reported numbers, a `Residual` or `Residuals`."""

    def to(self, device: torch.device | str) -> Any:
        """As `nn.Module.to`."""

    def eval(self) -> Any:
        """As `nn.Module.eval`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As `nn.Module.parameters`."""


@dataclass(frozen=True)
class Residuals:
    """R of each member."""

    members: tuple[Residual, ...]

    @property
    def ess(self) -> Tensor:
        """(B,), the least of the members' (`Residual.ess`)."""
        return torch.stack(torch.broadcast_tensors(*(one.ess for one in self.members))).amin(0)

    @property
    def log_z_error(self) -> Tensor:
        """(B,), the mean of the members' standard errors of log Z, which that of the mixture does not exceed."""
        return torch.stack(torch.broadcast_tensors(*(one.log_z_error for one in self.members))).mean(0)


@dataclass(frozen=True)
class MemberHeads(Heads):
    """The outputs of each member for the same persons.

    Attributes:
        members: heads.
        presence: logit of the mean of the members' probabilities that the joint is labelled, (N, K).
    """

    members: tuple[Heads, ...]
    presence: Tensor

    @classmethod
    def of(cls, members: Sequence[Heads]) -> MemberHeads:
        """From the heads of each."""
        probability = torch.stack([one.presence.double().sigmoid() for one in members]).mean(0)
        return cls(tuple(members), probability.logit().to(members[0].presence))

    def density(self, residual: Any) -> Predictive:
        """Without the standardisation of members, which have one each: see `Ensemble.predictive`."""
        return MemberMixture([one.density(residual) for one in self.members])

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> MemberHeads:
        return MemberHeads.of([one.unmirror(flipped, permutation) for one in self.members])

    @property
    def placeholder(self) -> Tensor:
        return self.members[0].placeholder


class Ensemble(nn.Module):
    """Networks that were trained apart, each with its own R and its own family.

    Args:
        members: at least one, of the same joints and the same size of crops.
    """

    def __init__(self, members: Sequence[KeypointModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def heads(self, image: Tensor, flipped: Tensor | None = None) -> MemberHeads:
        """See `KeypointModel.heads`."""
        return MemberHeads.of([one.heads(image, flipped) for one in self._members])

    def predictive(self, heads: MemberHeads, residual: Residuals | None = None) -> Predictive:
        """The mixture; see `Predictor`."""
        each = (None,) * len(self.members) if residual is None else residual.members
        parts = zip(self._members, heads.members, each, strict=True)
        return MemberMixture([one.predictive(own, frozen) for one, own, frozen in parts])

    def frozen(self) -> Residuals:
        """R of each."""
        return Residuals(tuple(one.frozen() for one in self._members))

    @property
    def _members(self) -> list[KeypointModel]:
        return list(self.members)  # type: ignore[arg-type]


class LastLayerDraws(nn.Module):
    """One network whose last layer is drawn: features are computed once, and heads for each draw.

    Args:
        model: the network.
        draws: by the name of a parameter of `model.regressor` outside its backbone, M values of it, (M, ...).

    Raises:
        ValueError: no draws, a name that the regressor has not, or another shape.
    """

    def __init__(self, model: KeypointModel, draws: Mapping[str, Tensor]) -> None:
        super().__init__()
        if not draws:
            raise ValueError("there are none.")
        self.model = model
        self.names = tuple(draws)
        own = dict(model.regressor.named_parameters())
        for place, (name, values) in enumerate(draws.items()):
            if name not in own or own[name].shape != values.shape[1:]:
                raise ValueError(f"{name}: no parameter of the last layer of shape {tuple(values.shape[1:])}.")
            self.register_buffer(f"draws{place}", values)

    def heads(self, image: Tensor, flipped: Tensor | None = None) -> MemberHeads:
        """See `KeypointModel.heads`."""
        found = self.heads_of(self.model.regressor.encode(image))
        return found if flipped is None else found.unmirror(flipped, self.model.flip_permutation)

    def heads_of(self, maps: Tensor) -> MemberHeads:
        """The heads of feature maps (N, C, h, w)."""
        draws = zip(*(getattr(self, f"draws{place}") for place in range(len(self.names))), strict=True)
        named = (dict(zip(self.names, draw, strict=True)) for draw in draws)
        return MemberHeads.of([heads_with(self.model.regressor, one, maps) for one in named])

    def predictive(self, heads: MemberHeads, residual: Residual | None = None) -> Predictive:
        """The mixture; see `Predictor`."""
        residual = self.model.residual() if residual is None else residual
        return MemberMixture([self.model.predictive(one, residual) for one in heads.members])

    def frozen(self) -> Residual:
        """R, the same for all draws."""
        return self.model.frozen()


def last_layer(regressor: Regressor) -> dict[str, nn.Module]:
    """The layers whose outputs the density is read off, by name: linear, or convolutions of single cells."""
    return {
        name: module
        for name, module in regressor.named_modules()
        if name.partition(".")[0] not in _BEFORE and _is_pointwise(module)
    }


_BEFORE = ("backbone", "flow")
"""Parts of a regressor whose layers are followed by others."""


def _is_pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))


def heads_with(regressor: Regressor, parameters: Mapping[str, Tensor], maps: Tensor) -> Heads:
    """Heads of feature maps (N, C, h, w) with other values of some parameters, by their names in the regressor."""
    named = {f"regressor.{name}": value for name, value in parameters.items()}
    heads: Heads = functional_call(_Heads(regressor), named, (maps,))
    return heads


class _Heads(nn.Module):
    """`Regressor.heads` as a module's forward, which `functional_call` needs."""

    def __init__(self, regressor: Regressor) -> None:
        super().__init__()
        self.regressor = regressor

    def forward(self, maps: Tensor) -> Heads:
        return self.regressor.heads(maps)
