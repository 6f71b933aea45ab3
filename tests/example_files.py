"""The files that the examples of `--help` name, small, in one folder as a user would have them."""

from __future__ import annotations

__all__ = ["Desk", "repeated_csv"]

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.io import savemat

import probpose as pp
from probpose.analysis.audit.decisions import FORMAT, digest_of
from tests.pose_files import deeplabcut_csv
from tests.published_cases import mmpose_state, rle_state

Array = npt.NDArray[np.float64]

VAL = "annotations/person_keypoints_val2017.json"
QUICK: dict[str, Any] = {"epochs": 1, "input_size": (32, 32), "batch_size": 16, "warmup": 0, "device": "cpu"}
PARTS = ["nose", "paw", "tail"]


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder: what is trained there names its data as a user who works there would."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class Desk:
    """A folder in which what an example names is made when it is first asked for.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures = pp.synthesise(folder / "figures", 110, seed=3, progress=False)
        self.annotations = self.figures / VAL
        self.document: dict[str, Any] = json.loads(self.annotations.read_text())
        self.persons = pp.open_data("synthetic", root=self.figures)
        self.rng = np.random.default_rng(0)

    def lay(self, word: str, place: Path) -> None:
        """Put the file or folder that a word of an example names where a command that works in `place` finds it.

        Folders of data are links. Words that name nothing of this desk are passed over.
        """
        name = "/".join(word.split("/")[: 2 if word.startswith("runs/") else 1])
        if name not in self.names or (place / name).exists():
            return
        source, target = self.made(name), place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy(source, target)
        elif name.startswith(("runs/", "shards")):
            shutil.copytree(source, target)
        else:
            target.symlink_to(source.resolve(), target_is_directory=True)

    def made(self, name: str) -> Path:
        """A file or folder, made unless it is there."""
        place = self.folder / name
        if not place.exists():
            self.names[name](place)
        return place

    @cached_property
    def names(self) -> dict[str, Callable[[Path], object]]:
        """What makes what is called so."""
        return {name: maker for names, maker in self.makers.items() for name in names.split()}

    @property
    def makers(self) -> dict[str, Callable[[Path], object]]:
        """What makes things of several names."""
        return {
            "data": self.data,
            "images val2017 photos": lambda folder: folder.symlink_to(self.figures / "val2017"),
            "labels.json person_keypoints.json person_keypoints_val2017.json": self.labels,
            "results.json thunder.json lightning.json a.json b.json": self.predictions,
            "ann.json bob.json cid.json": self.annotator,
            "labels.csv": repeated_csv,
            "photo.jpg a.jpg b.jpg": self.photo,
            "detections.json": self.detections,
            "images.json": lambda file: file.write_text(json.dumps(self.document | {"annotations": []})),
            "my": self.own,
            "maps.npz": self.maps,
            "points.csv": self.points,
            "shards": self.shards,
            "videoDLC.csv": lambda file: self.tracked(file, 2.0, ("x", "y", "likelihood")),
            "CollectedData.csv": lambda file: self.tracked(file, 0.5, ("x", "y")),
            "decisions.json": self.decisions,
            "packed": lambda folder: [
                pp.pack_data(pp.open_data("synthetic", part, root=self.figures), folder, part, input_size=(64, 64))
                for part in ("train", "val")
            ],
            "res50_rle.pth": lambda file: torch.save(rle_state("resnet50", 17), file),
            "td-reg_res50_rle-8xb64-210e_coco-256x192.pth": lambda file: torch.save(mmpose_state("resnet50", 17), file),
            "runs/my-run": self.run,
            "runs/seed0 runs/seed1 runs/seed2 runs/seed3 runs/first": self.same_run,
            "runs/second": lambda folder: self.trained(folder, seed=1),
            "runs/four": self.ensemble,
            "runs/published": self.published,
        }

    def data(self, folder: Path) -> None:
        """Figures under three names, and images without labels to be sent to COCO's server."""
        folder.mkdir()
        (folder / "synthetic").symlink_to(self.figures)
        shutil.copytree(self.figures, folder / "coco")
        (folder / "coco" / "test2017").symlink_to(self.figures / "val2017")
        unlabelled = json.dumps(self.document | {"annotations": []})
        (folder / "coco" / "annotations" / "image_info_test-dev2017.json").write_text(unlabelled)
        self.leeds(folder / "lspet")

    def leeds(self, folder: Path) -> None:
        """Leeds Sports Pose Extended, which validates on the images from 3501 on."""
        images = 3504
        joints = np.zeros((14, 3, images))
        (folder / "images").mkdir(parents=True)
        files = sorted((self.figures / "train2017").glob("*.jpg"))
        for i in (*range(24), *range(3500, images)):
            joints[:, :, i] = np.c_[self.rng.uniform(20, 100, (14, 2)), np.ones(14)]
            shutil.copy(files[i % len(files)], folder / "images" / f"im{i + 1:05d}.jpg")
        savemat(folder / "joints.mat", {"joints": joints})

    def labels(self, file: Path) -> None:
        shutil.copy(self.annotations, file)

    def predictions(self, file: Path) -> None:
        """Of a model whose errors are about those that its sigma says."""
        size = 0.03 * np.sqrt(self.persons.area)[:, None, None]
        shape = self.persons.keypoints.shape
        points = np.nan_to_num(self.persons.keypoints + size * self.rng.normal(size=shape))
        rows = np.concatenate([points, self.rng.uniform(0.5, 1, (*shape[:2], 1))], axis=-1)
        records = [
            {"image_id": int(image), "category_id": 1, "score": 0.9, "keypoints": row.ravel().tolist()}
            for image, row in zip(self.persons.image_id, rows, strict=True)
        ]
        pp.write_results(file, records)

    def annotator(self, file: Path) -> None:
        """Two joints of six persons as another person labels them."""
        document = first_joints(self.document, 2)
        document["annotations"] = document["annotations"][:6]
        for one in document["annotations"]:
            keypoints = np.array(one["keypoints"], dtype=float).reshape(-1, 3)
            error = 0.02 * one["area"] ** 0.5 * self.rng.normal(size=(len(keypoints), 2))
            keypoints[:, :2] += (keypoints[:, 2:] > 0) * error
            one["keypoints"] = keypoints.ravel().tolist()
        file.write_text(json.dumps(document))

    def photo(self, file: Path) -> None:
        shutil.copy(min((self.figures / "val2017").glob("*.jpg")), file)

    def detections(self, file: Path) -> None:
        """Boxes of the validation images, and of two photos."""
        found = [{key: one[key] for key in ("image_id", "category_id", "bbox")} for one in self.document["annotations"]]
        box = {"category_id": 1, "bbox": [10.0, 10.0, 80.0, 150.0]}
        records = [*found, *({"file_name": name, **box} for name in ("a.jpg", "b.jpg"))]
        file.write_text(json.dumps([one | {"score": 0.9} for one in records]))

    def own(self, folder: Path) -> None:
        """Annotations of three joints, and images, as one's own."""
        (folder / "images").mkdir(parents=True)
        for part in ("train", "val"):
            document = json.loads((self.figures / f"annotations/person_keypoints_{part}2017.json").read_text())
            (folder / f"{part}.json").write_text(json.dumps(first_joints(document)))
            shutil.copytree(self.figures / f"{part}2017", folder / "images", dirs_exist_ok=True)

    def maps(self, file: Path) -> None:
        """Gaussian heatmaps about the labels."""
        persons, cells = self.persons, np.arange(16)
        place = (persons.keypoints - persons.box[:, None, :2]) / persons.box[:, None, 2:] * 16 - 0.5
        place += self.rng.normal(size=place.shape)
        x, y = (np.exp(-((cells - place[..., axis, None]) ** 2) / 2) for axis in (0, 1))
        maps = y[..., :, None] * x[..., None, :] + 1e-9
        maps = np.nan_to_num(maps, nan=1.0) / np.nan_to_num(maps, nan=1.0).sum((-2, -1), keepdims=True)
        names = np.array(persons.skeleton.joints)
        np.savez(file, maps=maps, boxes=persons.box, image_id=persons.image_id, joints=names)

    def points(self, file: Path) -> None:
        """A table of points beside their labels, two an image."""
        label, sigma = self.rng.uniform(50, 400, (400, 2)), self.rng.uniform(2, 5, (400, 1))
        prediction = label + sigma * self.rng.normal(size=label.shape)
        table = np.column_stack([np.arange(400) // 2, prediction, label, sigma, sigma])
        head = "image,x,y,label_x,label_y,sigma_x,sigma_y"
        np.savetxt(file, table, delimiter=",", header=head, comments="", fmt=["%d", *["%.3f"] * 6])

    def shards(self, folder: Path) -> None:
        """The same in two parts, as Parquet."""
        import pandas as pd

        folder.mkdir()
        self.points(folder / "points.csv")
        table = pd.read_csv(folder / "points.csv")
        (folder / "points.csv").unlink()
        for part in (0, 1):
            table[table["image"] % 2 == part].to_parquet(folder / f"{part}.parquet")

    def tracked(self, file: Path, error: float, coords: tuple[str, ...]) -> None:
        """A video by frame, as DeepLabCut writes predictions and labels."""
        rng = np.random.default_rng(1)
        truth = rng.uniform(50, 350, (200, len(PARTS), 2))
        points = truth + error * self.rng.normal(size=truth.shape)
        if "likelihood" in coords:
            points = np.concatenate([points, rng.uniform(0.7, 1, (200, len(PARTS), 1))], axis=-1)
            deeplabcut_csv(file, {"": points}, PARTS, coords=coords)
        else:
            names = [f"labeled-data/video/img{frame:04d}.png" for frame in range(200)]
            deeplabcut_csv(file, {"": points}, PARTS, coords=coords, index=names)

    def decisions(self, file: Path) -> None:
        """On the audit of the run's training data by five folds: one label is wrong."""
        persons = pp.open_data("synthetic", "train", root=self.figures)
        row, joint = np.argwhere(persons.labelled)[0]
        one = {
            "image_id": int(persons.image_id[row]),
            "annotation_id": int(persons.annotation_id[row]),
            "joint": persons.skeleton.joints[joint],
        }
        head = {"format": FORMAT, "version": 1, "name": persons.name}
        decided = [one | {"decision": "accept", "action": "unlabel", "to": None}]
        file.write_text(json.dumps(head | {"audit": digest_of(["my-run, 5 folds"], persons), "decisions": decided}))

    def run(self, folder: Path) -> None:
        """The one that is trained, and its audit."""
        run = self.trained(folder)
        with inside(self.folder):
            pp.save_audit(run.audit(device="cpu"), folder / "audit", page=False)

    def trained(self, folder: Path, seed: int = 0) -> pp.Run:
        self.made("data")
        with inside(self.folder):
            return pp.train(dataset="synthetic", out=folder, seed=seed, quiet=True, **QUICK)

    def same_run(self, folder: Path) -> None:
        shutil.copytree(self.made("runs/my-run"), folder)

    def ensemble(self, folder: Path) -> None:
        """Two members that are inside."""
        members = [folder / "member-1", folder / "member-2"]
        for member in members:
            self.same_run(member)
        pp.ensemble(members, folder)

    def published(self, folder: Path) -> None:
        """An imported run, of a smaller network than examples name."""
        file = self.folder / "resnet18.pth"
        torch.save(rle_state("resnet18", 17), file)
        pp.import_model(file, "rle", out=folder, input_size=(64, 48))


def first_joints(document: dict[str, Any], count: int = 3) -> dict[str, Any]:
    """A COCO document of the first joints alone."""
    category = document["categories"][0]
    records = [one | {"keypoints": one["keypoints"][: 3 * count]} for one in document["annotations"]]
    few = {"keypoints": category["keypoints"][:count], "skeleton": []}
    return document | {"annotations": records, "categories": [category | few]}


def repeated_csv(file: Path) -> None:
    """Three annotators of the same 20 objects, of whom one is imprecise."""
    rng = np.random.default_rng(0)
    truth, landmarks = rng.uniform(50, 400, (20, 3, 2)), ("nose", "ear", "knee")
    rows = ["image,annotator,landmark,x,y,area"]
    for i, k, (name, scale) in product(range(20), range(3), (("Ada", 2), ("Ben", 2), ("Cleo", 5))):
        x, y = truth[i, k] + rng.normal(0, scale, 2)
        rows.append(f"{i},{name},{landmarks[k]},{x:.2f},{y:.2f},10000")
    file.write_text("\n".join(rows), encoding="utf-8")
