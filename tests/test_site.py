"""The documentation as a site: every public name and command has a place, links hold, no warning when it is built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import probpose as pp
from probpose.analysis.figures.canvas import LiteralFigure
from probpose.cli import COMMANDS
from website.gallery import ELSEWHERE, figure_makers, watched
from website.links import MODULES, ROOT, linked, outside, place
from website.reference import GROUPS, api_pages, command_pages, tutorial_pages

SITE = ("jupytext", "mkdocs", "material", "mkdocstrings", "griffe")
LOADED = re.compile(
    r'<(?:script|img|iframe|source)[^>]* src="(?:https?:)?//|<link[^>]*rel="(?!canonical)[^>]*href="(?:https?:)?//'
)


def test_every_public_name_has_one_place() -> None:
    placed = Counter(name for _, _, names in GROUPS.values() for name in names.split())
    assert placed + Counter(MODULES) == Counter(pp.__all__)


def test_names_are_headings_of_their_pages() -> None:
    pages = api_pages()
    text = "\n".join(pages.values())
    assert [name for name in pp.__all__ if f"pp.{name}" not in text] == []
    for module in MODULES:
        assert [own for own in getattr(pp, module).__all__ if f"heading: pp.{module}.{own}," not in pages[module]] == []


def test_every_command_has_a_page_with_its_help() -> None:
    pages = command_pages()
    assert list(pages) == list(COMMANDS)
    for name, text in pages.items():
        assert f"Usage: probpose {name} " in text
        assert "Example:" in text
    assert all(f"## probpose data {own}\n" in pages["data"] for own in ("check", "pack", "stats", "synth"))


def test_notebooks_are_pages_with_their_title_first() -> None:
    pages = tutorial_pages()
    assert set(pages) == {file.stem for file in (ROOT / "notebooks").glob("*.ipynb")}
    assert all(text.startswith("# ") and "import probpose as pp" in text for text in pages.values())
    assert not any("jupytext" in text for text in pages.values())


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("docs/a.md", "[x](b.md#c) ![y](pictures/z.png)", "[x](b.md#c) ![y](pictures/z.png)"),
        ("docs/extend/a.md", "[x](../b.md)", "[x](../b.md)"),
        ("docs/a.md", "[x](../LICENSE)", "[x](repository/LICENSE)"),
        ("docs/extend/a.md", "[x](../../notebooks/README.md#y)", "[x](../repository/notebooks/README.md#y)"),
        ("README.md", "[x](docs/b.md)", "[x](../b.md)"),
        ("README.md", "[x](notebooks/README.md)", "[x](notebooks/README.md)"),
        ("docs/a.md", "[x](https://example.org/../a.md) [y](#z)", "[x](https://example.org/../a.md) [y](#z)"),
        ("README.md", "```\n[x](docs/b.md)\n`pp.fit`\n```", "```\n[x](docs/b.md)\n`pp.fit`\n```"),
        ("docs/a.md", "`pp.fit` and `pp.fit(x, y)`", "[`pp.fit`][probpose.fit] and [`pp.fit(x, y)`][probpose.fit]"),
        ("docs/a.md", "`pp.Run.predict`", "[`pp.Run.predict`][probpose.Run]"),
        ("docs/a.md", "`pp.densities.fit(e)`", "[`pp.densities.fit(e)`][probpose.densities.fit]"),
        ("docs/a.md", "`pp.densities.RLE`", "[`pp.densities.RLE`][probpose.models.densities.rle.RLEResidual]"),
        (
            "docs/a.md",
            "`pp.circular.x` `pp.circular`",
            "[`pp.circular.x`][probpose.circular] [`pp.circular`][probpose.circular]",
        ),
        ("docs/a.md", "`pp.fits` `fit`", "`pp.fits` `fit`"),
        ("docs/a.md", "[`pp.fit` it](b.md)", "[`pp.fit` it](b.md)"),
    ],
)
def test_links(path: str, text: str, expected: str) -> None:
    assert linked(text, path, place(path)) == expected


def test_what_makes_figures_is_seen_and_found() -> None:
    def draw_of_a_test() -> LiteralFigure:
        return LiteralFigure()

    with watched() as seen:
        draw_of_a_test()
    assert "draw_of_a_test" in seen
    assert {"draw_curves", "coverage_picture", "draw_levels"} | ELSEWHERE <= figure_makers()


def test_the_citation_is_of_this_version_and_licence() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["cff-version"], cited["version"], cited["license"]) == ("1.2.0", pp.__version__, "Apache-2.0")
    assert f"## [{pp.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does, elsewhere."""
    if missing := [name for name in SITE if find_spec(name) is None]:
        pytest.skip(f"needs the extra docs ({', '.join(missing)})")
    folder = tmp_path_factory.mktemp("site")
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_is_whole(site: Path) -> None:
    """It is built strictly: a broken link or anchor, or a page that no shelf has, is an error of the build."""
    anchors = {
        anchor
        for page in (site / "api").glob("*.html")
        for anchor in re.findall(r'id="(probpose\.[\w.]+)"', page.read_text())
    }
    assert [name for name in pp.__all__ if f"probpose.{name}" not in anchors] == []
    assert all((site / "command" / f"{name}.html").is_file() for name in COMMANDS)
    assert all((site / place(path)).is_file() for path in outside() if not path.endswith(".md"))
    assert len(list((site / "gallery").glob("*.png"))) > 25


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    assert LOADED.search('<script src="https://unpkg.com/x.js">')
    assert LOADED.search('<link rel="stylesheet" href="https://fonts.googleapis.com/css">')
    loading = [
        page.relative_to(site) for page in site.rglob("*.html") if LOADED.search(page.read_text(encoding="utf-8"))
    ]
    assert loading == []
