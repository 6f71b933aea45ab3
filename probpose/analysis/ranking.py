"""COCO's metrics of a model's poses, ranked by one score or another."""

from __future__ import annotations

__all__ = ["Judge", "Ranking"]

from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from probpose.analysis.estimates import Estimates
from probpose.analysis.ground_truth import GroundTruth
from probpose.analysis.oks import CocoMetrics, coco_metrics
from probpose.analysis.oks_nms import distinct_poses
from probpose.analysis.results import ResultRow, result_rows
from probpose.data.boxes import Boxes
from probpose.data.persons import Persons


@dataclass(frozen=True)
class Ranking:
    """Poses judged in the order of one score.

    Attributes:
        results: rows of a COCO results file, of the poses that stay.
        coco: metrics of these rows, rounded as they are.
        suppressed: number of poses that NMS by this score removed, or None without boxes.
    """

    results: list[ResultRow]
    coco: CocoMetrics
    suppressed: int | None


@dataclass(frozen=True)
class Judge:
    """What the poses of a model are judged against, whichever score ranks them.

    Attributes:
        truth: the annotated persons.
        targets: the table that the poses were predicted for: the annotated persons, or one person a box.
        boxes: those boxes, or None.
        input_size: height and width of the network's input.
        nms: OKS above which one of two poses in detected boxes goes.
    """

    truth: GroundTruth
    targets: Persons
    boxes: Boxes | None
    input_size: tuple[int, int]
    nms: float

    def images(self, estimates: Estimates) -> set[int]:
        """Images that count: those of which no person, box or label is missing."""
        lost = set(np.delete(self.targets.image_id, estimates.rows).tolist()) | self.truth.elsewhere
        return {*self.truth.persons.image_id.tolist(), *self.targets.image_id.tolist()} - lost

    def ranking(self, estimates: Estimates) -> Ranking:
        """NMS, results and metrics of N poses in the order of their `pose_score`."""
        truth, boxes, images = self.truth, self.boxes, self.images(estimates)
        skeleton, score = truth.persons.skeleton, None if boxes is None else boxes.score
        keep = None if boxes is None else distinct_poses(estimates, boxes, skeleton, self.input_size, self.nms)
        categories = [truth.category] * len(estimates) if boxes is not None else truth.category_of(estimates.rows)
        results = result_rows(estimates, self.targets, categories, box_score=score)
        results = results if keep is None else list(compress(results, keep))
        kept = [row for row in results if row["image_id"] in images]
        coco = coco_metrics(truth.document(images), kept, skeleton)
        return Ranking(results, coco, None if keep is None else int((~keep).sum()))

    def precision_by_score(self, estimates: Estimates, by_expected_oks: Ranking) -> dict[str, float | None]:
        """AP by the usual score, by the expected OKS and, of detected boxes, by the score of the box alone.

        Each score has its own NMS, so that each number is that of an evaluation with this score.

        Args:
            estimates: of N persons.
            by_expected_oks: their ranking by the expected OKS.
        """
        precision = {
            "usual": self.ranking(estimates.ranked_by("usual")).coco.AP,
            "expected-oks": by_expected_oks.coco.AP,
        }
        if self.boxes is not None and self.boxes.detected:
            precision["box"] = self.ranking(replace(estimates, score=np.ones(len(estimates)))).coco.AP
        return precision
