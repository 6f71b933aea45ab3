"""Rendered human figures with known annotation noise."""

__all__ = ["MARKER", "SyntheticSpec", "read_spec", "truth_file", "write_synthetic"]

from probpose.data.synthetic.write import MARKER, SyntheticSpec, read_spec, truth_file, write_synthetic
