"""Predictions of a run: distributions, point estimates, COCO results."""
