"""Every picture that the project draws, made small: of synthetic figures, and of predictions whose fault is known.

    python -m website.gallery --out build/gallery

Where a browser is installed, pages are photographed too. What makes figures and is shown nowhere is an error.
"""

from __future__ import annotations

__all__ = ["STAGES", "Shown", "Workshop", "figure_makers", "make", "watched"]

import ast
import html
import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

import probpose as pp
from probpose.analysis.figures.canvas import LiteralFigure
from website.links import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SEED = 0

HEAD = """# Gallery

Every picture that the project draws, small: made when this site was built, of synthetic figures, networks that
trained for half a minute each, and predictions whose fault is known. Each stands beside the call that makes it.
"""


@dataclass(frozen=True)
class Shown:
    """A picture.

    Attributes:
        file: an image, or a page to be photographed.
        title: a few words.
        call: what makes it, in Markdown.
        caption: how it is read.
    """

    file: Path
    title: str
    call: str
    caption: str


class Workshop:
    """What pictures are made of, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def data(self) -> Path:
        """Figures whose annotation noise is known."""
        return pp.synthesise(self.folder / "data", 150, seed=SEED, progress=False)

    @cached_property
    def persons(self) -> pp.Persons:
        """Those that are not trained on."""
        return pp.open_data("synthetic", root=self.data)

    def results(self, seed: int) -> Path:
        """A file of predictions whose errors are normal, and whose sigmas are right."""
        rng, persons = np.random.default_rng(seed), self.persons
        size = 0.02 * np.sqrt(persons.area)[:, None, None]
        points = persons.keypoints + size * rng.normal(size=persons.keypoints.shape)
        rows = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=-1).reshape(len(points), -1)
        sigmas = np.broadcast_to(size, points.shape).reshape(len(points), -1)
        records = [
            {
                "image_id": int(image),
                "category_id": 1,
                "score": 1.0,
                "keypoints": row.tolist(),
                "sigma_px": sigma.tolist(),
            }
            for image, row, sigma in zip(persons.image_id, np.nan_to_num(rows), sigmas, strict=True)
        ]
        pp.write_results(file := self.folder / f"model-{seed}.json", records)
        return file

    def relabelled(self, share: float = 0.06) -> pp.Persons:
        """Labels with errors: normal, the sides of some pairs of joints exchanged, some joints half a person away."""
        rng, labels = np.random.default_rng(SEED), self.persons.keypoints.copy()
        for left, right in self.persons.skeleton.flip_pairs:
            turned = rng.random(len(labels)) < share
            labels[turned, left], labels[turned, right] = labels[turned, right], labels[turned, left]
        far = rng.random(labels.shape[:2]) < share / 3
        labels[far] += 0.5 * np.sqrt(self.persons.area)[np.nonzero(far)[0], None]
        noise = 0.03 * np.sqrt(self.persons.area)[:, None, None] * rng.normal(size=labels.shape)
        return replace(self.persons, keypoints=labels + noise)

    @cached_property
    def lessons(self) -> Path:
        """More figures, to learn from."""
        return pp.synthesise(self.folder / "lessons", 700, seed=SEED + 1, progress=False)

    def run(self, family: str, epochs: int, ensemble: int = 1) -> pp.Run:
        """Trained on them: 12 epochs take half a minute."""
        how: dict[str, Any] = {"epochs": epochs, "workers": 0, "batch_size": 32, "seed": SEED, "device": "cpu"}
        kind: dict[str, Any] = {"dataset": "synthetic", "data_root": str(self.lessons), "residual": family}
        return pp.train(out=self.folder / family, quiet=True, ensemble=ensemble, **kind, **how)

    @cached_property
    def ensemble(self) -> pp.Run:
        """Two networks."""
        return self.run("gaussian", 12, ensemble=2)

    @cached_property
    def poses(self) -> pp.Poses:
        """What they say of a figure that stands clear of what is around it."""
        chosen = self.persons.select(np.array([1]))
        images = [chosen.image_dir / name for name in chosen.file_name]
        return self.ensemble.predict(images, chosen.box[:, None], device="cpu")


def training(shop: Workshop) -> Iterator[Shown]:
    """A run while it trains."""
    yield Shown(
        shop.ensemble.path / "member-1" / "curves.png",
        "Learning curves",
        "`pp.train`, [probpose train](command/train.md)",
        "Log density, error, range of the scale and gradients, redrawn while a run trains.",
    )


def prediction(shop: Workshop) -> Iterator[Shown]:
    """Regions on images."""
    call, held = "`pp.Poses`, [probpose predict](command/predict.md)", "Where 50% and 90% of annotators would click."
    plain = shop.poses.save_overlays(shop.folder / "overlays")[0]
    yield Shown(plain, "Regions on an image", call, held)
    apart = shop.poses.save_overlays(shop.folder / "decomposed", decompose=True)[0]
    beside = f"{held} Beside them what is unsure of labels, which more of them would not narrow, and of the networks."
    yield Shown(apart, "An ensemble taken apart", f"{call} with `--decompose`", beside)
    page = pp.show(shop.results(1), shop.persons, out=shop.folder / "show")[0]
    yield Shown(
        page,
        "Predictions to look through",
        "`pp.show`, [probpose show](command/show.md)",
        "One person at a time, sorted by surprise, error or sigma, on a page that opens without a server.",
    )


JOINTS = ("nose", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_ankle", "right_ankle")


def fakes() -> tuple[pp.Gaussian, npt.NDArray[np.float64], dict[str, Any]]:
    """Predictions that are too sure, of errors with heavy tails that joints share; labels; and what goes with them."""
    rng = np.random.default_rng(SEED)
    rows, shape = 400, (400, len(JOINTS))
    mean, side = rng.uniform(50, 450, (*shape, 2)), rng.uniform(60, 300, rows)
    sigma = 0.03 * side[:, None] * rng.lognormal(0, 0.4, shape)
    wrong = sigma * np.linspace(1.0, 1.7, len(JOINTS))
    error = 0.7 * rng.standard_t(4, (*shape, 2)) + 0.4 * rng.standard_t(4, (rows, 1, 2))
    boxes = np.column_stack([np.zeros((rows, 2)), side, side])
    confidence = np.clip(1 - sigma / sigma.max() + 0.1 * rng.normal(size=shape), 0, 1)
    beside = {"boxes": boxes, "confidence": confidence, "oks_sigmas": np.full(len(JOINTS), 0.08)}
    return pp.Gaussian(mean, sigma=sigma, joints=JOINTS), mean + wrong[..., None] * error, beside


def calibration(shop: Workshop) -> Iterator[Shown]:
    """The report of a calibration, its pictures one by one, and levels and PIT beside the uniform law."""
    predicted, labels, beside = fakes()
    images = np.arange(len(labels)) // 2
    call, page = (
        "`pp.calibrate`, [probpose calibrate](command/calibrate.md)",
        shop.folder / "calibration" / "report.html",
    )
    pp.calibrate(predicted, labels, images=images, residual="student_t", **beside).save(page.parent)
    yield Shown(page, "Calibration report", call, "Verdict, pictures before and after recalibration, tables.")
    yield from _pictures(page, call)
    score, files = pp.score(predicted, labels, images=images), [shop.folder / "levels.png", shop.folder / "pit.png"]
    pp.draw_levels(score.level, images, files[:1])
    pp.draw_pit(score.pit, images, files[1:])
    leaves = "The curve leaves the band where regions do not hold what they promise."
    yield Shown(files[0], "Levels beside the uniform law", "`pp.draw_levels`", leaves)
    yield Shown(files[1], "PIT beside the uniform law", "`pp.draw_pit`", leaves)


_FIGURE = re.compile(
    r'<h3>([^<]*)</h3>\s*<div class="picture".*?id="([^"]+)-figure_1".*?<figcaption>(.*?)</figcaption>', re.S
)


def _pictures(page: Path, call: str) -> Iterator[Shown]:
    """Those of a report, with its words for them."""
    for title, name, caption in _FIGURE.findall(page.read_text(encoding="utf-8")):
        state = next((f", {state}" for state in ("before", "after") if state in name.split("_")), "")
        file = page.parent / "figures" / f"{name}.png"
        yield Shown(file, html.unescape(title) + state, call, html.unescape(caption))


def comparison(shop: Workshop) -> Iterator[Shown]:
    """Models side by side."""
    runs, folder = [shop.ensemble.path / "member-1", shop.run("laplace", 4).path], shop.folder / "comparison"
    pp.compare(runs, persons=shop.persons, out=folder, device="cpu")
    yield Shown(
        folder / "comparison.png",
        "Models compared",
        "`pp.compare`, [probpose compare](command/compare.md)",
        "Differences in nats per keypoint, paired over the same images, with intervals.",
    )


def data(shop: Workshop) -> Iterator[Shown]:
    """What is to be learned."""
    call, folder = "`pp.describe_data`, [probpose data stats](command/data.md)", shop.folder / "stats"
    pp.describe_data(pp.open_data("synthetic", "train", root=shop.data), out=folder)
    says = {
        "targets": ("Where labels lie", "The density of each joint's labels in the crop."),
        "marginals": ("Marginals of the targets", "With the fitted Gaussian and Laplace."),
        "persons": ("Persons", "Sizes of boxes, labelled joints, visibility, and labels outside the crop."),
    }
    for name, (title, caption) in says.items():
        yield Shown(folder / f"{name}.png", title, call, caption)


def labels(shop: Workshop) -> Iterator[Shown]:
    """Which labels are wrong, and how annotators err."""
    call, folder = "`pp.audit`, [probpose audit](command/audit.md)", shop.folder / "audit"
    files = [shop.results(seed) for seed in (1, 2)]
    pp.save_audit(pp.audit(files, shop.relabelled()), folder)
    yield Shown(folder / "audit.png", "First suspects", call, "Labels that are probably wrong, and what is proposed.")
    yield Shown(folder / "audit.html", "Review of labels", call, "Suspects one by one, to accept or to reject.")
    call, page = (
        "`pp.annotators`, [probpose annotators](command/annotators.md)",
        shop.folder / "annotators" / "annotators.html",
    )
    found = pp.annotators(_repeated(shop.folder / "repeated.csv"), draws=700, warmup=200)
    found.save(page.parent)
    yield Shown(page, "How annotators err", call, "Biases, precisions and a consensus with its uncertainty.")
    yield from _pictures(page, call)
    of_models = pp.oks_sigmas(shop.relabelled(), files, replicates=50)
    for name, sigmas in (
        ("of labels and models", of_models),
        ("of repeated labels", pp.oks_sigmas(found, replicates=50)),
    ):
        pp.save_oks_sigmas(sigmas, folder := shop.folder / f"oks {name}".replace(" ", "-"))
        call = "`pp.oks_sigmas`, [probpose oks-sigmas](command/oks-sigmas.md)"
        said = "How far one label lies from the true location, by joint, with intervals."
        yield Shown(folder / "oks_sigmas.png", f"OKS sigmas {name}", call, said)


def _repeated(file: Path) -> Path:
    """Four annotators of the same 30 objects: one is biased, one imprecise."""
    rng = np.random.default_rng(SEED)
    truth, landmarks = rng.uniform(50, 400, (30, 4, 2)), ("nose", "ear", "elbow", "knee")
    rows = ["image,annotator,landmark,x,y"]
    for i, k, (name, bias, scale) in product(
        range(30), range(4), (("Ada", 0, 2), ("Ben", 3, 2), ("Cleo", 0, 5), ("Dan", 0, 2))
    ):
        x, y = truth[i, k] + rng.normal((bias, 0), scale * (1 + 0.3 * k))
        rows.append(f"{i},{name},{landmarks[k]},{x},{y}")
    file.write_text("\n".join(rows), encoding="utf-8")
    return file


STAGES = {
    "Training": training,
    "Predictions": prediction,
    "Calibration": calibration,
    "Comparison": comparison,
    "Data": data,
    "Labels and annotators": labels,
}

ELSEWHERE = {"draw_residual"}
"""What makes figures for benchmarks alone, which are among the results."""


def make(out: Path) -> None:
    """Write the pictures, and gallery.md that shows them, into a folder that is made where missing.

    Args:
        out: the folder.

    Raises:
        LookupError: a function that makes figures is shown nowhere.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = [HEAD]
    with TemporaryDirectory() as folder, watched() as seen:
        shop = Workshop(Path(folder))
        for title, stage in STAGES.items():
            parts.append(f"## {title}\n\n{stage.__doc__}\n")
            parts += [_entry(shown, _kept(shown, out, Path(folder))) for shown in stage(shop)]
    if missing := sorted(figure_makers() - ELSEWHERE - seen):
        raise LookupError(f"the gallery shows nothing of {', '.join(missing)}: add it in website/gallery.py.")
    (out / "gallery.md").write_text("\n".join([*parts, _of_results()]), encoding="utf-8")


def figure_makers() -> set[str]:
    """Names of the package's functions that make a figure."""
    found = set()
    for file in (ROOT / "probpose" / "analysis").rglob("*.py"):
        functions = [
            node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
        ]
        found |= {function.name for function in functions if _makes_figure(function)}
    return found


def _makes_figure(function: ast.FunctionDef) -> bool:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return any(isinstance(call, ast.Name) and call.id in ("LiteralFigure", "panel") for call in calls)


@contextmanager
def watched() -> Iterator[set[str]]:
    """Names of the functions inside which figures are made meanwhile."""
    seen: set[str] = set()
    made = LiteralFigure.__init__

    def noted(self: LiteralFigure, *args: Any, **options: Any) -> None:
        frame = sys._getframe(1)
        while frame.f_back is not None:
            seen.add(frame.f_code.co_name)
            frame = frame.f_back
        made(self, *args, **options)

    LiteralFigure.__init__ = noted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        LiteralFigure.__init__ = made  # type: ignore[method-assign]


def _kept(shown: Shown, out: Path, folder: Path) -> str | None:
    """The picture's name in the gallery; a page becomes one where there is a browser, and None elsewhere."""
    name = "-".join(shown.file.relative_to(folder).with_suffix("").parts)
    if shown.file.suffix == ".html":
        return _photographed(shown.file, out / f"{name}-page.png", folder)
    shutil.copy(shown.file, out / f"{name}.png")
    return f"{name}.png"


def _photographed(page: Path, shot: Path, profile: Path) -> str | None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return None
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={profile}/profile",
    ]
    command = [browser, *options, "--window-size=1280,900", f"--screenshot={shot}", page.as_uri()]
    subprocess.run(command, capture_output=True, check=True, timeout=120)
    return shot.name


def _entry(shown: Shown, name: str | None) -> str:
    picture = "" if name is None else f"![{shown.title}](gallery/{name}){{ loading=lazy }}\n\n"
    return f"### {shown.title}\n\n{picture}{shown.caption} By {shown.call}.\n"


def _of_results() -> str:
    """Pictures of benchmarks, which are kept beside their numbers."""
    files = sorted(file.relative_to(ROOT / "docs") for file in (ROOT / "docs" / "results").rglob("*.png"))
    shown = [
        f"### {file.parent.relative_to('results')}: {file.stem}\n\n![{file.stem}]({file}){{ loading=lazy }}\n"
        for file in files
    ]
    return "\n".join(["## Results\n\nOf benchmarks, each with its command in [the results](results.md).\n", *shown])


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    make(parser.parse_args().out)
