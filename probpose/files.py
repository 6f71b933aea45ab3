"""Files: written whole or not at all, and read so that whatever is wrong with one is a single error that names it."""

from __future__ import annotations

__all__ = ["check_regular", "describe", "read_bytes", "read_text", "reading", "write_atomically"]

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probpose.errors import DataError, ProbposeError

_SHOWN = 200
"""Letters of what a library says of a fault."""


@contextmanager
def reading(
    path: Path, fault: str, error: type[ProbposeError] = DataError, advice: str = "truncated? Write it again."
) -> Iterator[None]:
    """Read `path` in this block: whatever a library raises about its content becomes an `error` that names the file.

    Libraries raise dozens of kinds on damaged files (zlib.error, RecursionError, struct.error, AssertionError ...).
    Errors of probpose that name the file pass through as they are.

    Args:
        path: the file, which must be a regular one (`check_regular`).
        fault: what is wrong where the block raises anything, such as "is not an .npz file".
        error: that is raised.
        advice: what the message ends with.

    Raises:
        ProbposeError: `error`, where the block raises anything.
    """
    try:
        check_regular(path)
        yield
    except ProbposeError as found:
        if str(path) in str(found):
            raise
        raise error(f"{path} {fault}: {found} {advice[:1].upper()}{advice[1:]}") from found
    except OSError as found:
        raise error(f"{path} cannot be read: {found.strerror or found}. Check the path.") from found
    except Exception as found:
        raise error(f"{path} {fault} ({describe(found)}): {advice}") from found


def describe(fault: Exception) -> str:
    """What an exception says, in one short line; its kind too, unless it is a plain ValueError."""
    lines = str(fault).strip().splitlines()
    text = lines[0][:_SHOWN] if lines else ""
    return text if text and isinstance(fault, ValueError) else f"{type(fault).__name__}: {text}".removesuffix(": ")


def check_regular(path: Path) -> None:
    """Refuse what is there and no regular file: a device has no end, and a pipe may wait for ever.

    Raises:
        OSError: it is a folder, a device or a pipe.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # NUL in the name
        raise OSError(errno.EINVAL, f"the name is not valid ({error})", str(path)) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file but a device or a pipe", str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: it is missing, cannot be read, or is a folder, a device or a pipe.
    """
    check_regular(path)
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The content of a regular file in UTF-8.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it is no text.
    """
    return read_bytes(path).decode("utf-8")


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a temporary file: after a crash or on a full disk the old file still stands.

    Raises:
        OSError: the disk is full or the folder is not writable; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
