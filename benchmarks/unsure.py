"""What an ensemble gains, and whether its disagreement knows crops that are not like those of training.

    python -m benchmarks.field --pack data/lspet --data-root data/field          # crops of the photographs, once
    python -m benchmarks.unsure --data-root data/field --out docs/results/unsure

Networks with seeds 0 to 3 are trained on Leeds Sports Pose with boxes that are moved (*small* of benchmarks.field) and
on the synthetic figures, with 64 x 64 pixels and 12 epochs, and judged alone and as an ensemble. Then their crops are
corrupted, at five levels, or are those of the other data set, and each score is asked which of two crops is the strange
one: the share of pairs that it gets right is AUROC. Scores of a crop are means over its joints; sigma is in units of
the crop. `--also small/laplace=runs/drawn` judges another run beside these, such as one of draws of the last layer.
"""

from __future__ import annotations

__all__ = ["main"]

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import rankdata
from torch import Tensor, nn

import probpose as pp
from benchmarks.field import LEADERS, OTHERS, Data, Job
from benchmarks.tables import report
from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.scores import Scores, score_run
from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.analysis.prediction.forward import Forward, predict_persons
from probpose.arrays import Array, Index, as_array
from probpose.data.persons import Persons
from probpose.inference.training.comparison import Entry, train_entry
from probpose.inference.training.members import open_run
from probpose.inference.training.runs import LoadedRun, RunFolder
from probpose.models.ensemble import Predictor
from probpose.models.heads.base import Heads
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.decomposition import decompose
from probpose.models.scores import Labels, LabelScores
from probpose.text import slug

MEMBERS = 4
MODELS: dict[str, dict[str, Any]] = {"rle": OTHERS["rle"], "field": LEADERS["field, student_t, then exact"]}
NAMES = {"rle": "rle", "field": "field, student_t, then exact"}
"""Of the jobs of benchmarks.field."""
SETS = {"small": "Leeds Sports Pose", "synthetic": "synthetic figures"}

Corruption = Callable[[Tensor, int], Tensor]
"""Of crops (N, 3, H, W), uint8, at a level from 1 to 5."""


def blurred(crops: Tensor, level: int) -> Tensor:
    """A Gaussian blur of 0.5 to 4 pixels."""
    width = (0.5, 1.0, 1.5, 2.5, 4.0)[level - 1]
    found = [cv2.GaussianBlur(crop, (0, 0), width) for crop in crops.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def noisy(crops: Tensor, level: int) -> Tensor:
    """Gaussian noise of 8 to 100 grey levels, the same for the same crop."""
    sigma = (8.0, 16.0, 32.0, 60.0, 100.0)[level - 1]
    noise = torch.randn(crops.shape, generator=torch.Generator().manual_seed(level))
    return (crops + sigma * noise).round().clamp(0, 255).to(torch.uint8)


def occluded(crops: Tensor, level: int) -> Tensor:
    """A grey square that hides 5% to 60% of the crop, somewhere."""
    share = (0.05, 0.1, 0.2, 0.4, 0.6)[level - 1]
    height, width = crops.shape[-2:]
    rows, columns = round(height * share**0.5), round(width * share**0.5)
    places = torch.rand((len(crops), 2), generator=torch.Generator().manual_seed(level))
    found = crops.clone()
    for crop, (y, x) in zip(found, places.tolist(), strict=True):
        top, left = round(y * (height - rows)), round(x * (width - columns))
        crop[:, top : top + rows, left : left + columns] = 128
    return found


CORRUPTIONS: dict[str, Corruption] = {"blur": blurred, "noise": noisy, "occlusion": occluded}
LEVELS = (1, 2, 3, 4, 5)


class Through(nn.Module):
    """A model that sees its crops through a corruption."""

    def __init__(self, model: Predictor, corruption: Corruption, level: int) -> None:
        super().__init__()
        self.model, self.corruption, self.level = model, corruption, level
        self.eval()

    def heads(self, image: Tensor, flipped: Tensor | None = None) -> Heads:
        return self.model.heads(self.corruption(image, self.level), flipped)

    def predictive(self, heads: Any, residual: Any = None) -> Predictive:
        return self.model.predictive(heads, residual)

    def frozen(self) -> Any:
        return self.model.frozen()


Observe = Callable[[Forward], None]


def looked_at(
    model: Predictor, run: LoadedRun, persons: Persons, observe: Observe = lambda _: None
) -> dict[str, Array]:
    """Scores of each crop, larger where it is stranger."""
    found: dict[str, list[Array]] = {}
    for forward in predict_persons(model, persons, run.input_size):
        view = forward.views[0]
        strange = {"sigma": view.sigma.mean((-1, -2)), "median sigma": view.sigma.mean(-1).median(-1).values}
        strange["presence"] = -forward.presence.mean(-1)
        if len(view.members) > 1:
            parts = decompose(view)
            for name, part in (("aleatoric", parts.aleatoric), ("epistemic", parts.epistemic)):
                strange[name] = (part.diagonal(dim1=-2, dim2=-1).mean(-1)).sqrt().mean(-1)
            strange["mutual information"] = parts.mutual_information.mean(-1)
        for name, value in strange.items():
            found.setdefault(name, []).append(as_array(value))
        observe(forward)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def with_labels(model: Predictor, run: LoadedRun, persons: Persons) -> tuple[dict[str, Array], dict[str, float | None]]:
    """`looked_at`, and what the labels say."""
    parts: list[LabelScores] = []

    def observe(forward: Forward) -> None:
        parts.append(LabelScores.of(forward.keypoints, Labels.of_persons(persons, forward.rows), "level"))

    found = looked_at(model, run, persons, observe)
    labels = LabelScores.join(parts)
    return found, {
        "nll": -float(labels.log_prob.mean()),
        "nll_se": clustered_standard_error(labels.log_prob, labels.image),
        "in50": float((labels.level <= 0.5).mean()),
        "in90": float((labels.level <= 0.9).mean()),
    }


def auroc(usual: Array, strange: Array) -> float:
    """Share of pairs in which the strange one has the larger score; ties count one half."""
    ranks = rankdata(np.concatenate([usual, strange]))[len(usual) :]
    return float((ranks.mean() - (len(strange) + 1) / 2) / len(usual))


def with_error(usual: Mapping[str, Array], strange: Mapping[str, Array], draws: int = 200) -> dict[str, Any]:
    """AUROC of each score with its standard error over crops, by the bootstrap."""
    rng = np.random.default_rng(0)
    counts = len(next(iter(usual.values()))), len(next(iter(strange.values())))
    picks: list[tuple[Index, ...]] = [tuple(rng.integers(0, n, n) for n in counts) for _ in range(draws)]
    return {
        name: (
            auroc(values, strange[name]),
            float(np.std([auroc(values[a], strange[name][b]) for a, b in picks])),
        )
        for name, values in usual.items()
    }


def trained(model: str, data: str, seed: int, source: Data, work: Path) -> Path:
    """The folder of a network; one that is there already is used."""
    job = Job(NAMES[model], data, seed, MODELS[model])
    folder = work / job.name / "run"
    train_entry(Entry(job.config("cpu"), RunFolder(folder)), source.part(data, "train"), quiet=True)
    return folder


def ensembles(model: str, data: str, source: Data, work: Path) -> tuple[list[Path], Path]:
    """The folders of networks, and that of their ensemble."""
    members = [trained(model, data, seed, source, work) for seed in range(MEMBERS)]
    folder = work / slug(f"{data}-{model}-ensemble")
    if not folder.exists():
        pp.ensemble(members, folder)
    return members, folder


def judged(
    members: Sequence[Path], others: Mapping[str, Path], persons: Persons
) -> tuple[dict[str, dict[int, Scores]], dict[str, float]]:
    """Scores of single networks by seed and of other runs, the ensemble first, which is compared with each of them.

    Returns:
        The scores by name, and what a person costs by name, milliseconds.
    """
    scores = {"single": {seed: score_run(open_run(folder), persons) for seed, folder in enumerate(members)}}
    cost = {"single": milliseconds(members[0], persons)}
    for name, folder in others.items():
        found = score_run(open_run(folder), persons)
        scores[name] = dict.fromkeys(range(len(members)) if len(scores) == 1 else (0,), found)
        cost[name] = milliseconds(folder, persons)
    return scores, cost


TIMED = 128
"""Persons of whom the time is taken."""


def milliseconds(folder: Path, persons: Persons) -> float:
    """Processor time of predicting a person and of the levels of the labels."""
    run, some = open_run(folder), persons.select(np.arange(min(TIMED, len(persons))))
    begun = time.process_time()
    with_labels(run.model, run, some)
    return 1e3 * (time.process_time() - begun) / len(some)


COLUMNS = {
    "model": "model", "seeds": "seeds", "nll_nats": "NLL", "d_nll_nats": "NLL - single", "d_nll_nats_se": "±",
    "coverage50": "in 50%", "coverage90": "in 90%", "r90_px": "r90 px", "pck0.2_mean": "PCK mean",
    "pck0.2_mode": "mode",
    "d_pck0.2_mode": "mode - single", "d_pck0.2_mode_se": "±", "ms": "ms a person",
}  # fmt: skip


def compared(members: Sequence[Path], others: Mapping[str, Path], persons: Persons, out: Path) -> None:
    """The table of runs, compared with single networks; draws of a last layer with the network that they are of."""
    scores, cost = judged(members, others, persons)
    rows = Comparison.of(persons.name, scores, "single").records()
    report([dict.fromkeys(COLUMNS) | row | {"ms": cost[str(row["model"])]} for row in rows], COLUMNS, out)


def corrupted(run: LoadedRun, persons: Persons, other: Persons) -> Iterator[dict[str, Any]]:
    """AUROC of each score and what the labels say, by kind and level of corruption; and the other data set."""
    usual, labels = with_labels(run.model, run, persons)
    yield {"kind": "none", "level": 0, **labels}
    for kind, corruption in CORRUPTIONS.items():
        for level in LEVELS:
            strange, labels = with_labels(Through(run.model, corruption, level), run, persons)
            yield {"kind": kind, "level": level, **labels, "auroc": with_error(usual, strange)}
    strange = looked_at(run.model, run, other)
    yield {"kind": "other data set", "level": 0, "auroc": with_error(usual, strange)}


SCORES = ("sigma", "median sigma", "presence", "aleatoric", "epistemic", "mutual information")


def strangeness(found: Mapping[str, Sequence[Mapping[str, Any]]], out: Path, single: str) -> None:
    """The table of AUROC, and the picture."""
    rows = []
    for name, records in found.items():
        for record in (one for one in records if "auroc" in one):
            values = {score: _plus_minus(record["auroc"].get(score)) for score in SCORES}
            rows.append({"run": name, "kind": record["kind"], "level": record["level"] or None, **values})
    report(rows, {name: name for name in ("run", "kind", "level", *SCORES)}, out)
    drawn(found, out / "corruptions.png", single)


def _plus_minus(pair: tuple[float, float] | None) -> str | None:
    return None if pair is None else f"{pair[0]:.3f} ± {pair[1]:.3f}"


_LINES = {
    "presence": ("#999999", ":"), "median sigma": ("#8a6d3b", "--"), "aleatoric": ("#c46210", "-"),
    "epistemic": ("#1f77b4", "-"), "mutual information": ("#2a9d5c", "-"),
}  # fmt: skip


def drawn(found: Mapping[str, Sequence[Mapping[str, Any]]], file: Path, single: str) -> None:
    """AUROC over the level of corruption, and below what the labels cost, of each run."""
    figure = Figure(figsize=(10.5, 6.0), dpi=120, layout="constrained")
    axes = figure.subplots(2, len(CORRUPTIONS), sharex=True, sharey="row")
    several = [name for name in found if name != single]
    for column, kind in enumerate(CORRUPTIONS):
        top, bottom = axes[0, column], axes[1, column]
        for name, records in found.items():
            chosen = [one for one in records if one["kind"] == kind]
            if name in several[:1]:
                for score, (colour, style) in _LINES.items():
                    values = [one["auroc"][score][0] for one in chosen]
                    top.plot(LEVELS, values, color=colour, ls=style, lw=1.6, label=score)
            costs = [records[0]["nll"], *(one["nll"] for one in chosen)]
            bottom.plot((0, *LEVELS), costs, lw=1.6, marker="o", ms=3, label=name)
        top.axhline(0.5, color="#cccccc", lw=0.8, zorder=0)
        top.set_title(kind)
        bottom.set_xlabel("level of corruption")
    axes[0, 0].set_ylabel(f"AUROC, {several[0] if several else single}")
    axes[1, 0].set_ylabel("held-out NLL, nats")
    for axis in (axes[0, -1], axes[1, -1]):
        axis.legend(fontsize=8, frameon=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file)


def _named(also: Sequence[str], data: str) -> Iterator[tuple[str, str]]:
    """Name and folder of the runs of DATA/NAME=RUN that are of a data set."""
    for one in also:
        name, _, run = one.partition("=")
        if name.startswith(f"{data}/"):
            yield name.removeprefix(f"{data}/"), run


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data/field"), show_default=True)
@click.option("--model", "models", type=click.Choice(list(MODELS)), multiple=True, default=("rle",), show_default=True)
@click.option("--data", "sets", type=click.Choice(list(SETS)), multiple=True, default=tuple(SETS), show_default=True)
@click.option("--also", multiple=True, metavar="DATA/NAME=RUN", help="Judge another run.")
@click.option("--persons", type=int, help="Use no more of each part.")
@click.option("--tables", is_flag=True, help="The table of runs alone, without corruptions.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/unsure"), help="Of runs.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/unsure-tables"), show_default=True)
def main(
    data_root: Path, models: Sequence[str], sets: Sequence[str], also: Sequence[str], persons: int | None,
    tables: bool, work: Path, out: Path,
) -> None:  # fmt: skip
    """Train, judge, corrupt."""
    torch.set_num_threads(1)
    source = Data(data_root, persons)
    for data in sets:
        judge_on = source.part(data, "report")
        other = source.part(next(name for name in SETS if name != data), "report")
        other = other.select(np.arange(min(len(other), len(judge_on))))
        for model in models:
            members, together = ensembles(model, data, source, work)
            others = {f"ensemble of {MEMBERS}": together}
            others |= {name: Path(run) for name, run in _named(also, data)}
            click.echo(f"\n{SETS[data]}, {model}\n")
            place = out / slug(f"{data}-{model}")
            compared(members, others, judge_on, place)
            if tables:
                continue
            runs = {"single": members[0], **others}
            found = {name: list(corrupted(open_run(folder), judge_on, other)) for name, folder in runs.items()}
            strangeness(found, place / "strange", "single")
            (place / "strange" / "records.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
