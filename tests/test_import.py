"""Checkpoints of other codes as runs: equal outputs, and files that are something else."""

from __future__ import annotations

import json
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import probpose as pp
from probpose.cli import main
from probpose.errors import CheckpointError, ConfigError
from tests.published_cases import flow_log_prob, mmpose_outputs, mmpose_state, rle_outputs, rle_state

SIZE = (64, 48)
JOINTS = 17
FORMS: dict[str, tuple[Callable[..., Any], Callable[..., Any], str, float]] = {
    "rle": (rle_state, rle_outputs, "flow.", 0.0),
    "mmpose": (mmpose_state, mmpose_outputs, "head.loss_module.flow_model.", 0.5),
}


def saved(folder: Path, content: object) -> Path:
    file = folder / "checkpoint.pth"
    torch.save(content, file)
    return file


@pytest.mark.parametrize(("layout", "backbone"), [("rle", "resnet50"), ("rle", "resnet18"), ("mmpose", "resnet18")])
@torch.no_grad()
def test_an_imported_run_says_what_the_original_says(tmp_path: Path, layout: Any, backbone: str) -> None:
    state_of, outputs_of, flow, origin = FORMS[layout]
    state = state_of(backbone, JOINTS)
    run = pp.import_model(saved(tmp_path, state), layout, out=tmp_path / "run", input_size=SIZE)
    assert run.config.model.backbone == backbone
    image = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8)
    loc, sigma = outputs_of(state, backbone, image.float())
    model: Any = run.model
    predictive = model(image, None, model.residual.frozen(2**10)).as_location_scale()
    # a coordinate of the code is that of a pixel over the crop's size, with the first pixel's centre at 0
    pixel = (loc + 0.5 - origin) * torch.tensor([SIZE[1], SIZE[0]])
    ours = (predictive.loc + 0.5) * torch.tensor([SIZE[1], SIZE[0]]) - 0.5
    assert torch.allclose(ours.float(), pixel, rtol=1e-5, atol=1e-5 * SIZE[0])
    width = predictive.scale.diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(width.float(), sigma, rtol=1e-5, atol=1e-6)
    assert sigma.std() > 0.01  # neither is constant
    assert loc.std() > 0.01
    label = predictive.loc + 0.1 * torch.randn_like(predictive.loc)
    e = (predictive.loc - label) / width
    expected = flow_log_prob(state, flow, e.reshape(-1, 2)).view(2, JOINTS) - width.log().sum(-1)
    assert torch.allclose(predictive.log_prob(label), expected, atol=1e-5)


def test_the_run_knows_what_it_was_made_from_and_is_a_run_as_any_other(tmp_path: Path) -> None:
    file = saved(tmp_path, {"epoch": 3, "state_dict": rle_state("resnet18", JOINTS)})
    made = CliRunner().invoke(
        main, ["import", str(file), "--from", "rle", "--input-size", "64x48", "--out", str(tmp_path / "run"), "--json"]
    )
    assert made.exit_code == 0, made.output
    said = json.loads(made.output)
    run = pp.load(tmp_path / "run")
    assert run.imported is not None
    assert said["sha256"] == run.imported.sha256
    assert (said["backbone"], said["layout"], run.epoch, run.verified) == ("resnet18", "rle", 0, True)
    assert repr(run).endswith("17 joints, imported from checkpoint.pth)")
    assert run.config.data.dataset == "coco"
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (80, 60, 3), dtype=np.uint8)
    poses = run.predict(picture)
    assert poses.keypoints.shape == (1, JOINTS, 2)
    assert np.allclose(poses.presence, 0.5)
    persons = pp.persons([picture] * 4, poses.keypoints.repeat(4, 0), skeleton=run.skeleton)
    assert run.evaluate(persons).keypoints == 4 * JOINTS
    with pytest.raises(ConfigError, match="already holds a run"):
        pp.import_model(file, "rle", out=tmp_path / "run")


def test_names_of_processes_and_of_earlier_versions_are_read(tmp_path: Path) -> None:
    state = mmpose_state("resnet18", 3)
    older = {name.replace("head.loss_module", "keypoint_head.loss").replace("head.fc", "keypoint_head.fc"): value
             for name, value in state.items() if "num_batches" not in name}  # fmt: skip
    runs = []
    for name, content in {"new": state, "older": {f"module.{name}": value for name, value in older.items()}}.items():
        (tmp_path / name).mkdir()
        file = saved(tmp_path / name, content)
        runs.append(pp.import_model(file, "mmpose", skeleton=["a", "b", "c"], out=tmp_path / name / "run"))
    one, other = (run.model.state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one if "num_batches" not in name)
    assert runs[0].skeleton.joints == ("a", "b", "c")
    assert runs[0].config.data.dataset == "custom"


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of mmengine's buffers, as far as files show it: arrays, and its own methods by name."""

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history, self._count_history = np.arange(3.0), np.ones(3)
            self._statistics_methods = {"mean": HistoryBuffer.mean}

        def mean(self) -> None:
            raise AssertionError("code of the file was executed")

        def __setstate__(self, state: object) -> None:
            raise AssertionError("code of the file was executed")

    place = "mmengine.logging.history_buffer"
    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = place, "HistoryBuffer"
    HistoryBuffer.mean.__module__, HistoryBuffer.mean.__qualname__ = place, "HistoryBuffer.mean"
    for name in ("mmengine", "mmengine.logging", place):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[place].HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    return HistoryBuffer


@pytest.mark.parametrize("zipped", [True, False])
def test_the_history_in_files_of_mmengine_is_read_past(tmp_path: Path, history: Any, zipped: bool) -> None:
    state = mmpose_state("resnet18", JOINTS)
    hub = {"log_scalars": OrderedDict(loss=history()), "runtime_info": {"iter": np.int64(5)}}
    meta = {"epoch": 210, "dataset_meta": {"sigmas": np.linspace(0, 1, 17), "names": np.array(["nose"])}}
    file = tmp_path / "mmpose.pth"
    content = {"meta": meta, "state_dict": state, "message_hub": hub}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    run = pp.import_model(file, "mmpose", out=tmp_path / "run")
    assert torch.equal(run.model.state_dict()["regressor.backbone.conv1.weight"], state["backbone.conv1.weight"])


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


HOSTILE = {
    "exec": (Calls(exec, "raise SystemExit('executed')"), "asks for exec"),
    "os.system": (Calls(__import__("os").system, "exit 1"), r"asks for (os|posix)\.system"),
    "a method": (Calls(getattr, Path, "unlink"), r"asks for pathlib\.Path"),
    "an import": (Calls(__import__, "antigravity"), "asks for __import__"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_file_that_asks_for_code_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    bomb, said = HOSTILE[fault]
    file = saved(tmp_path, {"state_dict": {"preact.conv1.weight": torch.zeros(3)}, "message_hub": bomb})
    with pytest.raises(CheckpointError, match=said) as raised:
        pp.import_model(file, "rle", out=tmp_path / "run")
    assert str(file) in str(raised.value)
    assert not (tmp_path / "run").exists()


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name not in names}


WRONG: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "the other layout": (
        lambda: mmpose_state("resnet18", JOINTS), "rle",
        "is not of the published RLE code on resnet50: missing preact.conv1.weight, .* and .* more; "
        "not known backbone.conv1.weight, .*expected preact",
    ),
    "another backbone": (lambda: rle_state("resnet18", JOINTS), "rle", "on resnet34: missing preact.layer1.2.conv1"),
    "a head is gone": (
        lambda: without(rle_state("resnet18", JOINTS), "fc_sigma.linear.bias"), "rle",
        "on resnet18: missing fc_sigma.linear.bias; expected",
    ),
    "a hidden layer": (
        lambda: rle_state("resnet18", JOINTS) | {"fcs.0.weight": torch.zeros(3)}, "rle", "not known fcs.0.weight",
    ),
    "a shape": (
        lambda: rle_state("resnet18", JOINTS) | {"fc_coord.linear.weight": torch.zeros(34, 3)}, "rle",
        r"fc_coord.linear.weight has shape \(34, 3\), .* has \(34, 512\)",
    ),
    "masks": (
        lambda: rle_state("resnet18", JOINTS) | {"flow.mask": torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 3)}, "rle",
        "flow.mask: coupling 0 .* moves axis 1",
    ),
    "not finite": (
        lambda: rle_state("resnet18", JOINTS) | {"fc_coord.linear.bias": torch.full((34,), torch.nan)}, "rle",
        "fc_coord.linear.bias holds numbers that are not finite",
    ),
    "no weights": (lambda: {"state_dict": 3}, "mmpose", "is not a dictionary of tensors"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_file_that_is_something_else_is_named_with_what_differs(tmp_path: Path, fault: str) -> None:
    content, layout, said = WRONG[fault]
    file = saved(tmp_path, content())
    backbone = "resnet34" if fault == "another backbone" else None
    with pytest.raises(CheckpointError, match=said) as raised:
        pp.import_model(file, layout, backbone=backbone, out=tmp_path / "run")
    assert str(file) in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_joints_that_are_not_cocos_are_to_be_named(tmp_path: Path) -> None:
    file = saved(tmp_path, rle_state("resnet18", 4))
    with pytest.raises(ConfigError, match="has 4 joints, COCO has 17"):
        pp.import_model(file, "rle", out=tmp_path / "run")
    with pytest.raises(ConfigError, match="has 4 joints, and the skeleton has 2"):
        pp.import_model(file, "rle", skeleton=["a", "b"], out=tmp_path / "run")


def test_a_checkpoint_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="probpose import"):
        pp.load(saved(tmp_path, {}))
