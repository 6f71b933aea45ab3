"""A made COCO keypoint data set with everything that the protocol knows, and what pycocotools says of results on it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pycocotools import coco, mask
from pycocotools.cocoeval import COCOeval

from probpose.analysis.evaluation.coco import CocoMetrics
from probpose.inference.training.checkpoint import save_checkpoint
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.runs import RunFolder, untrained_model
from probpose.skeleton import COCO
from tests.conftest import Document, coco_document
from tests.fakes import Array

SHAPE = (240, 320)
IMAGES = 8
METRICS = [field.name for field in fields(CocoMetrics)]


def plain_metrics(file: Path, results: Path) -> dict[str, float | None]:
    """COCO's ten metrics of a results file, by pycocotools as its demo uses it."""
    truth = coco.COCO(str(file))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {name: None if value < 0 else value for name, value in zip(METRICS, evaluation.stats, strict=True)}


def untrained_run(path: Path) -> RunFolder:
    """The folder of a run whose small network has random weights and says something else of each crop."""
    config, folder = TrainConfig().changed(dataset="coco", residual="laplace"), RunFolder(path)
    model = untrained_model(config, COCO)
    with torch.no_grad():
        model.regressor.get_parameter("loc.weight").normal_(std=0.3)
    folder.create(config, COCO)
    save_checkpoint(folder.best, {"model": model.state_dict()}, {"epoch": 1})
    return folder


def write_images(folder: Path, rng: np.random.Generator) -> None:
    """Coloured noise, 1.jpg, 2.jpg, ..."""
    folder.mkdir()
    for i in range(1, IMAGES + 1):
        coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{i}.jpg"), cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC))


def made_boxes(rng: np.random.Generator) -> list[tuple[int, list[float]]]:
    """Image and box of two to five persons in each image but the last, from 12 to 150 pixels wide."""
    found = []
    for image in range(1, IMAGES):
        for _ in range(rng.integers(2, 6)):
            width, height = np.array([1.0, 1.4]) * 12 * 12 ** rng.uniform()
            x, y = rng.uniform(0, 320 - width), rng.uniform(0, max(240 - height, 1))
            found.append((image, [round(float(v), 2) for v in (x, y, width, height)]))
    return found


def made_document(boxes: list[tuple[int, list[float]]], poses: Array, rng: np.random.Generator) -> Document:
    """Annotations of the boxes: labels about the poses (P, 17, 2); some persons without labels, and two crowds."""
    records: list[Document] = []
    for i, ((image, box), pose) in enumerate(zip(boxes, poses, strict=True)):
        area = round(0.6 * box[2] * box[3], 4)
        flags = rng.choice(3, 17, p=[0.3, 0.2, 0.5]) * (i % 6 != 5)
        label = np.round(pose + rng.normal(size=(17, 2)) * rng.choice([0.02, 0.06, 0.1]) * area**0.5)
        keypoints = np.where(flags[:, None] > 0, np.column_stack([label, flags]), 0).astype(int)
        records.append(
            {
                "id": 1000 - i,
                "image_id": image,
                "category_id": 1,
                "bbox": box,
                "area": area,
                "iscrowd": 0,
                "num_keypoints": int((flags > 0).sum()),
                "keypoints": keypoints.ravel().tolist(),
                "segmentation": [[box[0], box[1], box[0] + box[2], box[1], box[0], box[1] + box[3]]],
            }
        )
    region = np.zeros(SHAPE, dtype=np.uint8)
    region[40:120, 200:300] = 1
    runs = mask.encode(np.asfortranarray(region))
    counts = {"size": list(SHAPE), "counts": runs["counts"].decode()}
    crowd = {"category_id": 1, "iscrowd": 1, "num_keypoints": 0, "keypoints": [0] * 51, "area": 6000}
    records.insert(1, {"id": 1, "image_id": 1, "bbox": [200, 40, 100, 80], "segmentation": counts, **crowd})
    polygon = [[0, 0, 90, 0, 90, 70, 0, 70]]
    records.insert(0, {"id": 2, "image_id": 3, "bbox": [0, 0, 90, 70], "segmentation": polygon, **crowd})
    return coco_document(records, images=IMAGES)


def made_detections(document: Document, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One to three boxes for each annotation, boxes on nothing and of something else, in no order."""
    found = []
    for record in document["annotations"]:
        for _ in range(rng.integers(1, 4)):
            box = np.array(record["bbox"]) + rng.normal(size=4) * 0.02 * record["bbox"][2]
            found.append((record["image_id"], 1, box))
    found += [(int(image), 1, rng.uniform(20, 100, 4)) for image in rng.integers(1, IMAGES + 1, 15)]
    found += [(1, 3, rng.uniform(20, 100, 4))] * 2
    scores = rng.choice(np.linspace(0.01, 0.99, 30), len(found))
    rows = [
        {"image_id": image, "category_id": category, "bbox": box.round(2).tolist(), "score": round(float(score), 4)}
        for (image, category, box), score in zip(found, scores, strict=True)
    ]
    return [rows[i] for i in rng.permutation(len(rows))]


def write(file: Path, content: object) -> Path:
    """Write a JSON file."""
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
