"""Backbones of timm and transformers, by stand-ins with the interface that is used: neither need be installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import probpose as pp
from probpose.cli import main
from probpose.errors import ConfigError
from probpose.models.backbones.registry import build_backbone
from tests.api_cases import SMALL, blobs

CHANNELS, MEAN, STD = 5, (0.5, 0.4, 0.3), (0.25, 0.2, 0.5)


class Network(nn.Module):
    """One strided convolution, and the attributes that are read; `pretrained` weights are 0.5 everywhere."""

    channels = (3, CHANNELS)
    pretrained_cfg = {"mean": MEAN, "std": STD}
    feature_info = SimpleNamespace(channels=lambda: [CHANNELS])

    def __init__(self, pretrained: bool, give: Any = lambda maps: [maps]) -> None:
        super().__init__()
        self.convolution, self.give = nn.Conv2d(3, CHANNELS, 8, 8), give
        if pretrained:
            for parameter in self.parameters():
                nn.init.constant_(parameter, 0.5)

    def forward(self, image: Tensor) -> Any:
        return self.give(self.convolution(image))


def create_model(name: str, *, pretrained: bool, features_only: bool, out_indices: tuple[int, ...]) -> Network:
    if name != "tiny":
        raise RuntimeError(f"Unknown model ({name})")
    assert features_only
    assert out_indices == (-1,)
    return Network(pretrained)


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(pretrained: bool) -> Network:
        return Network(pretrained, lambda maps: SimpleNamespace(feature_maps=[None, maps]))

    config = SimpleNamespace(from_pretrained=lambda name: name)
    auto = SimpleNamespace(from_config=lambda _: of(False), from_pretrained=lambda _: of(True))
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoConfig=config, AutoBackbone=auto))


@pytest.mark.parametrize("name", ["timm:tiny", "hf:tiny"])
def test_the_last_feature_map_at_any_stride(name: str) -> None:
    backbone = build_backbone(name)
    assert backbone.channels == CHANNELS
    assert backbone(torch.zeros(2, 3, 48, 32)).shape == (2, CHANNELS, 6, 4)


def test_pixels_are_normalised_as_the_network_wants_them() -> None:
    backbone: Any = build_backbone("timm:tiny")
    pixels = torch.rand(1, 3, 16, 16)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    wanted = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    found, expected = backbone((pixels - mean) / std), backbone.network(wanted)[-1]
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_run_on_a_hub_trains_from_its_weights_is_saved_and_opened(tmp_path: Path) -> None:
    images, labels = blobs(24)
    settings = SMALL | {"family": "heatmap", "epochs": 1, "backbone": "timm:tiny", "weights": "pretrained", "lr": 1e-9}
    run = pp.fit(images, labels, skeleton=["blob"], out=tmp_path / "run", options={"layers": 1, "width": 4}, **settings)
    state = pp.load(run.path).model.state_dict()
    kept = state["regressor.backbone.network.convolution.weight"]
    assert torch.allclose(kept, torch.full_like(kept, 0.5), atol=1e-4)


@pytest.mark.parametrize(("name", "extra"), [("timm:tiny", "timm"), ("hf:tiny", "transformers")])
def test_a_library_that_is_not_installed_is_one_message(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(ConfigError, match=rf"pip install 'probpose\[{extra}\]'"):
        build_backbone(name)


def test_names_that_nobody_knows() -> None:
    with pytest.raises(ConfigError, match="'huge' cannot be made: RuntimeError: Unknown model"):
        build_backbone("timm:huge")
    with pytest.raises(ConfigError, match="small has no weights of its own"):
        build_backbone("small", pretrained=True)
    done = CliRunner().invoke(main, ["train", "--backbone", "tim:tiny"])
    assert done.exit_code == 2
    assert "'tim:tiny' is not one of" in done.output
