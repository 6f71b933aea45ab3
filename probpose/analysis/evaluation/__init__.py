"""Judging a run: scores of labels, COCO's metrics, comparisons."""
