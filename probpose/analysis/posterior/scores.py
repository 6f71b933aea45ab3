"""Model comparison and summaries by ArviZ."""

from __future__ import annotations

__all__ = ["elpd_table", "loo", "summary"]

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from probpose.analysis.evaluation.statistics import group_sums, paired_difference
from probpose.analysis.posterior.library import az
from probpose.arrays import Array, Index
from probpose.errors import DataError


def elpd_table(scores: Mapping[str, tuple[Array, Index]]) -> Any:
    """Held-out log scores, summed per image, as expected log predictive density in `arviz.compare`.

    An image, and not a keypoint, is the unit: keypoints of one image are dependent. `elpd_loo` is the sum over the
    held-out images (nothing is left out, the data are held out already, so `p_loo` is NaN), `elpd_diff` and `dse` the
    difference from the best model and its standard error, `weight` that of stacking. The last three columns are per
    keypoint: `nats_per_keypoint`, and `difference` and `difference_se` of `probpose.analysis.evaluation.statistics`.
    Both differences are by how much a model is *behind* the best: less log density is a positive difference.
    Those standard errors are dse / keypoints, times sqrt(n / (n - 1)) of n images, when each image has equally many
    keypoints; otherwise `dse` also holds the chance of an image with many keypoints, which a mean per keypoint does not
    have.

    Args:
        scores: at least two models: log density (M,) of each label in nats, and its image (M,); the same labels in
            the same order.

    Returns:
        A `pandas.DataFrame`, one row a model, the best first.

    Raises:
        DataError: fewer than two models or images, other labels, or a score that is not finite.
    """
    image = _common_images(scores)
    images = np.unique(image)
    sums = {name: group_sums(log_prob, image) for name, (log_prob, _) in scores.items()}
    highest = np.max(list(sums.values()), axis=0)  # stacking takes exp; a shift common to all models leaves it alone
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The inplace keyword", DeprecationWarning)  # pandas' to ArviZ
        table = az.compare({name: _elpd(own, own - highest, images) for name, own in sums.items()})
    best = scores[table.index[0]][0]
    differences = [paired_difference([best], [scores[name][0]], image) for name in table.index]
    table["nats_per_keypoint"] = [float(scores[name][0].mean()) for name in table.index]
    table["difference"] = [found.mean for found in differences]
    table["difference_se"] = [found.se_images for found in differences]
    return table


def summary(posterior: Any, **options: Any) -> Any:
    """`arviz.summary` of posterior draws: mean, intervals, R-hat and effective sample sizes, a `pandas.DataFrame`.

    Args:
        posterior: an InferenceData.
        options: of `arviz.summary`, such as var_names.

    Raises:
        DataError: there are no posterior draws.
    """
    return az.summary(_with_draws(posterior), **options)


def loo(posterior: Any, name: str = "residual") -> Any:
    """`arviz.loo`, pointwise, of a variable in `log_likelihood` under the posterior draws; missing labels left out.

    Its `warning` is True, and `pareto_k` says where, when importance sampling cannot stand in for leaving a label out.

    Args:
        posterior: an InferenceData.
        name: of the variable.

    Raises:
        DataError: there are no posterior draws, or no log density of that name under them.
    """
    found = _with_draws(posterior)
    if "log_likelihood" not in found.groups() or name not in found.log_likelihood:
        raise DataError(f"The saved posterior has no log likelihood of {name!r}, which loo needs.")
    values = found.log_likelihood[name]
    units = [dim for dim in values.dims if dim not in ("chain", "draw")]
    flat = values.stack(unit=units).dropna("unit").reset_index("unit", drop=True)
    both = az.InferenceData(posterior=found.posterior, log_likelihood=flat.to_dataset(name=name))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimated shape parameter of Pareto", UserWarning)
        return az.loo(both, pointwise=True, var_name=name)


def _with_draws(posterior: Any) -> Any:
    if "posterior" not in posterior.groups():
        raise DataError("The saved posterior has no posterior draws: it was made by maximum likelihood.")
    return posterior


def _common_images(scores: Mapping[str, tuple[Array, Index]]) -> Index:
    """The image of each label, the same for every model."""
    if len(scores) < 2:
        raise DataError(f"A comparison needs at least two models, and there are {len(scores)}.")
    first, (_, image) = next(iter(scores.items()))
    for name, (log_prob, own) in scores.items():
        if log_prob.shape != own.shape or not np.array_equal(own, image):
            raise DataError(f"{name} was judged on other labels than {first}: compare models on the same labels.")
        if not np.isfinite(log_prob).all():
            raise DataError(f"{name}: {(~np.isfinite(log_prob)).sum()} log scores are not finite.")
    if len(np.unique(image)) < 2:
        raise DataError("A comparison needs labels in at least two images, its standard errors are over images.")
    return image


def _elpd(sums: Array, shifted: Array, images: Index) -> Any:
    """What `arviz.loo` would return, pointwise, from scores that are given; `shifted` serve differences only."""
    pointwise = az.dict_to_dataset(
        {"loo_i": shifted}, default_dims=[], dims={"loo_i": ["image"]}, coords={"image": images}
    )["loo_i"]
    fields: dict[str, object] = {
        "elpd_loo": float(sums.sum()),
        "se": float(np.sqrt(len(sums) * sums.var())),
        "p_loo": float("nan"),
        "n_samples": 1,
        "n_data_points": len(sums),
        "warning": False,
        "loo_i": pointwise,
        "scale": "log",
    }
    return az.ELPDData(data=list(fields.values()), index=list(fields))
