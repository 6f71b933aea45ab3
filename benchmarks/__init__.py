"""What is measured against known truth and against peers; each module prints its table."""
