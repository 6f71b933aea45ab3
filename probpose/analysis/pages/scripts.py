"""The scripts of pages that answer: written into the page, which runs no other one but by its digest."""

from __future__ import annotations

__all__ = ["digest_of_script", "script_of"]

import base64
import hashlib
from importlib import resources


def script_of(page: str) -> str:
    """What such pages have in common (viewer.js), and the script of this one."""
    folder = resources.files("probpose.analysis.pages").joinpath("templates")
    return "\n".join(folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in ("viewer", page))


def digest_of_script(script: str) -> str:
    """Its SHA-256, as a page's Content-Security-Policy has it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
