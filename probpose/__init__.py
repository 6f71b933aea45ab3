"""Keypoint regression whose uncertainty means something: predictions of annotated keypoints as densities.

Names are imported when they are first used, so that `import probpose` costs next to nothing. docs/python.md shows the
whole loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import probpose.circular as circular
    import probpose.densities as densities
    from probpose.analysis.audit.corrections import check_corrected as check_corrected
    from probpose.analysis.audit.corrections import save_corrected as save_corrected
    from probpose.analysis.audit.record import Audit as Audit
    from probpose.analysis.prediction.results import write_results as write_results
    from probpose.api.annotators import Annotators as Annotators
    from probpose.api.annotators import annotators as annotators
    from probpose.api.annotators import repeated_labels as repeated_labels
    from probpose.api.auditing import audit as audit
    from probpose.api.auditing import decide as decide
    from probpose.api.auditing import save_audit as save_audit
    from probpose.api.calibration import Calibration as Calibration
    from probpose.api.calibration import calibrate as calibrate
    from probpose.api.calibration import calibrate_results as calibrate_results
    from probpose.api.calibration import calibrate_table as calibrate_table
    from probpose.api.comparison import compare as compare
    from probpose.api.data import check_data as check_data
    from probpose.api.data import describe_data as describe_data
    from probpose.api.data import list_images as list_images
    from probpose.api.data import match_joints as match_joints
    from probpose.api.data import open_data as open_data
    from probpose.api.data import pack_data as pack_data
    from probpose.api.data import persons as persons
    from probpose.api.data import read_predictions as read_predictions
    from probpose.api.data import read_records as read_records
    from probpose.api.data import synthesise as synthesise
    from probpose.api.data import write_predictions as write_predictions
    from probpose.api.diagnosing import diagnose as diagnose
    from probpose.api.distributions import Distribution as Distribution
    from probpose.api.distributions import Gaussian as Gaussian
    from probpose.api.distributions import Heatmap as Heatmap
    from probpose.api.distributions import Laplace as Laplace
    from probpose.api.distributions import Samples as Samples
    from probpose.api.ensembles import draw_last_layer as draw_last_layer
    from probpose.api.ensembles import ensemble as ensemble
    from probpose.api.importing import import_model as import_model
    from probpose.api.oks_sigmas import oks_sigmas as oks_sigmas
    from probpose.api.oks_sigmas import save_oks_sigmas as save_oks_sigmas
    from probpose.api.poses import Poses as Poses
    from probpose.api.posterior import LevelMap as LevelMap
    from probpose.api.posterior import draw_levels as draw_levels
    from probpose.api.posterior import draw_pit as draw_pit
    from probpose.api.posterior import load_posterior as load_posterior
    from probpose.api.posterior import loo as loo
    from probpose.api.posterior import save_posterior as save_posterior
    from probpose.api.posterior import summary as summary
    from probpose.api.runs import Run as Run
    from probpose.api.runs import load as load
    from probpose.api.scoring import Scores as Scores
    from probpose.api.scoring import coverage as coverage
    from probpose.api.scoring import score as score
    from probpose.api.scoring import verdict as verdict
    from probpose.api.showing import show as show
    from probpose.api.tables import tables as tables
    from probpose.api.training import fit as fit
    from probpose.api.training import new_folder as new_folder
    from probpose.api.training import newest as newest
    from probpose.api.training import resume as resume
    from probpose.api.training import train as train
    from probpose.data.persons import Persons as Persons
    from probpose.data.predictions.formats.objects import to_supervision as to_supervision
    from probpose.data.predictions.formats.tidy import to_movement as to_movement
    from probpose.data.predictions.instances import Instances as Instances
    from probpose.data.repeated_labels import RepeatedLabels as RepeatedLabels
    from probpose.errors import ProbposeError as ProbposeError
    from probpose.models.predictive.decomposition import Decomposition as Decomposition
    from probpose.progress import bars as bars
    from probpose.skeleton import Skeleton as Skeleton

__version__ = "0.1.0"

_HOMES = {
    "Annotators": "probpose.api.annotators",
    "Audit": "probpose.analysis.audit.record",
    "audit": "probpose.api.auditing",
    "check_corrected": "probpose.analysis.audit.corrections",
    "decide": "probpose.api.auditing",
    "save_audit": "probpose.api.auditing",
    "save_corrected": "probpose.analysis.audit.corrections",
    "Calibration": "probpose.api.calibration",
    "Decomposition": "probpose.models.predictive.decomposition",
    "Distribution": "probpose.api.distributions",
    "Gaussian": "probpose.api.distributions",
    "Heatmap": "probpose.api.distributions",
    "Laplace": "probpose.api.distributions",
    "Instances": "probpose.data.predictions.instances",
    "LevelMap": "probpose.api.posterior",
    "Persons": "probpose.data.persons",
    "Poses": "probpose.api.poses",
    "ProbposeError": "probpose.errors",
    "RepeatedLabels": "probpose.data.repeated_labels",
    "Run": "probpose.api.runs",
    "Samples": "probpose.api.distributions",
    "Scores": "probpose.api.scoring",
    "Skeleton": "probpose.skeleton",
    "annotators": "probpose.api.annotators",
    "bars": "probpose.progress",
    "calibrate": "probpose.api.calibration",
    "calibrate_results": "probpose.api.calibration",
    "calibrate_table": "probpose.api.calibration",
    "check_data": "probpose.api.data",
    "compare": "probpose.api.comparison",
    "coverage": "probpose.api.scoring",
    "draw_last_layer": "probpose.api.ensembles",
    "describe_data": "probpose.api.data",
    "diagnose": "probpose.api.diagnosing",
    "draw_levels": "probpose.api.posterior",
    "draw_pit": "probpose.api.posterior",
    "ensemble": "probpose.api.ensembles",
    "fit": "probpose.api.training",
    "import_model": "probpose.api.importing",
    "list_images": "probpose.api.data",
    "load": "probpose.api.runs",
    "load_posterior": "probpose.api.posterior",
    "loo": "probpose.api.posterior",
    "new_folder": "probpose.api.training",
    "newest": "probpose.api.training",
    "match_joints": "probpose.api.data",
    "oks_sigmas": "probpose.api.oks_sigmas",
    "open_data": "probpose.api.data",
    "persons": "probpose.api.data",
    "read_predictions": "probpose.api.data",
    "read_records": "probpose.api.data",
    "repeated_labels": "probpose.api.annotators",
    "resume": "probpose.api.training",
    "save_oks_sigmas": "probpose.api.oks_sigmas",
    "save_posterior": "probpose.api.posterior",
    "score": "probpose.api.scoring",
    "show": "probpose.api.showing",
    "summary": "probpose.api.posterior",
    "pack_data": "probpose.api.data",
    "synthesise": "probpose.api.data",
    "tables": "probpose.api.tables",
    "train": "probpose.api.training",
    "verdict": "probpose.api.scoring",
    "to_movement": "probpose.data.predictions.formats.tidy",
    "to_supervision": "probpose.data.predictions.formats.objects",
    "write_predictions": "probpose.api.data",
    "write_results": "probpose.analysis.prediction.results",
}
"""Where the public names live."""

__all__ = ["circular", "densities", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in ("circular", "densities"):
        return import_module(f"probpose.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'probpose' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
