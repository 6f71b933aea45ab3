"""The report of a calibration: one page that needs nothing else, and its figures as PNG and PDF."""

from probpose.analysis.calibration.report.page import write_report

__all__ = ["write_report"]
