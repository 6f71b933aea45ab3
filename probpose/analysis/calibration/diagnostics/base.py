"""A diagnostic of one's own: what it is made from, what it accumulates, and what it gives in plain numbers."""

from __future__ import annotations

__all__ = ["DIAGNOSED", "Diagnostic", "DiagnosticRecord", "Result", "Setting", "Value"]

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from numbers import Real
from typing import Self, TypeAlias

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.bootstrap import REPLICATES, ImageBootstrap, Interval
from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.errors import ConfigError
from probpose.models.scores import Group, LabelScores

Value: TypeAlias = Interval | float | None
"""A number, with an interval where there is one; None where it is undefined."""

Result: TypeAlias = Value | Mapping[str, Value]
"""One value, or one a group of keypoints, by its name."""


DIAGNOSED: tuple[Group, ...] = ("level", "sigma", "axes")
"""Columns of label scores that diagnostics are given."""


@dataclass(frozen=True)
class Setting:
    """What a diagnostic is made for.

    Attributes:
        joints: K names.
        replicates: of the bootstrap over images.
        seed: of the bootstrap.
    """

    joints: tuple[str, ...]
    replicates: int = REPLICATES
    seed: int = 0

    def bootstrap(self, names: Sequence[str]) -> ImageBootstrap:
        """Sums of named columns; where all labels are added, with the weights of images of all other diagnostics."""
        return ImageBootstrap(names, replicates=self.replicates, seed=self.seed)


@dataclass(frozen=True)
class DiagnosticRecord:
    """The result of a diagnostic, as calibration.json holds it.

    Attributes:
        meaning: what it is, and its value for a calibrated prediction.
        unit: such as "px"; empty for a pure number.
        value: over all keypoints; None where it is undefined, or there are groups only.
        groups: by name; empty for a single value.
    """

    meaning: str
    unit: str = ""
    value: Interval | float | None = None
    groups: dict[str, Interval | float | None] = field(default_factory=dict)


class Diagnostic(Mergeable, ABC):
    """A statistic of labels under predicted densities whose value for a calibrated prediction is known.

    It sees the labels in chunks of whole images and keeps sums or counts, so that memory does not grow with the data.
    Where chunks are spread over processes, each has one of its own, and they are merged: `summed` names the sums.

    Attributes:
        unit: of its values, such as "px"; empty for a pure number.
    """

    unit: str = ""

    @property
    @abstractmethod
    def meaning(self) -> str:
        """One or two sentences: what it is, and its value for a calibrated prediction. A class attribute will do."""

    @abstractmethod
    def add(self, scores: LabelScores, cases: Cases) -> None:
        """Add all persons of some images, at least one label among them; an image does not come twice.

        Args:
            scores: of the M labels, row by row in the order of `np.nonzero(cases.labelled)`, with their level, `sigma`
                and `axes`; another group of columns is `cases.scores(group)`.
            cases: the N persons that the labels are of, with the predictive distribution that is diagnosed.
        """

    def merge(self, other: Self) -> None:
        """Count what `other` has counted, of other images.

        Raises:
            ConfigError: it does not say what its sums are.
        """
        if not self.summed:
            raise ConfigError(f"{type(self).__name__} counts in one process only: name its sums in `summed`.")
        super().merge(other)

    @abstractmethod
    def result(self) -> Result:
        """The value over all labels so far, or one a group."""

    def record(self) -> DiagnosticRecord:
        """The result in plain numbers; what is not finite is None, and an interval without finite bounds its value.

        Raises:
            TypeError: the result holds something else than intervals and numbers.
        """
        found = self.result()
        if isinstance(found, Mapping):
            groups = {str(group): self._plain(value) for group, value in found.items()}
            return DiagnosticRecord(self.meaning, self.unit, groups=groups)
        return DiagnosticRecord(self.meaning, self.unit, self._plain(found))

    def _plain(self, value: object) -> Value:
        if isinstance(value, Interval) and all(map(math.isfinite, astuple(value))):
            return Interval(*map(float, astuple(value)))
        number = value.value if isinstance(value, Interval) else value
        if number is None:
            return None
        if isinstance(number, bool) or not isinstance(number, Real):
            raise TypeError(
                f"the result of {type(self).__name__} holds a {type(number).__name__}: give an Interval, a number or "
                "None, or a dictionary of these by group."
            )
        return float(number) if math.isfinite(number) else None
