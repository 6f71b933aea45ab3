"""What a run predicts for images: poses, each keypoint with its density."""

from __future__ import annotations

__all__ = ["Poses"]

from functools import cached_property
from operator import index
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch

from probpose.analysis.prediction.estimates import Estimator, kernel_variance
from probpose.analysis.prediction.predict import Predictions
from probpose.analysis.prediction.results import server_file_name, server_rows, write_results
from probpose.api.distributions import Distribution
from probpose.api.tensors import ArrayLike, positive
from probpose.arrays import Array, Index
from probpose.errors import DataError
from probpose.models.densities import GaussianResidual
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.decomposition import Decomposition
from probpose.models.predictive.location_scale import LocationScale
from probpose.progress import Counting, silent
from probpose.skeleton import Skeleton

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


class Poses(Distribution):
    """N poses with K joints in one or more images, pixels of the images; made by `Run.predict`.

    Attributes:
        skeleton: joints, edges, left/right pairs.
        estimator: which point `keypoints` is.
        recalibration: method of the recalibration that the densities have gone through, or None.
        skipped: one "file: reason" for each image that could not be read.
        suppressed: poses that non-maximum suppression removed.
    """

    def __init__(self, predictions: Predictions, estimator: Estimator, recalibration: str | None) -> None:
        self._predictions = predictions
        self.skeleton: Skeleton = predictions.persons.skeleton
        self.joints = self.skeleton.joints
        self.estimator, self.recalibration = estimator, recalibration
        self.skipped, self.suppressed = tuple(predictions.unreadable), predictions.suppressed

    def __len__(self) -> int:
        return len(self._predictions.estimates)

    @cached_property
    def predictive(self) -> Predictive:  # type: ignore[override]
        """The densities, float64, pixels.

        Raises:
            DataError: they were not kept (`Run.predict(..., keep_distributions=False)`).
        """
        self._check_kept()
        parts = [forward.keypoints for forward in self._predictions.forwards if len(forward.rows)]
        if parts:
            return type(parts[0]).join(parts)
        none = torch.zeros(0, len(self.joints), 2, dtype=torch.float64)
        return LocationScale(none, torch.diag_embed(none), GaussianResidual().frozen())

    def decompose(self) -> Decomposition[Array]:
        found = self._predictions.estimates.decomposition
        return super().decompose() if found is None else found

    @property
    def keypoints(self) -> Array:
        """(N, K, 2) the point estimates: mean, median, mode, or point of greatest expected OKS."""
        return self._predictions.estimates.point

    @property
    def sigma_px(self) -> Array:
        return self._predictions.estimates.sigma_px

    @property
    def presence(self) -> Array:
        """(N, K) probability that an annotator labels the joint."""
        return self._predictions.estimates.presence

    @property
    def confidence(self) -> Array:
        """(N, K) in [0, 1], as regression codes state it: 1 - sigma in units of the crop (see `Estimates`)."""
        return self._predictions.estimates.confidence

    @property
    def score(self) -> Array:
        """(N,) what poses are ranked by, times the detector's score where there is one."""
        return np.array([row["score"] for row in self._predictions.rows])

    @property
    def boxes(self) -> Array:
        """(N, 4) x, y, width, height that the poses were predicted from."""
        return self._predictions.persons.box[self._rows]

    @property
    def image_ids(self) -> Index:
        """(N,) of the images."""
        return self._predictions.persons.image_id[self._rows]

    @property
    def file_names(self) -> list[str]:
        """N image files, or "image 0", ... of images that were given as arrays."""
        return [self._predictions.persons.file_name[row] for row in self._rows]

    def expected_oks(self, area: ArrayLike | None = None, oks_sigmas: ArrayLike | None = None) -> Array:
        """(N, K) expected OKS of `keypoints` where the joint is labelled.

        Args:
            area: (N,) of the persons in square pixels; COCO's usual share of the box by default.
            oks_sigmas: (K,); the skeleton's by default.

        Raises:
            DataError: another shape, a number that is not positive, or densities that were not kept.
        """
        rows, joints = self._shape
        given = self.skeleton.oks_sigmas if oks_sigmas is None else oks_sigmas
        sigmas = positive(given, (joints,), "oks_sigmas")
        if area is None:
            variance = torch.from_numpy(kernel_variance(self.boxes, sigmas.tolist()))
        else:
            variance = positive(area, (rows,), "area").unsqueeze(-1) * (2 * sigmas) ** 2
        return self._expected_oks(torch.from_numpy(self.keypoints), variance)

    def plot(self, image: str | PathLike[str] | SupportsIndex = 0, *, least_score: float = 0.0) -> Figure:
        """An image with its poses and their 50% and 90% regions, as a matplotlib figure.

        Args:
            image: its file name, or its place among the images with poses, from 0.
            least_score: poses with a lower score are left out.

        Raises:
            DataError: the image has no pose or cannot be read, or the densities were not kept.
        """
        from probpose.analysis.figures.overlays import draw_image

        self._check_kept()
        names = list(dict.fromkeys(self.file_names))
        if not isinstance(image, str | PathLike):
            place = index(image)
            if not -len(names) <= place < len(names):
                raise DataError(f"there is no image {place}: {len(names)} images have poses.")
            image = names[place]
        return draw_image(self._predictions, str(image), estimator=self.estimator, least_score=least_score)

    def save_overlays(
        self,
        folder: str | PathLike[str],
        *,
        least_score: float = 0.0,
        decompose: bool = False,
        counting: Counting = silent,
    ) -> list[Path]:
        """Write `plot` of every image as NAME.png into a folder, which is made where missing; gives the files.

        Args:
            folder: where to.
            least_score: poses with a lower score are left out.
            decompose: beside the regions, ellipses of what is unsure of labels and of the model, of an ensemble.
            counting: shows how far it is.

        Raises:
            ConfigError: predictions of a single network are to be decomposed.
            DataError: the densities were not kept, or a file cannot be written.
        """
        from probpose.analysis.figures import overlays

        self._check_kept()
        Path(folder).mkdir(parents=True, exist_ok=True)
        with counting("drawing", len(set(self.file_names))) as progress:
            return overlays.save_overlays(
                self._predictions, Path(folder), estimator=self.estimator, least_score=least_score, apart=decompose,
                progress=progress,
            )  # fmt: skip

    def to_coco(self, *, server: bool = False) -> list[dict[str, Any]]:
        """Rows of a COCO results file, with `sigma_px`, `labelled` and `file_name`; only COCO's keys for a `server`."""
        rows = self._predictions.rows
        return server_rows(rows) if server else rows

    def save(self, file: str | PathLike[str], *, server: bool = False) -> Path:
        """Write `to_coco` as JSON, one row a line.

        Raises:
            DataError: the file cannot be written.
        """
        write_results(Path(file), self.to_coco(server=server))
        return Path(file)

    def server_file(self, run: str | PathLike[str]) -> str:
        """What COCO's upload instructions call the results file; results.json where no file lists the images.

        Args:
            run: the run's folder, whose name stands for the method.
        """
        listing = self._predictions.persons.annotations
        return "results.json" if listing is None else server_file_name(listing, Path(run).resolve().name)

    @property
    def boxes_left_out(self) -> dict[str, int]:
        """Number of boxes that were not predicted for, by reason."""
        return dict(self._predictions.persons.skipped)

    def to_xarray(self) -> xr.Dataset:
        """Keypoints, sigma and presence with coordinates row, joint and axis; image and score of each row."""
        import xarray as xr

        planar = ("row", "joint", "axis")
        columns = {
            "keypoints": (planar, self.keypoints),
            "sigma_px": (planar, self.sigma_px),
            "presence": (planar[:2], self.presence),
            "score": (("row",), self.score),
            "image": (("row",), self.file_names),
        }
        return xr.Dataset(columns, coords={"row": np.arange(len(self)), "joint": list(self.joints), "axis": ["x", "y"]})

    def _check_kept(self) -> None:
        if len(self) and not self._predictions.forwards:
            raise DataError("the densities of these poses were not kept: predict with keep_distributions=True.")

    @property
    def _rows(self) -> Index:
        return self._predictions.estimates.rows
