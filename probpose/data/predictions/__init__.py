"""Predictions of any model, read and checked: results files, tables of points, boxes."""
