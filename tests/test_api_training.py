"""Training from Python: on arrays and files, skeletons, visibility, settings by name, quiet, and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import probpose as pp
from probpose.analysis.figures.curves import LiveCurves
from probpose.errors import ConfigError, DataError
from tests.api_cases import SMALL, blobs
from tests.conftest import save_image

IMAGES, LABELS = blobs(12)


def weights(run: pp.Run) -> dict[str, torch.Tensor]:
    return dict(run.model.state_dict())


def same(one: pp.Run, other: pp.Run) -> bool:
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def test_a_run_learns_where_the_blob_is(tmp_path: Path) -> None:
    images, labels = blobs(200)
    run = pp.fit(images, labels, skeleton=["blob"], out=tmp_path / "run", **SMALL | {"epochs": 5})
    unseen, clicks = blobs(50, seed=5)
    found = run.evaluate(pp.persons(unseen, clicks, skeleton=run.skeleton)).to_json()
    guess = np.linalg.norm(clicks - labels.mean(0), axis=-1).mean()
    assert found["epe_px"] < 0.7 * guess
    assert run.config.data.dataset == "arrays"


def test_arrays_files_and_tensors_give_the_same_run(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(len(IMAGES))]
    for file, image in zip(files, IMAGES, strict=True):
        save_image(file, image)
    forms: list[tuple[Any, Any]] = [
        (IMAGES, LABELS),
        (files, LABELS.tolist()),
        (pd.Series(map(str, files)), torch.tensor(LABELS, requires_grad=True)),
        (torch.from_numpy(np.stack(IMAGES)), np.asfortranarray(LABELS)),
    ]
    runs = [pp.fit(*form, out=tmp_path / f"run{i}", **SMALL) for i, form in enumerate(forms)]
    assert all(same(runs[0], run) for run in runs[1:])


def test_names_make_the_skeleton_and_its_pairs(tmp_path: Path) -> None:
    both = np.concatenate([LABELS, LABELS + 3], axis=1)
    run = pp.fit(IMAGES, both, skeleton=["left_eye", "right_eye"], out=tmp_path / "pairs", **SMALL)
    assert run.skeleton.flip_pairs == ((0, 1),)
    assert run.config.augmentation.flip == 0.5
    given = pp.Skeleton.from_names(["a", "b"], edges=[(0, 1)])
    alone = pp.fit(IMAGES, both, skeleton=given, out=tmp_path / "alone", **SMALL)
    assert alone.skeleton == given
    assert alone.config.augmentation.flip == 0  # what is left of a, mirrored, may look like b
    assert pp.persons(IMAGES, both).skeleton.joints == ("0", "1")


def test_visibility_nan_and_masks_hide_labels() -> None:
    keypoints, seen = np.concatenate([LABELS, LABELS], axis=1), np.full((12, 2), 2)
    seen[0, 0], seen[1, 1] = 0, 1
    assert np.array_equal(pp.persons(IMAGES, keypoints, visibility=seen).visibility, seen)
    masked = pp.persons(IMAGES, keypoints, visibility=seen > 0).visibility
    assert np.array_equal(masked, np.where(seen > 0, 2, 0))
    keypoints[2, 0] = np.nan
    assert pp.persons(IMAGES, keypoints).visibility[2].tolist() == [0, 2]


def test_persons_are_in_the_images_that_are_named() -> None:
    persons = pp.persons(IMAGES[:2], LABELS, image=pd.Series([0] * 6 + [1] * 6), boxes=np.tile([1, 2, 20, 22], (12, 1)))
    assert persons.image_id.tolist() == [0] * 6 + [1] * 6
    assert persons.box[3].tolist() == [1, 2, 20, 22]


def test_settings_by_name(tmp_path: Path) -> None:
    changes = {"epochs": np.int64(1), "lr": np.float32(2e-3), "input_size": np.array([32, 48]), "lr_steps": [1]}
    run = pp.fit(IMAGES, LABELS, out=tmp_path / "run", **SMALL | changes | {"family": "multibin[bins=8]"})
    config = pp.load(run.path).config
    assert config == run.config
    assert (config.input_size, config.optimiser.epochs, config.optimiser.lr_steps) == ((32, 48), 1, (1,))
    assert config.optimiser.lr == pytest.approx(2e-3)
    assert config.label == "multibin[bins=8]"


def test_train_takes_the_same_settings(figures: Path, tmp_path: Path) -> None:
    settings = {"epochs": 1, "input_size": 32, "residual": "gaussian", "data_root": figures, "quiet": True}
    run = pp.train(dataset="synthetic", out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    assert run.config.input_size == (32, 32)
    assert run.evaluate().persons == len(run.data())
    again = pp.train(run.path / "config.toml", out=tmp_path / "again", quiet=True)
    assert same(run, again)


def test_quiet_says_nothing_and_otherwise_it_is_the_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pp.fit(IMAGES, LABELS, out=tmp_path / "quiet", **SMALL)
    assert capfd.readouterr() == ("", "")
    pp.fit(IMAGES, LABELS, out=tmp_path / "loud", **SMALL | {"quiet": False, "device": "auto"})
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line.split()[0] for line in err.splitlines()]
    assert lines == ["device:", "arrays:", "epoch", "epoch"]


def test_an_interrupted_run_on_arrays_goes_on_with_its_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pp.fit(IMAGES, LABELS, skeleton=["blob"], out=tmp_path / "whole", **SMALL)

    def stop(curves: LiveCurves, folder: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LiveCurves, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            pp.fit(IMAGES, LABELS, skeleton=["blob"], out=tmp_path / "half", **SMALL)
    with pytest.raises(ConfigError, match="was trained on arrays, which it does not keep: name persons"):
        pp.resume(tmp_path / "half")
    persons = pp.persons(IMAGES, LABELS, skeleton=["blob"])
    resumed = pp.resume(tmp_path / "half", persons=persons, quiet=True)
    assert (resumed.epoch, same(whole, resumed)) == (whole.epoch, True)


def fitted(images: Any = IMAGES, keypoints: Any = LABELS, **settings: Any) -> Callable[[Path], object]:
    return lambda out: pp.fit(images, keypoints, out=out, **SMALL | settings)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (fitted(IMAGES[:3], LABELS[:3]), DataError, "3 persons: training needs at least 4"),
        (fitted(IMAGES[:1], image=[0] * 12), DataError, "0 persons of arrays are left to train on"),
        (fitted(keypoints=np.nan * LABELS), DataError, "none of the .* persons to train on has a label"),
        (fitted(IMAGES[:4]), DataError, "12 persons and 4 images: give one image a person"),
        (fitted(IMAGES, LABELS[:4]), DataError, "4 persons and 12 images"),
        (fitted(IMAGES[:2], image=[0.5] * 12), DataError, r"image\[0\] is 0\.5, and there are 2 images"),
        (fitted(IMAGES[:2], image=[0] * 11 + [2]), DataError, r"image\[11\] is 2, and there are 2 images"),
        (fitted(boxes=np.zeros((12, 4))), DataError, r"the box of row 0, .* has no area"),
        (fitted(keypoints=LABELS[:, 0]), DataError, r"keypoints have shape \(12, 2\)"),
        (fitted([image / 255 for image in IMAGES]), DataError, "image 0 .* type float64.*Multiply values"),
        (fitted(["missing.png"] * 12), DataError, r"missing\.png: No such file"),
        (fitted(skeleton="blob"), DataError, "joints are the text 'blob': give a list of names"),
        (fitted(skeleton=["a", "b"]), DataError, "the skeleton has 2 joints, and the keypoints are of 1"),
        (fitted(visibility=np.full((12, 1), 3)), DataError, r"visibility\[0, 0\] is 3: expected 0, 1 or 2"),
        (fitted(family="guess"), ConfigError, "unknown model 'guess'"),
        (fitted(guess=1), ConfigError, "there is no setting 'guess'"),
        (fitted(epochs="2"), ConfigError, "epochs is '2': expected int"),
        (fitted(epochs=1.5), ConfigError, "epochs is 1.5: expected int"),
        (fitted(scale="round"), ConfigError, "scale is 'round': expected one of 'diag', 'full'"),
        (fitted(input_size=(1, 2, 3)), ConfigError, "input_size is .*: give height and width"),
        (fitted(dataset="coco"), ConfigError, "dataset belongs to data in files"),
    ],
)
def test_what_cannot_be_used_is_named_before_a_run_begins(
    ask: Callable[[Path], object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        ask(tmp_path / "run")
    assert not (tmp_path / "run").exists()
