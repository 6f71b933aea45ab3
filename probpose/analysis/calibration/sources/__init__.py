"""Where cases come from, and where recalibrated predictions go back to: a run, a results file, or a table."""
