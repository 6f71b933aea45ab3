"""The report in a browser: laptop and phone width, light and dark. `make look` keeps the pictures to be looked at."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from probpose.analysis.calibration.report.page import report_html
from probpose.api.annotators import Annotators
from probpose.skeleton import COCO
from tests.annotator_cases import Truth, certain, draw_labels
from tests.browser import SCHEMES, SEEN, WIDTHS, Browser, check_look, keep
from tests.report_outcomes import fake_outcome

LONG = "right_ankle_as_the_annotators_of_the_second_campaign_called_it"


def calibration_page() -> str:
    """The report of a body's joints, one of them with a name that fits nowhere."""
    outcome = fake_outcome("wrong-tailed", persons=300, names=(*COCO.joints[:-1], LONG), outliers=60)
    return report_html(outcome)


def annotators_page() -> str:
    """Of eleven annotators, one with a name that fits nowhere, as one of the landmarks has."""
    truth = Truth.drawn(11, 6)
    labels, place = draw_labels(truth, 120)
    named = replace(labels, annotators=(*labels.annotators[:-1], LONG), landmarks=(*labels.landmarks[:-1], LONG))
    return Annotators(certain(named, truth, place, spread=0.1)).to_html()


@pytest.fixture(scope="module", params=[calibration_page, annotators_page], ids=["calibration", "annotators"])
def page(request: pytest.FixtureRequest, browser: Browser) -> str:
    """A report as text, without the figures that are written beside it."""
    return str(request.param())


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
    name = "annotators" if "How annotators err" in page[:20_000] else "report"
    keep(shot, f"{name}_{device}_{scheme}", tmp_path)
    check_look(shot, scheme)
