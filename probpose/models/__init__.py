"""Generative programs: regressors, residual densities, flows and likelihood families."""
