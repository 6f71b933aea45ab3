"""Folds: every person is predicted once, by a network that has not seen its image; nothing is trained twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import probpose as pp
from probpose.analysis.prediction.forward import predict_held_out
from probpose.data.persons import Persons
from probpose.errors import CheckpointError, ConfigError, DataError
from probpose.inference.training.checkpoint import load_checkpoint
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.folds import Fold, deal, train_folds
from probpose.inference.training.provenance import Facts, read_facts
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import start_training
from tests.api_cases import SMALL, blobs

FOLDS = 3
CONFIG = TrainConfig().changed(residual="gaussian", epochs=2, input_size=(32, 32), batch_size=16, warmup=0)


@pytest.fixture(scope="module")
def persons() -> Persons:
    """Persons on 20 images, two on every other one."""
    images, labels = blobs(20)
    which = np.sort(np.concatenate([np.arange(20), np.arange(0, 20, 2)]))
    return pp.persons(images, labels[which], skeleton=["blob"], image=which)


def train(root: Path, persons: Persons, config: TrainConfig = CONFIG, folds: int = FOLDS) -> list[Fold]:
    return train_folds(config, root, persons, folds, quiet=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, persons: Persons) -> Path:
    """Trained folds."""
    root = tmp_path_factory.mktemp("folds")
    train(root, persons)
    return root


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "folds"))


@pytest.mark.parametrize(("images", "folds"), [(20, 2), (20, 3), (7, 7)])
def test_images_are_dealt_out_evenly_and_whole(images: int, folds: int) -> None:
    image = np.random.default_rng(1).integers(0, images, 60) * 7
    image[:images] = np.arange(images) * 7
    rows = deal(image, folds, seed=0)
    assert sorted(np.concatenate(rows).tolist()) == list(range(60))
    held = [set(image[part].tolist()) for part in rows]
    assert sum(map(len, held)) == images
    assert max(map(len, held)) - min(map(len, held)) <= 1
    assert [part.tolist() for part in deal(image, folds, seed=0)] == [part.tolist() for part in rows]
    assert [part.tolist() for part in deal(image, folds, seed=1)] != [part.tolist() for part in rows]


@pytest.mark.parametrize(
    ("folds", "error", "message"),
    [(1, ConfigError, "1 folds: .* at least 2"), (4, DataError, "3 images cannot be dealt out to 4 folds")],
)
def test_numbers_of_folds_that_cannot_be(folds: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        deal(np.array([1, 2, 3, 3, 3]), folds, seed=0)


def test_every_person_is_predicted_once_by_a_network_that_did_not_see_its_image(root: Path, persons: Persons) -> None:
    """What a network saw is what its checkpoint says: digests of the persons that it was trained and chosen on."""
    counted: list[int] = []
    folds = train(root, persons)
    forwards = list(predict_held_out(folds, persons, batch_size=4, progress=counted.append))
    rows = np.concatenate([forward.rows for forward in forwards])
    assert sorted(rows.tolist()) == list(range(len(persons)))
    assert counted[-1] == len(persons)
    assert counted == sorted(counted)
    for fold in folds:
        others = persons.select(np.setdiff1d(np.arange(len(persons)), fold.rows))
        assert not set(others.image_id.tolist()) & set(persons.image_id[fold.rows].tolist())
        seen = others.split_by_image(CONFIG.data.selection, CONFIG.seed)
        made_from = read_facts(Facts, load_checkpoint(fold.folder.best), fold.folder.best).made_from
        assert made_from is not None
        assert (made_from.train, made_from.selection) == tuple(part.digest() for part in seen)
        expected = pp.load(fold.folder.path).predict(persons.select(fold.rows)).keypoints
        found = [forward.keypoints.mean.numpy() for forward in forwards if set(forward.rows) <= set(fold.rows)]
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-4)


def killed_after_an_epoch(folder: Path, persons: Persons) -> None:
    def die(_: RunFolder) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_training(CONFIG, RunFolder(folder), persons=persons, on_epoch=die, quiet=True)


def weights(root: Path) -> dict[str, list[float]]:
    """Of the best checkpoint of each fold."""
    files = sorted(root.rglob("best.safetensors"))
    parts = {str(file.relative_to(root)): load_checkpoint(file).part("model") for file in files}
    return {
        name: torch.cat([value.double().flatten() for value in part.values()]).tolist() for name, part in parts.items()
    }


def test_finished_folds_are_read_and_others_go_on_to_the_same_end(
    root: Path, copy: Path, persons: Persons, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three folds the second died in its second epoch, and the third was not begun."""
    place = copy / f"K{FOLDS}-seed0"
    shutil.rmtree(place / "fold-3")
    shutil.rmtree(place / "fold-2")
    held_out = deal(persons.image_id, FOLDS, 0)[1]
    killed_after_an_epoch(place / "fold-2", persons.select(np.setdiff1d(np.arange(len(persons)), held_out)))
    untouched = (place / "fold-1" / "best.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    train_folds(CONFIG, copy, persons, FOLDS)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("fold", "resuming"))]
    assert [line.split(": /")[0] for line in told if line.startswith("fold")] == [
        "fold 1 of 3, finished",
        "fold 2 of 3",
        "fold 3 of 3",
    ]
    assert [line.split("fold-")[1] for line in told if line.startswith("resuming")] == ["2 after epoch 1 of 2"]
    assert (place / "fold-1" / "best.safetensors").stat().st_mtime_ns == untouched
    assert weights(copy) == weights(root)


def test_what_goes_on_goes_on_where_it_is_told(
    tmp_path: Path, persons: Persons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not on the device that it was begun on."""
    asked: list[str] = []

    def opened(name: str) -> torch.device:
        asked.append(name)
        return torch.device("cpu")

    others = persons.select(np.setdiff1d(np.arange(len(persons)), deal(persons.image_id, FOLDS, 0)[0]))
    killed_after_an_epoch(tmp_path / f"K{FOLDS}-seed0" / "fold-1", others)
    monkeypatch.setattr("probpose.inference.device.open_device", opened)
    monkeypatch.setattr("probpose.inference.training.train.open_device", opened)
    train(tmp_path, persons, CONFIG.changed(device="another"))
    assert set(asked) == {"another"}


def test_a_run_gives_its_folds_as_runs(tmp_path: Path, root: Path, persons: Persons) -> None:
    images, labels = blobs(20)
    run = pp.fit(images, labels, skeleton=["blob"], out=tmp_path / "run", **SMALL | {"epochs": 1})
    shutil.copytree(root, run.path / "folds")
    with pytest.raises(ConfigError, match=r"holds a run with .*epochs 2, not 1"):
        run.cross_fit(persons, folds=FOLDS, quiet=True)
    found = run.cross_fit(persons, folds=2, quiet=True)
    assert [one.path.relative_to(run.path).as_posix() for one, _ in found] == [
        "folds/K2-seed0/fold-1",
        "folds/K2-seed0/fold-2",
    ]
    held_out = np.concatenate([part.annotation_id for _, part in found])
    assert sorted(held_out.tolist()) == sorted(persons.annotation_id.tolist())
    with pytest.raises(ConfigError, match=r"was trained on arrays"):
        run.cross_fit(folds=2)


def test_another_configuration_is_refused(copy: Path, persons: Persons) -> None:
    with pytest.raises(ConfigError, match=r"fold-1 holds a run with lr .*delete .*K3-seed0 to train its folds again"):
        train(copy, persons, CONFIG.changed(lr=0.5))
    assert train(copy, persons, CONFIG.changed(workers=0, device="cpu"))


def test_other_persons_are_refused(copy: Path, persons: Persons) -> None:
    with pytest.raises(DataError, match=r"are not those that .*fold-1.*was trained with"):
        train(copy, replace(persons, keypoints=persons.keypoints + 1e-9))


def test_a_damaged_fold_is_refused(copy: Path, persons: Persons) -> None:
    (copy / f"K{FOLDS}-seed0" / "fold-2" / "last.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"fold-2.*last.safetensors"):
        train(copy, persons)
