"""The saved posterior, and all contact with ArviZ."""

from probpose.analysis.posterior.archive import load_posterior, save_last_layer, save_posterior
from probpose.analysis.posterior.figures import draw_levels, draw_pit
from probpose.analysis.posterior.scores import elpd_table, loo, summary

__all__ = [
    "draw_levels", "draw_pit", "elpd_table", "load_posterior", "loo", "save_last_layer", "save_posterior", "summary",
]  # fmt: skip
