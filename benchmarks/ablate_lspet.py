"""What costs `rle` accuracy on real images, and what does not: variants of its training on `lspet`, one budget.

    python -m benchmarks.ablate_lspet --data-root data/lspet --seeds 2 --out ablations/lspet

A small network at 64x64 in place of ResNet-18 at 96x96, so that a run takes minutes. Finished runs are kept.
"""

from __future__ import annotations

__all__ = ["main"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from benchmarks.tables import report
from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.scores import Scores, score_run
from probpose.analysis.prediction.estimates import ESTIMATORS
from probpose.inference.training.config import TrainConfig, load_config
from probpose.inference.training.initial import initial_model
from probpose.inference.training.report import Report, read_log
from probpose.inference.training.runs import RunFolder, load_run
from probpose.inference.training.train import open_split
from probpose.inference.training.trainer import Trainer
from probpose.models.densities import RLEResidual
from probpose.models.densities.rle import gaussian_log_q
from probpose.models.keypoint_model import KeypointModel
from probpose.models.objectives import Objective
from probpose.models.predictive.location_scale import LocationScale

BASE = Path(__file__).with_name("lspet.toml")
JOINT = {"residual": "rle", "laplace_until": 0.0, "location_by": "likelihood"}
COLUMNS = {
    "model": "variant",
    "seeds": "seeds",
    "nll_nats": "NLL",
    **{f"pck0.2_{estimator}": f"PCK@0.2 {estimator}" for estimator in ESTIMATORS},
    "pck0.5_median": "PCK@0.5 median",
    "epe_px_median": "EPE px",
    "d_nll_nats": "NLL - Laplace",
    "d_nll_nats_se": "±",
    "d_pck0.2_median": "PCK@0.2 - Laplace",
    "d_pck0.2_median_se": "±",
}


class BetaLikelihood(Objective[LocationScale]):
    """The log density weighted by scale^beta, held constant, with mean weight 1: hard keypoints weigh more in mu.

    Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation with Probabilistic Neural Networks",
    ICLR 2022. The scale is the geometric mean of both axes.
    """

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def score(self, predictive: LocationScale, keypoints: Tensor) -> Tensor:
        weight = (0.5 * self.beta * predictive.log_abs_det.detach()).exp()
        return weight / weight.mean() * predictive.log_prob(keypoints)


def _by_beta(model: KeypointModel) -> None:
    model.objective = BetaLikelihood(0.5)


def _gaussian_q(model: KeypointModel) -> None:
    assert isinstance(model.residual, RLEResidual)
    model.residual.log_q = gaussian_log_q


@dataclass(frozen=True)
class Variant:
    """A change of the base configuration, and of the model once it is built."""

    config: dict[str, Any] = field(default_factory=dict)
    change: Callable[[KeypointModel], None] = lambda _: None


VARIANTS = {
    "laplace": Variant({"residual": "laplace"}),
    "gaussian": Variant({"residual": "gaussian"}),
    "rle, jointly from the start": Variant(JOINT),
    "rle, Laplace for 50%": Variant(JOINT | {"laplace_until": 0.5}),
    "rle, Laplace for 80%, then jointly": Variant(JOINT | {"laplace_until": 0.8}),
    "rle, mu by Laplace to the end (default)": Variant({"residual": "rle"}),
    "rle, Laplace to the end, R fitted": Variant(JOINT | {"laplace_until": 1.0}),
    "jointly, quantile gauge": Variant(JOINT | {"gauge": "quantile"}),
    "jointly, learning rate of R x 0.1": Variant(JOINT | {"residual_lr": 0.1}),
    "jointly, learning rate of R x 5": Variant(JOINT | {"residual_lr": 5.0}),
    "jointly, weights sigma^0.5": Variant(JOINT, _by_beta),
    "jointly, Gaussian Q": Variant(JOINT, _gaussian_q),
    "jointly, one R a joint": Variant(JOINT | {"per_joint": True}),
    "laplace, 3 x as long": Variant({"residual": "laplace", "epochs": 60}),
    "rle jointly, 3 x as long": Variant(JOINT | {"epochs": 60}),
}


@click.command()
@click.option("--data-root", type=click.Path(exists=True, file_okay=False), help="Folder of the data. [data/lspet]")
@click.option("--seeds", default=2, show_default=True, help="Runs of each variant.")
@click.option("--only", multiple=True, help="Part of a variant's name; may be given several times. [all]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of runs and table.")
def main(data_root: str | None, seeds: int, only: tuple[str, ...], out: Path) -> None:
    """Train the variants and print the table."""
    base = load_config(BASE).changed(data_root=data_root, backbone="small", input_height=64, input_width=64)
    chosen = [name for name in VARIANTS if name == "laplace" or not only or any(part in name for part in only)]
    scores: dict[str, dict[int, Scores]] = {name: {} for name in chosen}
    for seed in range(seeds):
        for name in chosen:
            scores[name][seed] = _run(VARIANTS[name], base.changed(seed=seed), out / f"{_slug(name)}-seed{seed}")
            _report(scores, out)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _run(variant: Variant, base: TrainConfig, path: Path) -> Scores:
    """Train a variant unless it is finished, and score it on the validation images."""
    config, folder = base.changed(**variant.config), RunFolder(path)
    records = read_log(folder.log)
    if not records or records[-1]["epoch"] < config.optimiser.epochs:
        _train(config, variant, folder)
    run = load_run(path)
    variant.change(run.model)
    return score_run(run, open_split(config, "val"))


def _train(config: TrainConfig, variant: Variant, folder: RunFolder) -> None:
    train, selection = open_split(config, "train").split_by_image(config.data.selection, config.seed)
    model, _ = initial_model(config, train)
    variant.change(model)
    with folder.locked():
        if not folder.config.exists():
            folder.create(config, train.skeleton)
        trainer = Trainer(config, folder, model, train, selection)
        if folder.last.exists():
            trainer.resume()
        with Report(config.optimiser.epochs, trainer.steps_per_epoch, trainer.step) as progress:
            progress.say(str(folder.path))
            trainer.fit(progress)


def _report(scores: Mapping[str, Mapping[int, Scores]], out: Path) -> None:
    records = Comparison.of("lspet val", {name: runs for name, runs in scores.items() if runs}, "laplace").records()
    report([{key: record.get(key) for key in COLUMNS} for record in records], COLUMNS, out)


if __name__ == "__main__":
    main()
