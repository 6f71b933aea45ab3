"""The device and the precision that are taken where none is named: the best that works, said in one line."""

from __future__ import annotations

import pytest
import torch

from probpose.errors import ConfigError
from probpose.inference import device as devices
from probpose.inference.device import Machine, open_device, open_machine


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which torch sees an H100."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")


@pytest.fixture
def working(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that works."""
    monkeypatch.setattr(devices, "_tried", lambda name: torch.device(name, 0) if name == "cuda" else torch.device(name))


@pytest.mark.usefixtures("working")
def test_a_gpu_that_works_is_taken_with_bf16() -> None:
    machine = open_machine("auto", "auto")
    assert machine == Machine(torch.device("cuda:0"), "bf16")
    assert str(machine) == "device: cuda:0 (NVIDIA H100), precision bf16"
    assert open_machine("auto") == Machine(torch.device("cuda:0"), "fp32")  # evaluation and prediction
    assert open_machine("cpu", "auto") == Machine(torch.device("cpu"), "fp32")


@pytest.mark.usefixtures("working")
def test_an_old_gpu_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert open_machine("auto", "auto").precision == "fp32"
    assert open_machine("auto", "bf16").precision == "bf16"  # what is named is taken


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_is_seen_and_does_not_work_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> torch.device:
        if name != "cpu":
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")
        return torch.device(name)

    monkeypatch.setattr(devices, "_tried", fails)
    assert open_machine("auto", "auto") == Machine(torch.device("cpu"), "fp32")
    with pytest.raises(
        ConfigError, match=r"'cuda' cannot be used here \(CUDA error: .*device\): name another --device"
    ):
        open_device("cuda")


def test_mps_is_taken_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(devices, "_tried", torch.device)
    assert open_machine("auto", "auto") == Machine(torch.device("mps"), "fp32")
    assert str(Machine(torch.device("mps"))) == "device: mps, precision fp32"


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(backend, "is_available", lambda: False)
    assert str(open_machine("auto", "auto")) == "device: cpu, precision fp32"


def test_a_device_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="'toaster' cannot be used here"):
        open_machine("toaster")
