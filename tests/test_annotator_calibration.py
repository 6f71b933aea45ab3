"""Simulation-based calibration of the annotators' posterior: ranks of parameters drawn from the prior are uniform.

In the conjugate case, biases given everything else, the posterior is exact and hundreds of repetitions are cheap; the
same test refuses biases whose prior is twice too narrow. A few runs of NUTS see that the sampler is joined up rightly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from probpose.arrays import Array
from probpose.errors import DataError
from probpose.inference.fitting.annotation_coordinates import Values
from probpose.inference.fitting.annotation_gaussian import GaussianLabels
from probpose.inference.fitting.annotation_predictive import factors
from probpose.inference.fitting.annotation_replicates import draw_prior, replicate
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior
from probpose.inference.fitting.leave_annotator_out import leave_annotators_out
from probpose.models.annotation_model import Design
from tests.annotation_cases import labels_of, made_up


def bias_ranks(repetitions: int, wrong: tuple[float, ...]) -> Array:
    """Ranks (len(wrong), repetitions) of one bias among 19 exact draws, by priors of biases `wrong` times as wide."""
    design, rng = Design.of(made_up(objects=6, A=4, K=3), typical=1.0), np.random.default_rng(0)
    found = []
    for known in draw_prior(design, repetitions, seed=3).each():
        truth = 5 * rng.standard_normal((len(design.origin), 2))
        labels = GaussianLabels.of(replace(design, xy=design.xy.new_tensor(replicate(design, known, truth, rng))))
        ranks = []
        for factor in wrong:
            landmark = known.values.landmark.copy()
            landmark[:, 3] += np.log(factor)
            believed = Values(landmark, known.values.log_tau, known.values.exponent)
            white = np.stack([labels.draw_bias(believed, rng) for _ in range(19)])
            drawn = np.einsum("ij,saj->sai", factors(landmark)[1], white[:, :, 1])
            ranks.append((drawn[:, 2, 0] < known.bias[2, 1, 0]).sum())
        found.append(ranks)
    return np.array(found).T


def test_ranks_of_exact_draws_are_uniform_and_those_of_a_wrong_prior_are_not() -> None:
    p = [stats.chisquare(np.bincount(ranks // 2, minlength=10)).pvalue for ranks in bias_ranks(200, (1.0, 0.5))]
    assert p[0] > 0.001
    assert p[1] < 1e-4


def test_nuts_covers_what_is_drawn_from_the_prior() -> None:
    """Six runs: 80% intervals hold about 80% of the scales, relative scales and correlations."""
    inside: list[float] = []
    design = Design.of(made_up(objects=8, A=3, K=2), typical=1.0)
    for repetition, known in enumerate(draw_prior(design, 6, seed=5).each()):
        rng = np.random.default_rng(repetition)
        labels = made_up(objects=8, A=3, K=2)
        xy = replicate(design, known, np.zeros((len(design.origin), 2)), rng)
        found = sample_annotation_posterior(
            replace(labels, xy=xy), draws=60, warmup=25, chains=1, scored=1, typical=1.0, seed=repetition
        )
        exact = {
            "scale": np.exp(known.values.landmark[:, :2]),
            "rho": np.tanh(known.values.landmark[:, 2]),
            "tau": np.exp(known.values.log_tau),
        }
        held = []
        for name, value in exact.items():
            low, high = np.quantile(found.draws[name], [0.1, 0.9], axis=(0, 1))
            held += ((low <= value) & (value <= high)).ravel().tolist()
        inside.append(float(np.mean(held)))
    error = np.std(inside) / np.sqrt(len(inside))
    assert abs(np.mean(inside) - 0.8) < 4 * max(error, 0.03)


def test_annotator_left_out_is_predicted_as_the_population_says() -> None:
    """Labels of heavy tails are worth more to Student-t noise; a label that nobody else gave has no prediction."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((25, 4, 1, 2)) * np.sqrt(1.5 / rng.chisquare(1.5, (25, 4, 1, 1)))
    keep = np.ones((25, 4, 1), dtype=bool)
    keep[0, 1:] = False
    labels = labels_of(z + 0.5 * rng.standard_normal((4, 1, 2)), keep=keep)
    laws = ("gaussian", "student_t")
    gaussian, student = (
        leave_annotators_out(labels, noise=noise, draws=12, warmup=15, chains=1)  # type: ignore[arg-type]
        for noise in laws
    )
    alone = np.isnan(gaussian)
    assert np.flatnonzero(alone).tolist() == labels.alone.tolist()
    gain = (student - gaussian)[~alone]
    assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))
    with pytest.raises(DataError, match="of 2 annotators none can be left out"):
        leave_annotators_out(labels.select_annotators([0, 1]))
