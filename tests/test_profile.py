"""Where the time of training goes: parts that exclude one another, and advice that names the part made slow."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import nn

import probpose as pp
from probpose.data.loading import CropDataset
from probpose.inference.training.profile import PARTS, Profile
from tests.api_cases import SMALL, blobs

CPU = torch.device("cpu")


def spent(workers: int = 0, device: torch.device = CPU, **seconds: float) -> Profile:
    profile = Profile(None, device, workers)
    profile.seconds.update(seconds)
    return profile


def test_a_part_inside_another_is_counted_once() -> None:
    net = nn.Identity()
    net.register_forward_hook(lambda *_: time.sleep(0.05))
    started = time.perf_counter()
    profile = Profile(net, CPU, 0)
    with profile.part("likelihood"):
        net(torch.zeros(1))
        time.sleep(0.02)
    net(torch.zeros(1))  # not of a step
    with profile.part("backward"):
        pass
    assert profile.seconds["network"] >= 0.05
    assert profile.seconds["likelihood"] >= 0.02
    assert profile.seconds["rest"] >= 0.05
    assert sum(profile.seconds.values()) <= time.perf_counter() - started
    assert sum(profile.shares.values()) == pytest.approx(1)


class Broken(nn.Module):
    def forward(self, _: torch.Tensor) -> torch.Tensor:
        raise ValueError


def test_an_exception_leaves_no_part_open() -> None:
    net = Broken()
    profile = Profile(net, CPU, 0)
    with pytest.raises(ValueError), profile.part("likelihood"):  # noqa: PT011
        net(torch.zeros(1))
    with profile.part("likelihood"):
        time.sleep(0.01)
    assert profile.seconds["likelihood"] >= 0.01


@pytest.mark.parametrize("profile", [True, False])
def test_a_slow_loader_is_named(
    profile: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    usual = CropDataset.__getitem__

    def slow(self: CropDataset, rows: list[int]) -> object:
        time.sleep(0.5 if profile else 0)
        return usual(self, rows)

    monkeypatch.setattr(CropDataset, "__getitem__", slow)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    images, labels = blobs(24)
    settings = SMALL | {"epochs": 1, "quiet": False}
    pp.fit(images, labels, skeleton=["blob"], out=tmp_path / "run", profile=profile, **settings)
    said = capfd.readouterr().err
    assert ("waiting for crops takes" in said) == profile
    assert ("--workers 2" in said) == profile
    parts = ("data", "network", "backward", "optimiser", "selection", "checkpoint")
    assert all((f"  {PARTS[name]} " in said) == profile for name in parts)


@pytest.mark.parametrize(
    ("profile", "advice"),
    [
        (spent(data=4, network=6), "waiting for crops takes 40%: cut crops in processes of their own"),
        (spent(1, data=4, network=6), "cut crops in more processes"),
        (spent(512, data=4, network=6), "so that they decode faster"),
        (spent(likelihood=3, network=7), "a larger --batch-size"),
        (spent(data=3, selection=4, network=3), "a smaller --selection"),
        (spent(data=1, network=4, backward=5), "the network takes 90%, as it should: a smaller --backbone"),
        (spent(0, torch.device("meta"), network=1), "--precision bf16"),
    ],
)
def test_advice(profile: Profile, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert advice in profile.advice()
    assert profile.lines()[-1] == profile.advice()
