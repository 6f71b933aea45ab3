"""A headless browser: pages are measured, asked and photographed in frames of a laptop's and a phone's width."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {"laptop": 1280, "phone": 390}
SCHEMES: dict[str, tuple[str, ...]] = {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}

NARROWEST = 500
"""No window of a browser is narrower: the page stands in a frame of the phone's width."""

SLICE = 6000
"""Pixels of one screenshot: browsers draw no surface of any height."""

SEEN = 1500
"""Pixels from the top that a test sees where nobody asks for the whole page."""

FRAME = """<!doctype html><html style="color-scheme: light dark"><meta charset="utf-8">
<style>body {{ margin: 0; overflow: hidden }} iframe {{ border: 0; display: block; margin-top: -{down}px }}</style>
{frames}<pre></pre><script>
const questions = [{questions}]
addEventListener("load", () => {{
  const told = [...document.querySelectorAll("iframe")].map(({{contentWindow}}, i) => {{
    try {{ return questions[i]?.(contentWindow, contentWindow.document) }}
    catch (error) {{ return {{error: error.stack}} }}
  }})
  document.querySelector("pre").textContent = JSON.stringify(told)
}})
</script></html>"""

MEASURE = """
const {scrollWidth, clientWidth, scrollHeight} = page.documentElement
const loaded = frame.performance.getEntriesByType("resource").map(entry => entry.name)
return {reach: scrollWidth, width: clientWidth, height: scrollHeight, loaded}
"""


def keep(shot: npt.NDArray[np.uint8], name: str, folder: Path) -> None:
    """Write a screenshot into the folder PROBPOSE_LOOK, where named, or else into `folder`."""
    place = Path(os.environ.get("PROBPOSE_LOOK") or folder)
    place.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(place / f"{name}.png"), shot)


def check_look(shot: npt.NDArray[np.uint8], scheme: str) -> None:
    """Paper or night behind, ink that stands out."""
    grey = shot.mean(axis=-1)
    paper = float(np.median(grey))
    assert paper > 240 if scheme == "light" else paper < 40
    assert (np.abs(grey - paper) > 120).mean() > 0.005


@dataclass(frozen=True)
class Measures:
    """What a browser found: how far the page reaches, its visible width and its height, and what it loaded."""

    reach: int
    width: int
    height: int
    loaded: list[str]


@dataclass(frozen=True)
class Browser:
    """A headless browser with a profile of its own; pages are shown as if they lay in `folder`."""

    program: str
    folder: Path

    @classmethod
    def found(cls, folder: Path) -> Browser | None:
        """The one that is installed, if any is."""
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        return None if program is None else cls(program, folder)

    def run(self, page: str, *options: str) -> str:
        """Show a page; what the browser prints."""
        file = self.folder / "frame.html"
        file.write_text(page, encoding="utf-8")
        return self.visit(file.as_uri(), *options)

    def visit(self, address: str, *options: str) -> str:
        """Show what is at an address; what the browser prints."""
        quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
        command = [self.program, *quiet, f"--user-data-dir={self.folder / 'profile'}", *options, address]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout

    def ask(self, page: str, *scripts: str, width: int = WIDTHS["laptop"], height: int = 900) -> list[Any]:
        """What the bodies of functions return, as JSON, each of a page of its own.

        `frame` is the window of the page, and `page` its document.
        """
        frames = _frame(page, width, height) * len(scripts)
        questions = ", ".join(f"(frame, page) => {{ {script} }}" for script in scripts)
        framed = FRAME.format(down=0, frames=frames, questions=questions)
        found = re.search(r"<pre>(.+?)</pre>", self.run(framed, "--dump-dom"), re.DOTALL)
        assert found is not None
        answers: list[Any] = json.loads(html.unescape(found[1]))
        failed = [answer["error"] for answer in answers if isinstance(answer, dict) and "error" in answer]
        assert not failed, failed[0]
        return answers

    def measure(self, page: str, width: int) -> Measures:
        return Measures(**self.ask(page, MEASURE, width=width)[0])

    def picture(self, page: str, width: int, height: int, scheme: str) -> npt.NDArray[np.uint8]:
        """The whole page (height, width, 3)."""
        file, parts = self.folder / "shot.png", []
        for down in range(0, height, SLICE):
            framed = FRAME.format(down=down, frames=_frame(page, width, height), questions="")
            window = f"--window-size={max(width, NARROWEST)},{min(SLICE, height) + 200}"
            self.run(framed, window, f"--screenshot={file}", *SCHEMES[scheme])
            parts.append(np.asarray(cv2.imread(str(file)), dtype=np.uint8)[: min(SLICE, height - down), :width])
        return np.concatenate(parts)


def _frame(page: str, width: int, height: int) -> str:
    return f'<iframe width="{width}" height="{height}" srcdoc="{html.escape(page)}"></iframe>'
