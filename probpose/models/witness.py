"""What one or several models say of persons whose labels are judged, arranged by who may have exchanged sides.

With r the M bits that say which models' sides are exchanged relative to the label's (`probpose.models.label_errors`),
model m speaks of joint k where its bit is 0, and of the mirror image where it is 1. What does not depend on anything
that is fitted is computed here once: features that say how far models can be trusted, and the densities of labels that
lie elsewhere: swap, at the joint of another person in the image; wrong joint, at another joint of the person, both with
a spread of `NEAR` sizes of the person (square root of the box's area); miss, a Student-t over the box.
"""

from __future__ import annotations

__all__ = ["LEAST_APART", "NEAR", "Witness", "log_t"]

import itertools
import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

NEAR = 0.05
"""Spread about the joint that a label was given to in error, in sizes of the person."""

LEAST_APART = 3e-3
"""Sizes of the person: models that are nearer are in one place."""

_MISS_DF = 4.0
_MISS_SCALE = 0.4
"""Of the box's sides."""

_LEAST_SD = 1e-6
_CLIP = 3.0


@dataclass(frozen=True)
class Witness:
    """What M models say of N persons with K joints, and where the labels are; float64, pixels about the box's centre.

    Attributes:
        label: (N, K, 2), finite.
        labelled: (N, K) bool.
        size: (N,), square root of the box's area.
        point: (N, K, R, M, 2), where each model puts the joint that r makes it speak of.
        confidence: (N, K, R, M), of about unit variance and mean 0; 0 where none is known.
        features: (N, K, R, F), how far the models can be trusted: confidence, claimed scale, how far they are apart,
            their squares and products, of about unit variance; without what does not vary.
        precision: (N, K, R, 2, 2), inverse of the shape that they claim, of determinant 1; None where they claim none.
        elsewhere: (N, K, R, 3), log densities of swap, wrong joint and miss.
    """

    label: Tensor
    labelled: Tensor
    size: Tensor
    point: Tensor
    confidence: Tensor
    features: Tensor
    precision: Tensor | None
    elsewhere: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, index: Tensor) -> Witness:
        """The persons in `index`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[index] for name, value in values.items() if value is not None})

    def joints(self, index: Tensor) -> Witness:
        """The joints in `index`, of the same persons."""
        of_joints = [field.name for field in fields(self) if field.name != "size"]
        values = {name: getattr(self, name) for name in of_joints}
        return replace(self, **{name: value[:, index] for name, value in values.items() if value is not None})

    @classmethod
    def of(
        cls,
        point: Tensor,
        covariance: Tensor | None,
        confidence: Tensor | None,
        label: Tensor,
        labelled: Tensor,
        box: Tensor,
        image: Tensor,
        partner: Tensor,
    ) -> Witness:
        """Arrange what models say by r.

        Args:
            point: (M, N, K, 2), pixels.
            covariance: (M, N, K, 2, 2), square pixels, as claimed; None where models claim none.
            confidence: (M, N, K), of any range; None where there is none.
            label: (N, K, 2), finite.
            labelled: (N, K) bool.
            box: (N, 4), x, y, width, height.
            image: (N,), persons of one image have the same.
            partner: (K,), index of each joint's mirror image.
        """
        models = len(point)
        centre = (box[:, :2] + box[:, 2:] / 2 - 0.5).unsqueeze(1)
        size = (box[:, 2] * box[:, 3]).sqrt()
        joint = _spoken_of(partner, models)  # (K, R, M)
        model = torch.arange(models).expand(joint.shape)
        at = (slice(None), joint, model)
        points = (point - centre).permute(1, 2, 0, 3)[at]
        score = None if confidence is None else _normal_scores(confidence).permute(1, 2, 0)[at]
        spread = None if covariance is None else covariance.permute(1, 2, 0, 3, 4)[at]
        label = label - centre
        return cls(
            label=label,
            labelled=labelled,
            size=size,
            point=points,
            confidence=torch.zeros(points.shape[:-1], dtype=label.dtype) if score is None else score,
            features=_features(points, spread, score, size),
            precision=None if spread is None else _precision(spread),
            elsewhere=_elsewhere(points.mean(3), label, size, box, image, partner, centre),
        )


def _spoken_of(partner: Tensor, models: int) -> Tensor:
    """(K, R, M), the joint that model m speaks of under r, by bits."""
    bits = (torch.arange(2**models).unsqueeze(-1) >> torch.arange(models)) & 1
    own = torch.arange(len(partner))
    return torch.where(bits.bool(), partner[:, None, None], own[:, None, None])


def _normal_scores(value: Tensor) -> Tensor:
    """Each model's confidences (M, ...) by rank, as quantiles of a standard normal; 0 where they are all the same."""
    flat = value.flatten(1).nan_to_num(-torch.inf)
    ordered = flat.sort(1).values
    rank = (torch.searchsorted(ordered, flat) + torch.searchsorted(ordered, flat, right=True)) / (2 * flat.shape[1])
    return (math.sqrt(2) * torch.erfinv((2 * rank - 1).double())).clamp(-_CLIP, _CLIP).reshape(value.shape)


def _features(point: Tensor, spread: Tensor | None, score: Tensor | None, size: Tensor) -> Tensor:
    """f, (N, K, R, F), from points (N, K, R, M, 2), covariances and confidences."""
    raw = []
    if score is not None:
        raw.append(score.mean(-1))
    if spread is not None:
        raw.append(torch.logdet(spread).mean(-1) / 4 - size.log()[:, None, None])
    if point.shape[3] > 1:
        apart = (point - point.mean(3, keepdim=True)).norm(dim=-1).amax(-1) / size[:, None, None]
        raw.append((apart + LEAST_APART).log())
    found = [_standardised(value) for value in raw if float(value[..., 0].std()) > _LEAST_SD]
    found += [value.square() for value in found] + [one * other for one, other in itertools.pairwise(found)]
    return torch.stack(found, -1) if found else point.new_zeros(*point.shape[:3], 0)


def _standardised(value: Tensor) -> Tensor:
    """With mean 0 and variance 1 where r = 0, (N, K, R)."""
    usual = value[..., 0]
    return ((value - usual.mean()) / usual.std()).clamp(-_CLIP, _CLIP)


def _precision(spread: Tensor) -> Tensor:
    """Inverse of the models' mean shape, of determinant 1, (N, K, R, 2, 2), from covariances (N, K, R, M, 2, 2)."""
    shape = (spread / torch.det(spread).sqrt()[..., None, None]).mean(3)
    precision: Tensor = torch.linalg.inv(shape / torch.det(shape).sqrt()[..., None, None])
    return precision


def _elsewhere(
    point: Tensor, label: Tensor, size: Tensor, box: Tensor, image: Tensor, partner: Tensor, centre: Tensor
) -> Tensor:
    """Log densities (N, K, R, 3) of swap, wrong joint and miss; `point` (N, K, R, 2) is where the joints are."""
    scale = (NEAR * size).log()
    wrong = _wrong_joint(point, label, scale, partner)
    swap = torch.full_like(wrong, -torch.inf)
    person, other = _others(image)
    if len(person):
        there = point[other] + (centre[other] - centre[person]).unsqueeze(2)
        near = log_t((label[person].unsqueeze(2) - there).square().sum(-1), scale[other][:, None, None], _MISS_DF)
        total = torch.zeros_like(swap).index_add(0, person, near.exp())
        count = torch.bincount(person, minlength=len(image)).clamp_min(1)
        swap = (total / count[:, None, None]).clamp_min(1e-300).log()
        swap[torch.bincount(person, minlength=len(image)) == 0] = -torch.inf
    sides = box[:, 2:].unsqueeze(1)
    usual = torch.full_like(label[..., 0], math.log(_MISS_SCALE))
    miss = log_t((label / sides).square().sum(-1), usual, _MISS_DF) - sides.log().sum(-1)
    return torch.stack([swap, wrong, miss.unsqueeze(-1).expand_as(wrong)], -1)


def _wrong_joint(point: Tensor, label: Tensor, scale: Tensor, partner: Tensor) -> Tensor:
    """(N, K, R), log density of the labels about all joints but their own and its mirror image."""
    joints = len(partner)
    found = []
    for k in range(joints):
        others = [j for j in range(joints) if j not in (k, int(partner[k]))]
        if others:
            near = log_t((label[:, k, None, None] - point[:, others]).square().sum(-1), scale[:, None, None], _MISS_DF)
            found.append(near.logsumexp(1) - math.log(len(others)))
        else:
            found.append(torch.full_like(point[:, k, :, 0], -torch.inf))
    return torch.stack(found, 1)


def _others(image: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of different persons of one image, as two lists of rows."""
    order = image.argsort(stable=True)
    first, second = [], []
    for rows in torch.split(order, torch.unique_consecutive(image[order], return_counts=True)[1].tolist()):
        if len(rows) > 1:
            one, two = torch.meshgrid(rows, rows, indexing="ij")
            first.append(one[one != two])
            second.append(two[one != two])
    none = torch.zeros(0, dtype=torch.int64)
    return (torch.cat(first), torch.cat(second)) if first else (none, none)


def log_t(squared: Tensor, log_scale: Tensor, df: float) -> Tensor:
    """Log density (...) of a Student-t on the plane at squared distances, with a shape of determinant 1."""
    tail = torch.log1p(squared * (log_scale * -2).exp() / df) * (df / 2 + 1)
    found: Tensor = -tail - log_scale * 2 - math.log(2 * math.pi)
    return found
