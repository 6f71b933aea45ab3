"""The diagnosis: all diagnostics of predicted uncertainty on held-out labels, in one pass over chunks of images."""

from __future__ import annotations

__all__ = ["Diagnosis", "Questions", "diagnosis_record"]

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.axes import AxisCalibration
from probpose.analysis.calibration.diagnostics.base import DIAGNOSED, Setting
from probpose.analysis.calibration.diagnostics.bootstrap import REPLICATES, ImageBootstrap, known
from probpose.analysis.calibration.diagnostics.causes import Covariates, cause_columns, cause_names, causes
from probpose.analysis.calibration.diagnostics.coverage import (
    CURVE,
    LEVELS,
    Coverage,
    Groups,
    coverage_columns,
    coverage_names,
)
from probpose.analysis.calibration.diagnostics.dependence import (
    Correlations,
    dependence,
    dependence_columns,
    dependence_names,
    overdispersion,
)
from probpose.analysis.calibration.diagnostics.deviations import Deviation, Hypothesis, deviations, error_of_share
from probpose.analysis.calibration.diagnostics.location import (
    AXES,
    CORRELATED,
    CORRELATION,
    location,
    location_columns,
    location_names,
)
from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.analysis.calibration.diagnostics.proper_scores import SCORES, mean_score, score_columns, score_names
from probpose.analysis.calibration.diagnostics.record import (
    AxisRecord,
    DependenceRecord,
    DiagnosisRecord,
    GroupRecord,
    JointRecord,
    Numbers,
    OksRecord,
    Shares,
    UsefulnessRecord,
    WithinRecord,
)
from probpose.analysis.calibration.diagnostics.registry import make_diagnostics
from probpose.analysis.calibration.diagnostics.reliability import Reliability
from probpose.analysis.calibration.diagnostics.usefulness import (
    ErrorRadii,
    OksByScore,
    RankHistogram,
    WithinByConfidence,
)
from probpose.analysis.prediction.estimates import expected_oks, instance_score, kernel_variance, oks
from probpose.arrays import Array, Index, as_array
from probpose.keyed_uniform import keyed_uniform

ENERGY_LABELS = 40_000
"""Most labels whose energy score is computed: it costs all pairs of points."""

OKS_POINTS = 256
"""Points per keypoint that the expected OKS of a person is computed from."""

_BINS = 10


@dataclass(frozen=True)
class Questions:
    """Groups, bins and radius of a diagnosis, chosen on other data than those that are diagnosed.

    Attributes:
        joints: names.
        groups: by which coverage is reported.
        scale_edges: predicted scales in pixels that divide the bins of reliability.
        confidence_edges: confidences that divide the bins of usefulness; None without confidences.
        radius_px: r of P(error <= r).
        covariates: that the causes of a wrong sigma are looked for among.
    """

    joints: tuple[str, ...]
    groups: Groups
    scale_edges: Array
    confidence_edges: Array | None
    radius_px: float
    covariates: Covariates

    @classmethod
    def of(cls, cases: Cases, radius_px: float | None = None) -> Questions:
        """Bins of equal counts of the labels of cases; r is their median error unless it is given.

        Raises:
            DataError: the log density of a label is not finite.
        """
        scores, confidence = cases.scores("sigma"), cases.label_confidence
        known = confidence[np.isfinite(confidence)]
        inner = np.linspace(0, 1, _BINS + 1)[1:-1]
        return cls(
            joints=cases.joints,
            groups=Groups.of(scores, cases.size_px[scores.person], cases.joints, confidence),
            scale_edges=np.unique(np.quantile(scores.scale_px, inner)),
            confidence_edges=np.unique(np.quantile(known, inner)) if len(known) else None,
            radius_px=float(np.median(scores.error_px)) if radius_px is None else radius_px,
            covariates=Covariates.of(scores, cases),
        )


class Diagnosis(Mergeable):
    """Accumulates diagnostics over labels; memory does not grow with their number.

    Args:
        questions: groups, bins and radius.
        labels: approximate number of labels to come, which gives the share that is chosen for the energy score.
        replicates: of the bootstrap over images.
        energy_labels: approximate number of labels whose energy score is computed.
        seed: of the bootstrap, of the labels chosen for the energy score and of levels inside plateaus.

    Attributes:
        coverage, axes, ranks, reliability, by_joint, correlations, radii, within, oks: the parts.
        further: registered diagnostics by name.
        gauge: what sigma is under the predictive distribution that is diagnosed; empty before labels are added.
    """

    summed = ("sums", "axes", "ranks", "reliability", "by_joint", "correlations", "radii", "within", "oks", "further",
              "persons")  # fmt: skip

    def __init__(
        self,
        questions: Questions,
        labels: int,
        *,
        replicates: int = REPLICATES,
        energy_labels: int = ENERGY_LABELS,
        seed: int = 0,
    ) -> None:
        self.questions = questions
        names = [*coverage_names(questions.groups.present), *location_names(questions.joints)]
        self.sums = ImageBootstrap(
            [*names, *dependence_names(), *score_names(), *cause_names()], replicates=replicates, seed=seed
        )
        self.coverage = Coverage(self.sums)
        self.axes = AxisCalibration()
        self.ranks = RankHistogram()
        self.reliability = Reliability(len(questions.scale_edges) + 1)
        self.by_joint = Reliability(len(questions.joints))
        self.correlations = Correlations(len(questions.joints))
        self.radii = ErrorRadii(len(questions.joints))
        edges = questions.confidence_edges
        self.within = None if edges is None else WithinByConfidence(questions.radius_px, edges)
        self.oks = OksByScore()
        self.further = make_diagnostics(Setting(questions.joints, replicates, seed))
        self.persons = 0
        self.gauge = ""
        self._seed = seed
        self._share = min(1.0, energy_labels / max(1, labels))

    def add(self, cases: Cases, suspect: npt.NDArray[np.bool_] | None = None) -> None:
        """Add all persons of some images.

        Args:
            cases: under the predictive distribution that is diagnosed.
            suspect: (N, K), labels with a probable gross error; only `nll_without_suspects_nats` leaves them out.

        Raises:
            DataError: the log density of a label is not finite.
        """
        scores, labelled = cases.scores(*DIAGNOSED, seed=self._seed), cases.labelled
        doubted = np.zeros(len(scores), dtype=bool) if suspect is None else suspect[labelled]
        self.gauge = cases.predictive.gauge
        masks = self.questions.groups.masks(scores, cases.size_px[scores.person], cases.label_confidence)
        columns = coverage_columns(scores.level, masks)
        columns |= location_columns(scores, self.questions.joints)
        columns |= dependence_columns(scores) | score_columns(scores, self._costly(cases, scores.person), doubted)
        columns |= cause_columns(scores, cases, self.questions.covariates)
        self.sums.add(cases.units[scores.person], columns)
        self.axes.add(scores.pit)
        self.ranks.add(scores.scale_px, scores.error_px)
        self.reliability.add(scores, np.searchsorted(self.questions.scale_edges, scores.scale_px))
        self.by_joint.add(scores, scores.joint)
        self.correlations.add(scores)
        self.radii.add(scores)
        if self.within is not None:
            self.within.add(cases.label_confidence, scores.error_px)
        for diagnostic in self.further.values():
            diagnostic.add(scores, cases)
        self.persons += int(labelled.any(axis=1).sum())

    def merge(self, other: Diagnosis) -> None:
        super().merge(other)
        self.gauge = self.gauge or other.gauge

    def deviations(self, family_level: float = 0.05) -> list[Deviation]:
        """Significant deviations, overall and by group, at a family-wise error rate (see `deviations`)."""
        overall = [self._coverage_test(content, None) for content in CURVE]
        groups = [self._coverage_test(c, group) for group in self.questions.groups.present for c in LEVELS]
        joints = (None, *self.questions.joints)
        sides = [self._side_test(axis, joint) for joint in joints for axis in AXES]
        tests = [*overall, *groups, *sides, *map(self._correlation_test, joints), self._dependence_test()]
        return deviations(tests, self.sums.images, family_level)

    def _coverage_test(self, content: float, group: str | None) -> Hypothesis:
        labels = self.coverage.keypoints(group)
        ratio, what = self.coverage.ratio(content, group), f"coverage of {100 * content:.0f}% regions"
        least = error_of_share(content, ratio, labels, self.sums.images)
        return Hypothesis(what, group, content, ratio, self.coverage.at(content, group), least, labels)

    def _side_test(self, axis: str, joint: str | None) -> Hypothesis:
        ratio, labels = location(self.sums, axis, joint)
        group = None if joint is None else f"joint: {joint}"
        least = float(1 / np.sqrt(12 * max(1, labels)))
        return Hypothesis(f"mean PIT along {axis}", group, 0.5, ratio, self.sums.interval(ratio), least, labels)

    def _correlation_test(self, joint: str | None) -> Hypothesis:
        ratio, labels = location(self.sums, CORRELATION, joint)
        group = None if joint is None else f"joint: {joint}"
        least = float(1 / np.sqrt(max(1, labels)))  # of a product of independent uniform numbers, times 12
        return Hypothesis(CORRELATED, group, 0.0, ratio, self.sums.interval(ratio), least, labels)

    def _dependence_test(self) -> Hypothesis:
        ratio, labels = dependence(self.sums), int(self.sums.sum("scores"))
        what = "correlation between the joints of a person"
        return Hypothesis(what, None, 0.0, ratio, self.sums.interval(ratio), 0.0, labels)

    def _costly(self, cases: Cases, person: Index) -> Array:
        """Energy scores (M,) of the labels of a random share of the persons, whose OKS is added; NaN for others.

        Args:
            cases: N persons.
            person: (M,), that of each label.
        """
        energy = np.full(len(person), np.nan)
        chosen = keyed_uniform(self._seed, cases.units, cases.image, cases.instance) < self._share
        if chosen.any():
            part = cases.select(np.flatnonzero(chosen))
            energy[chosen[person]] = part.scores("energy").energy_px
            if part.oks_sigmas is not None:
                self._add_oks(part, part.oks_sigmas)
        return energy

    def _add_oks(self, cases: Cases, sigmas: Array) -> None:
        """Add the expected OKS of the mean, with the area derived from the box, and the OKS that it reaches."""
        known = np.isfinite(cases.box).all(axis=1) & np.isfinite(cases.area) & cases.labelled.any(axis=1)
        cases = cases.select(np.flatnonzero(known))
        if not len(cases):
            return
        mean = cases.predictive.mean
        variance = torch.from_numpy(kernel_variance(cases.box, sigmas.tolist()))
        expected = as_array(expected_oks(cases.predictive, mean, variance, OKS_POINTS))
        presence = cases.labelled.astype(np.float64) if cases.presence is None else cases.presence
        reached = oks(as_array(mean), cases.keypoints, cases.labelled, cases.area, sigmas.tolist())
        self.oks.add(instance_score(expected, presence), reached)


def diagnosis_record(diagnosis: Diagnosis) -> DiagnosisRecord:
    """What a diagnosis of at least one label found."""
    verdict = diagnosis.coverage.verdict()
    deviations = tuple(diagnosis.deviations())
    return DiagnosisRecord(
        keypoints=diagnosis.coverage.keypoints(),
        persons=diagnosis.persons,
        images=diagnosis.sums.images,
        gauge=diagnosis.gauge,
        calibrated=verdict.calibrated,
        refuted=verdict.refuted,
        hdr_coverage={content: diagnosis.coverage.at(content) for content in CURVE},
        groups=_groups(diagnosis, deviations),
        deviations=deviations,
        scores={name: known(mean_score(diagnosis.sums, name)) for name in SCORES},
        axes={axis: _axis(diagnosis, index) for index, axis in enumerate(AXES)},
        reliability=tuple(one for one in diagnosis.reliability.bins() if one is not None),
        dependence=_dependence(diagnosis),
        usefulness=_usefulness(diagnosis),
        joints=_joints(diagnosis),
        further={name: diagnostic.record() for name, diagnostic in diagnosis.further.items()},
        causes=causes(diagnosis.sums, diagnosis.questions.covariates),
    )


def _groups(diagnosis: Diagnosis, deviations: tuple[Deviation, ...]) -> tuple[GroupRecord, ...]:
    named = {deviation.group for deviation in deviations if deviation.what.startswith("coverage")}
    coverage, groups = diagnosis.coverage, diagnosis.questions.groups
    return tuple(
        GroupRecord(
            group=group,
            keypoints=coverage.keypoints(group),
            hdr_coverage={content: known(coverage.at(content, group)) for content in LEVELS},
            deviates=group in named,
            range=groups.ranges.get(group, ""),
        )
        for group in groups.present
    )


def _axis(diagnosis: Diagnosis, axis: int) -> AxisRecord:
    nominal, observed = diagnosis.axes.curve(axis)
    histogram = tuple(diagnosis.axes.histogram[axis].astype(int).tolist())
    return AxisRecord(
        histogram, Shares(tuple(nominal.tolist()), tuple(observed.tolist())), **vars(diagnosis.axes.errors(axis))
    )


def _dependence(diagnosis: Diagnosis) -> DependenceRecord:
    matrices = (tuple(_finite(row) for row in matrix) for matrix in diagnosis.correlations.matrix())
    return DependenceRecord(
        correlation=known(diagnosis.sums.interval(dependence(diagnosis.sums))),
        overdispersion=known(overdispersion(diagnosis.sums)),
        matrix=dict(zip(AXES, matrices, strict=True)),
    )


def _usefulness(diagnosis: Diagnosis) -> UsefulnessRecord:
    curves = diagnosis.ranks.sparsification()
    return UsefulnessRecord(
        spearman=diagnosis.ranks.spearman(),
        ause=None if curves is None else curves.ause,
        sparsification=curves,
        within=_within(diagnosis),
        oks=OksRecord(diagnosis.oks.spearman(), tuple(diagnosis.oks.bins())) if diagnosis.oks.counts.any() else None,
    )


def _within(diagnosis: Diagnosis) -> WithinRecord | None:
    within = diagnosis.within
    if within is None:
        return None
    return WithinRecord(
        radius_px=within.radius_px,
        confidence_edges=tuple(within.edges.tolist()),
        keypoints=tuple(within.counts.astype(int).tolist()),
        share=_finite(within.shares()),
        cut_off=within.cut_off(),
    )


def _joints(diagnosis: Diagnosis) -> tuple[JointRecord, ...]:
    radii = [_finite(diagnosis.radii.radius(share)) for share in (0.5, 0.9)]
    bins = diagnosis.by_joint.bins()
    scales = [(None,) * 3 if one is None else (one.predicted_px, one.factor, one.rms_factor) for one in bins]
    columns = zip(diagnosis.questions.joints, diagnosis.radii.labels(), *radii, scales, strict=True)
    return tuple(JointRecord(name, int(labels), r50, r90, *scale) for name, labels, r50, r90, scale in columns)


def _finite(values: Array) -> Numbers:
    """Numbers (n,), with None for NaN."""
    return tuple(float(value) if math.isfinite(value) else None for value in values)
