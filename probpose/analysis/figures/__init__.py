"""Drawing: regions, overlays, learning curves, residual densities."""
