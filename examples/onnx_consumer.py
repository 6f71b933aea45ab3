"""Keypoints with covariance from an exported run (`probpose export`): numpy, OpenCV and onnxruntime, no torch.

Run it as: python examples/onnx_consumer.py pose.onnx photo.jpg 10 20 100 200
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


def cut(image, box, height, width, padding):
    """The crop (height, width, 3), its first pixel's centre in the image, and the image's pixels in one of its own."""
    x, y, w, h = box
    scale = padding * max(w / width, h / height)
    origin = np.array([x + w / 2 - 0.5, y + h / 2 - 0.5]) + scale * (0.5 - np.array([width, height]) / 2)
    block = max(1, round(scale))  # a crop that shrinks the image averages blocks of its pixels first
    low = np.floor(origin - scale / 2 - block)
    cells = np.ceil((scale * np.array([width, height]) + 2 * block) / block).astype(int) + 1
    region = cv2.warpAffine(image, np.array([[1.0, 0, -low[0]], [0, 1.0, -low[1]]]), tuple(map(int, cells * block)))
    region = cv2.resize(region, tuple(map(int, cells)), interpolation=cv2.INTER_AREA)
    start, step = (origin - low - (block - 1) / 2) / block, scale / block
    matrix = np.array([[step, 0, start[0]], [0, step, start[1]]])
    return cv2.warpAffine(region, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), origin, scale


def predict(graph, image, box):
    """Keypoints (K, 2) and covariance (K, 2, 2) in pixels of an RGB image, presence (K,), names; box is x, y, w, h."""
    card = json.loads(Path(graph).with_suffix(".json").read_text())
    crop, origin, scale = cut(image, box, *(card["crop"][name] for name in ("height", "width", "padding")))
    session = onnxruntime.InferenceSession(graph)
    points, covariance, presence, _, _ = session.run(
        list(card["outputs"]), {"crops": crop[None], "scale": np.array([scale], dtype=np.float32)}
    )
    return points[0] * scale + origin, covariance[0] * scale**2, presence[0], card["skeleton"]["joints"]


if __name__ == "__main__":
    graph, photo, *box = sys.argv[1:]
    found = predict(graph, cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB), [float(number) for number in box])
    for point, covariance, presence, joint in zip(*found, strict=True):
        print(joint, point.round(2).tolist(), covariance.round(2).tolist(), round(float(presence), 3))
