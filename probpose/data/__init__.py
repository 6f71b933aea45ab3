"""Datasets, crops and batches."""
