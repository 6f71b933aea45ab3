"""A run goes on only with what it was trained with, from files that are whole; the only good file is never lost."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

import probpose as pp
from probpose.cli.terminal import run_of
from probpose.data.persons import Persons
from probpose.errors import CheckpointError, DataError, ProbposeError, TrainingError
from probpose.inference.training.checkpoint import load_checkpoint
from probpose.inference.training.config import load_config, save_config
from probpose.inference.training.runs import RunFolder, load_run
from probpose.inference.training.selection import SelectionScore
from tests.api_cases import SMALL, blobs

IMAGES, LABELS = blobs(12)
QUICK = SMALL | {"family": "laplace", "epochs": 2, "batch_size": 4}


def persons(labels: object = LABELS, images: object = IMAGES) -> Persons:
    return pp.persons(images, labels, skeleton=["blob"])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("resumed") / "run"
    pp.fit(IMAGES, LABELS, skeleton=["blob"], out=folder, **QUICK)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunFolder:
    """A copy of it."""
    return RunFolder(Path(shutil.copytree(trained, tmp_path / "run")))


def change(run: RunFolder, **settings: object) -> None:
    save_config(load_config(run.config).changed(**settings), run.config)


def refused(run: RunFolder, error: type[ProbposeError], message: str, found: Persons | None = None) -> None:
    """Going on is refused, and every file is as it was."""
    before = {file: file.read_bytes() for file in run.path.iterdir() if file.name != ".lock"}
    with pytest.raises(error, match=message):
        pp.resume(run.path, persons=persons() if found is None else found, quiet=True)
    assert {file: file.read_bytes() for file in run.path.iterdir() if file.name != ".lock"} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"residual": "gaussian"}, "residual is 'gaussian', and was 'laplace'"),
        ({"seed": 1}, "seed is 1, and was 0"),
        ({"lr": 0.5, "batch_size": 3}, "batch_size is 3, and was 4; lr is 0.5"),
        ({"lr_steps": (1,)}, r"lr_steps is \[1\], and was \[\]"),
        ({"selection": 0.3}, "selection is 0.3"),
        ({"scale_jitter": 0.0}, "scale_jitter is 0.0"),
        ({"precision": "bf16"}, "precision is 'bf16'"),
        ({"epochs": 1}, "epochs is 1, and was 2"),
    ],
)
def test_other_settings_are_refused_and_named(run: RunFolder, settings: dict[str, object], message: str) -> None:
    change(run, **settings)
    refused(run, CheckpointError, f"last.safetensors was trained with other settings.*{message}")


def test_more_epochs_and_other_places_go_on(run: RunFolder) -> None:
    change(run, epochs=3, device="cpu", data_root="elsewhere")
    assert pp.resume(run.path, persons=persons(), quiet=True).config.optimiser.epochs == 3
    assert load_checkpoint(run.last).record["epoch"] == 3


def moved() -> Persons:
    return persons(LABELS + 1e-9)


def other_pixels() -> Persons:
    return persons(images=[np.where(image == image.max(), 0, image) for image in IMAGES])


def other_box() -> Persons:
    table = persons()
    return replace(table, box=table.box + np.array([0, 0, 1, 0]))


def other_visibility() -> Persons:
    return replace(persons(), visibility=np.ones_like(persons().visibility))


def exchanged() -> Persons:
    return persons().select([1, 0, *range(2, 12)])


def fewer() -> Persons:
    return persons().select(list(range(11)))


@pytest.mark.parametrize("changed", [moved, other_pixels, other_box, other_visibility, exchanged, fewer])
def test_other_persons_are_refused(run: RunFolder, changed: Callable[[], Persons]) -> None:
    refused(
        run, DataError, r"persons of arrays to .* are not those that .*last.safetensors was trained with", changed()
    )


def test_without_last_nothing_starts_over(run: RunFolder) -> None:
    run.last.unlink()
    refused(run, CheckpointError, r"last.safetensors is missing, and .*best.safetensors is there")
    run.best.unlink()
    refused(run, CheckpointError, r"last.safetensors is missing, and .*log.jsonl is there")


def rewrite(file: Path, change: Callable[[dict[str, str]], object]) -> None:
    """Change the header of a checkpoint, and leave its tensors."""
    with safetensors.safe_open(file, framework="pt") as opened:
        header = dict(opened.metadata())
    tensors = safetensors.torch.load_file(file)
    change(header)
    safetensors.torch.save_file(tensors, file, metadata=header)


def best_is(run: RunFolder, best: bool) -> None:
    """A run whose last epoch was the best, or not, in the format of earlier versions, which has no digest."""

    def earlier(header: dict[str, str]) -> None:
        record = json.loads(header["probpose"])
        record["log"]["best"] = best
        header["probpose"] = json.dumps(record | {"format": 1})
        header.pop("sha256", None)

    rewrite(run.last, earlier)


def test_best_is_written_again_where_last_is_the_best(run: RunFolder) -> None:
    """As after a kill between the two files."""
    best_is(run, True)
    run.best.unlink()
    assert pp.resume(run.path, persons=persons(), quiet=True).epoch == 2


def test_without_best_a_run_does_not_go_on(run: RunFolder) -> None:
    best_is(run, False)
    run.best.unlink()
    refused(run, CheckpointError, "best.safetensors is missing, and no later epoch was better")


def test_the_best_checkpoint_of_another_run_is_none(run: RunFolder) -> None:
    best_is(run, False)
    rewrite(run.best, lambda header: header.update(probpose='{"epoch": 1, "format": 1, "selection_nll_nats": 5.0}'))
    rewrite(run.best, lambda header: header.pop("sha256"))
    refused(run, CheckpointError, "best.safetensors is not the best checkpoint of this run")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_changed_bits_are_no_weights(run: RunFolder, place: float) -> None:
    content = bytearray(run.last.read_bytes())
    start = int(place * len(content))
    content[start : start + 8] = random.Random(1).randbytes(8)
    run.last.write_bytes(bytes(content))
    run.best.write_bytes(bytes(content))
    refused(run, CheckpointError, r"last.safetensors is damaged: its content is not what was written")
    with pytest.raises(CheckpointError, match=r"best\.safetensors is damaged"):
        load_run(run.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda header: header.update(
                probpose=header["probpose"].replace('"skipped_steps": 0', '"skipped_steps": 7')
            ),
            "is damaged",
        ),
        (lambda header: header.pop("sha256"), "is damaged"),
        (lambda header: header.update(probpose="[]"), "is not a whole checkpoint"),
        (lambda header: header.update(probpose="[" * 10**5), "is not a whole checkpoint"),
        (lambda header: header.update(probpose='{"format": 9}'), "has format 9; this version reads 2"),
        (lambda header: header.pop("probpose"), "was not written by probpose"),
    ],
)
def test_a_changed_header_is_refused(run: RunFolder, change: Callable[[dict[str, str]], object], message: str) -> None:
    rewrite(run.last, change)
    refused(run, CheckpointError, f"last.safetensors {message}")


@pytest.mark.parametrize(
    "part", [{"epoch": "x"}, {"epoch": None}, {"step": 1.5}, {"log": []}, {"best_nll_nats": {}}, {"made_from": 3}]
)
def test_every_key_of_the_record_is_checked(run: RunFolder, part: dict[str, object]) -> None:
    rewrite(
        run.last,
        lambda header: header.update(probpose=json.dumps(json.loads(header["probpose"]) | part | {"format": 1})),
    )
    rewrite(run.last, lambda header: header.pop("sha256"))
    refused(run, CheckpointError, f"last.safetensors is no checkpoint of a run.*{next(iter(part))}")


def test_a_checkpoint_of_an_earlier_version_is_read_with_a_word(
    run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    best_is(run, True)
    rewrite(run.best, lambda header: header.update(probpose='{"epoch": 2, "format": 1}'))
    rewrite(run.best, lambda header: header.pop("sha256"))
    assert not pp.load(run.path).verified
    assert not run_of(run.path).verified
    assert "of an earlier version, without a checksum: it is not verified" in capfd.readouterr().err
    resumed = pp.resume(run.path, persons=persons())
    assert (
        "last.safetensors is of an earlier version: neither it nor the data can be verified" in capfd.readouterr().err
    )
    assert not resumed.verified


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"residual": "gaussian"}, "residual is 'gaussian', and was 'laplace'"),
        ({"gauge": "quantile"}, "gauge is 'quantile', and was None"),
        ({"input_height": 64}, "input_height is 64"),
    ],
)
def test_a_run_is_not_opened_as_another_model(run: RunFolder, settings: dict[str, object], message: str) -> None:
    change(run, **settings)
    with pytest.raises(CheckpointError, match=message):
        pp.load(run.path)


def test_a_run_is_not_opened_with_other_joints(run: RunFolder) -> None:
    run.skeleton.write_text(run.skeleton.read_text().replace("blob", "drop"))
    with pytest.raises(CheckpointError, match=r"skeleton.json has 1 joints \(drop .*it was 1 joints \(blob"):
        pp.load(run.path)


def test_a_score_that_is_never_finite_ends_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SelectionScore, "nll_nats", property(lambda self: float("nan")))
    with pytest.raises(TrainingError, match="was not finite after any of 2 epochs, so that there is no checkpoint"):
        pp.fit(IMAGES, LABELS, skeleton=["blob"], out=tmp_path / "run", **QUICK)


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("family", ["laplace", "heatmap"])
def test_weights_that_become_nan_end_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    def step(optimizer: torch.optim.Adam) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    with pytest.raises(TrainingError, match="steps were skipped because their loss was not finite"):
        pp.fit(IMAGES, LABELS, skeleton=["blob"], out=tmp_path / "run", **QUICK | {"family": family})
