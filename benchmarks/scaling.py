"""What training on many GPUs would cost: from the model's own size, and stated speeds of GPUs, links and cores.

    python -m benchmarks.scaling --out docs/results/scaling
    python -m benchmarks.scaling --gpus 16 --gpus 256 --node-gbytes-per-s 5 --crops-per-core 500

A step of n GPUs with b crops each takes as long as its slowest part:

    compute = b / images_per_s of one GPU
    ring    = 2 (n - 1) / n * bytes / bandwidth + 2 (n - 1) * latency       (Patarasuk and Yuan, JPDC 2009)
    network = ring within a machine + ring between machines, of the same bytes
    exposed = max(0, network - overlap * 2/3 * compute)                     backward is two thirds, and hides the rest
    loader  = b * GPUs of a machine / (cores of a machine * crops_per_core)
    step    = max(compute + exposed, loader)

Bytes are those of the gradients of the model that is named, in float32, as DistributedDataParallel sends them.
Speeds are options: nothing here is measured on a GPU.
"""

from __future__ import annotations

__all__ = ["Speeds", "main", "step_of"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.tables import report
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import untrained_model
from probpose.skeleton import COCO

PERSONS = 149_813
"""Persons with labelled keypoints in COCO train2017, on which one epoch is a pass."""

COLUMNS = {
    "gpus": "GPUs",
    "batch": "batch",
    "compute_ms": "compute ms",
    "network_ms": "network ms",
    "exposed_ms": "not hidden ms",
    "loader_ms": "loader ms",
    "step_ms": "step ms",
    "efficiency": "efficiency",
    "hours": "hours",
    "limit": "limited by",
    "crops_needed": "crops/s a core needed",
}


@dataclass(frozen=True)
class Speeds:
    """What is assumed of the machines.

    Attributes:
        images_per_s: forward and backward on one GPU.
        gpus: of a machine.
        cores: of a machine, that cut crops.
        crops_per_core: per second.
        inside: bytes per second of a ring within a machine.
        between: between machines.
        latency: seconds of one hop.
        overlap: share of the backward pass in which gradients travel.
    """

    images_per_s: float
    gpus: int
    cores: int
    crops_per_core: float
    inside: float
    between: float
    latency: float
    overlap: float


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step's parts; see the formulas above."""

    compute: float
    network: float
    exposed: float
    loader: float

    @property
    def total(self) -> float:
        return max(self.compute + self.exposed, self.loader)

    @property
    def limit(self) -> str:
        if self.loader > self.compute + self.exposed:
            return "loader"
        return "network" if self.exposed > 0.1 * self.compute else "compute"


def ring(size: int, content: float, bandwidth: float, latency: float) -> float:
    """Seconds of an all-reduce of `content` bytes by a ring of `size`."""
    return 2 * (size - 1) / size * content / bandwidth + 2 * (size - 1) * latency


def step_of(speeds: Speeds, gpus: int, each: float, gradient_bytes: float) -> StepTime:
    """A step of `gpus` with `each` crops on each of them."""
    inside = min(gpus, speeds.gpus)
    compute = each / speeds.images_per_s
    network = ring(inside, gradient_bytes, speeds.inside, speeds.latency)
    network += ring(-(-gpus // speeds.gpus), gradient_bytes, speeds.between, speeds.latency)
    exposed = max(0.0, network - speeds.overlap * 2 / 3 * compute)
    return StepTime(compute, network, exposed, each * inside / (speeds.cores * speeds.crops_per_core))


def row_of(speeds: Speeds, gpus: int, each: float, gradient_bytes: float, epochs: int) -> dict[str, Any]:
    """A line of the table."""
    time = step_of(speeds, gpus, each, gradient_bytes)
    steps = epochs * PERSONS / (each * gpus)
    needed = each * min(gpus, speeds.gpus) / speeds.cores / (time.compute + time.exposed)
    return {
        "gpus": gpus, "batch": round(each * gpus), "compute_ms": 1e3 * time.compute, "network_ms": 1e3 * time.network,
        "exposed_ms": 1e3 * time.exposed, "loader_ms": 1e3 * time.loader, "step_ms": 1e3 * time.total,
        "efficiency": time.compute / time.total, "hours": steps * time.total / 3600, "limit": time.limit,
        "crops_needed": round(needed),
    }  # fmt: skip


@click.command()
@click.option("--gpus", multiple=True, type=click.IntRange(1), default=(1, 8, 64), show_default=True)
@click.option("--batch-per-gpu", default=256, show_default=True, help="Crops of one GPU a step.")
@click.option("--backbone", default="resnet50", show_default=True)
@click.option("--epochs", default=210, show_default=True, help="Of COCO train2017.")
@click.option("--images-per-s", default=2400.0, show_default=True, help="Of one GPU: an H100, measured.")
@click.option("--gpus-per-node", default=8, show_default=True)
@click.option("--cores-per-node", default=128, show_default=True)
@click.option("--crops-per-core", default=357.0, show_default=True, help="From JPEG.")
@click.option("--gpu-gbytes-per-s", default=300.0, show_default=True, help="Ring within a machine (NVLink).")
@click.option("--node-gbytes-per-s", default=40.0, show_default=True, help="Ring between machines (400 Gbit/s).")
@click.option("--latency-us", default=10.0, show_default=True, help="Of one hop.")
@click.option("--overlap", default=0.8, show_default=True, help="Share of the backward pass that hides the network.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(
    gpus: tuple[int, ...], batch_per_gpu: int, backbone: str, epochs: int, images_per_s: float, gpus_per_node: int,
    cores_per_node: int, crops_per_core: float, gpu_gbytes_per_s: float, node_gbytes_per_s: float, latency_us: float,
    overlap: float, out: Path | None,
) -> None:  # fmt: skip
    """Step times, and hours of a training of COCO."""
    speeds = Speeds(
        images_per_s, gpus_per_node, cores_per_node, crops_per_core, 1e9 * gpu_gbytes_per_s, 1e9 * node_gbytes_per_s,
        1e-6 * latency_us, overlap,
    )  # fmt: skip
    model = untrained_model(default_config("coco", backbone=backbone), COCO)
    gradient_bytes = 4.0 * sum(parameter.numel() for parameter in model.parameters())
    click.echo(f"{backbone}: {gradient_bytes / 1e6:.0f} MB of gradients a step")
    report([row_of(speeds, n, batch_per_gpu, gradient_bytes, epochs) for n in gpus], COLUMNS, out)


if __name__ == "__main__":
    main()
