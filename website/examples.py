"""Examples in docstrings as code: a doctest outside a section "Examples" is a block of its own."""

from __future__ import annotations

__all__ = ["FencedExamples", "fence"]

from typing import Any

import griffe


def fence(text: str) -> str:
    """Put each run of lines from `>>>` to the next blank line into a block, at its indentation."""
    lines: list[str] = []
    inside: str | None = None
    for line in [*text.splitlines(), ""]:
        if inside is None and line.lstrip().startswith(">>> "):
            inside = line[: len(line) - len(line.lstrip())]
            lines += [*([""] if lines and lines[-1].strip() else []), f"{inside}```pycon"]
        elif inside is not None and not line.strip():
            lines.append(f"{inside}```")
            inside = None
        lines.append(line)
    return "\n".join(lines[:-1])


class FencedExamples(griffe.Extension):
    """Does so with every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change one docstring, after the object is read."""
        if obj.docstring is not None:
            obj.docstring.value = fence(obj.docstring.value)
