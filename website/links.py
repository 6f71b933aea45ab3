"""Links as they are on the site: between pages, to files outside docs/, from `pp.name` to what is said of the name."""

from __future__ import annotations

__all__ = ["MODULES", "ROOT", "entry_of", "linked", "outside", "place"]

import inspect
import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

import probpose as pp

ROOT = Path(__file__).resolve().parents[1]

OUTSIDE = ("*.md", "LICENSE", "CITATION.cff", "notebooks/*.md", "notebooks/*.ipynb", "examples/*.py", "benchmarks/*.py")
"""What pages may link to outside docs/."""

MODULES = ("densities", "circular")
"""Public ones, each with a page of its own."""

_BLOCK = re.compile(r"^(```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\[[^\[\]]*\])\((?!\w+:|#)([^()\s#]+)(#[^()\s]*)?\)")
_NAME = re.compile(r"!?\[[^\[\]]*\][(\[][^)\]]*[)\]]|`pp\.(\w+)(?:\.(\w+))?[^`\n]*`")


def outside() -> list[str]:
    """Paths in the repository of the files outside docs/ that the site has."""
    return sorted(file.relative_to(ROOT).as_posix() for pattern in OUTSIDE for file in ROOT.glob(pattern))


def place(path: str) -> str:
    """Where a file of the repository lies on the site: of docs/ at its root, any other in repository/."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}"


def linked(text: str, path: str, at: str) -> str:
    """The Markdown of a file with its links as they are on the site; blocks of code stay as they are.

    Args:
        text: of the file.
        path: of the file in the repository, from which it links.
        at: where it lies on the site.
    """

    def moved(link: re.Match[str]) -> str:
        target = place(normpath(join(dirname(path), link[2])))
        return f"{link[1]}({relpath(target, dirname(at) or '.')}{link[3] or ''})"

    parts = _BLOCK.split(text)
    parts[::2] = [_NAME.sub(_to_name, _LINK.sub(moved, part)) for part in parts[::2]]
    return "".join(parts)


def _to_name(found: re.Match[str]) -> str:
    """`pp.name` linked to its entry; what stands in a link, or is no public name, stays as it is."""
    if found[1] not in pp.__all__:
        return found[0]
    name = f"{found[1]}.{found[2]}" if found[1] in MODULES and found[2] else found[1]
    return f"[{found[0]}][{entry_of(name)}]"


def entry_of(name: str) -> str:
    """What a public name is called where it is described: a class that a module gives another name, by its own."""
    module, _, own = name.rpartition(".")
    value = getattr(getattr(pp, module), own, None) if module else None
    if inspect.isclass(value) and value.__name__ != own:
        return f"{value.__module__}.{value.__qualname__}"
    return f"probpose.{name if not module or value is not None else module}"
