"""Results as tables for the terminal."""

from __future__ import annotations

__all__ = ["tables"]

from functools import singledispatch

from rich.console import Group, RenderableType

from probpose.analysis.audit.record import Audit
from probpose.analysis.audit.tables import audit_tables
from probpose.analysis.check_tables import check_tables
from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.outcome import Evaluation
from probpose.analysis.evaluation.tables import evaluation_tables
from probpose.analysis.oks_sigmas.record import OksSigmas
from probpose.analysis.targets.statistics import TargetStatistics
from probpose.analysis.targets.tables import targets_tables
from probpose.data.check import DataCheck


@singledispatch
def tables(result: object) -> RenderableType:
    """An evaluation, comparison, calibration, data check, ... as tables, for `rich.print`.

    Args:
        result: what another function of this library gave.

    Raises:
        TypeError: nothing is known about it.
    """
    own = getattr(result, "tables", None)  # of a calibration or annotators, whose modules nothing else here needs
    if not callable(own):
        raise TypeError(f"there are no tables of {type(result).__name__}.")
    made: RenderableType = own()
    return made


tables.register(Evaluation, evaluation_tables)
tables.register(TargetStatistics, targets_tables)
tables.register(DataCheck, check_tables)
tables.register(Audit, audit_tables)


@tables.register
def _(result: OksSigmas) -> RenderableType:
    return Group(*(table.terminal() for table in result.tables))


@tables.register
def _(result: Comparison) -> RenderableType:
    from probpose.analysis.evaluation.comparison_report import comparison_tables  # with matplotlib

    return Group(*(table.terminal() for table in comparison_tables(result)))
