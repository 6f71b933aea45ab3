"""Silverman's test for more than one mode.

B. W. Silverman, "Using kernel density estimates to investigate multimodality", JRSS B 43 (1981), with the calibration
of P. Hall and M. York, "On the calibration of Silverman's test for multimodality", Statistica Sinica 11 (2001): as it
stands the test is too cautious. Own code: Hartigan's dip test has a library, but under the GPL, and this one has none.
"""

from __future__ import annotations

__all__ = ["ModeTest", "silverman_test"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

Array = npt.NDArray[np.float64]

_BINS = 512
_INNER = (0.01, 0.99)
_CALIBRATION = 1.13
"""Hall and York's factor on the critical bandwidth, for a level of 5%."""


@dataclass(frozen=True)
class ModeTest:
    """Whether a sample comes from a density with one mode.

    Attributes:
        p_value: small when it does not; valid at levels about 5%.
        critical_bandwidth: the width of the Gaussian kernel, in standard deviations of the sample, under which the
            density estimate has more than one mode: how much has to be smoothed away. 3,000 normal values have about
            0.1, two equal normal components 4 of their standard deviations apart have 0.7.
    """

    p_value: float
    critical_bandwidth: float


def silverman_test(sample: Array, *, draws: int = 200, seed: int = 0) -> ModeTest | None:
    """Test for one mode between the 1% and 99% quantiles of the sample; beyond, single values make modes of their own.

    A density with a plateau is at the border of the hypothesis, and is rejected more often than the level says.

    Args:
        sample: (n,), independent.
        draws: smoothed bootstrap samples.
        seed: of the bootstrap.

    Returns:
        None for fewer than 20 values, or without spread.
    """
    spread = float(sample.std())
    if len(sample) < 20 or spread == 0:
        return None
    critical = _critical_bandwidth(sample, spread)
    rng = np.random.default_rng(seed)
    several = sum(_modes(_smoothed(sample, critical, spread, rng), _CALIBRATION * critical) > 1 for _ in range(draws))
    return ModeTest((several + 1) / (draws + 1), critical / spread)


def _critical_bandwidth(sample: Array, spread: float) -> float:
    """The least bandwidth with one mode; the number of modes falls as a Gaussian kernel widens."""
    low, high = 0.01 * spread, 2.0 * spread
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if _modes(sample, middle) > 1 else (low, middle)
    return high


def _smoothed(sample: Array, bandwidth: float, spread: float, rng: np.random.Generator) -> Array:
    """A draw of the sample's size from its kernel density estimate, shrunk to the sample's variance."""
    centred = rng.choice(sample, len(sample)) - sample.mean() + bandwidth * rng.standard_normal(len(sample))
    return np.asarray(sample.mean() + centred / np.sqrt(1 + (bandwidth / spread) ** 2))


def _modes(sample: Array, bandwidth: float) -> int:
    """Local maxima of the kernel density estimate between the inner quantiles, on a grid of bins."""
    low, high = sample.min() - 3 * bandwidth, sample.max() + 3 * bandwidth
    counts, edges = np.histogram(sample, _BINS, (low, high))
    density = gaussian_filter1d(
        counts.astype(np.float64), bandwidth / (edges[1] - edges[0]), mode="constant", truncate=6
    )
    inner = np.searchsorted(edges, np.quantile(sample, _INNER))
    slopes = np.sign(np.diff(density[inner[0] : inner[1] + 1]))
    slopes = slopes[slopes != 0]
    return int(((slopes[:-1] > 0) & (slopes[1:] < 0)).sum())
