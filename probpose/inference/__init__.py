"""How a model is fitted: maximum likelihood, checkpoints and runs."""
