"""Datasets, crops and batches."""

__all__ = ["PIXELS"]

import os

PIXELS = "OPENCV_IO_MAX_IMAGE_PIXELS"
"""The environment variable by which OpenCV limits the pixels of an image."""

# Both are read when OpenCV is loaded, which every module below does later. A PNG of 100 kB may hold a gigapixel.
os.environ.setdefault(PIXELS, str(250_000_000))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what is wrong with an image is said once, with its name
