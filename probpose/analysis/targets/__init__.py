"""How the targets of a data set are distributed."""
