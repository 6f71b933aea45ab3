"""Densities on the circle: directions as targets."""
