"""Learning curves of a run, drawn from its log."""

from __future__ import annotations

__all__ = ["LiveCurves", "draw_curves"]

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from probpose.analysis.figures.canvas import LiteralFigure, log_scale
from probpose.inference.training.report import ERROR_NAMES, read_log
from probpose.inference.training.runs import RunFolder

_TRAIN, _HELD_OUT, _THIRD = "#9aa5b1", "#1f6fb2", "#c2571a"


def draw_curves(log: Path, out: Path) -> None:
    """Draw NLL, error and sigma, the range of the scale, gradient norms and rates of label errors over the epochs.

    Args:
        log: a run's `log.jsonl`; nothing is drawn while it is empty.
        out: the PNG to write.
    """
    records = read_log(log)
    if not records:
        return
    rates = any(record["label_errors"] for record in records)
    rows = 3 if rates else 2
    figure = LiteralFigure(figsize=(10, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, sharex=True)
    epochs = [record["epoch"] for record in records]
    _likelihood(axes[0, 0], epochs, records)
    _pixels(axes[0, 1], epochs, records)
    _scale(axes[1, 0], epochs, records)
    _gradients(axes[1, 1], epochs, records)
    if rates:
        _label_errors(axes[2, 0], epochs, records)
        axes[2, 1].set_axis_off()
    for axis in axes.flat[: 5 if rates else 4]:
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend() is None:
            axis.legend(frameon=False, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(out, dpi=120)


PAUSE_S = 20.0
"""Seconds between two drawings of a run that trains: one takes as long as many an epoch of a small network."""


class LiveCurves:
    """Draws the learning curves of runs that train, every `PAUSE_S` at most and when they end, as a context manager.

    It is called with the folder of a run after each of its epochs.
    """

    def __init__(self) -> None:
        self._drawn = time.monotonic()
        self._waiting: RunFolder | None = None

    def __enter__(self) -> LiveCurves:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(*(() if kind is None else (OSError,))):  # what ended the training is the news
            self._draw()

    def __call__(self, folder: RunFolder) -> None:
        if self._waiting is not None and self._waiting.path != folder.path:
            self._draw()
        self._waiting = folder
        if time.monotonic() - self._drawn >= PAUSE_S:
            self._draw()

    def _draw(self) -> None:
        if self._waiting is not None:
            draw_curves(self._waiting.log, self._waiting.curves)
        self._drawn, self._waiting = time.monotonic(), None


def _column(records: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [float(record[name]) for record in records]


def _likelihood(axis: Axes, epochs: list[int], records: Sequence[dict[str, Any]]) -> None:
    axis.plot(epochs, _column(records, "train_nll_nats"), color=_TRAIN, label="training (augmented)")
    held_out = _column(records, "selection_nll_nats")
    axis.plot(epochs, held_out, color=_HELD_OUT, label="selection split")
    best = min(range(len(held_out)), key=held_out.__getitem__)
    axis.plot(
        epochs[best], held_out[best], "o", color=_HELD_OUT, label=f"best: {held_out[best]:.3f}, epoch {epochs[best]}"
    )
    axis.set_ylabel("nats per keypoint")


def _pixels(axis: Axes, epochs: list[int], records: Sequence[dict[str, Any]]) -> None:
    axis.plot(epochs, _column(records, "train_epe_px"), color=_TRAIN, label="error, training")
    axis.plot(epochs, _column(records, "selection_epe_px"), color=_HELD_OUT, label="error, selection")
    axis.plot(epochs, _column(records, "selection_sigma_px"), color=_THIRD, label="median sigma, selection")
    axis.set_ylabel("pixels of the original image")
    axis.set_ylim(bottom=0)


def _scale(axis: Axes, epochs: list[int], records: Sequence[dict[str, Any]]) -> None:
    low, high = _column(records, "scale_min"), _column(records, "scale_max")
    axis.fill_between(epochs, low, high, color=_THIRD, alpha=0.2, label="range of the scale")
    log_scale(axis)
    axis.set_ylabel("crop units")
    # above the panel: inside, the line of the other axis may lie over it
    axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    other = axis.twinx()
    other.plot(epochs, _column(records, "ess"), color=_HELD_OUT, linewidth=1)
    other.set_ylim(0, 1.05)
    other.set_ylabel("ESS / N of log Z", color=_HELD_OUT)
    other.spines["top"].set_visible(False)


def _label_errors(axis: Axes, epochs: list[int], records: Sequence[dict[str, Any]]) -> None:
    for name, text in ERROR_NAMES.items():
        rates = [100 * record["label_errors"].get(name, float("nan")) for record in records]
        if not np.isnan(rates).all():
            axis.plot(epochs, rates, marker=".", label=text.removeprefix("of "))
    axis.set_ylabel("rate of label errors, %")
    axis.set_ylim(bottom=0)


def _gradients(axis: Axes, epochs: list[int], records: Sequence[dict[str, Any]]) -> None:
    for stage in records[0]["gradient_norms"]:
        axis.plot(epochs, [record["gradient_norms"].get(stage, float("nan")) for record in records], label=stage)
    for number, name in enumerate(dict.fromkeys(name for record in records for name in record["troubles"])):
        hit = [epoch for epoch, record in zip(epochs, records, strict=True) if name in record["troubles"]]
        axis.plot(hit, [0.03 + 0.05 * number] * len(hit), "x", transform=axis.get_xaxis_transform(), label=name)
    log_scale(axis)
    axis.set_ylabel("mean norm of the gradient")
