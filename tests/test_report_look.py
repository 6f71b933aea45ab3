"""The report in a browser: laptop and phone width, light and dark. `make look` keeps the pictures to be looked at."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from probpose.analysis.calibration.report.page import write_report
from probpose.skeleton import COCO
from tests.report_outcomes import fake_outcome

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
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
<iframe width="{width}" height="{height}" srcdoc="{page}"></iframe><pre></pre><script>
addEventListener("load", () => {{
  const frame = document.querySelector("iframe"), page = frame.contentDocument.documentElement
  const loaded = frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name)
  document.querySelector("pre").textContent =
    JSON.stringify({{ reach: page.scrollWidth, width: page.clientWidth, height: page.scrollHeight, loaded }})
}})
</script></html>"""


@dataclass(frozen=True)
class Measures:
    """What a browser found: how far the page reaches, its visible width and its height, and what it loaded."""

    reach: int
    width: int
    height: int
    loaded: list[str]


@dataclass(frozen=True)
class Browser:
    """A headless browser with a profile of its own."""

    program: str
    folder: Path

    def run(self, page: str, *options: str) -> str:
        """Show a page; what the browser prints."""
        file = self.folder / "frame.html"
        file.write_text(page, encoding="utf-8")
        quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
        command = [self.program, *quiet, f"--user-data-dir={self.folder / 'profile'}", *options, file.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout

    def measure(self, page: str, width: int) -> Measures:
        framed = FRAME.format(down=0, width=width, height=900, page=html.escape(page))
        found = re.search(r"<pre>(.+?)</pre>", self.run(framed, "--dump-dom"), re.DOTALL)
        assert found is not None
        return Measures(**json.loads(html.unescape(found[1])))

    def picture(self, page: str, width: int, height: int, scheme: str) -> npt.NDArray[np.uint8]:
        """The whole page (height, width, 3)."""
        file, parts = self.folder / "shot.png", []
        for down in range(0, height, SLICE):
            framed = FRAME.format(down=down, width=width, height=height, page=html.escape(page))
            window = f"--window-size={max(width, NARROWEST)},{min(SLICE, height) + 200}"
            self.run(framed, window, f"--screenshot={file}", *SCHEMES[scheme])
            parts.append(np.asarray(cv2.imread(str(file)), dtype=np.uint8)[: min(SLICE, height - down), :width])
        return np.concatenate(parts)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed (any of {', '.join(BROWSERS)})")
    return Browser(program, tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a body's joints, one of them with a name that fits nowhere."""
    names = (*COCO.joints[:-1], "right_ankle_as_the_annotators_of_the_second_campaign_called_it")
    outcome = fake_outcome("wrong-tailed", persons=300, names=names, outliers=60)
    return write_report(outcome, tmp_path_factory.mktemp("report")).read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_page_fits_and_loads_nothing(browser: Browser, page: str, width: int) -> None:
    found = browser.measure(page, width)
    assert found.width == width
    assert found.reach == width
    assert found.height > 3000
    assert found.loaded == []


def test_what_does_not_fit_or_is_loaded_is_noticed(browser: Browser, page: str) -> None:
    """The measures of the test above can fail: the page without its guard, with a wide block and an image from afar."""
    guard = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>")
    wrong = '<div style="width: 2000px">wide</div><img src="http://127.0.0.1:9/far.png" alt="">'
    assert guard.search(page)
    found = browser.measure(guard.sub("", page).replace("</main>", f"{wrong}</main>"), WIDTHS["phone"])
    assert found.reach > 2000
    assert found.loaded == ["http://127.0.0.1:9/far.png"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("device", WIDTHS)
def test_look(browser: Browser, page: str, device: str, scheme: str, tmp_path: Path) -> None:
    """Paper or night behind, ink that stands out; the whole page is kept in the folder PROBPOSE_LOOK, where named."""
    kept = os.environ.get("PROBPOSE_LOOK")
    height = browser.measure(page, WIDTHS[device]).height if kept else SEEN
    shot = browser.picture(page, WIDTHS[device], height, scheme)
    folder = Path(kept or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / f"report_{device}_{scheme}.png"), shot)
    grey = shot.mean(axis=-1)
    paper = float(np.median(grey))
    assert paper > 240 if scheme == "light" else paper < 40
    assert (np.abs(grey - paper) > 120).mean() > 0.005
