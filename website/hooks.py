"""What MkDocs calls while it builds the site; `python -m mkdocs` finds this package, where `mkdocs` may not."""

from __future__ import annotations

__all__ = ["on_config", "on_files", "on_page_markdown"]

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website import gallery
from website.links import ROOT, linked, outside, place
from website.reference import api_pages, command_pages, tutorial_pages

GALLERY = ROOT / "build" / "gallery"
"""Made where it is missing."""

_SESSION = re.compile(r"^```python\n(?=>>> )", re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Make the pages, and name them in the navigation where it says api/*."""
    if not (GALLERY / "gallery.md").is_file():
        gallery.make(GALLERY)
    made = {"api": api_pages(), "command": command_pages(), "tutorials": tutorial_pages()}
    pages = {f"{kind}/{name}.md": text for kind, found in made.items() for name, text in found.items()}
    config.extra["made"] = pages | {"gallery.md": (GALLERY / "gallery.md").read_text(encoding="utf-8")}
    config.nav = _expanded(config.nav, list(pages))


def _expanded(nav: Any, made: list[str]) -> Any:
    """The navigation, with each of the pages that are made in place of KIND/*."""
    if isinstance(nav, list):
        return [_expanded(entry, made) for entry in nav]
    if isinstance(nav, dict):
        return {title: _expanded(entry, made) for title, entry in nav.items()}
    return [page for page in made if page.startswith(nav[:-1])] if nav.endswith("/*") else nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made, and what lies outside docs/."""
    for name, text in config.extra["made"].items():
        files.append(File.generated(config, name, content=text))
    elsewhere = {place(path): ROOT / path for path in outside()}
    elsewhere |= {f"gallery/{file.name}": file for file in GALLERY.glob("*.png")}
    for name, source in elsewhere.items():
        files.append(File.generated(config, name, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links as they are on the site, sessions of Python as such; tables of results are not searched."""
    at = page.file.src_uri
    if at.count("/") > 1 and at.startswith("results/"):
        page.meta["search"] = {"exclude": True}
    return _SESSION.sub("```pycon\n", linked(markdown, _path(at), at))


def _path(at: str) -> str:
    """Of the file of the repository that a page is made from."""
    if at.startswith("tutorials/"):
        return at.replace("tutorials", "notebooks", 1)
    return at.removeprefix("repository/") if at.startswith("repository/") else f"docs/{at}"
