"""Datasets by name, and any COCO-format file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.io import savemat

from probpose.cli import main
from probpose.data.datasets import catalogue as sources
from probpose.data.datasets.catalogue import DATASETS, examine_splits, open_dataset, register_dataset
from probpose.data.datasets.coco import CocoOptions
from probpose.data.synthetic import SyntheticSpec
from probpose.errors import ConfigError, DataError
from probpose.skeleton import COCO
from tests.conftest import coco_document, person_record


def make_coco(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / f"{split}2017").mkdir()
        file = root / "annotations" / f"person_keypoints_{split}2017.json"
        file.write_text(json.dumps(coco_document([person_record(1)])))


def test_coco_by_root_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_coco(tmp_path / "data" / "coco")
    monkeypatch.delenv("PROBPOSE_DATA", raising=False)
    persons = open_dataset("coco", "val", root=tmp_path / "data" / "coco")
    assert persons.name == "coco val2017"
    assert persons.image_dir == tmp_path / "data" / "coco" / "val2017"
    monkeypatch.chdir(tmp_path)
    assert open_dataset("coco", "train").image_dir == Path("data/coco/train2017")
    monkeypatch.setenv("PROBPOSE_DATA", str(tmp_path / "data" / "coco"))
    assert open_dataset("coco", "train").image_dir == tmp_path / "data" / "coco" / "train2017"


def test_missing_coco_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"https://cocodataset\.org/#download") as caught:
        open_dataset("coco", "train", root=tmp_path)
    assert "person_keypoints_train2017.json is missing" in str(caught.value)
    assert "PROBPOSE_DATA" in str(caught.value)


def test_any_coco_format_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(coco_document([person_record(1)])))
    persons = open_dataset("coco", "train", annotations=file, image_dir=tmp_path, options=CocoOptions([(0, 1)]))
    assert persons.skeleton.flip_pairs == ((0, 1),)
    assert open_dataset("coco", "train", annotations=file).image_dir == tmp_path
    with pytest.raises(DataError, match="none is not a folder"):
        open_dataset("coco", "train", annotations=file, image_dir=tmp_path / "none")


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'mpi'.*coco, lsp, lspet, packed, synthetic"):
        open_dataset("mpi", "train")
    with pytest.raises(ConfigError, match="go with an annotation file"):
        open_dataset("coco", "train", image_dir=tmp_path)
    with pytest.raises(ConfigError, match="'test'"):
        open_dataset("coco", "test")  # type: ignore[arg-type]


def test_opening_the_synthetic_figures_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for root in (None, tmp_path / "chosen by a stranger"):
        with pytest.raises(DataError, match=r"does not exist: make synthetic figures with `probpose data synth"):
            open_dataset("synthetic", "train", root=root)
    assert not list(tmp_path.iterdir())


def test_synthetic_is_made_by_training_in_its_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "SyntheticSpec", lambda: SyntheticSpec(images=6, seed=2))
    sources.make_figures()
    train, val = open_dataset("synthetic", "train"), open_dataset("synthetic", "val")
    assert (tmp_path / "data" / "synthetic" / "synthetic.json").is_file()
    made = (tmp_path / "data" / "synthetic" / "synthetic.json").stat().st_mtime_ns
    sources.make_figures()
    assert (tmp_path / "data" / "synthetic" / "synthetic.json").stat().st_mtime_ns == made
    assert len(np.unique(train.image_id)) == 5
    assert len(np.unique(val.image_id)) == 1
    assert train.skeleton == COCO
    assert train.name == "synthetic train2017"


def test_synthetic_truth_is_matched(figures: Path) -> None:
    persons = open_dataset("synthetic", "train", root=figures)
    assert persons.truth is not None
    assert persons.truth.shape == (len(persons), 17, 4)
    error = (persons.keypoints - persons.truth[..., :2]) / persons.truth[..., 2:]
    assert np.abs(error[persons.labelled]).mean() < 1.0


def test_broken_truth_is_refused(figures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(figures, folder)
    truth = folder / "annotations" / "truth_train2017.npz"
    truth.write_bytes(truth.read_bytes()[:100])
    with pytest.raises(DataError, match=r"truth_train2017\.npz cannot be read"):
        open_dataset("synthetic", "train", root=folder)
    np.savez(truth, annotation_id=np.array([1]), position=np.zeros((1, 17, 2)), scale=np.ones((1, 17, 2)))
    with pytest.raises(DataError, match="lacks annotation 2"):
        open_dataset("synthetic", "train", root=folder)
    (folder / "synthetic.json").write_text('{"images": 1, "seed": 0, "version": 99}')
    with pytest.raises(DataError, match="version 99"):
        open_dataset("synthetic", "train", root=folder)
    (folder / "synthetic.json").unlink()
    with pytest.raises(DataError, match="not a synthetic data set"):
        open_dataset("synthetic", "train", root=folder)


def test_names() -> None:
    assert set(DATASETS) == {"coco", "lsp", "lspet", "packed", "synthetic"}


def test_a_registered_dataset_is_opened_by_name_and_offered_by_commands(
    figures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/extend/add_a_dataset.md writes one and trains on it."""
    monkeypatch.setattr(sources, "_READERS", readers := dict(sources._READERS))
    monkeypatch.setattr(sources, "DATASETS", readers)
    help_before = CliRunner().invoke(main, ["evaluate", "--help"]).output
    register_dataset("mine", lambda split, root: DATASETS["synthetic"](split, figures))
    assert open_dataset("mine", "val").name == "synthetic val2017"
    assert "mine" not in help_before
    assert "coco|lsp|lspet|packed|synthetic|mine" in CliRunner().invoke(main, ["evaluate", "--help"]).output
    for taken in ("mine", "coco"):
        with pytest.raises(ConfigError, match=f"already called '{taken}': register yours under another name"):
            register_dataset(taken, lambda split, root: DATASETS["synthetic"](split, figures))
    with pytest.raises(TypeError):
        DATASETS["coco"] = DATASETS["lsp"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["lsp", "lspet"])
def test_leeds_by_root_and_environment(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joints = np.random.default_rng(0).uniform(1, 99, (14, 3, 5))
    root = tmp_path / "data" / name
    root.mkdir(parents=True)
    savemat(root / "joints.mat", {"joints": joints if name == "lspet" else joints.swapaxes(0, 1)})
    monkeypatch.delenv("PROBPOSE_DATA", raising=False)
    assert open_dataset(name, "train", root=root).image_dir == root / "images"
    monkeypatch.chdir(tmp_path)
    assert open_dataset(name, "train").image_dir == Path("data") / name / "images"
    monkeypatch.setenv("PROBPOSE_DATA", str(root))
    assert len(open_dataset(name, "train")) == 5
    with pytest.raises(DataError, match=re.escape(f"sam.johnson.io/research/{name}.html")):
        open_dataset(name, "train", root=tmp_path)


def test_both_splits_are_examined(figures: Path, tmp_path: Path) -> None:
    assert [reading.persons.name for reading in examine_splits("synthetic", root=figures)] == [
        "synthetic train2017",
        "synthetic val2017",
    ]
    make_coco(tmp_path)
    (tmp_path / "annotations" / "person_keypoints_train2017.json").unlink()
    with pytest.raises(DataError, match=r"train2017\.json is missing[^$]*--split val"):
        examine_splits("coco", root=tmp_path)
    with pytest.raises(DataError, match=r"train2017\.json is missing") as caught:
        examine_splits("coco", root=tmp_path / "nowhere")
    assert "--split val" not in str(caught.value)
