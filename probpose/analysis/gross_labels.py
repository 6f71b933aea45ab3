"""Which labels are gross errors: rates by EM with the network fixed, and the posterior probability of each event.

For a trained model of any family, with theta_k what it says of joint k, a pair of labels was exchanged with probability
d, and a label is about something else with probability e (`probpose.models.gross`). Both are fitted to the labels
of a data set (`probpose.inference.gross`); with them every label has posterior probabilities of having been exchanged
with its other side and of being a gross error, its responsibilities. They compare labels with the model: where the
network itself takes left for right, d is the rate of its own confusions.
"""

from __future__ import annotations

__all__ = ["GrossLabels", "find_gross_labels"]

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.analysis.estimates import Array, as_array
from probpose.analysis.forward import Forward, predict_persons
from probpose.data.crop import crop_from_box
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.inference.gross import Rates, fit_rates, responsibilities
from probpose.models.gross import GrossMixture, Terms, anywhere, sides
from probpose.models.keypoint_model import KeypointModel

LIKELY = 0.5
"""Posterior probability above which a label is a suspect."""

COLUMNS = ("file_name", "annotation_id", "joint", "x", "y", "predicted_x", "predicted_y", "exchanged", "outlier")


@dataclass(frozen=True)
class GrossLabels:
    """M labelled keypoints with their responsibilities.

    Attributes:
        persons: the table.
        rates: d and e, and the log likelihood at every iteration.
        pairs: pairs of sides of which at least one is labelled.
        row: (M,) int64, row in the table of persons.
        joint: (M,) int64.
        mean: (M, 2), predictive mean, pixels.
        exchanged: (M,), probability that the label belongs to the other side.
        outlier: (M,), probability that it is a gross error.
        unreadable: one "file: reason" for each person whose image could not be read.
    """

    persons: Persons
    rates: Rates
    pairs: int
    row: npt.NDArray[np.int64]
    joint: npt.NDArray[np.int64]
    mean: Array
    exchanged: Array
    outlier: Array
    unreadable: list[str]

    @property
    def suspicion(self) -> Array:
        """(M,), probability of either."""
        return 1 - (1 - self.exchanged) * (1 - self.outlier)

    @property
    def suspects(self) -> npt.NDArray[np.int64]:
        """Indices of the labels with a suspicion over `LIKELY`, the greatest first."""
        order = np.argsort(-self.suspicion, kind="stable")
        return order[self.suspicion[order] > LIKELY]

    def entry(self, index: int) -> dict[str, Any]:
        """One label, by the names of `COLUMNS`."""
        row, joint = int(self.row[index]), int(self.joint[index])
        x, y = self.persons.keypoints[row, joint]
        values = (
            self.persons.file_name[row], int(self.persons.annotation_id[row]), self.persons.skeleton.joints[joint],
            float(x), float(y), *map(float, self.mean[index]), float(self.exchanged[index]), float(self.outlier[index]),
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))

    def summary(self) -> dict[str, Any]:
        """Rates, counts and the suspects, as one JSON object."""
        chosen = self.suspects
        return {
            "dataset": self.persons.name,
            "labels": len(self.row),
            "pairs": self.pairs,
            "exchanged": self.rates.exchanged,
            "outlier": self.rates.outlier,
            "log_likelihoods": list(self.rates.log_likelihoods),
            "suspects_exchanged": int((self.exchanged > LIKELY).sum()),
            "suspects_outlier": int((self.outlier > LIKELY).sum()),
            "suspects": [self.entry(index) for index in chosen],
            "unreadable": self.unreadable,
        }

    def csv(self) -> str:
        """Every label with its responsibilities, in the order of the table."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for index in range(len(self.row)):
            entry = self.entry(index)
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in entry.items()})
        return text.getvalue()


def find_gross_labels(
    model: KeypointModel,
    persons: Persons,
    input_size: tuple[int, int],
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> GrossLabels:
    """Fit the rates of gross errors to the labels of `persons`, the network fixed.

    Args:
        model: of any family, in eval mode.
        persons: annotated.
        input_size: height and width of the crops.
        batch_size: persons at a time.
        device: of the network.
        workers: processes that read images.
        progress: called with the number of persons done so far.

    Raises:
        DataError: no image can be read.
        CheckpointError: the network's output is not finite.
    """
    partner = model.flip_permutation.cpu()
    parts, rows, means, unreadable = [], [], [], []
    for forward in predict_persons(
        model, persons, input_size, batch_size=batch_size, device=device, workers=workers,
        progress=progress,
    ):  # fmt: skip
        unreadable += forward.unreadable
        if len(forward.rows):
            parts.append(_terms(forward, persons, input_size, partner))
            rows.append(forward.rows)
            means.append(as_array(forward.keypoints.mean))
    if not parts:
        raise DataError(f"None of the {len(persons)} persons' images could be read, such as {unreadable[0]}.")
    terms, read = Terms(*(torch.cat(column) for column in zip(*parts, strict=True))), np.concatenate(rows)
    labelled = persons.labelled[read]
    flags = torch.from_numpy(labelled)
    rates = fit_rates(terms, flags, partner)
    events = responsibilities(terms, flags, partner, rates.exchanged, rates.outlier)
    left, right, _ = sides(partner)
    person, joint = np.nonzero(labelled)
    return GrossLabels(
        persons=persons,
        rates=rates,
        pairs=int((labelled[:, left] | labelled[:, right]).sum()),
        row=read[person],
        joint=joint,
        mean=np.concatenate(means)[labelled],
        exchanged=as_array(events.exchanged)[labelled],
        outlier=as_array(events.outlier)[labelled],
        unreadable=unreadable,
    )


@torch.no_grad()
def _terms(forward: Forward, persons: Persons, input_size: tuple[int, int], partner: Tensor) -> Terms:
    """Log densities (N, K) of a batch's labels under their joint, its mirror image, and anywhere, in pixels."""
    predictive = forward.keypoints
    own = predictive.components[0] if isinstance(predictive, GrossMixture) else predictive
    mean = predictive.mean
    labelled = torch.from_numpy(persons.labelled[forward.rows]).to(mean.device)
    labels = torch.from_numpy(persons.keypoints[forward.rows]).to(mean)
    label = torch.where(labelled.unsqueeze(-1), labels, mean)
    to_image = torch.from_numpy(crop_from_box(persons.box[forward.rows], input_size).to_image).to(mean)
    broad = anywhere(torch.zeros_like(mean)).affine(to_image[..., :2], to_image[..., 2])
    straight, other = own.log_prob(label), own.log_prob(label[:, partner])[:, partner]
    values = (straight, other, broad.log_prob(label))
    return Terms(*(torch.where(labelled, value, 0.0).cpu() for value in values))
