"""How annotators err: what the posterior of repeated labels says, as tables, consensus labels, files and a page."""
