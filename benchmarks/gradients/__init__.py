"""Gradients of an expected metric: bias and variance on one batch, and what each is worth in training."""
