"""What draws of a trained network's last layer gain: Laplace's approximation and SVI beside the network itself.

    python -m benchmarks.field --pack data/lspet --data-root data/field          # crops of the photographs, once
    python -m benchmarks.last_layer --data-root data/field --out docs/results/last_layer

The networks are those of benchmarks.unsure (`--work`, trained where they are not there). Their last layers are drawn
with the persons they were trained on, and judged on others; differences are paired by label and seed, with standard
errors over images and seeds. Scores are kept in `--out`/DATA/NAME-seed0.npz. A second table takes the draws apart: the
mean of the posterior alone, draws that are independent, and SVI that knows no correlation between weights.
"""

from __future__ import annotations

__all__ = ["main"]

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

import probpose as pp
from benchmarks.field import Data, _save
from benchmarks.tables import report
from benchmarks.unsure import MODELS, SETS, milliseconds, trained
from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.scores import Scores, score_run
from probpose.inference.fitting.last_layer import Features, LastLayer, information
from probpose.inference.fitting.last_layer_posterior import (
    Whitened,
    balanced,
    evidence_precision,
    fit_guide,
    held_out_nll,
)
from probpose.inference.training.members import open_run
from probpose.inference.training.runs import load_run
from probpose.inference.training.train import trained_on
from probpose.models.registry import family_of
from probpose.text import slug

KINDS = ("laplace", "svi")
SINGLE = "single"

COLUMNS = {
    "model": "model", "seeds": "seeds", "nll_nats": "NLL", "d_nll_nats": "NLL - single", "d_nll_nats_se": "±",
    "coverage50": "in 50%", "coverage90": "in 90%", "r90_px": "r90 px", "pck0.2_mean": "PCK mean",
    "d_pck0.2_mean": "mean - single", "d_pck0.2_mean_se": "±", "kl": "KL, nats", "elbo": "ELBO, nats",
    "fit_s": "fit, s", "ms": "ms a person",
}  # fmt: skip


def drawn(run: Path, kind: str, source: Data, data: str, folder: Path, draws: int) -> dict[str, float]:
    """Draw the last layer of a run into a folder; what it cost and found."""
    begun = time.process_time()
    pp.draw_last_layer(
        run, folder, posterior=kind, draws=draws, persons=source.part(data, "train"), device="cpu"  # type: ignore[arg-type]
    )  # fmt: skip
    spent = time.process_time() - begun
    attrs = pp.load_posterior(folder / "posterior.nc").attrs
    return {"fit_s": spent, "kl": float(attrs["kl_nats"]), "elbo": float(attrs["elbo_nats"])}


def compared(data: str, model: str, seeds: Sequence[int], source: Data, work: Path, out: Path, draws: int) -> None:
    """The table of networks and draws of their last layers."""
    persons = source.part(data, "report")
    scores: dict[str, dict[int, Scores]] = {}
    facts: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        single = trained(model, data, seed, source, work)
        runs = {SINGLE: single} | {kind: work / slug(f"{data}-{model}-{kind}-seed{seed}") for kind in KINDS}
        for name, folder in runs.items():
            found = drawn(single, name, source, data, folder, draws) if name in KINDS and not folder.exists() else {}
            scores.setdefault(name, {})[seed] = score_run(open_run(folder), persons)
            found["ms"] = milliseconds(folder, persons)  # not of `score_run`, which reads what it has kept
            facts.setdefault(name, []).append(found)
            out.mkdir(parents=True, exist_ok=True)
            _save(out / f"{name}-seed{seed}.npz", scores[name][seed])
    rows = [dict.fromkeys(COLUMNS) | row for row in Comparison.of(data, scores, SINGLE).records()]
    report([row | _means(facts[str(row["model"])]) for row in rows], COLUMNS, out)


def _means(facts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in facts if name in one])) for name in facts[0]}


PARTS = {
    "posterior": "posterior", "draws": "draws", "spread": "spread", "nll": "NLL - trained", "train": "in training",
    "deviation": "deviation / Laplace's", "seconds": "s",
}  # fmt: skip


def taken_apart(data: str, run: Path, source: Data, out: Path) -> None:
    """The table of one network's posteriors by how they are drawn, in nats of held-out labels."""
    torch.manual_seed(0)
    loaded = load_run(run)
    pool = not family_of(loaded.config.model.family).maps
    train, _ = trained_on(loaded, source.part(data, "train"))
    seen, held = (
        Features(loaded.model, part, loaded.input_size, pool=pool) for part in (train, source.part(data, "report"))
    )
    layer = LastLayer(loaded.model)
    known = information(layer, seen)
    place = Whitened(layer, known, evidence_precision(layer, known))
    alone = Whitened(layer, {name: one.by_weight() for name, one in known.items()}, place.precision)
    rows: list[dict[str, Any]] = []
    for name, where in (("laplace", place), ("svi", place), ("svi, weight by weight", alone)):
        begun = time.process_time()
        guide = where.laplace if name == "laplace" else fit_guide(where, seen)
        facts = {"posterior": name, "seconds": time.process_time() - begun, "deviation": _typical(guide)}
        rows += [facts | row for row in _spreads(where, guide, seen, held)]
    report([dict.fromkeys(PARTS) | row for row in rows], PARTS, out)


def _typical(guide: Mapping[str, Normal]) -> float:
    return float(torch.cat([law.scale.flatten() for law in guide.values()]).median())


def _spreads(place: Whitened, guide: Mapping[str, Normal], seen: Features, held: Features) -> Iterator[dict[str, Any]]:
    """The posterior's mean, balanced draws and independent ones."""
    layer = place.layer

    def row(spread: str, z: Mapping[str, Tensor]) -> dict[str, Any]:
        own = layer.parameters(place.matrices(z))
        before = layer.parameters({name: matrix.unsqueeze(0) for name, matrix in layer.trained.items()})
        gains = {
            key: held_out_nll(layer, own, part) - held_out_nll(layer, before, part)
            for key, part in (("nll", held), ("train", seen))
        }
        return {"spread": spread, "draws": len(next(iter(z.values()))), **gains}

    yield row("mean", {name: law.loc.unsqueeze(0) for name, law in guide.items()})
    for draws in (4, 16, 64):
        yield row("balanced", {name: balanced(law, draws) for name, law in guide.items()})
    yield row("independent", {name: law.sample((16,)) for name, law in guide.items()})


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data/field"), show_default=True)
@click.option("--model", type=click.Choice(list(MODELS)), default="rle", show_default=True)
@click.option("--data", "sets", type=click.Choice(list(SETS)), multiple=True, default=tuple(SETS), show_default=True)
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2), show_default=True)
@click.option("--draws", default=16, show_default=True, help="Of the last layer.")
@click.option("--persons", type=int, help="Use no more of each part.")
@click.option("--apart/--no-apart", default=True, show_default=True, help="The second table.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/unsure"), help="Of runs.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/last-layer-tables"), show_default=True)
def main(
    data_root: Path, model: str, sets: Sequence[str], seeds: Sequence[int], draws: int, persons: int | None,
    apart: bool, work: Path, out: Path,
) -> None:  # fmt: skip
    """Train, draw, judge."""
    torch.set_num_threads(1)
    source = Data(data_root, persons)
    for data in sets:
        click.echo(f"\n{SETS[data]}, {model}\n")
        place = out / slug(f"{data}-{model}")
        compared(data, model, seeds, source, work, place, draws)
        if apart:
            taken_apart(data, trained(model, data, seeds[0], source, work), source, place / "apart")


if __name__ == "__main__":
    main()
