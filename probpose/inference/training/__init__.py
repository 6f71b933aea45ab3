"""Training: configuration, run folders, checkpoints, the loop and its guards."""
