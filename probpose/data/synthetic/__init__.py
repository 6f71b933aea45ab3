"""Rendered human figures with known annotation noise."""

__all__ = ["SyntheticSpec", "read_spec", "truth_file", "write_synthetic"]

from probpose.data.synthetic.write import SyntheticSpec, read_spec, truth_file, write_synthetic
