"""Where labels lie, given what one or several models say: the densities that a mixture of label errors is made of.

M models put joint k of person n at mu_nkm with a confidence and, some of them, a covariance. With r the M bits that say
whose sides are exchanged relative to the label's (`probpose.models.label_errors`), model m speaks of joint k where its
bit is 0, and of the mirror image where it is 1. Then, with d the size of the person (square root of the box's area),

    fused = sum_m w_m mu_m,                 w = softmax over m of (weight_km + trust confidence_m)
    s = d exp(log_scale_k + slope . f)
    body  = (1 - a) t(x; fused, s C) + a sum_m v_m t(x; mu_m, s C)
    good  = (1 - u) body + u t(x; fused, d S)
    jitter = t(x; fused, 3 s C)

with t a Student-t, locations moved by `NEAR` d shift_k, C what the models claim of the shape, of determinant 1, and f
features: confidence, claimed scale, how far the models are apart, their squares and products. All is fitted to labels,
so that what models have in common counts once: of two that say the same the second changes neither locations nor f; of
two that err independently the weights become those of least variance, and s falls accordingly. a (a function of f) is
the probability that one of the models alone sees the joint, v which of them, by its confidence. u (a function of f) is
the probability that they fail: the label may then be anywhere about them and is not to blame. The models' failures
depend on f and the rates of label errors do not, which tells one from the other: a wrong label is one that is far off
where the models could have known.

Models exchange sides as well, of a person or a pair, each by itself or all together, the less so the more confident
they are; that is how they are told from labels that are. Two models that disagree about sides accuse one another and
not the label: how far they are apart, under each r, has a density too.

Models may see another person altogether, and be as sure of it. Then a person's labels lie anywhere over the box, and
nothing is learned of them.

Kinds that lie elsewhere have fixed densities (`probpose.models.witness`).
"""

from __future__ import annotations

__all__ = ["LabelDensity"]

import math

import torch
from torch import Tensor, nn

from probpose.models.witness import LEAST_APART, NEAR, Witness, log_t

WIDER = 3.0
"""Scale of jitter over that of a good label."""

DF = 8.0
"""Degrees of freedom about the joint: a little heavier than a Gaussian, for s is not known exactly."""

_FAILING_DF = 4.0
_APART_DF = 1.5

_TOGETHER = (-4.5, 0.5)
"""Mean and standard deviation of the log odds that all models exchange sides together, which data tell badly. It is
rare: where two models agreed in photos of Leeds Sports Pose, nearly all that an eye could tell were the label's."""

_NEVER = (-7.0, 0.5)
"""Mean and standard deviation of log odds where nothing tells a fault of the models from one of the labels."""


class LabelDensity(nn.Module):
    """The densities of labels, with what is fitted of them.

    Args:
        joints: K.
        models: M.
        features: F.
        confident: whether models say how sure they are. Where they do not, nothing tells their common exchanges of
            sides from those of the labels, and the labels are blamed; likewise for failures where F is 0.
    """

    def __init__(self, joints: int, models: int, features: int, *, confident: bool = True) -> None:
        super().__init__()
        self._together, self._together_sd = _TOGETHER if confident else _NEVER
        self._fails, self._fails_sd = (-5.0, 1.0) if features else _NEVER

        def parameter(*shape: int, value: float = 0.0) -> nn.Parameter:
            return nn.Parameter(torch.full(shape, value, dtype=torch.float64))

        self.weight, self.trust = parameter(joints, models), parameter()
        self.shift, self.log_scale = parameter(joints, 2), parameter(joints, value=-3.0)
        self.slope = parameter(features)
        self.alone, self.alone_slope = parameter(value=-2.0), parameter(features)
        self.seer, self.seer_trust = parameter(models), parameter(value=0.5)
        self.failing, self.failing_slope = parameter(value=-2.0), parameter(features)
        self.failing_scale, self.log_apart = parameter(value=-1.6), parameter(joints, value=-3.0)
        self.side_person, self.side_pair = parameter(models + 1, value=-4.0), parameter(models + 1, value=-4.5)
        self.side_trust, self.lost = parameter(value=-0.7), parameter(value=-5.0)
        with torch.no_grad():
            self.side_person[-1] = self.side_pair[-1] = self._together
            self.failing.fill_(self._fails)

    def start(self, witness: Witness) -> None:
        """Scales by the median distance of labels to the mean of the models, joint by joint."""
        error = (witness.label - witness.point[:, :, 0].mean(2)).norm(dim=-1) / witness.size.unsqueeze(-1)
        apart = _spread_of(witness.point[:, :, 0]) / witness.size.unsqueeze(-1)
        with torch.no_grad():
            for joint, labelled in enumerate(witness.labelled.unbind(1)):
                if labelled.any():
                    self.log_scale[joint] = error[labelled, joint].median().clamp_min(1e-3).log() - 0.16
                self.log_apart[joint] = apart[:, joint].median().clamp_min(1e-3).log()

    def log_prior(self) -> Tensor:
        """Log density of the parameters that few labels leave open, in nats: slopes near 0, models that know sides."""
        loose = (
            *(self.slope, self.failing_slope, self.alone_slope, self.weight, self.seer, self.trust, self.seer_trust),
            *((self.side_person[:-1] + 4) / 1.5, (self.side_pair[:-1] + 4.5) / 1.5, (self.side_trust + 0.7) / 0.5),
            *((value[-1] - self._together) / self._together_sd for value in (self.side_person, self.side_pair)),
            *((self.failing_scale + 1.6) / 0.5, (self.failing - self._fails) / self._fails_sd, (self.alone + 2) / 2),
            self.lost + 5,
        )
        return -0.5 * sum((value.square().sum() for value in loose), self.trust.new_zeros(()))

    def terms(self, witness: Witness) -> Tensor:
        """(N, K, R, L), log densities of the labels under each of `LOCAL`."""
        off, each = self._off(witness)
        log_s, log_size = self._log_s(witness), witness.size.log()[:, None, None]
        squared, each_squared = _squared(off, witness.precision), _squared(each, witness.precision)
        failing, alone = self._failing(witness), self._alone(witness)
        one = self._seer(witness) + log_t(each_squared, log_s.unsqueeze(-1), DF)
        body = _mixed(alone, log_t(squared, log_s, DF), one.logsumexp(-1))
        fails = log_t(off.square().sum(-1), self.failing_scale + log_size, _FAILING_DF)
        jitter = log_t(squared, log_s + math.log(WIDER), DF)
        return torch.cat([torch.stack([_mixed(failing, body, fails), jitter], -1), witness.elsewhere], -1)

    def _off(self, witness: Witness) -> tuple[Tensor, Tensor]:
        """Labels about the fused location, (N, K, R, 2), and about each model's, (N, K, R, M, 2)."""
        moved = self._moved(witness)[:, None, None, None] * self.shift[:, None, None]
        each = witness.label[:, :, None, None] - witness.point - moved
        return (self._weights(witness).unsqueeze(-1) * each).sum(3), each

    @staticmethod
    def _moved(witness: Witness) -> Tensor:
        """(N, 1), what `shift` is in units of, which makes it as easy to learn as the scales."""
        return NEAR * witness.size.unsqueeze(-1)

    def _weights(self, witness: Witness) -> Tensor:
        """w, (N, K, R, M)."""
        return (self.weight[:, None] + self.trust * witness.confidence).softmax(-1)

    def _seer(self, witness: Witness) -> Tensor:
        """log v, (N, K, R, M)."""
        return (self.seer + self.seer_trust * witness.confidence).log_softmax(-1)

    def _log_s(self, witness: Witness) -> Tensor:
        return self.log_scale[:, None] + witness.features @ self.slope + witness.size.log()[:, None, None]

    def _failing(self, witness: Witness) -> Tensor:
        """Log odds of u, (N, K, R)."""
        return self.failing + witness.features @ self.failing_slope

    def _alone(self, witness: Witness) -> Tensor:
        """Log odds of a, (N, K, R)."""
        return self.alone + witness.features @ self.alone_slope

    def agreement(self, witness: Witness) -> Tensor | None:
        """(N, K, R), log density of the other models' points about the first one's; None of one model."""
        first, others = witness.point[..., :1, :], witness.point[..., 1:, :]
        if not others.shape[3]:
            return None
        scale = torch.logaddexp(self.log_apart, self.log_apart.new_tensor(math.log(LEAST_APART)))
        log_scale = (scale[:, None] + witness.size.log()[:, None, None]).unsqueeze(-1)
        return log_t((others - first).square().sum(-1), log_scale, _APART_DF).sum(-1)

    def log_lost(self, witness: Witness) -> Tensor:
        """(N,), log density of the labels where models see another person."""
        return torch.where(witness.labelled, witness.elsewhere[:, :, 0, -1], 0.0).sum(1)

    def exchanges(self, witness: Witness, partner: Tensor) -> tuple[Tensor, Tensor]:
        """Which models exchange sides, (N, R) of the whole person and (N, K, R) of each pair, by their confidence."""
        own = witness.confidence[:, :, 0]
        return self._sides(self.side_person, own.mean(1)), self._sides(self.side_pair, (own + own[:, partner]) / 2)

    def _sides(self, logit: Tensor, confidence: Tensor) -> Tensor:
        """(..., R), with log odds (M + 1,) of each model and of all together, at confidences (..., M)."""
        mean = confidence.mean(-1, keepdim=True)
        odds = logit + self.side_trust * torch.cat([confidence, mean], -1)
        own = _by_bits(odds[..., :-1]) if confidence.shape[-1] > 1 else torch.ones_like(mean) * mean.new_tensor([1, 0])
        together = odds[..., -1:].sigmoid()
        return (1 - together) * own + together * own.flip(-1)

    @torch.no_grad()
    def predicted(self, witness: Witness) -> tuple[Tensor, Tensor]:
        """Mean (N, K, 2) and covariance (N, K, 2, 2) of a good label, in pixels about the box's centre."""
        off, each = (witness.label[:, :, None] - self._off(witness)[0])[:, :, 0], witness.point[:, :, 0]
        each = each + self._moved(witness)[:, None, None] * self.shift[:, None]
        failing, alone = self._failing(witness)[..., 0].sigmoid(), self._alone(witness)[..., 0].sigmoid()
        seer = self._seer(witness)[:, :, 0].exp() * ((1 - failing) * alone).unsqueeze(-1)
        point = torch.cat([off.unsqueeze(2), each], 2)
        weight = torch.cat([(1 - seer.sum(-1)).unsqueeze(-1), seer], -1)
        mean = (weight.unsqueeze(-1) * point).sum(2)
        apart = point - mean.unsqueeze(2)
        between = torch.einsum("nkm,nkmi,nkmj->nkij", weight, apart, apart)
        eye = torch.eye(2, dtype=mean.dtype)
        shape = eye if witness.precision is None else torch.linalg.inv(witness.precision[:, :, 0])
        near = (1 - failing) * (2 * self._log_s(witness)[..., 0]).exp() * DF / (DF - 2)
        far = failing * (2 * (self.failing_scale + witness.size.log().unsqueeze(-1))).exp() * 2
        return mean, between + near[..., None, None] * shape + far[..., None, None] * eye


def _by_bits(logit: Tensor) -> Tensor:
    """Probabilities (..., R) of which of M independent events happen, from their log odds (..., M)."""
    models = logit.shape[-1]
    bits = (torch.arange(2**models).unsqueeze(-1) >> torch.arange(models)) & 1
    both = torch.stack([nn.functional.logsigmoid(-logit), nn.functional.logsigmoid(logit)], -1)
    happened: Tensor = torch.stack([both[..., m, bits[:, m]] for m in range(models)]).sum(0).exp()
    return happened


def _spread_of(point: Tensor) -> Tensor:
    """(N, K), mean distance of the other models' points (N, K, M, 2) from the first one's."""
    distance: Tensor = (point[..., 1:, :] - point[..., :1, :]).norm(dim=-1).sum(-1)
    return distance / max(1, point.shape[2] - 1)


def _squared(off: Tensor, precision: Tensor | None) -> Tensor:
    """Squared distances of offsets (N, K, R, ..., 2), in the metric (N, K, R, 2, 2)."""
    if precision is None:
        return off.square().sum(-1)
    squared: Tensor = torch.einsum("nkr...i,nkrij,nkr...j->nkr...", off, precision, off)
    return squared


def _mixed(log_odds: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Log density of a mixture in which the other has those log odds."""
    return torch.logaddexp(nn.functional.logsigmoid(-log_odds) + one, nn.functional.logsigmoid(log_odds) + other)
