"""The posterior of a network's last layer by Laplace's approximation, Kronecker-factored.

Backbone, decoder and R stay as they were trained. Of a layer with inputs a, a constant 1 for its bias among them, and
outputs s = W a, the information that N persons' labels give about W is about

    N A (x) G,    A = E[a a^T],    G = E[g g^T],    g = d log p(labels | I) / d s,

with labels drawn from the model itself, which is the true Fisher information (Martens and Grosse, ICML 2015); a
convolution of single cells sums a a^T over cells and averages g g^T over them (Grosse and Martens, ICML 2016). With a
Gaussian prior of precision tau on weights and biases, the posterior about the trained values is a Gaussian whose
precision is N lambda_A lambda_G + tau along the products of eigenvectors of A and G (Ritter, Botev, and Barber, ICLR
2018; Daxberger et al., "Laplace Redux", NeurIPS 2021). Layers are independent.

The full Hessian, which Pyro's AutoLaplaceApproximation takes, is 43,000 x 43,000 for 17 joints on a ResNet-18.
"""

from __future__ import annotations

__all__ = ["Encoded", "Features", "Information", "LastLayer", "information"]

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probpose.data.loading import CropDataset, loader
from probpose.data.persons import Persons
from probpose.errors import TrainingError
from probpose.models.ensemble import heads_with, last_layer
from probpose.models.heads.base import Heads, pooled
from probpose.models.keypoint_model import KeypointModel

NODES = 2**13
"""That stand for R."""

LABEL_DRAWS = 4
"""Of each person, from which G is found."""

_CACHE_BYTES = 10**9


@dataclass(frozen=True)
class Encoded:
    """N persons as the last layer sees them, and their labels.

    Attributes:
        maps: (N, C, h, w), what the backbone says.
        keypoints: (N, K, 2), network units.
        labelled: (N, K) bool.
        visible: (N, K) bool.
        person: (N,), rows of the table.
    """

    maps: Tensor
    keypoints: Tensor
    labelled: Tensor
    visible: Tensor
    person: Tensor

    def __len__(self) -> int:
        return len(self.maps)


class Features:
    """The un-augmented crops of persons, batch by batch, in an order that is drawn once.

    What the backbone says is kept where it takes less than a GB; otherwise each pass computes it.

    Args:
        model: on its device.
        persons: with labels.
        input_size: height and width of the crops.
        pool: the network looks at nothing but the mean over the maps.
        seed: of the order.
        batch_size: persons at a time.
        workers: processes that read.
    """

    def __init__(
        self, model: KeypointModel, persons: Persons, input_size: tuple[int, int], *, pool: bool, seed: int = 0,
        batch_size: int = 256, workers: int = 0,
    ) -> None:  # fmt: skip
        self.model, self.pool, self.batch_size, self.workers = model, pool, batch_size, workers
        self.order = np.random.default_rng(seed).permutation(len(persons))
        self.data = CropDataset(persons.select(self.order), input_size)
        self.unreadable: list[str] = []
        self._kept: list[Encoded] | None = None

    def __iter__(self) -> Iterator[Encoded]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Encoded] = []
        self.unreadable, room = [], _CACHE_BYTES
        for batch in loader(self.data, self.batch_size, workers=self.workers):
            self.unreadable += batch.unreadable
            if not len(batch):
                continue
            batch = batch.to(next(self.model.parameters()).device)
            with torch.no_grad():
                maps = self.model.regressor.encode(batch.image)
                maps = pooled(maps)[..., None, None] if self.pool else maps
            person = torch.from_numpy(self.order)[batch.person.cpu()]
            encoded = Encoded(maps, batch.keypoints, batch.labelled, batch.visible, person)
            room -= maps.nbytes
            if room > 0:
                kept.append(encoded)
            yield encoded
        if room == _CACHE_BYTES:
            raise TrainingError(f"no image of {self.data.persons.name} can be read; the first: {self.unreadable[0]}.")
        self._kept = kept if room > 0 else None


class LastLayer:
    """The last layer of a network as matrices (outputs, inputs), by name; the bias is the last column.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: KeypointModel) -> None:
        self.model = model
        self.residual = model.residual.frozen(NODES)
        self.layers = last_layer(model.regressor)

    @cached_property
    def trained(self) -> dict[str, Tensor]:
        """The trained values."""
        return {name: _matrix(layer).detach() for name, layer in self.layers.items()}

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The trained values with 0 for biases: how far they are from the prior's mean."""
        found = {name: matrix.clone() for name, matrix in self.trained.items()}
        for name, layer in self.layers.items():
            found[name][:, layer.get_parameter("weight").shape[1] :] = 0.0
        return found

    def parameters(self, matrices: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Matrices (..., outputs, inputs) as parameters of the regressor."""
        found = {}
        for name, matrix in matrices.items():
            weight, bias = self.layers[name].get_parameter("weight"), getattr(self.layers[name], "bias", None)
            matrix = matrix.to(weight)
            inputs = weight.shape[1]
            found[f"{name}.weight"] = matrix[..., :inputs].reshape(*matrix.shape[:-2], *weight.shape)
            if bias is not None:
                found[f"{name}.bias"] = matrix[..., inputs]
        return found

    def heads(self, matrices: Mapping[str, Tensor], maps: Tensor) -> Heads:
        """Heads with other values of the layer."""
        return heads_with(self.model.regressor, self.parameters(matrices), maps)

    def log_likelihood(self, matrices: Mapping[str, Tensor], data: Encoded) -> Tensor:
        """(N,), nats of each person's labels; see `KeypointModel.log_likelihood`."""
        heads = self.heads(matrices, data.maps)
        return self.model.log_likelihood(heads, self.residual, data.keypoints, data.labelled, data.visible)


def _matrix(layer: nn.Module) -> Tensor:
    weight = layer.get_parameter("weight").flatten(1)
    bias = getattr(layer, "bias", None)
    return weight if bias is None else torch.cat([weight, bias.unsqueeze(1)], 1)


@dataclass(frozen=True)
class Information:
    """What labels say about a layer, N A (x) G by its eigenvectors, float64.

    Attributes:
        outputs: (O, O), eigenvectors of G.
        inputs: (I, I), those of A.
        along: (O, I), N lambda_G lambda_A.
    """

    outputs: Tensor
    inputs: Tensor
    along: Tensor

    @classmethod
    def of(cls, a: Tensor, g: Tensor, persons: int) -> Information:
        """From A (I, I) and G (O, O)."""
        (of_a, inputs), (of_g, outputs) = torch.linalg.eigh(a), torch.linalg.eigh(g)
        return cls(outputs, inputs, persons * torch.outer(of_g.clamp_min(0), of_a.clamp_min(0)))

    def by_weight(self) -> Information:
        """What labels say about each weight alone: the diagonal, along the axes themselves."""
        of_g, of_a = self.outputs.square(), self.inputs.square()
        outputs, inputs = (torch.eye(len(turn)).to(turn) for turn in (of_g, of_a))
        return Information(outputs, inputs, of_g @ self.along @ of_a.mT)

    def turned(self, matrix: Tensor) -> Tensor:
        """A matrix (..., O, I) in the coordinates of the eigenvectors."""
        return self.outputs.mT @ matrix.to(self.outputs) @ self.inputs

    def turned_back(self, matrix: Tensor) -> Tensor:
        """The inverse of `turned`."""
        return self.outputs @ matrix.to(self.outputs) @ self.inputs.mT

    def deviation(self, precision: float) -> Tensor:
        """(O, I), standard deviation of the posterior along the eigenvectors with a prior of that precision."""
        return (self.along + precision).rsqrt()


def information(layer: LastLayer, data: Iterable[Encoded], *, label_draws: int = LABEL_DRAWS) -> dict[str, Information]:
    """What labels say about each matrix of the last layer.

    Args:
        layer: with its trained values.
        data: of the persons that it was trained on.
        label_draws: labels that the model draws for each person.
    """
    trained = {name: matrix.double() for name, matrix in layer.trained.items()}
    a = {name: 0 * matrix.mT @ matrix for name, matrix in trained.items()}
    g = {name: 0 * matrix @ matrix.mT for name, matrix in trained.items()}
    persons = 0
    for batch in data:
        persons += len(batch)
        with _watched(layer.layers) as seen:
            heads = layer.model.regressor.heads(batch.maps)
        for name, (given, _) in seen.items():
            a[name] += torch.einsum("nit,njt->ij", given, given)
        for _ in range(label_draws):
            value = layer.model.log_likelihood(heads, layer.residual, *drawn_labels(layer, heads)).sum()
            outputs = [output for _, output in seen.values()]
            slopes = torch.autograd.grad(value, outputs, retain_graph=True, materialize_grads=True)
            for name, slope in zip(seen, slopes, strict=True):
                flat = slope.flatten(2).double() if slope.dim() > 2 else slope.unsqueeze(-1).double()
                g[name] += torch.einsum("nit,njt->ij", flat, flat) / (flat.shape[-1] * label_draws)
    return {name: Information.of(a[name] / persons, g[name] / persons, persons) for name in layer.layers}


@torch.no_grad()
def drawn_labels(layer: LastLayer, heads: Heads) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keypoints (N, K, 2), labelled (N, K) and visible (N, K) as the model draws them."""
    visible = None
    if heads.visible_logit is not None:
        visible = heads.visible_logit.sigmoid().bernoulli()
        heads = heads.condition(visible)
    keypoints = layer.model.predictive(heads, layer.residual).sample()
    return keypoints, heads.presence.sigmoid().bernoulli().bool(), visible


@contextmanager
def _watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Inputs (N, I, cells), float64, with 1 for the bias, and outputs of layers that run meanwhile.

    The outputs have a gradient and no past.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def hook(_: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
            flat = given[0].detach().double().reshape(*given[0].shape[:2], -1)
            if getattr(layer, "bias", None) is not None:
                flat = torch.cat([flat, torch.ones_like(flat[:, :1])], 1)
            output = output.detach().requires_grad_()
            seen[name] = (flat, output)
            return output

        return layer.register_forward_hook(hook)

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
