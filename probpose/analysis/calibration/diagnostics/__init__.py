"""Diagnostics of predicted uncertainty, with intervals over images."""
