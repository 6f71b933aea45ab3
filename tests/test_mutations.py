"""Files changed at random: each reader takes what is left of them, or raises an error of ours that names the file.

A few changes a reader in every run of the tests; `make fuzz` makes more of them (`make fuzz MUTATIONS=3000`).
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
import signal
import tarfile
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import scipy.io
import tomli_w
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from probpose.analysis.audit.decisions import FORMAT, decided, digest_of, read_decisions
from probpose.analysis.audit.record import read_suspicions
from probpose.analysis.calibration.recalibration.base import (
    LevelRecalibration,
    NoRecalibration,
    Recalibration,
    ScaleRecalibration,
)
from probpose.analysis.calibration.recalibration.conformal import ConformalRecalibration
from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.analysis.calibration.recalibration.noise import NoiseRecalibration
from probpose.analysis.calibration.recalibration.store import load_recalibration, save_recalibration
from probpose.analysis.calibration.save import load_calibration
from probpose.analysis.evaluation.scores import RunFacts, Scores, _Key, _read, _write
from probpose.analysis.posterior import archive, load_posterior, save_posterior
from probpose.data.datasets.catalogue import _truth
from probpose.data.datasets.coco import read_coco
from probpose.data.datasets.image_lists import read_image_info
from probpose.data.datasets.lsp import LSPET, read_leeds
from probpose.data.datasets.pack import examine_packed, pack_persons
from probpose.data.images import read_image
from probpose.data.joints import read_joint_map
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import read_boxes
from probpose.data.predictions.formats.catalogue import read_instances
from probpose.data.predictions.heatmaps import read_heatmaps
from probpose.data.predictions.instances import Known
from probpose.data.predictions.parquet import write_parquet
from probpose.data.predictions.results import read_predictions
from probpose.data.predictions.tables import open_points
from probpose.data.repeated_documents import read_label_documents
from probpose.data.repeated_tables import read_label_table
from probpose.data.synthetic import read_spec
from probpose.errors import ProbposeError
from probpose.inference.training.checkpoint import load_checkpoint, load_state, save_checkpoint
from probpose.inference.training.config import default_config, load_config, save_config
from probpose.inference.training.provenance import TrainingRecord, read_facts
from probpose.inference.training.report import EpochRecord, read_log
from probpose.inference.training.runs import RunFolder, read_skeleton
from probpose.models.backbones.registry import build_backbone
from probpose.models.backbones.weights import load_backbone_weights
from probpose.models.noise_model import NoiseModel
from probpose.models.residual_families import build_residual
from probpose.skeleton import COCO
from tests.audit_cases import corrupted
from tests.calibration_cases import fake_cases
from tests.conftest import coco_document, make_persons, person_record
from tests.pose_files import mpii_mat, sleap_h5
from tests.test_calibration_record import EXAMPLE

DOCUMENT = coco_document([person_record(1), person_record(2, image=2)], images=2)
RESULTS = [{"image_id": i, "category_id": 1, "keypoints": [9.5, 8, 0.5] * 17, "score": 0.5} for i in (1, 2)]
DETECTIONS = [{"image_id": i, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.75} for i in (1, 2)]
EPOCH = EpochRecord(1, 9, 1e-3, 5.0, 4.0, 5.5, 4.5, 2.0, 0.01, 0.1, 1.0, 0.0, {"loc": 1.0}, 99.0, 1.5, 0, 0, True)
RECORD = TrainingRecord(
    epoch=1, step=9, seconds=1.5, selection_nll_nats=5.5, best_nll_nats=5.5, skipped_steps=0, device="cpu",
    precision="fp32", log=EPOCH,
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """What is mutated.

    Attributes:
        file: its name.
        content: of a sound one.
        read: reads the file; what it gives is not looked at.
        document: whether the file is JSON, whose values are changed too.
    """

    file: str
    content: Callable[[], bytes]
    read: Callable[[Path], object]
    document: bool = False


def of_json(document: object, read: Callable[[Path], object], file: str = "changed7.json") -> Reader:
    return Reader(file, json.dumps(document).encode, read, document=True)


def persons(folder: Path) -> Persons:
    """Those of DOCUMENT."""
    file = folder / "annotations.json"
    if not file.exists():
        file.write_text(json.dumps(DOCUMENT))
    return read_coco(file, folder)


def written(save: Callable[[Path], object], suffix: str = "") -> Callable[[], bytes]:
    """What a function writes to a file."""

    def content() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"file{suffix}"
            save(file)
            return file.read_bytes()

    return content


def archive_of(**arrays: object) -> Callable[[], bytes]:
    def content() -> bytes:
        buffer = BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    return content


def picture(kind: str, mode: str = "RGB") -> Callable[[], bytes]:
    def content() -> bytes:
        buffer = BytesIO()
        pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Pillow.fromarray(pixels).convert(mode).save(buffer, format=kind)
        return buffer.getvalue()

    return content


def packed_crops() -> bytes:
    """The table of two packed persons."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "1.png").write_bytes(picture("png")())
        two = make_persons(Path(folder), ["1.png", "1.png"], [1, 2, 9, 7], [[9.0, 8.0]] * 17)
        return pack_persons(two, Path(folder), input_size=(16, 16)).index.read_bytes()


def read_packed(file: Path) -> None:
    """Beside a shard of the size that was packed."""
    (file.parent / "train-00000.tar").write_bytes(bytes(tarfile.RECORDSIZE))
    examine_packed("train", file.parent)


def parquet_of_table() -> bytes:
    """Empty, which is refused too, where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return b""
    flat = {"x": TABLE["prediction"][:, 0], "y": TABLE["prediction"][:, 1], "label_x": TABLE["label"][:, 0]}
    rest = {name: values for name, values in TABLE.items() if values.ndim == 1}
    return written(lambda file: write_parquet(file, flat | rest | {"label_y": TABLE["label"][:, 1]}), ".parquet")()


def read_points(file: Path) -> None:
    for _ in open_points(file).chunks():
        pass


def read_checkpoint(file: Path) -> None:
    """A checkpoint, its record and its state."""
    checkpoint = load_checkpoint(file)
    read_facts(TrainingRecord, checkpoint, file)
    load_state(torch.nn.Linear(2, 3), checkpoint.part("model"), file)


def with_record(read: Callable[[Path], object], tensors: dict[str, torch.Tensor]) -> Callable[[Path], object]:
    """Reads a checkpoint, in the format that has no digest, whose record is the file."""

    def reader(file: Path) -> object:
        made = file.with_suffix(".safetensors")
        text = file.read_bytes().decode("utf-8", "replace")
        safetensors.torch.save_file(tensors, made, metadata={"probpose": text.replace("\ufffd", "?")})
        return read(made)

    return reader


def noise() -> NoiseRecalibration:
    torch.manual_seed(0)
    return NoiseRecalibration("laplace", NoiseModel(2, build_residual("laplace"), ()))


LEVELS = LevelRecalibration(NoRecalibration(), LevelMap(np.array([0.0, 1, 2]), np.array([0.0, 1.2, 2])))
RECALIBRATIONS: dict[str, Callable[[], Recalibration]] = {
    "scale": lambda: ScaleRecalibration(np.array([1.0, 2])),
    "level": lambda: LEVELS,
    "density": noise,
    "conformal": lambda: ConformalRecalibration(LEVELS, np.array([0.5, 0.9]), np.full((2, 2), 0.7), True, 9),
}


def of_recalibration(name: str) -> Reader:
    cure = RECALIBRATIONS[name]()
    tensors = {f"cure.{key}": value.detach().clone() for key, value in cure.tensors().items()}
    record = {"format": 1, "kind": "recalibration", "cure": cure.record(), "facts": {"checkpoint": "a"}}
    return of_json(record, with_record(load_recalibration, tensors or {"cure.none": torch.zeros(1)}))


def scores() -> Scores:
    index, number = np.arange(3), np.ones(3)
    pairs = np.ones((3, 3))
    facts = RunFacts(parameters=9, flops=9, AP=0.5, images_per_s=None, epoch=1, gauge="moment")
    return Scores(index, index, index, number, number / 2, number, pairs, pairs, facts)


def save_small_posterior(file: Path) -> None:
    cases = fake_cases(persons=5)
    save_posterior(file, cases, cases.scores("level", "axes"), draws=3)


KEY = _Key("a", "b")
LINEAR = torch.nn.Linear(2, 3).state_dict()
BACKBONE = build_backbone("small")
WEIGHTS = dict(list(BACKBONE.state_dict().items())[:6])
TABLE = {
    "prediction": np.arange(24.0).reshape(12, 2), "label": np.arange(24.0).reshape(12, 2) + 0.5,
    "scale": np.full(12, 2.0), "image": np.arange(12) // 4, "joint": np.array(["a", "b", "c", "d"] * 3),
}  # fmt: skip
CSV = b"x,y,label_x,label_y,sigma,image,joint,visibility\n" + b"".join(
    f"{i},{i + 1},{i}.5,{i + 2},2,{i // 2}.jpg,{'ab'[i % 2]},2\n".encode() for i in range(12)
)
OPENPOSE = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": [9, 8.5, 0.5] * 25}]}
DEEPLABCUT = (
    b"scorer,n,n,n,n,n,n\nindividuals,i,i,i,j,j,j\nbodyparts,a,a,a,a,a,a\ncoords,x,y,likelihood,x,y,likelihood\n"
    + b"".join(f"{i},{i},{i / 2},0.5,{i + 9},,\n".encode() for i in range(9))
)
YOLO = b"".join(b"0 0.5 0.5 0.2 0.4" + b" 0.25 0.75 0.9" * 17 + b" 0.8\n" for _ in range(4))
ANIPOSE = b"a_x,a_y,a_z,a_error,a_score,fnum\n" + b"".join(f"{i},{i / 2},3,0.1,0.9,{i}\n".encode() for i in range(9))
MPII = [{"image": "a.jpg", "joints": [[9, 8.5]] * 16, "joints_vis": [1] * 16, "center": [50, 60], "scale": 1.5}] * 2


def sleap_analysis() -> bytes:
    """Empty, which is refused too, where h5py is not installed."""
    if importlib.util.find_spec("h5py") is None:
        return b""
    arrays = np.arange(24.0).reshape(4, 1, 3, 2), np.full((4, 1, 3), 0.5)
    return written(lambda file: sleap_h5(file, *arrays, ["a", "b", "c"], ["t"]))()


def store_of_pandas() -> bytes:
    """In the format "table", of two parts in three frames; as `sleap_analysis`."""
    if importlib.util.find_spec("h5py") is None:
        return b""
    import h5py

    def save(file: Path) -> None:
        columns = [("net", part, coord) for part in "ab" for coord in ("x", "y", "likelihood")]
        with h5py.File(file, "w") as store:
            store.create_group("df").attrs["pandas_type"] = b"frame_table"
            rows = np.ones(3, dtype=[("index", "<i8"), ("values_block_0", "<f8", (6,))])
            rows["index"] = np.arange(3)
            store["df/table"] = rows
            store["df/table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(columns, 0))

    return written(save)()


def release_of_mpii(file: Path) -> None:
    mpii_mat(file, {"a.jpg": [np.full((16, 3), 9.0)], "b.jpg": [np.full((16, 3), 8.0)]})


REPEATED = b"image,instance,annotator,landmark,x_mm,y_mm,area\n" + b"".join(
    f"{i // 4}.jpg,1,{'ab'[i % 2]},{'cd'[i // 2 % 2]},{i},{i / 2},9\n".encode() for i in range(12)
)
CONFIG = default_config("coco", family="heatmap", options={"layers": 2}, flip_pairs=((1, 2),))
SETTINGS = written(lambda file: save_config(CONFIG, file))().decode()


def read_settings(file: Path) -> None:
    """A configuration whose values are those of a JSON file."""
    made = file.with_suffix(".toml")
    try:
        made.write_bytes(tomli_w.dumps(json.loads(file.read_bytes())).encode())
    except (TypeError, ValueError, AttributeError):  # what TOML cannot hold
        return
    load_config(made)


AUDIT = corrupted(make_persons(Path(), ["1.jpg", "2.jpg"], [1, 2, 30, 40], [[9.0, 8.0]] * 17))
DECISIONS = {
    "format": FORMAT, "version": 1, "audit": digest_of(AUDIT.models, AUDIT.persons), "name": "a",
    "decisions": [
        {
            "image_id": number, "annotation_id": number, "joint": "nose", "decision": "accept", "action": "move",
            "to": [1, 2.5],
        }
        for number in (0, 1)
    ],
}  # fmt: skip

JOINTS = np.random.default_rng(0).uniform(1, 9, (14, 3, 5))
TRUTH = {"annotation_id": np.arange(3), "position": np.zeros((3, 17, 2)), "scale": np.ones((3, 17, 2))}

READERS = {
    "annotations": of_json(DOCUMENT, lambda file: read_coco(file, file.parent)),
    "list of images": of_json(DOCUMENT, lambda file: read_image_info(file, file.parent, COCO)),
    "decisions": of_json(DECISIONS, lambda file: decided(AUDIT, read_decisions(file, AUDIT.models, AUDIT.persons))),
    "joint map": of_json({"left hip": "hip_l", "b": "c"}, read_joint_map),
    "results": of_json(RESULTS, lambda file: read_predictions(file, persons(file.parent))),
    "wrapped results": of_json({"results": RESULTS}, read_instances),
    "frame of OpenPose": of_json(OPENPOSE, read_instances, "a_keypoints.json"),
    "table of DeepLabCut": Reader("a.csv", lambda: DEEPLABCUT, read_instances),
    "text of YOLO": Reader("a.txt", lambda: YOLO, lambda file: read_instances(file, Known(size=lambda _: (99.0, 90)))),
    "analysis of SLEAP": Reader("a.h5", sleap_analysis, read_instances),
    "store of pandas": Reader("a.h5", store_of_pandas, read_instances),
    "table of Anipose": Reader("a.csv", lambda: ANIPOSE, read_instances),
    "persons of MPII": of_json(MPII, read_instances),
    "release of MPII": Reader("a.mat", written(release_of_mpii, ".mat"), read_instances),
    "boxes": of_json(DETECTIONS, lambda file: read_boxes(file, persons(file.parent))),
    "skeleton": of_json(asdict(COCO), lambda file: read_skeleton(RunFolder(file.parent)), "skeleton.json"),
    "marker": of_json(
        {"images": 9, "seed": 1, "version": 1}, lambda file: read_spec(file.parent), "synthetic.json"
    ),
    "calibration": of_json(json.loads(EXAMPLE.read_text(encoding="utf-8")), load_calibration),
    "log": of_json(asdict(EPOCH), read_log),
    "log of two epochs": Reader("log.jsonl", (json.dumps(asdict(EPOCH)) + "\n").encode().__mul__(2).strip, read_log),
    "configuration": Reader("config.toml", written(lambda file: save_config(CONFIG, file)), load_config),
    "values of a configuration": of_json(tomllib.loads(SETTINGS), read_settings),
    "record of a checkpoint": of_json(
        {"format": 1, **json.loads(json.dumps(asdict(RECORD)))},
        with_record(read_checkpoint, {f"model.{name}": value for name, value in LINEAR.items()}),
    ),
    "checkpoint": Reader(
        "last.safetensors",
        written(lambda file: save_checkpoint(file, {"model": LINEAR}, asdict(RECORD))),
        read_checkpoint,
    ),
    **{f"recalibration by {name}": of_recalibration(name) for name in RECALIBRATIONS},
    "recalibration": Reader(
        "recalibration.safetensors", written(lambda file: save_recalibration(file, noise(), {})), load_recalibration
    ),
    "weights": Reader(
        "a.pth", written(lambda file: torch.save(WEIGHTS, file)), lambda file: load_backbone_weights(BACKBONE, file)
    ),
    "old weights": Reader(
        "a.pth", written(lambda file: torch.save(WEIGHTS, file, _use_new_zipfile_serialization=False)),
        lambda file: load_backbone_weights(BACKBONE, file),
    ),
    "safetensors": Reader(
        "a.safetensors", written(lambda file: safetensors.torch.save_file(WEIGHTS, file)),
        lambda file: load_backbone_weights(BACKBONE, file),
    ),
    "packed crops": Reader("train.npz", packed_crops, read_packed),
    "heatmaps": Reader("a.npz", archive_of(maps=np.ones((2, 1, 3, 2)), boxes=np.ones((2, 4))), read_heatmaps),
    "audit": of_json(AUDIT.to_json(), read_suspicions),
    "npz table": Reader("a.npz", archive_of(**TABLE), read_points),
    "csv table": Reader("a.csv", lambda: CSV, read_points),
    "parquet table": Reader("a.parquet", parquet_of_table, read_points),
    "labels": Reader("a.csv", lambda: REPEATED, read_label_table),
    "labels of an annotator": of_json(
        DOCUMENT, lambda file: read_label_documents([persons(file.parent).annotations or file, file])
    ),
    "truth": Reader("truth.npz", archive_of(**TRUTH), lambda file: _truth(file, persons(file.parent))),
    "scores": Reader("scores.npz", written(lambda file: _write(file, KEY, scores())), lambda file: _read(file, KEY)),
    "joints.mat": Reader(
        "joints.mat", written(lambda file: scipy.io.savemat(file, {"joints": JOINTS}), ".mat"),
        lambda file: read_leeds(LSPET, "train", file.parent),
    ),
    **{
        f"{kind} {mode}": Reader("a.jpg", picture(kind, mode), read_image)
        for kind, mode in (
            ("jpeg", "RGB"), ("jpeg", "CMYK"), ("png", "RGB"), ("png", "P"), ("png", "I;16"), ("gif", "RGB"),
            ("bmp", "RGB"), ("tiff", "RGB"), ("webp", "RGB"), ("ppm", "RGB"), ("jpeg2000", "RGB"),
        )
    },
}  # fmt: skip

ODD: list[Any] = [
    None, True, -1, 0, 1.5, 10**9, 2**63, 10**400, 1e30, float("nan"), float("inf"), "", "x", "7", "\ud800", [], {},
    [[]], [None] * 3, [1, 2, 3], {"a": 1}, [[[[[[[["deep"]]]]]]]],
]  # fmt: skip

BYTES = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "zero", "cut", "double"]),
        st.integers(0, 10**6),
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=3,
)
VALUES = st.lists(
    st.tuples(
        st.sampled_from(["odd", "odd", "odd", "delete", "double"]),
        st.lists(st.integers(0, 60), min_size=1, max_size=5),
        st.integers(0, len(ODD) - 1),
    ),
    max_size=3,
)


def change_bytes(content: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for action, place, part in edits:
        start = place * len(content) // 10**6
        end = {"insert": start, "cut": len(content)}.get(action, start + len(part))
        new = {"delete": b"", "cut": b"", "zero": bytes(len(part)), "double": 2 * content[start:end]}.get(action, part)
        content = content[:start] + new + content[end:]
    return content


def change_values(document: Any, edits: list[tuple[str, list[int], int]]) -> Any:
    root = [copy.deepcopy(document)]
    for action, path, odd in edits:
        node: Any = root
        for step, turn in enumerate([0, *path]):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = keys[turn % len(keys)]
            if step < len(path) and isinstance(node[key], dict | list) and node[key]:
                node = node[key]
                continue
            if action == "odd":
                node[key] = copy.deepcopy(ODD[odd])
            elif action == "delete" and node is not root:
                del node[key]
            elif isinstance(node, list):
                node.append(copy.deepcopy(node[key]))
            break
    return root[0]


def examine(reader: Reader, folder: Path, examples: int) -> None:
    """Read files that are changed at random: the same ones each time."""
    file, content = folder / reader.file, reader.content()
    file.write_bytes(content)
    reader.read(file)  # the sound file is read
    document = json.loads(content) if reader.document else None

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(BYTES, VALUES)
    def mutated(edits: list[tuple[str, int, bytes]], values: list[tuple[str, list[int], int]]) -> None:
        changed = content
        if document is not None and values:
            changed = json.dumps(change_values(document, values)).encode()
        else:
            changed = change_bytes(content, edits)
        file.write_bytes(changed)
        refusal = file.stem
        try:
            reader.read(file)
        except ProbposeError as error:
            refusal = str(error)
        assert file.stem in refusal or str(folder) in refusal, "the error does not name the file"

    mutated()


MANY = int(os.environ.get("PROBPOSE_MUTATIONS", "300"))
NUMBERS = [25, pytest.param(MANY, marks=pytest.mark.fuzz)]


@pytest.mark.parametrize("examples", NUMBERS)
@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_refused(name: str, examples: int, tmp_path: Path) -> None:
    examine(READERS[name], tmp_path, examples)


OF_THE_FILE = [name for name in READERS if not name.startswith(("record of", "values of", "recalibration by"))]
"""Readers that read the file itself."""


@pytest.mark.parametrize("name", OF_THE_FILE)
def test_no_reader_waits_for_a_pipe(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    os.mkfifo(tmp_path / reader.file)

    def stop(*_: object) -> None:
        pytest.fail("the reader waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    try:
        with suppress(ProbposeError):
            found = reader.read(tmp_path / reader.file)
            assert found is None or isinstance(found, str)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("examples", [5, pytest.param(MANY // 3, marks=pytest.mark.fuzz)])
def test_a_changed_posterior_is_read_or_refused(examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_LIMIT_S", 5)
    examine(Reader("posterior.nc", written(save_small_posterior), load_posterior), tmp_path, examples)
