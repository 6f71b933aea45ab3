"""A direction that labels give a person: from the middle of some joints to the middle of others, in the image plane.

`LEFTWARD`, from the right shoulder and hip to the left ones, says which way a person faces as far as a picture's plane
can: about 0 upright and facing the camera, about half a turn upright and seen from behind, and turned with the body in
the plane. It is not the yaw: seen in profile the four joints lie nearly on one line along the body, what remains of the
direction is the error of the labels, and left profile cannot be told from right. How sure a direction can be said is
therefore another for each person.
"""

from __future__ import annotations

__all__ = ["LEFTWARD", "Direction"]

from dataclasses import dataclass

import torch
from torch import Tensor

from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.skeleton import Skeleton


@dataclass(frozen=True)
class Direction:
    """The direction from the middle of the joints `start` to that of the joints `end`.

    Angles are in radians from the picture's x axis towards its y axis, which is clockwise as seen on the screen.

    Attributes:
        start: names of joints.
        end: names of joints.
    """

    start: tuple[str, ...]
    end: tuple[str, ...]

    def columns(self, skeleton: Skeleton) -> tuple[list[int], list[int]]:
        """Indices of the joints of both ends.

        Raises:
            DataError: the skeleton has not all of them.
        """
        missing = [name for name in (*self.start, *self.end) if name not in skeleton.joints]
        if missing:
            raise DataError(f"a direction needs {', '.join(missing)}: there are {', '.join(skeleton.joints)}.")
        start, end = ([skeleton.joints.index(name) for name in names] for names in (self.start, self.end))
        return start, end

    def known(self, persons: Persons) -> Persons:
        """Those persons all of whose joints that matter are labelled, with the two middles at different places.

        Raises:
            DataError: there is none, or the skeleton has not all joints.
        """
        start, end = self.columns(persons.skeleton)
        labelled = torch.from_numpy(persons.labelled[:, start + end]).all(-1)
        apart = self._vector(torch.from_numpy(persons.keypoints), persons.skeleton).norm(dim=-1) > 0
        rows = (labelled & apart).nonzero().flatten()
        if not len(rows):
            raise DataError(f"{persons.name} has no person with labels of {', '.join((*self.start, *self.end))}.")
        return persons.select(rows.numpy())

    def angles(self, points: Tensor, skeleton: Skeleton, mirrored: Tensor | None = None) -> Tensor:
        """Angles (N,) in [-pi, pi] of points (N, K, 2), x right and y down in one unit.

        Args:
            points: of the K joints.
            skeleton: the joints, and which are mirror images of each other.
            mirrored: (N,), whose picture is mirrored afterwards: theirs is the direction in the mirror, where left
                and right have changed places.
        """
        vector = self._vector(points, skeleton)
        if mirrored is not None:
            across = torch.tensor([-1.0, 1.0]).to(points)
            other = self._vector(points[:, list(skeleton.flip_permutation)] * across, skeleton)
            vector = torch.where(mirrored.unsqueeze(-1), other, vector)
        return torch.atan2(vector[:, 1], vector[:, 0])

    def _vector(self, points: Tensor, skeleton: Skeleton) -> Tensor:
        start, end = self.columns(skeleton)
        return points[:, end].mean(1) - points[:, start].mean(1)


LEFTWARD = Direction(("right_shoulder", "right_hip"), ("left_shoulder", "left_hip"))
"""From the right shoulder and hip to the left ones."""
