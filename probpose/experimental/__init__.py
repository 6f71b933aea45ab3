"""What was tried and measured as worth nothing or little: kept for the comparisons that show it."""
