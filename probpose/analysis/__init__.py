"""What is learnt from a fit: evaluation, calibration, prediction and figures."""
