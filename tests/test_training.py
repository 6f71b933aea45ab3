"""Training runs: resumed to the bit after kill -9, faults reported, progress and log."""

from __future__ import annotations

import io
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from probpose.analysis.figures import curves
from probpose.analysis.figures.curves import draw_curves
from probpose.data.loading import CropDataset, loader
from probpose.errors import CheckpointError, ConfigError, DataError
from probpose.inference import device as devices
from probpose.inference.training.checkpoint import load_checkpoint
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.epoch import EpochSums
from probpose.inference.training.initial import training_targets
from probpose.inference.training.report import Report, StepRecord, read_log
from probpose.inference.training.runs import RunFolder, load_run, newest_run, untrained_model
from probpose.inference.training.selection import SelectionScorer
from probpose.inference.training.train import open_split, resume_training, start_training
from probpose.inference.training.trainer import Trainer


def tiny(figures: Path, **changes: object) -> TrainConfig:
    settings = {"data_root": str(figures), "epochs": 4, "batch_size": 16, "input_height": 32, "input_width": 32}
    return default_config("synthetic", **{**settings, **changes})


@pytest.fixture(scope="module")
def finished(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was never interrupted."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "whole")
    start_training(tiny(figures), folder)
    return folder


def test_run_folder_is_complete(finished: RunFolder, figures: Path) -> None:
    records = read_log(finished.log)
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert {"backbone", "loc", "scale", "presence", "residual"} == set(records[0]["gradient_norms"])
    assert all(norm > 0 for norm in records[0]["gradient_norms"].values())
    assert 0 < records[-1]["scale_min"] < records[-1]["scale_max"]
    run = load_run(finished.path)
    assert run.config == tiny(figures).changed(flip=0.5)  # the usual share, which the run states
    best = min(records, key=lambda record: record["selection_nll_nats"])
    assert run.epoch == best["epoch"]


def test_a_checkpoint_says_what_it_was_trained_with(
    finished: RunFolder, figures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = load_checkpoint(finished.best).record
    assert (record["device"], record["precision"]) == ("cpu", "fp32")
    folder = RunFolder(tmp_path / "run")
    start_training(tiny(figures, epochs=1, precision="bf16"), folder)
    assert load_checkpoint(folder.best).record["precision"] == "bf16"
    assert "device: cpu, precision bf16\n" in capfd.readouterr().err
    assert not load_run(folder.path).model.regressor.bf16


def test_the_best_precision_of_the_device_is_trained_with(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_best_precision", lambda _: "bf16")
    trainers = {}
    for precision in ("auto", "fp32"):
        config = tiny(figures, precision=precision, ema=0.9)
        train, selection = open_split(config, "train").split_by_image(config.data.selection, config.seed)
        model = untrained_model(config, train.skeleton)
        trainers[precision] = Trainer(config, RunFolder(tmp_path), model, train, selection)
    assert trainers["auto"].model.regressor.bf16
    assert trainers["auto"]._kept().regressor.bf16
    assert not trainers["fp32"].model.regressor.bf16


def test_likelihood_improves(figures: Path, tmp_path: Path) -> None:
    """A network memorises unaugmented crops: NLL at the start (mu and sigma of the targets) and at the end."""
    still = {"flip": 0.0, "scale_jitter": 0.0, "shift": 0.0, "colour": 0.0}
    config = tiny(figures, epochs=15, batch_size=8, warmup=5, **still)
    folder = RunFolder(tmp_path / "run")
    start_training(config, folder)
    train, _ = open_split(config, "train").split_by_image(config.data.selection, config.seed)
    score = SelectionScorer(train, loader(CropDataset(train, config.input_size), 64), torch.device("cpu"))
    start = untrained_model(config, train.skeleton)
    start.regressor.start_at(training_targets(train, config.input_size))
    assert score(load_run(folder.path, checkpoint="last").model).nll_nats < score(start).nll_nats - 0.2


def test_resume_after_kill_9_ends_bit_identical(finished: RunFolder, figures: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "probpose", "train", "--out", str(out)]
    options = ["--data-root", str(figures), "--epochs", "4", "--batch-size", "16", "--input-size", "32x32"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE)
    log = out / "log.jsonl"
    deadline = time.monotonic() + 120
    while not log.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(read_log(log))
    assert 1 <= done < 4, "the run was not interrupted half-way"
    resume_training(RunFolder(out))
    assert [record["epoch"] for record in read_log(log)] == [1, 2, 3, 4]
    for name in ("last.safetensors", "best.safetensors"):
        whole, resumed = (safetensors.torch.load_file(folder / name) for folder in (finished.path, out))
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[key], resumed[key]) for key in whole), name


def test_resume_before_the_first_checkpoint_starts_again(finished: RunFolder, figures: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "early")
    folder.create(tiny(figures), load_run(finished.path).skeleton)
    resume_training(folder)
    whole, resumed = (safetensors.torch.load_file(f.last) for f in (finished, folder))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_resumed_average_and_accumulation_end_bit_identical(figures: Path, tmp_path: Path) -> None:
    """Stopped after the second epoch's log line was cut in half; the third is then done, with average and log whole."""
    config = tiny(figures, ema=0.9, accumulate=2, epochs=3, laplace_until=0.6)
    whole, stopped = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    start_training(config, whole)

    def stop(folder: RunFolder) -> None:
        if len(read_log(folder.log)) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_training(config, stopped, on_epoch=stop)
    stopped.log.write_text(stopped.log.read_text()[:-40])
    resume_training(stopped)
    assert [record["epoch"] for record in read_log(stopped.log)] == [1, 2, 3]
    assert all(isinstance(json.loads(line), dict) for line in stopped.log.read_text().splitlines())
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = (safetensors.torch.load_file(folder.path / name) for folder in (whole, stopped))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    last = safetensors.torch.load_file(whole.last)
    used = load_run(whole.path, checkpoint="last").model.state_dict()
    assert torch.equal(used["regressor.loc.weight"], last["average.regressor.loc.weight"])
    assert not torch.equal(used["regressor.loc.weight"], last["model.regressor.loc.weight"])


def test_the_residual_density_has_a_rate_of_its_own(figures: Path, tmp_path: Path) -> None:
    """Adam's first step moves every parameter by its rate, whatever the gradient."""
    config = tiny(figures, residual_lr=0.25, warmup=0, clip_norm=0.0)
    train, selection = open_split(config, "train").split_by_image(config.data.selection, config.seed)
    trainer = Trainer(config, RunFolder(tmp_path), untrained_model(config, train.skeleton), train, selection)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer._train_step(list(itertools.islice(trainer._usable(sums := EpochSums()), 1)), sums)
    moved = {
        name: float((value.detach() - before[name]).abs().max()) for name, value in trainer.model.named_parameters()
    }
    assert moved["regressor.loc.weight"] == pytest.approx(config.optimiser.lr, rel=1e-3)
    last_layers = [name for name in moved if name.startswith("residual") and name.endswith("biases.2")]
    assert len(last_layers) == 6
    for name in last_layers:
        assert moved[name] == pytest.approx(0.25 * config.optimiser.lr, rel=1e-3)


def test_accumulated_gradient_is_the_mean_over_batches(figures: Path, tmp_path: Path) -> None:
    config = tiny(figures, accumulate=3, batch_size=8, residual="laplace", lr=1e-12, clip_norm=0.0)
    train, selection = open_split(config, "train").split_by_image(config.data.selection, config.seed)
    trainer = Trainer(config, RunFolder(tmp_path), untrained_model(config, train.skeleton), train, selection)
    assert trainer.steps_per_epoch == -(-(len(train) // 8) // 3)
    group = list(itertools.islice(trainer._usable(sums := EpochSums()), 3))
    trainer._train_step(group, sums)
    assert (len(sums.norms), sums.images) == (1, 24)
    weight = trainer.model.regressor.get_parameter("loc.weight")
    accumulated = weight.grad
    assert accumulated is not None
    single = torch.zeros_like(accumulated)
    for batch in group:
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer._backward(batch, 1)
        assert weight.grad is not None
        single += weight.grad / 3
    torch.testing.assert_close(accumulated, single, rtol=1e-4, atol=1e-7)


def test_a_folder_with_a_run_is_not_overwritten(finished: RunFolder, figures: Path) -> None:
    with pytest.raises(ConfigError, match=r"already holds a run.*--resume"):
        start_training(tiny(figures), finished)


def test_unreadable_images_are_counted_and_skipped(
    figures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    subprocess.run(["cp", "-r", str(figures), str(root)], check=True)
    first = sorted((root / "train2017").glob("*.jpg"))[0]
    first.write_bytes(b"no image")
    folder = RunFolder(tmp_path / "run")
    start_training(tiny(root, epochs=1, batch_size=64), folder)
    assert read_log(folder.log)[0]["unreadable"] > 0
    assert f"skipped {first}" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:Encountered NaN")  # Pyro sees it too
def test_a_non_finite_step_is_skipped_counted_and_shown(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(figures, epochs=1)
    train, selection = open_split(config, "train").split_by_image(config.data.selection, config.seed)
    folder = RunFolder(tmp_path / "run")
    folder.create(config, train.skeleton)
    trainer = Trainer(config, folder, untrained_model(config, train.skeleton), train, selection)
    sound, calls = trainer.loss, itertools.count()
    monkeypatch.setattr(trainer, "loss", lambda *batch: sound(*batch) * (float("nan") if next(calls) == 1 else 1.0))
    stream = io.StringIO()
    with Report(1, trainer.steps_per_epoch, stream=stream) as report:
        trainer.fit(report)
    assert read_log(folder.log)[0]["skipped_steps"] == 1
    assert "1 steps skipped" in stream.getvalue()
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())


def test_per_joint_full_quantile_bf16_trains(figures: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    options = {"per_joint": True, "scale": "full", "gauge": "quantile", "precision": "bf16", "epochs": 1}
    start_training(tiny(figures, **options), folder)
    assert load_run(folder.path).model.residual.gauge == "quantile"


def test_curves_are_drawn(finished: RunFolder, tmp_path: Path) -> None:
    draw_curves(finished.log, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("pause", "drawn"), [(1e6, ["a", "b"]), (0.0, ["a", "a", "b"])])
def test_curves_of_a_training_are_drawn_at_times_and_at_its_end(
    pause: float, drawn: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    monkeypatch.setattr(curves, "PAUSE_S", pause)
    monkeypatch.setattr(curves, "draw_curves", lambda log, out: found.append(log.parent.name))
    with curves.LiveCurves() as live:
        for name in ("a", "a", "b"):
            live(RunFolder(tmp_path / name))
    assert found == drawn


@pytest.mark.parametrize(("ending", "told"), [(KeyboardInterrupt, KeyboardInterrupt), (None, OSError)])
def test_what_ended_a_training_is_told_where_its_curves_cannot_be_drawn(
    ending: type[BaseException] | None, told: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def train() -> None:
        with curves.LiveCurves() as live:
            live(RunFolder(tmp_path))
            if ending is not None:
                raise ending

    monkeypatch.setattr(curves, "draw_curves", full)
    with pytest.raises(told):
        train()


def test_log_survives_a_half_written_line(finished: RunFolder, tmp_path: Path) -> None:
    text = finished.log.read_text()
    log = tmp_path / "log.jsonl"
    log.write_text(text + text.splitlines()[0][:50])
    assert len(read_log(log)) == 4
    log.write_text("{broken\n" + text)
    with pytest.raises(DataError, match="line 1 is not JSON"):
        read_log(log)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_report_in_a_terminal_shows_where_training_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    stream = Terminal()
    with Report(4, 10, stream=stream) as report:
        report.step(2, 15, StepRecord(5.25, 2.0, 3.0, 0.5, 100.0, 3))
    for part in (
        "epoch 2/4",
        "100 img/s",
        "5.250 nats",
        "EPE  2.00 px",
        "sigma  3.00 px",
        "ESS/N  50%",
        "3 steps skipped",
    ):
        assert part in stream.getvalue()


def test_report_without_a_terminal_prints_plain_lines(finished: RunFolder) -> None:
    stream = io.StringIO()
    with Report(4, 10, stream=stream) as report:
        report.step(1, 5, StepRecord(1.0, 2.0, 3.0, 0.5, 100.0, 0))
        report.say("done")
    assert stream.getvalue() == "done\n"


def test_newest_run(tmp_path: Path, finished: RunFolder) -> None:
    with pytest.raises(CheckpointError, match="probpose train"):
        newest_run(tmp_path)
    assert newest_run(finished.path.parent).path == finished.path


def test_log_lines_are_json(finished: RunFolder) -> None:
    assert all(isinstance(json.loads(line), dict) for line in finished.log.read_text().splitlines())
