"""The report of a calibration: one page that needs nothing else, and its figures as PNG and PDF."""
