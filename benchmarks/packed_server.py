"""Crops a second from a server of packed crops that answers late: one by one, together, and a shard as a whole.

    python -m benchmarks.packed_server --latency-ms 20 --out docs/results/packed_server

The server runs on the loopback in a process of its own and waits before each answer, so that wall time is what is
measured: one process, one core, no workers. *One by one* asks for a crop when it is wanted; *together* is what batches
do, `TOGETHER` requests at once; *a shard as a whole* is one request for a tar file whose crops are then all decoded,
as a stream would be: the least that waiting can cost. Crops are those of COCO's persons, or a sample of them, which
are looked for where `--dataset coco` looks: $PROBPOSE_DATA or ./data/coco.
"""

from __future__ import annotations

__all__ = ["main"]

import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.tables import report
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.datasets.pack import pack_persons
from probpose.data.images import decode_picture
from probpose.data.packed import Crops, fetch

COLUMNS = {
    "latency_ms": "latency, ms",
    "what": "crops are read",
    "requests": "requests",
    "crops": "crops",
    "kb": "kB a crop",
    "rate": "crops/s (wall)",
    "spread": "of repetitions, %",
}


class _Late(SimpleHTTPRequestHandler):
    """Parts of files, each after a while."""

    latency_s = 0.0

    def do_GET(self) -> None:
        time.sleep(self.latency_s)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None:
            super().do_GET()
            return
        first, last = int(wanted[1]), int(wanted[2])
        with Path(self.translate_path(self.path)).open("rb") as file:
            file.seek(first)
            content = file.read(last + 1 - first)
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    """With room for those that wait to be let in, as servers have."""

    request_queue_size = 128


def _serve(folder: str, latency_s: float, port: Connection) -> None:
    _Late.latency_s = latency_s
    with _Server(("127.0.0.1", 0), partial(_Late, directory=folder)) as server:
        port.send(server.server_address[1])
        server.serve_forever()


@contextmanager
def served(folder: Path, latency_s: float) -> Iterator[str]:
    """The address of a folder that another process serves."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(str(folder), latency_s, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _one_by_one(crops: Crops, names: list[str]) -> int:
    return sum(not isinstance(crops.picture(name), str) for name in names)


def _together(crops: Crops, names: list[str], batch: int) -> int:
    batches = (names[start : start + batch] for start in range(0, len(names), batch))
    return sum(not isinstance(picture, str) for part in batches for picture in crops.pictures(part))


def _whole(crops: Crops) -> int:
    """All crops of the first shard, in its order."""
    content = fetch(f"{crops.place}/{crops.shards[0]}")
    places = crops.at[crops.at[:, 0] == 0, 1:].tolist()
    return sum(not isinstance(decode_picture(content[at : at + length]), str) for at, length in places)


def _rates(read: Callable[[], int], repetitions: int) -> tuple[int, list[float]]:
    rates, found = [], 0
    for _ in range(repetitions):
        start = time.perf_counter()
        found = read()
        rates.append(found / (time.perf_counter() - start))
    return found, rates


@click.command()
@click.option("--latency-ms", "latencies", multiple=True, type=click.FloatRange(0), default=(0.0, 20.0))
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of COCO.")
@click.option("--split", default="val", show_default=True)
@click.option("--crops", "most", type=click.IntRange(2), default=256, show_default=True, help="Of a repetition.")
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True)
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(
    latencies: tuple[float, ...], data_root: Path | None, split: Any, most: int, batch: int, repetitions: int,
    seed: int, out: Path | None,
) -> None:  # fmt: skip
    """Measure, and print a table."""
    rng = np.random.default_rng(seed)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        persons = open_dataset("coco", split, root=data_root)
        persons = persons.select(np.sort(rng.choice(len(persons), min(most, len(persons)), replace=False)))
        pack_persons(persons, Path(scratch), "train", shards=1)
        for latency in latencies:
            with served(Path(scratch), latency / 1000) as address:
                crops = open_dataset("packed", "train", root=Path(address)).packed
                assert crops is not None
                names = list(rng.permutation(list(crops.rows)))
                ways: dict[str, tuple[Callable[[], int], int]] = {
                    "one by one": (partial(_one_by_one, crops, names), len(names)),
                    f"together, in batches of {batch}": (partial(_together, crops, names, batch), len(names)),
                    "a shard as a whole": (partial(_whole, crops), 1),
                }
                for what, (read, requests) in ways.items():
                    found, rates = _rates(read, repetitions)
                    rows.append(
                        {
                            "latency_ms": latency, "what": what, "requests": requests, "crops": found,
                            "kb": float(crops.at[:, 2].mean()) / 1000, "rate": float(np.median(rates)),
                            "spread": 100 * (max(rates) - min(rates)) / float(np.median(rates)),
                        }
                    )  # fmt: skip
                    click.echo(rows[-1], err=True)
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
