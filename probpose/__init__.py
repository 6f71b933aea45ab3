"""Probabilistic keypoint regression: pose losses as generative models of where an annotator clicks."""

__all__ = ["__version__"]

__version__ = "0.1.0"
