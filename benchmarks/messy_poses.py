"""COCO keypoint documents and results with all that leads evaluators astray, or with a given number of images of it."""

from __future__ import annotations

__all__ = ["messy_poses"]

from typing import Any

import numpy as np

from probpose.arrays import Array

JOINTS = 17
Record = dict[str, Any]


def messy_poses(images: int, seed: int = 0) -> tuple[Record, list[Record]]:
    """A document and rows of a results file.

    Crowds, persons without labels, areas of 0 and on the borders of the ranges, images without persons, without
    detections and with more than 20 of them, and scores of one digit, many of which are equal.

    Args:
        images: number of images.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    rows: list[Record] = []
    for image in range(1, images + 1):
        poses = [_pose(rng) for _ in range(rng.integers(4))]
        records += [_record(rng, image, pose) for pose in poses]
        for _ in range(rng.choice([0, 1, 3, 30], p=[0.1, 0.4, 0.4, 0.1])):
            about = poses[rng.integers(len(poses))] if poses else _pose(rng)
            point = np.column_stack([about + rng.choice([1, 8, 40]) * rng.normal(size=about.shape), np.ones(JOINTS)])
            rows.append({"image_id": image, "keypoints": point.ravel().tolist(), "score": round(rng.uniform(), 1)})
    annotations = [record | {"id": number} for number, record in enumerate(records, 1)]
    return {"images": [{"id": image} for image in range(1, images + 1)], "annotations": annotations}, rows


def _pose(rng: np.random.Generator) -> Array:
    return np.asarray(rng.uniform(0, 500, 2) + rng.uniform(5, 150) * rng.normal(size=(JOINTS, 2)))


def _record(rng: np.random.Generator, image: int, pose: Array) -> Record:
    flags = rng.integers(0, 3, JOINTS) * (rng.uniform() > 0.15)
    area = rng.choice([0.0, 32.0**2, 96.0**2, rng.uniform(100, 90_000)], p=[0.1, 0.05, 0.05, 0.8])
    return {
        "image_id": image,
        "bbox": [*pose.min(axis=0).tolist(), *np.ptp(pose, axis=0).tolist()],
        "area": float(area),
        "iscrowd": int(rng.uniform() < 0.1),
        "num_keypoints": int((flags > 0).sum()),
        "keypoints": np.column_stack([pose * (flags > 0)[:, None], flags]).ravel().tolist(),
    }
