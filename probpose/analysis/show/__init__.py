"""A page to look through predictions on, one person at a time."""
