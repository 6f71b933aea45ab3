"""Objects of other libraries, known by what they have: `supervision.KeyPoints` and ultralytics' `Results`.

Neither library is imported to read its objects. `KeyPoints` (supervision/key_points/core.py) has `xy` (n, K, 2),
`keypoint_confidence` (`confidence` before 0.29), `detection_confidence`, `visible` and `data`, in which "covariance"
is (n, K, 2, 2) in square pixels. `Results` has `path`, `orig_shape`, and `keypoints` and `boxes` with `xy`, `conf`,
`xyxy`.
"""

from __future__ import annotations

__all__ = ["is_object", "read_objects", "to_supervision"]

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from probpose.arrays import Array, numbers
from probpose.data.predictions.instances import Instances, Known
from probpose.errors import DataError


def is_object(source: Any) -> bool:
    """Whether it is one of these objects, several, or several by image."""
    parts = _parts(source)
    return bool(parts) and all(_is_key_points(one) or _is_results(one) for _, one in parts)


def _parts(source: Any) -> list[tuple[Any, Any]]:
    """Objects with the images that they are of, None where that is not said."""
    if isinstance(source, Mapping):
        return list(source.items())
    return list(enumerate(source)) if isinstance(source, list | tuple) else [(None, source)]


def _is_key_points(one: Any) -> bool:
    return hasattr(one, "xy") and hasattr(one, "data") and hasattr(one, "class_id")


def _is_results(one: Any) -> bool:
    return hasattr(one, "keypoints") and hasattr(one, "boxes") and hasattr(one, "orig_shape")


def read_objects(source: Any, known: Known) -> Instances:
    """The persons of one object, of a list with one an image, or of objects by the name of their image.

    Args:
        source: the objects; in a list, those without a path are images 0, 1, ...
        known: names of the joints.

    Raises:
        DataError: shapes do not fit, numbers are not finite, or there is no person.
    """
    found = [
        _of_results(one, image) if _is_results(one) else _of_key_points(one, image) for image, one in _parts(source)
    ]
    found = [part for part in found if len(part["point"])]
    if not found:
        raise DataError(f"there is no person in {len(_parts(source))} {type(_parts(source)[0][1]).__name__}.")
    shapes = {part["point"].shape[1] for part in found}
    if len(shapes) > 1:
        raise DataError(f"objects have different numbers of joints: {', '.join(map(str, sorted(shapes)))}.")
    names = known.names(shapes.pop())

    def joined(name: str) -> Any:
        parts = [part[name] for part in found if part.get(name) is not None]
        return np.concatenate(parts) if len(parts) == len(found) else None

    kinds = [type(one).__name__ for _, one in _parts(source)]
    ids = joined("individual")
    return Instances(
        name=kinds[0],
        format="ultralytics" if _is_results(_parts(source)[0][1]) else "supervision",
        joints=names,
        named=False,
        image=tuple(part["image"] for part in found for _ in range(len(part["point"]))),
        point=joined("point"),
        record=np.concatenate([np.arange(len(part["point"])) for part in found]),
        confidence=joined("confidence"),
        covariance_px=joined("covariance_px"),
        score=joined("score"),
        box=joined("box"),
        individual=None if ids is None else tuple(f"{number:g}" for number in ids),
        category=None if joined("category") is None else tuple(int(number) for number in joined("category")),
        image_size=joined("image_size"),
        lost=tuple(sorted({name for part in found for name in part["lost"]})),
    )


def _given(values: Any, what: str, shape: tuple[int | None, ...]) -> Array | None:
    return None if values is None else numbers(values, what, shape, finite=False)


def _of_key_points(one: Any, image: Any) -> dict[str, Any]:
    what = "KeyPoints" if image is None else f"KeyPoints of image {image}"
    point = numbers(one.xy, f"{what}: xy", (None, None, 2), finite=False)
    rows, joints = point.shape[:2]
    visible = (
        _given(None if one.visible is None else np.asarray(one.visible, dtype=float), "visible", (rows, joints))
        if (hasattr(one, "visible"))
        else None
    )
    sure = one.keypoint_confidence if hasattr(one, "keypoint_confidence") else getattr(one, "confidence", None)
    covariance = _given(one.data.get("covariance"), f"{what}: covariance", (rows, joints, 2, 2))
    return {
        "image": 0 if image is None else image,
        "point": point if visible is None else np.where(visible[..., None] > 0, point, np.nan),
        "confidence": _given(sure, f"{what}: confidence", (rows, joints)),
        "covariance_px": covariance,
        "score": _given(getattr(one, "detection_confidence", None), f"{what}: detection_confidence", (rows,)),
        "category": _given(one.class_id, f"{what}: class_id", (rows,)),
        "individual": _given(one.data.get("tracker_id"), f"{what}: tracker_id", (rows,)),
        "lost": [f"data[{name!r}]" for name in one.data if name not in ("covariance", "tracker_id")],
    }


def _of_results(one: Any, image: Any) -> dict[str, Any]:
    path = getattr(one, "path", None)
    what = f"Results of {path or image}"
    if one.keypoints is None or one.boxes is None:
        return {"image": path or image, "point": np.zeros((0, 0, 2)), "lost": []}
    point = numbers(one.keypoints.xy, f"{what}: keypoints.xy", (None, None, 2), finite=False)
    rows, joints = point.shape[:2]
    corners = numbers(one.boxes.xyxy, f"{what}: boxes.xyxy", (rows, 4))
    height, width = one.orig_shape[:2]
    return {
        "image": str(path) if path else 0 if image is None else image,
        "point": point,
        "confidence": _given(one.keypoints.conf, f"{what}: keypoints.conf", (rows, joints)),
        "score": _given(one.boxes.conf, f"{what}: boxes.conf", (rows,)),
        "box": np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        "individual": _given(getattr(one.boxes, "id", None), f"{what}: boxes.id", (rows,)),
        "category": _given(getattr(one.boxes, "cls", None), f"{what}: boxes.cls", (rows,)),
        "image_size": np.tile(np.array([width, height], dtype=np.float64), (rows, 1)),
        "lost": [name for name in ("masks", "probs", "obb") if getattr(one, name, None) is not None],
    }


def to_supervision(found: Instances) -> dict[int | str, Any]:
    """`supervision.KeyPoints` by image, with `data["covariance"]` where there are covariances.

    Joints that are not predicted are at 0, 0 and not `visible`.

    Args:
        found: such as `read_predictions` or `Calibration.apply` gave.

    Raises:
        DataError: supervision is missing.
    """
    try:
        supervision = importlib.import_module("supervision")
    except ImportError as error:
        raise DataError("this needs the package supervision: `pip install supervision` (0.29 or later).") from error
    made: dict[int | str, Any] = {}
    for image in dict.fromkeys(found.image):
        one = found.select(np.array([name == image for name in found.image]))
        data = {} if one.covariance_px is None else {"covariance": one.covariance_px.astype(np.float32)}
        made[image] = supervision.KeyPoints(
            xy=np.where(one.predicted[..., None], one.point, 0.0).astype(np.float32),
            keypoint_confidence=None if one.confidence is None else one.confidence.astype(np.float32),
            detection_confidence=None if one.score is None else one.score.astype(np.float32),
            class_id=np.array([0] * len(one) if one.category is None else one.category, dtype=int),
            visible=one.predicted,
            data=data,
        )
    return made
