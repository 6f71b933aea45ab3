"""Errors that a user can act on: each names the file, the record, what is wrong and what to do."""

__all__ = ["CheckpointError", "ConfigError", "DataError", "ProbposeError", "RunInUseError", "TrainingError"]


class ProbposeError(Exception):
    """Base of every error that the commands print as one message, without a stack trace."""


class DataError(ProbposeError):
    """Images, annotations or boxes that cannot be used."""


class ConfigError(ProbposeError):
    """Options that are out of range or do not go together, or a file of options that cannot be read."""


class RunInUseError(ProbposeError):
    """A run folder that another process is training into."""


class CheckpointError(ProbposeError):
    """A run or a checkpoint that is missing, damaged, or made by another model."""


class TrainingError(ProbposeError):
    """Training that cannot go on, with the reason."""
