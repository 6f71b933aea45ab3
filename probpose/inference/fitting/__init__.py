"""Fitting without images: noise models, posteriors of residuals, rates of gross errors."""
