"""Backbones: torchvision's names and sizes, and weights from files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from probpose.errors import CheckpointError
from probpose.models.backbones.registry import build_backbone
from probpose.models.backbones.weights import load_backbone_weights

# number of parameters of torchvision's models less their classifier (fc.weight and fc.bias, 1000 classes)
SIZES = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "resnet101": 44_549_160 - 2_049_000,
    "resnet152": 60_192_808 - 2_049_000,
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_resnets_have_torchvisions_size(name: str, size: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert sum(p.numel() for p in backbone.parameters()) == size


def test_resnet_names_and_shapes() -> None:
    with torch.device("meta"):
        state = build_backbone("resnet50").state_dict()
    assert tuple(state["layer1.0.downsample.0.weight"].shape) == (256, 64, 1, 1)
    assert tuple(state["layer4.2.conv3.weight"].shape) == (2048, 512, 1, 1)
    assert {"conv1.weight", "bn1.running_var", "layer3.5.bn2.bias"} <= set(state)
    assert "layer1.0.downsample.0.weight" not in build_backbone("resnet18").state_dict()


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_feature_maps(name: str) -> None:
    backbone = build_backbone(name).eval()
    maps = backbone(torch.zeros(2, 3, 96, 64))
    assert maps.shape[:2] == (2, backbone.channels)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_load_from_a_file(tmp_path: Path, suffix: str) -> None:
    donor, backbone = build_backbone("resnet18"), build_backbone("resnet18")
    state = {**donor.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, file)
    else:
        safetensors.torch.save_file(state, file)
    loaded = load_backbone_weights(backbone, file)
    assert loaded.missing == ()
    assert set(loaded.unused) == {"fc.weight", "fc.bias"}
    assert torch.equal(backbone.state_dict()["layer4.1.conv2.weight"], donor.state_dict()["layer4.1.conv2.weight"])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "resnet34.pth"
    torch.save({"conv1.weight": torch.zeros(64, 1, 7, 7)}, file)
    with pytest.raises(CheckpointError, match=r"conv1.weight has shape \(64, 1, 7, 7\)"):
        load_backbone_weights(build_backbone("resnet18"), file)
    torch.save({"something": torch.zeros(3)}, file)
    with pytest.raises(CheckpointError, match="none of its 1 tensors"):
        load_backbone_weights(build_backbone("resnet18"), file)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code was executed')",))


def test_weights_never_execute_code(tmp_path: Path) -> None:
    file = tmp_path / "bomb.pth"
    torch.save({"conv1.weight": _Bomb()}, file)
    with pytest.raises(CheckpointError, match="asks for exec, which may execute code"):
        load_backbone_weights(build_backbone("small"), file)
    file.write_bytes(pickle.dumps(_Bomb(), protocol=2))
    with pytest.raises(CheckpointError, match="asks for exec, which may execute code"):
        load_backbone_weights(build_backbone("small"), file)
    file.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_backbone_weights(build_backbone("small"), file)
