"""A comparison of models: one row a model, with paired differences from a reference."""

from __future__ import annotations

__all__ = ["Comparison", "Elpd", "Row"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from probpose.analysis.evaluation.scores import PCK_FRACTIONS, Scores
from probpose.analysis.evaluation.statistics import Difference, paired_difference
from probpose.analysis.prediction.estimates import ESTIMATORS
from probpose.analysis.table import Cell
from probpose.arrays import Array
from probpose.errors import ConfigError, DataError


@dataclass(frozen=True)
class Row:
    """One model, averaged over its seeds.

    Attributes:
        model: its label.
        seeds: number of its runs.
        values: `nll_nats`, `coverage50`, `coverage90`, `r90_px` (median), `AP`, `parameters`, `flops`, `images_per_s`,
            and `epe_px_mean`, `pck0.2_median` and so on for each point estimate; None where undefined.
        spread: standard deviation of the same over seeds; None for one seed.
        differences: paired differences from the reference of `nll_nats` and the point metrics; empty for the reference
            and where no seed is common.
    """

    model: str
    seeds: int
    values: dict[str, float | None]
    spread: dict[str, float | None]
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Elpd:
    """A model's expected log predictive density: held-out log scores, summed per image, as ArviZ compares them.

    Attributes:
        model: its label.
        elpd_loo: sum over the images, nats.
        se: its standard error.
        elpd_diff: behind the best model, nats.
        dse: standard error of that.
        weight: of stacking.
    """

    model: str
    elpd_loo: float
    se: float
    elpd_diff: float
    dse: float
    weight: float


@dataclass(frozen=True)
class Comparison:
    """Models compared on the same labelled keypoints.

    Attributes:
        dataset: what the labels are of.
        persons: with a labelled keypoint.
        images: of those persons.
        keypoints: labelled.
        reference: the model that the others are compared with.
        rows: one a model.
        elpd: one a model, the best first; empty for a single model or image.
        failed: models whose training stopped early, with the reason.
    """

    dataset: str
    persons: int
    images: int
    keypoints: int
    reference: str
    rows: list[Row]
    elpd: list[Elpd]
    failed: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: str, scores: Mapping[str, Mapping[int, Scores]], reference: str) -> Comparison:
        """Compare models.

        Args:
            dataset: what the labels are of.
            scores: by model and seed. Differences are between runs of the same seed.
            reference: one of the models.

        Raises:
            ConfigError: the reference is not among the models.
            DataError: the runs were scored on different keypoints, as when an image could not be read for one.
        """
        if reference not in scores:
            raise ConfigError(f"the reference {reference!r} is not compared: choose one of {', '.join(scores)}.")
        base = scores[reference]
        first = next(iter(base.values()))
        for name, runs in scores.items():
            if not all(_same_keypoints(run, first) for run in runs.values()):
                raise DataError(
                    f"{name} was judged on other keypoints than {reference}: did an image become unreadable?"
                )
        return cls(
            dataset=dataset,
            persons=len(np.unique(first.person)),
            images=len(np.unique(first.image)),
            keypoints=len(first.person),
            reference=reference,
            rows=[_row(name, runs, base, is_reference=name == reference) for name, runs in scores.items()],
            elpd=_elpd(scores),
        )

    def records(self) -> list[dict[str, Cell]]:
        """One flat record a model, for CSV: values, `*_sd` over seeds, `d_*` with `*_se`."""
        return [_record(row) for row in self.rows]


def _elpd(scores: Mapping[str, Mapping[int, Scores]]) -> list[Elpd]:
    """`arviz.compare` of the log densities, averaged over seeds."""
    if len(scores) < 2 or len(np.unique(next(iter(next(iter(scores.values())).values())).image)) < 2:
        return []
    means = {
        name: (np.mean([run.log_prob for run in runs.values()], axis=0), next(iter(runs.values())).image)
        for name, runs in scores.items()
    }
    from probpose.analysis.posterior.scores import elpd_table  # with ArviZ, which tables of other results do without

    table = elpd_table(means)
    columns = ("elpd_loo", "se", "elpd_diff", "dse", "weight")
    return [Elpd(str(name), *(float(row[key]) for key in columns)) for name, row in table.iterrows()]


def _row(name: str, runs: Mapping[int, Scores], base: Mapping[int, Scores], *, is_reference: bool) -> Row:
    tables = [_values(run) for run in runs.values()]
    common = [] if is_reference else [(runs[seed], base[seed]) for seed in sorted(runs.keys() & base.keys())]
    differences = {key: _difference(of, common) for key, of in _paired().items()} if common else {}
    return Row(
        model=name,
        seeds=len(runs),
        values={key: _over_seeds(tables, key, np.mean) for key in tables[0]},
        spread={key: _over_seeds(tables, key, _deviation) if len(runs) > 1 else None for key in tables[0]},
        differences=differences,
    )


def _values(run: Scores) -> dict[str, float | None]:
    """The metrics of one run."""
    return {
        "coverage50": run.coverage(0.5),
        "coverage90": run.coverage(0.9),
        "r90_px": float(np.median(run.r90_px)),
        **{name: float(of(run).mean()) for name, of in _paired().items()},
        **{name: getattr(run.facts, name) for name in ("AP", "parameters", "flops", "images_per_s")},
    }


def _paired() -> dict[str, Callable[[Scores], Array]]:
    """The quantities (M,) at each keypoint whose means are compared, by name."""
    chosen: dict[str, Callable[[Scores], Array]] = {"nll_nats": lambda run: -run.log_prob}
    for column, estimator in enumerate(ESTIMATORS):
        chosen[f"epe_px_{estimator}"] = partial(_error, column=column)
        for fraction in PCK_FRACTIONS:
            chosen[f"pck{fraction:g}_{estimator}"] = partial(_correct, column=column, fraction=fraction)
    return chosen


def _error(run: Scores, column: int) -> Array:
    return run.error_px[:, column]


def _correct(run: Scores, column: int, fraction: float) -> Array:
    return run.pck(fraction)[:, column]


def _difference(of: Callable[[Scores], Array], pairs: Sequence[tuple[Scores, Scores]]) -> Difference:
    return paired_difference([of(ours) for ours, _ in pairs], [of(base) for _, base in pairs], pairs[0][1].image)


def _over_seeds(tables: Sequence[dict[str, float | None]], key: str, of: Callable[..., Any]) -> float | None:
    values = [value for table in tables if (value := table[key]) is not None]
    return float(of(values)) if len(values) == len(tables) else None


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))


def _same_keypoints(a: Scores, b: Scores) -> bool:
    return np.array_equal(a.person, b.person) and np.array_equal(a.joint, b.joint)


def _record(row: Row) -> dict[str, Cell]:
    flat: dict[str, Cell] = {"model": row.model, "seeds": row.seeds, **row.values}
    flat |= {f"{name}_sd": value for name, value in row.spread.items()}
    for name, difference in row.differences.items():
        flat |= {f"d_{name}": difference.mean, f"d_{name}_se": difference.se}
        flat |= {f"d_{name}_se_images": difference.se_images, f"d_{name}_se_seeds": difference.se_seeds}
    return flat
