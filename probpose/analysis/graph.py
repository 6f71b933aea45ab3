"""A run as one graph, from crops to keypoints with their uncertainty, for torch.export and ONNX; and its card.

The graph is what `predict_persons` computes, the run's recalibration included, for any number of persons. What does not
depend on the crops (R and its nodes, tables of radii, what recalibration has learned) are constants in it. It works in
pixels of the crop; a learned recalibration may depend on how large the person is in the image, and so `scale` goes in.
"""

from __future__ import annotations

__all__ = ["FORMATS", "TRACEABLE", "Card", "Format", "Graph", "export_run", "onnx_of", "traced"]

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from probpose import __version__
from probpose.analysis.calibration.cases import unlabelled_cases
from probpose.analysis.calibration.recalibration.base import NoRecalibration, Recalibration
from probpose.analysis.calibration.sources.run import kept_recalibration
from probpose.analysis.prediction.forward import freeze
from probpose.data.crops import PADDING
from probpose.errors import ConfigError, DataError
from probpose.files import describe, write_atomically
from probpose.inference.training.members import label_of
from probpose.inference.training.runs import LoadedRun
from probpose.models.heads.base import Heads
from probpose.models.predictive.contract import Predictive
from probpose.skeleton import Skeleton

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = get_args(Format)

TRACEABLE = ("regression", "softargmax", "mixture", "multibin", "heatmap", "field", "simcc")
"""Families whose computation is the same for all crops."""

LEVELS = (0.5, 0.9)
MOST = 2**14
"""Persons at once."""

INPUTS = {
    "crops": "uint8 (N, height, width, 3), RGB, cut as `crop` says",
    "scale": "float32 (N), pixels of the image along a side of a pixel of the crop",
}
OUTPUTS = {
    "keypoints": "float32 (N, K, 2), x and y in pixels of the crop, mean of the density",
    "covariance": "float32 (N, K, 2, 2), square pixels of the crop",
    "presence": "float32 (N, K), probability that an annotator labels the joint",
    "r50": "float32 (N, K), pixels of the crop about the mean that hold 50%",
    "r90": "float32 (N, K), pixels of the crop about the mean that hold 90%",
}
CUT = (
    "scale = padding * max(w / width, h / height) of a box x, y, w, h whose edges are half a pixel outside the centres "
    "of its outermost pixels; pixel p of the crop, 0 at the centre of the first, is at "
    "x + w / 2 - 0.5 + scale * (p + 0.5 - width / 2) in the image, rows likewise; bilinear, 0 outside the image, and "
    "where round(scale) > 1 the mean of blocks of as many pixels first."
)


@dataclass(frozen=True)
class Card:
    """What a graph takes and gives, as JSON beside it.

    Attributes:
        graph: name of its file.
        sha256: of the file.
        run: name of the folder that it was made of.
        model: what was trained.
        recalibration: method that is part of the graph; None where there is none.
        inputs: name, type and meaning.
        outputs: likewise.
        crop: height, width, padding of the box, and how it is cut.
        skeleton: the joints, in the order of the outputs.
        flip_test: never part of a graph.
        probpose: version that made it.
    """

    graph: str
    sha256: str
    run: str
    model: str
    recalibration: str | None
    inputs: dict[str, str]
    outputs: dict[str, str]
    crop: dict[str, Any]
    skeleton: Skeleton
    flip_test: bool = False
    probpose: str = __version__


class Graph(nn.Module):
    """Crops to the numbers of `OUTPUTS`.

    Args:
        run: loaded.
        recalibration: of its predictions.
    """

    size: Tensor

    def __init__(self, run: LoadedRun, recalibration: Recalibration) -> None:
        super().__init__()
        self.model, self.joints, self.recalibration = run.model, run.skeleton.joints, recalibration
        self.residual = freeze(run.model)
        height, width = run.input_size
        self.register_buffer("size", torch.tensor([width, height], dtype=torch.float64))
        self.aligned: bool | None = None

    def forward(self, crops: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """See `INPUTS` and `OUTPUTS`."""
        heads = self.model.heads(crops.permute(0, 3, 1, 2))
        scale = scale.double().unsqueeze(-1)
        density = self._density(heads, scale)
        length = scale.unsqueeze(-1)
        radii = density.radius(LEVELS) / scale
        found = (density.mean / length, density.covariance / length.unsqueeze(-1).square())
        return (*(one.float() for one in found), heads.presence.sigmoid(), *(one.float() for one in radii.unbind(0)))

    def _density(self, heads: Heads, scale: Tensor) -> Predictive:
        """In units of the image's pixels, which recalibration goes by, from the centre of the crop's first pixel."""
        matrix, offset = scale.unsqueeze(-1) * torch.diag_embed(self.size), scale * (self.size - 1) / 2
        density = self.model.predictive(heads, self.residual).affine(matrix, offset)
        density = self.recalibration.apply(unlabelled_cases(self.joints, density))
        located = density.location_scale
        if located is not None:  # whether L is diagonal is seen once, on numbers: a graph cannot ask
            self.aligned = located.is_aligned if self.aligned is None else self.aligned
            located.is_aligned = self.aligned
        return density


def export_run(run: LoadedRun, file: Path, kind: Format = "onnx", *, recalibrate: bool = True) -> list[Path]:
    """Write a run as a graph, and its card beside it (.json).

    Args:
        run: loaded.
        file: to write.
        kind: `onnx`, or `pt2` for torch.export.
        recalibrate: make what `calibrate` has kept in the run a part of it.

    Returns:
        The graph and its card.

    Raises:
        ConfigError: the run's family cannot be traced, its recalibration depends on boxes, or ONNX's packages are
            missing.
        CheckpointError: the run's recalibration is damaged or belongs to another checkpoint.
        DataError: the file cannot be written.
    """
    if kind == "onnx":
        _need_onnx()
    card_file = file.with_suffix(".json")
    if card_file == file:
        raise ConfigError(f"{file} is where the graph's card goes: give the graph another ending, such as .{kind}.")
    recalibration = (kept_recalibration(run) if recalibrate else None) or NoRecalibration()
    exported = traced(Graph(run, recalibration).eval(), run)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _quiet():
            if kind == "onnx":
                onnx_of(exported).save(str(file))
            else:
                torch.export.save(exported, file)
        card = _card(run, file, recalibration)
        write_atomically(card_file, json.dumps(asdict(card), indent=1).encode())
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}.") from error
    return [file, card_file]


def traced(graph: Graph, run: LoadedRun) -> torch.export.ExportedProgram:
    """The graph's computation for any number of persons.

    Raises:
        ConfigError: it depends on the numbers that go through it, or on boxes.
    """
    persons = torch.export.Dim("persons", min=1, max=MOST)
    height, width = run.input_size
    crops = (37 * torch.arange(9 * height * width) % 251).to(torch.uint8).view(3, height, width, 3)
    example = (crops, torch.tensor([0.5, 1.0, 2.0]))
    with torch.no_grad(), _quiet():
        try:
            graph(*example)  # makes the constants
        except DataError as error:
            raise ConfigError(
                f"the run's recalibration cannot be part of a graph: {error} Leave it out (--no-recalibration), or "
                "calibrate with --recalibrate density."
            ) from error
        try:
            return torch.export.export(
                graph, example, dynamic_shapes={"crops": {0: persons}, "scale": {0: persons}}, strict=False
            )
        except Exception as error:  # torch raises dozens of kinds
            raise ConfigError(
                f"family {run.config.model.family} cannot be exported: what it computes depends on the numbers that go "
                f"through it ({describe(error)}). These can: {', '.join(TRACEABLE)}."
            ) from error


def onnx_of(exported: torch.export.ExportedProgram) -> Any:
    """The ONNX program of a traced graph."""
    translations: dict[Callable[..., Any], Any] = {
        torch.ops.aten.searchsorted.Tensor: _searchsorted,
        torch.ops.aten.hypot.default: _hypot,
    }
    return torch.onnx.export(
        exported, dynamo=True, external_data=False, verbose=False, input_names=list(INPUTS),
        output_names=list(OUTPUTS), custom_translation_table=translations,
    )  # fmt: skip


def _searchsorted(
    ordered: Any, values: Any, out_int32: bool = False, right: bool = False, side: Any = None, sorter: Any = None
) -> Any:
    """`torch.searchsorted` in ONNX, which has none: halves the intervals, all at once."""
    op = _operators()
    count = int(ordered.shape[-1])
    one, two, last = (op.Constant(value_ints=[number]) for number in (1, 2, count - 1))
    low, high = (op.Expand(op.Constant(value_ints=[end]), op.Shape(values)) for end in (0, count))
    for _ in range(count.bit_length()):
        middle = op.Div(op.Add(low, high), two)
        at = op.GatherElements(ordered, op.Min(middle, last), axis=-1)
        above = op.LessOrEqual(at, values) if right or side == "right" else op.Less(at, values)
        above = op.And(above, op.Less(middle, high))
        low, high = op.Where(above, op.Add(middle, one), low), op.Where(above, high, middle)
    return low


def _hypot(a: Any, b: Any) -> Any:
    op = _operators()
    return op.Sqrt(op.Add(op.Mul(a, a), op.Mul(b, b)))


def _operators() -> Any:
    return import_module("onnxscript").opset18


def _need_onnx() -> None:
    try:
        for name in ("onnx", "onnxscript"):
            import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs {error.name}, which is not installed: pip install 'probpose[export]', or export as pt2."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters say of themselves and of packages that are not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _card(run: LoadedRun, file: Path, recalibration: Recalibration) -> Card:
    height, width = run.input_size
    return Card(
        graph=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        run=run.folder.path.name,
        model=label_of(run.folder, run.config),
        recalibration=None if isinstance(recalibration, NoRecalibration) else recalibration.method,
        inputs=INPUTS,
        outputs=OUTPUTS,
        crop={"height": height, "width": width, "padding": PADDING, "how": CUT},
        skeleton=run.skeleton,
    )
