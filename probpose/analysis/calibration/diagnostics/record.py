"""The diagnosis in numbers, as calibration.json holds it; None stands for undefined."""

from __future__ import annotations

__all__ = [
    "AxisRecord",
    "DependenceRecord",
    "DiagnosisRecord",
    "GroupRecord",
    "JointRecord",
    "OksRecord",
    "Shares",
    "UsefulnessRecord",
    "WithinRecord",
]

from dataclasses import dataclass, field

from probpose.analysis.calibration.diagnostics.base import DiagnosticRecord
from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.calibration.diagnostics.causes import CausesRecord
from probpose.analysis.calibration.diagnostics.deviations import Deviation
from probpose.analysis.calibration.diagnostics.reliability import ReliabilityBin
from probpose.analysis.calibration.diagnostics.usefulness import CutOff, OksBin, Sparsification

Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class GroupRecord:
    """Coverage in a group of keypoints.

    Attributes:
        group: its name, such as "joint: nose".
        keypoints: labels in it.
        hdr_coverage: by content of the region, one of `LEVELS`.
        deviates: whether its coverage is among the significant deviations.
        range: of the predicted scales or confidences of a bin, as text.
    """

    group: str
    keypoints: int
    hdr_coverage: dict[float, Interval | None]
    deviates: bool
    range: str = ""


@dataclass(frozen=True)
class Shares:
    """Shares of labels inside the central intervals of an axis.

    Attributes:
        nominal: contents of the intervals.
        observed: share of the labels inside each.
    """

    nominal: tuple[float, ...]
    observed: tuple[float, ...]


@dataclass(frozen=True)
class AxisRecord:
    """Calibration along an axis; the errors are those of `AxisErrors`.

    Attributes:
        pit_histogram: labels in equally wide bins of the probability integral transform.
        central_intervals: the curve that the errors are computed from.
        mace: mean absolute calibration error.
        rmsce: root mean square calibration error.
        miscalibration_area: area between the curve and the diagonal.
    """

    pit_histogram: tuple[int, ...]
    central_intervals: Shares
    mace: float
    rmsce: float
    miscalibration_area: float


@dataclass(frozen=True)
class DependenceRecord:
    """Dependence between the errors of a person's joints.

    Attributes:
        correlation: mean over pairs of joints of a person; 0 when independent.
        overdispersion: variance of the number of a person's labels outside their 90% regions over the binomial's.
        matrix: (K, K) correlations between joints by axis.
    """

    correlation: Interval | None
    overdispersion: Interval | None
    matrix: dict[str, tuple[Numbers, ...]]


@dataclass(frozen=True)
class WithinRecord:
    """P(error <= r) by the model's own confidence.

    Attributes:
        radius_px: r.
        confidence_edges: confidences that divide the bins.
        keypoints: labels in each bin.
        share: share of the labels in each bin within r.
        cut_off: suggested, if any cut-off keeps enough labels within r.
    """

    radius_px: float
    confidence_edges: tuple[float, ...]
    keypoints: tuple[int, ...]
    share: Numbers
    cut_off: CutOff | None


@dataclass(frozen=True)
class OksRecord:
    """The OKS that persons reach, by their expected OKS.

    Attributes:
        spearman: rank correlation of reached and expected OKS.
        bins: of the expected OKS.
    """

    spearman: float | None
    bins: tuple[OksBin, ...]


@dataclass(frozen=True)
class UsefulnessRecord:
    """How useful the uncertainty is for ranking and selecting predictions.

    Attributes:
        spearman: rank correlation of predicted scale and error.
        ause: area between the curves of `sparsification`.
        sparsification: mean error of the remaining labels by the share that is removed.
        within: None without confidences.
        oks: None where OKS is not defined.
    """

    spearman: float | None
    ause: float | None
    sparsification: Sparsification | None
    within: WithinRecord | None = None
    oks: OksRecord | None = None


@dataclass(frozen=True)
class JointRecord:
    """Errors and scale of a joint.

    Attributes:
        joint: its name.
        keypoints: labels.
        error_r50_px: radius that holds 50% of the errors.
        error_r90_px: radius that holds 90%.
        scale_px: half the predicted 16-84% width, the mean over labels and axes.
        scale_too_small_by: half the 16-84% width of the errors in units of the predicted one; 1 when calibrated.
        rms_too_small_by: root mean square of the errors in units of sigma; 1 when calibrated, in the moment gauge.
    """

    joint: str
    keypoints: int
    error_r50_px: float | None
    error_r90_px: float | None
    scale_px: float | None
    scale_too_small_by: float | None
    rms_too_small_by: float | None = None


@dataclass(frozen=True)
class DiagnosisRecord:
    """All results of a diagnosis.

    Attributes:
        keypoints: number of labels.
        persons: number of persons with a label.
        images: number of their images, or of other units where the data name what is independent.
        calibrated: see `Verdict`.
        refuted: see `Verdict`.
        hdr_coverage: by content of the region, one of `CURVE`.
        groups: by joint, visibility, size of the box, predicted scale and confidence.
        deviations: significant ones, the largest |z| first.
        scores: means of the proper scores, by name in `SCORES`.
        axes: by name of the axis.
        reliability: predicted and empirical scale, in bins of the predicted scale.
        dependence: between the joints of a person.
        usefulness: of the uncertainty.
        joints: errors and scale of each.
        further: registered diagnostics by name.
        gauge: what sigma is: "moment" for a standard deviation, "quantile" for half the 16-84% width.
        causes: what the scale of the errors over sigma depends on.
    """

    keypoints: int
    persons: int
    images: int
    calibrated: bool
    refuted: bool
    hdr_coverage: dict[float, Interval]
    groups: tuple[GroupRecord, ...]
    deviations: tuple[Deviation, ...]
    scores: dict[str, Interval | None]
    axes: dict[str, AxisRecord]
    reliability: tuple[ReliabilityBin, ...]
    dependence: DependenceRecord
    usefulness: UsefulnessRecord
    joints: tuple[JointRecord, ...]
    further: dict[str, DiagnosticRecord] = field(default_factory=dict)
    gauge: str = "moment"
    causes: CausesRecord = field(default_factory=CausesRecord)

    @property
    def nll_nats(self) -> float | None:
        """Mean negative log density of the labels."""
        nll = self.scores["nll_nats"]
        return None if nll is None else nll.value

    @property
    def coverage(self) -> dict[float, float]:
        """Share of the labels in the region of each content."""
        return {content: found.value for content, found in self.hdr_coverage.items()}
