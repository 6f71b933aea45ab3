"""Cases of heatmaps of any model, read as the densities that they say."""

from __future__ import annotations

__all__ = ["HeatmapSource"]

from pathlib import Path

from probpose.analysis.calibration.cases import cases_of
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.recalibration.heatmap import HeatmapRecalibration
from probpose.analysis.calibration.record import SourceRecord
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.arrays import as_array
from probpose.data.plausible import remarks_on
from probpose.data.predictions.heatmaps import write_heatmaps
from probpose.data.predictions.results import Predictions
from probpose.models.predictive.grids import HeatmapDensity


class HeatmapSource(MemorySource):
    """Heatmaps, judged on annotated persons; handed back as recalibrated.npz where their cells are changed.

    Args:
        file: of the maps.
        predictions: matched with persons.
        density: of the same persons and joints, over their boxes in network units.
    """

    def __init__(self, file: Path, predictions: Predictions, density: HeatmapDensity) -> None:
        persons = predictions.persons
        self._density, self._box = density, predictions.box
        cases = cases_of(persons, density.over(predictions.box))
        record = SourceRecord("results", str(file), scale="heatmaps, read as densities")
        remarks = [*persons.remarks, *remarks_on(persons)]
        super().__init__(cases, record, left_out=predictions.lines, remarks=remarks)

    def hand_back(self, recalibration: Recalibration, folder: Path) -> list[Path]:
        saved = super().hand_back(recalibration, folder)
        if not isinstance(recalibration, HeatmapRecalibration):
            return saved
        changed = self._density.softened(recalibration.temperature, recalibration.blur)
        file, inside = folder / "recalibrated.npz", float(self._density.inside.sigmoid().mean())
        write_heatmaps(file, as_array(changed.log_cells.exp()), self._box, self.joints, self.cases.image, inside)
        return [file, *saved]
