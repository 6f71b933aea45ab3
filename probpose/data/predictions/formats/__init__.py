"""Formats that poses come in: a file a format, which reads it and, where it can hold them, writes calibrated ones."""
