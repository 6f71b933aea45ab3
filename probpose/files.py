"""Files that are either written whole or not at all."""

from __future__ import annotations

__all__ = ["write_atomically"]

import os
from pathlib import Path


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
