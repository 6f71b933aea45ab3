"""What it costs to judge: `calibrate`, `evaluate`, posterior draws of the residuals' shape, and COCO's metrics.

Commands run in processes of their own, whose processor time counts from the interpreter's start. Those of a run take
the newest one in `runs/` of this checkout on its synthetic figures, as `make demo` leaves both.
"""

from __future__ import annotations

__all__ = ["ROWS"]

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.calibrate_large import write_table
from benchmarks.messy_poses import messy_poses
from benchmarks.posterior_speed import residuals
from benchmarks.speed.rows import NotMeasured, Row, Turns, alternate

ROOT = Path(__file__).resolve().parents[2]
JOINTS = 17


def calibrate_run() -> Turns:
    """With all pictures."""
    return _of_run("calibrate")


def evaluate_run() -> Turns:
    """Annotated boxes, without a flip test."""
    return _of_run("evaluate")


def calibrate_table(keypoints: int = 1000 * JOINTS) -> Turns:
    """Predictions of another model, with scale and confidence."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "points.npz"
        write_table(file, keypoints)
        return Turns((_seconds("calibrate", "--table", str(file)),))


def draws(each: int = 400, kept: int = 500) -> Turns:
    """Two chains with their warm-up."""
    from probpose.inference.fitting.residual_posterior import sample_residual_posterior

    z, joint = residuals(JOINTS, each, seed=0)
    names = tuple(f"joint {k}" for k in range(JOINTS))
    return alternate(lambda: sample_residual_posterior(z, joint, names, draws=kept), turns=2, unit=1)


def coco(images: int = 5000) -> Turns:
    """Of persons and detections with every irregularity (`benchmarks/messy_poses.py`)."""
    from probpose.analysis.evaluation.coco import coco_metrics, libraries
    from probpose.skeleton import COCO

    if "faster_coco_eval" not in libraries():
        raise NotMeasured("needs the extra `fast`")
    truth, rows = messy_poses(images)
    by = [partial(coco_metrics, truth, rows, COCO, library=name) for name in ("faster_coco_eval", "pycocotools")]
    return alternate(*by, turns=5, unit=1)


def field_beside_heatmap(size: tuple[int, int] = (64, 64), persons: int = 32) -> Turns:
    """`evaluate` of fresh networks on noise, with a cell for every 4 x 4 pixels."""
    import numpy as np
    import torch

    from probpose.analysis.evaluation.evaluate import evaluate
    from probpose.api.data import persons as table_of
    from probpose.models.backbones.registry import build_backbone
    from probpose.models.registry import build_model

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (persons, *size, 3), dtype=np.uint8))
    names = [f"joint {k}" for k in range(JOINTS)]
    table = table_of(images, rng.uniform(0, size[1], (persons, JOINTS, 2)), skeleton=names)

    def judge(family: str) -> Callable[[], object]:
        options = {"layers": 2, "width": 32}
        backbone = build_backbone("small", maps=True)
        model = build_model("student_t", backbone, range(JOINTS), family=family, options=options, input_size=size)
        return partial(evaluate, model.eval(), table, size, batch_size=persons)

    return alternate(judge("field"), judge("heatmap"), turns=3)


LARGE_FIELD = partial(field_beside_heatmap, (256, 192), 2)


def _of_run(command: str) -> Turns:
    configs = sorted((ROOT / "runs").glob("*/config.toml"), key=lambda path: path.stat().st_mtime_ns)
    data = ROOT / "data" / "synthetic"
    if not configs or not data.exists():
        raise NotMeasured("needs a run and its data: `make demo`")
    with TemporaryDirectory() as folder:
        run = Path(shutil.copytree(configs[-1].parent, Path(folder) / "run"))
        (run / "recalibration.safetensors").unlink(missing_ok=True)
        return Turns((_seconds(command, str(run), "--data-root", str(data)),))


def _seconds(*arguments: str) -> float:
    """Processor time of a command, its start included.

    Raises:
        RuntimeError: it failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "probpose", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"`probpose {' '.join(arguments)}` failed with {process.returncode}.")
    return used.ru_utime + used.ru_stime


ROWS = (
    Row("calibrate", "`calibrate` of the run of `make demo`", "", "<= 20 s", calibrate_run, "s"),
    Row("calibrate-table", "`calibrate` of 17,000 keypoints in a table", "", "<= 20 s", calibrate_table, "s"),
    Row("evaluate", "`evaluate` of the run of `make demo`", "", "<= 8 s", evaluate_run, "s"),
    Row("draws", "500 draws of the residuals' shape, two chains, 17 x 400 residuals", "", "<= 15 s", draws, "s"),
    Row("field", "`evaluate` of 32 persons, `field`, 16 x 16 cells", "`heatmap`", ">= 0.5x", field_beside_heatmap),
    Row("large-field", "`evaluate` of 2 persons, `field`, 64 x 48 cells", "`heatmap`", ">= 0.5x", LARGE_FIELD),
    Row("coco", "COCO's metrics of 5,000 images by faster-coco-eval", "pycocotools", ">= 2x", coco, "s"),
)
