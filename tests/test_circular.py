"""Densities on the circle: normalised, drawn from as they say, with finite gradients, and judged right."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import probpose as pp
from probpose.api.scoring import Interval
from probpose.models.circular.contract import Circular, on_circle, wrapped
from probpose.models.circular.densities import log_expected_ramp
from probpose.models.circular.families import BinOptions, CosineOptions, ReadCosines, ReadMultiBin

c = pp.circular
TURN = 2 * math.pi


def natural(loc: float, concentration: float) -> list[float]:
    return [concentration * math.cos(loc), concentration * math.sin(loc)]


def two_modes(count: int = 1) -> c.Mixture:
    """About 0.5 and, less likely, opposite."""
    parts = torch.tensor([natural(0.5, 20.0), natural(0.5 + math.pi, 8.0)])
    return c.Mixture(torch.tensor([0.7, 0.3]).log().expand(count, 2), parts.expand(count, 2, 2))


DENSITIES: dict[str, Callable[[int], Circular]] = {
    "uniform": lambda n: c.VonMises(torch.zeros(n), torch.zeros(n)),
    "von Mises": lambda n: c.VonMises(torch.full((n,), 3.0), torch.full((n,), 2.5)),
    "narrow von Mises": lambda n: c.VonMises(torch.full((n,), -3.0), torch.full((n,), 4000.0)),
    "projected normal": lambda n: c.ProjectedNormal(torch.tensor([[-1.2, 0.9]]).expand(n, 2)),
    "narrow projected normal": lambda n: c.ProjectedNormal(torch.tensor([[0.0, -60.0]]).expand(n, 2)),
    "mixture": two_modes,
    "multibin": lambda n: c.MultiBin(
        torch.tensor([0.0, 2.0, -1.0, 1.5, -9.0]).expand(n, 5),
        torch.tensor([[9.0, 2.0], [40.0, -5.0], [3.0, 3.0], [0.0, 0.0], [700.0, 30.0]]).expand(n, 5, 2),
    ),
}


def around(count: int) -> Tensor:
    """Angles all around, at equal distances: the trapezium rule is exact for what varies slowly between them."""
    return TURN * (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize("name", DENSITIES)
def test_it_integrates_to_one_and_repeats_after_a_turn(name: str) -> None:
    density, angles = DENSITIES[name](1), around(20_000).unsqueeze(-1)
    assert density.log_prob(angles).exp().mean().item() * TURN == pytest.approx(1.0, abs=1e-6)
    there = torch.tensor([1.0], dtype=torch.float64)
    assert density.log_prob(there).item() == pytest.approx(density.log_prob(there + TURN).item(), abs=1e-9)


@pytest.mark.parametrize("name", DENSITIES)
def test_moments_are_those_of_the_density(name: str) -> None:
    density, angles = DENSITIES[name](1), around(20_000).unsqueeze(-1)
    weights = density.log_prob(angles).exp() * TURN / len(angles)
    moment = (weights.unsqueeze(-1) * on_circle(angles)).sum(0)
    assert torch.allclose(density.first_moment, moment, atol=1e-9)
    if name != "uniform":
        height = density.log_prob(density.mode)
        assert (density.log_prob(angles) <= height + 1e-4).all()


@pytest.mark.parametrize("name", DENSITIES)
def test_draws_follow_the_density_and_are_calibrated(name: str) -> None:
    torch.manual_seed(0)
    count = 500
    draws = DENSITIES[name](count).sample()
    assert draws.shape == (count,)
    assert ((draws >= -math.pi) & (draws <= math.pi)).all()
    one = DENSITIES[name](1)
    scores = c.score(DENSITIES[name](count), draws)
    for column in (scores.level, scores.pit):
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    expected = (one.log_prob(around(20_000).unsqueeze(-1)).exp() * TURN / 20_000).flatten()
    entropy = -(expected * one.log_prob(around(20_000).unsqueeze(-1)).flatten()).sum().item()
    assert abs(scores.nats.mean() - entropy) <= 4 * scores.nats.std() / math.sqrt(count) + 1e-9


@pytest.mark.parametrize("name", DENSITIES)
def test_levels_and_pit_are_the_masses_that_they_say(name: str) -> None:
    if name == "uniform":
        pytest.skip("has no higher and lower parts: see the test of its own")
    one, angles = DENSITIES[name](1), around(40_000).unsqueeze(-1)
    weights = (one.log_prob(angles).exp() * TURN / len(angles)).flatten()
    offsets = wrapped(angles.flatten() - one.mean)
    for value in one.sample((5,)).flatten():
        label = value.view(1)
        higher = weights[one.log_prob(angles).flatten() > one.log_prob(label)].sum().item()
        before = weights[offsets < wrapped(label - one.mean)].sum().item()
        assert one.level(label).item() == pytest.approx(higher, abs=3e-3)
        assert one.pit(label).item() == pytest.approx(before, abs=3e-3)


def test_levels_of_the_uniform_density_are_uniform() -> None:
    density = DENSITIES["uniform"](1000)
    assert stats.kstest(c.score(density, around(1000)).level, "uniform").pvalue > 0.5


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-3, 1.0, 1e3, 1e8, 1e15])
@pytest.mark.parametrize("angle", [0.0, 1e-4, 1.0, math.pi])
def test_gradients_are_finite_however_sure_or_unsure(size: float, angle: float) -> None:
    label = torch.tensor([angle], dtype=torch.float64)
    for make in (c.VonMises.of_natural, c.ProjectedNormal, lambda v: c.Mixture(v[:, :1] * 0, v.unsqueeze(1))):
        vector = torch.tensor([[size, 0.0]], dtype=torch.float64, requires_grad=True)
        log_prob = make(vector).log_prob(label)
        log_prob.sum().backward()
        assert torch.isfinite(log_prob).all()
        assert vector.grad is not None
        assert torch.isfinite(vector.grad).all()


def test_log_prob_agrees_with_scipy_and_with_a_gaussian_where_narrow() -> None:
    angles = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for k in (0.01, 1.0, 30.0):
        density = c.VonMises(torch.tensor([0.4]), torch.tensor([k]))
        ours = density.log_prob(angles.unsqueeze(-1)).flatten()
        assert np.allclose(ours, stats.vonmises.logpdf(angles, k, loc=np.float32(0.4).item()), atol=1e-6)
    narrow = c.ProjectedNormal(torch.tensor([[1e4, 0.0]]))
    small = torch.tensor([[1e-4]], dtype=torch.float64)
    assert narrow.log_prob(small).item() == pytest.approx(stats.norm.logpdf(1e-4, scale=1e-4), abs=1e-6)


def test_the_ramp_has_no_seams_and_no_cancellation() -> None:
    t = torch.tensor([-200.0, -50.001, -49.999, -10.0, -1.0 - 1e-9, -1.0 + 1e-9, 0.0, 5.0], dtype=torch.float64)
    found = log_expected_ramp(t)
    s = torch.linspace(0, 60, 600_001, dtype=torch.float64)  # E max(0, t + Z) = phi(t) int s exp(s t - s^2 / 2) ds
    for at, value in zip(t.tolist()[3:], found.tolist()[3:], strict=True):
        integral = torch.trapezoid(s * torch.exp(s * at - s.square() / 2), s).log().item()
        assert value == pytest.approx(integral - at * at / 2 - math.log(TURN) / 2, abs=1e-6)
    assert found[1].item() == pytest.approx(found[2].item() - 0.002 * (50 + 2 / 50), abs=1e-6)
    assert found[0].item() == pytest.approx(-2e4 - math.log(TURN) / 2 - 2 * math.log(200.0), abs=1e-3)


def test_a_conditioned_gaussian_is_von_mises_and_a_projected_one_is_not() -> None:
    torch.manual_seed(1)
    v, s, count = torch.tensor([2.0, 0.5], dtype=torch.float64), 1.2, 600
    draws = v + s * torch.randn(100_000, 2, dtype=torch.float64)
    conditioned, projected = (
        c.VonMises.of_natural((v / s**2).expand(count, 2)),
        c.ProjectedNormal((v / s).expand(count, 2)),
    )
    ring = draws[(draws.norm(dim=-1) - 1).abs() < 0.02][:count]
    on_ring, anywhere = (torch.atan2(some[:, 1], some[:, 0]) for some in (ring, draws[:count]))
    assert stats.kstest(conditioned.level(on_ring), "uniform").pvalue > 1e-2
    assert stats.kstest(projected.level(anywhere), "uniform").pvalue > 1e-2
    assert stats.kstest(conditioned.level(anywhere), "uniform").pvalue < 1e-4


class TestFakes:
    """Labels from a known density, judged by densities that are too narrow, too wide, or turned."""

    COUNT = 600

    def labels(self) -> Tensor:
        torch.manual_seed(2)
        return c.VonMises(self.loc(), torch.full((self.COUNT,), 8.0)).sample()

    def loc(self) -> Tensor:
        return TURN * torch.arange(self.COUNT, dtype=torch.float64) / self.COUNT

    def scores(self, concentration: float, turned: float = 0.0) -> c.Scores:
        said = c.VonMises(self.loc() + turned, torch.full((self.COUNT,), concentration))
        return c.score(said, self.labels())

    def test_the_true_density_is_calibrated(self) -> None:
        scores = self.scores(8.0)
        assert not pp.verdict(scores.level, images=scores.image).refuted
        assert stats.kstest(scores.pit, "uniform").pvalue > 1e-3

    @pytest.mark.parametrize(("concentration", "over"), [(24.0, True), (2.0, False)])
    def test_over_and_under_confidence_are_seen(self, concentration: float, over: bool) -> None:
        scores = self.scores(concentration)
        assert pp.verdict(scores.level, images=scores.image).refuted
        held = pp.coverage(scores.level, 0.5, images=scores.image)
        assert isinstance(held, Interval)
        assert held.high < 0.5 if over else held.low > 0.5
        middle = (np.abs(scores.pit - 0.5) < 0.25).mean()
        assert middle < 0.4 if over else middle > 0.6

    def test_a_turned_density_shows_in_pit_on_one_side(self) -> None:
        scores = self.scores(8.0, turned=0.3)
        assert (scores.pit < 0.5).mean() > 0.7
        assert np.median(scores.error_deg) == pytest.approx(-np.rad2deg(0.3), abs=2)
        assert scores.nats.mean() > self.scores(8.0).nats.mean()


def test_points_of_two_opposite_modes() -> None:
    density = two_modes()
    assert density.mode.item() == pytest.approx(0.5, abs=3e-3)
    assert wrapped(density.mean - 0.5).item() == pytest.approx(0.0, abs=1e-6)
    assert density.resultant_length.item() < 0.5
    bins = c.MultiBin(torch.tensor([[0.0, 0.1, -1.0]]), torch.tensor([[[50.0, 0.0], [5.0, 1.0], [1.0, 0.0]]]))
    assert bins.best_bin.item() == pytest.approx(TURN / 3 + math.atan2(1, 5), abs=1e-6)
    assert abs(bins.mode.item()) < 1e-3


class TestFamilies:
    NAMES: tuple[tuple[str, dict[str, str]], ...] = (
        ("von-mises", {}), ("mixture", {}), ("multibin", {}), ("multibin", {"train": "bound"}),
        ("multibin", {"train": "bound", "assign": "soft"}), ("cos-sin", {}), ("cos-sin", {"train": "l2"}),
        ("three-cosine", {}), ("three-cosine", {"train": "l2"}),
    )  # fmt: skip

    @pytest.mark.parametrize(("name", "options"), NAMES)
    def test_its_own_loss_finds_two_directions(self, name: str, options: dict[str, str]) -> None:
        """A linear network of two inputs, each with a direction of its own."""
        torch.manual_seed(3)
        family = c.family(name, **options)
        which = torch.arange(400) % 2
        truth = torch.where(which == 0, 0.8, -2.0).double()
        labels = c.VonMises(truth, torch.full((400,), 15.0)).sample()
        raw = torch.nn.Parameter(family.start().repeat(2, 1))
        optimiser = torch.optim.Adam([raw, *family.parameters()], lr=0.05)
        for _ in range(150):
            optimiser.zero_grad()
            family.loss(raw[which], labels).mean().backward()
            optimiser.step()
        density = family(raw.detach())
        assert wrapped(density.mean - torch.tensor([0.8, -2.0])).abs().max() < 0.06
        entropy = 0.5 * math.log(TURN * math.e / 15)  # of the labels, about
        assert c.score(family(raw.detach()[which]), labels).nats.mean() == pytest.approx(entropy, abs=0.25)

    def test_a_network_need_not_say_large_numbers_to_be_sure(self) -> None:
        said = c.family("von-mises")(torch.tensor([[0.0, 10.0]]))
        assert said.concentration.item() == pytest.approx(100.5, abs=0.01)
        bins = c.family("multibin", bins=6)
        at_first = bins(bins.start().unsqueeze(0)).natural.norm(dim=-1)
        assert torch.allclose(at_first, torch.full((1, 6), (6 / math.pi) ** 2, dtype=torch.float64), rtol=1e-6)

    @pytest.mark.parametrize("assign", ["hold", "soft"])
    def test_the_bound_is_below_the_likelihood(self, assign: str) -> None:
        torch.manual_seed(4)
        family = c.family("multibin", train="bound", assign=assign)
        raw, labels = torch.randn(200, family.outputs) * 3, torch.rand(200) * TURN
        assert (family.loss(raw, labels) >= -family(raw).log_prob(labels) - 1e-9).all()

    def test_bins_that_overlap_hold_labels_near_their_borders_together(self) -> None:
        family = ReadMultiBin(BinOptions(bins=4, train="bound", overlap=0.1))
        q = family.assignment(family(torch.zeros(3, 12)).distance(torch.tensor([0.0, TURN / 8 + 0.01, math.pi])))
        assert q.tolist() == [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0]]

    def test_three_cosines_are_cos_sin_and_one_number_more(self) -> None:
        torch.manual_seed(5)
        three, two = (ReadCosines(phases, CosineOptions("l2")) for phases in (3, 2))
        raw, labels = torch.randn(50, 3), torch.rand(50) * TURN
        vector, rest = three.vector(raw), raw.mean(-1)
        fitted = [-family(said).log_prob(labels) for family, said in ((three, raw), (two, vector))]
        squares = [
            family.loss(said, labels) - f
            for (family, said), f in zip(((three, raw), (two, vector)), fitted, strict=True)
        ]
        assert torch.allclose(squares[0], 1.5 * squares[1] + 1.5 * rest.square(), atol=1e-5)
        assert torch.allclose(fitted[0], fitted[1], atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("von-mise", {}, "unknown family of directions 'von-mise': choose one of von-mises"),
            ("von-mises", {"bins": 3}, "family von-mises has no option 'bins'"),
            ("multibin", {"bins": 1}, "bins is 1: it must be at least 2"),
            ("multibin", {"train": "l2"}, "family multibin: train is 'l2'"),
            ("multibin", {"overlap": -1.0}, "overlap is -1.0"),
            ("mixture", {"components": 0}, "components is 0"),
        ],
    )
    def test_what_cannot_be_is_refused(self, name: str, options: dict[str, object], message: str) -> None:
        with pytest.raises(pp.ProbposeError, match=message.replace("(", r"\(")):
            c.family(name, **options)


def test_labels_are_checked() -> None:
    density = DENSITIES["von Mises"](3)
    with pytest.raises(pp.ProbposeError, match=r"angles has shape \(2,\), expected \(3\)"):
        c.score(density, [0.0, 1.0])
    with pytest.raises(pp.ProbposeError, match=r"angles\[1\] is nan"):
        c.score(density, [0.0, math.nan, 1.0])


def test_models_are_compared_paired_over_images_and_seeds() -> None:
    torch.manual_seed(6)
    loc, images = torch.rand(400) * TURN, np.arange(400) // 2
    labels = c.VonMises(loc, torch.full((400,), 8.0)).sample()
    runs = {
        name: [c.score(c.VonMises(loc + off, torch.full((400,), k)), labels, images=images) for off in (0.0, 0.01)]
        for name, k in (("right", 8.0), ("too sure", 40.0))
    }
    found = c.compare(runs)
    right, sure = found.rows
    assert (found.labels, found.images, right.d_nats) == (400, 200, None)
    assert sure.d_nats is not None
    assert sure.d_nats.mean == pytest.approx(sure.nats - right.nats)
    assert sure.d_nats.mean > 3 * sure.d_nats.se > 0
    assert sure.d_mean_deg is not None
    assert sure.d_mean_deg.mean == pytest.approx(0.0, abs=1e-9)  # the same points
    assert sure.coverage[0.5][0] < 0.5 - 4 * sure.coverage[0.5][1]
    assert "too sure" in found.table.markdown()
    with pytest.raises(pp.ProbposeError, match="same seeds"):
        c.compare({"a": runs["right"], "b": runs["right"][:1]})
