"""The page of an audit in a browser: it fits, shows, filters, moves, decides, and exports what was decided."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from probpose.analysis.audit import page as writer
from probpose.analysis.audit.decisions import decided, digest_of, read_decisions
from probpose.analysis.audit.page import CROPS, LEAST, MOST, PAGE, write_page
from probpose.analysis.audit.record import ACTIONS, Audit
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.models.label_errors import KINDS
from tests.audit_cases import corrupted
from tests.browser import SCHEMES, WIDTHS, Browser, check_look, keep

EVIL = "</script><script>alert(1)</script>\"'<b>&amp;"


@pytest.fixture(scope="module")
def persons(figures: Path) -> Persons:
    return open_dataset("synthetic", "train", root=figures)


@pytest.fixture(scope="module")
def audit(persons: Persons) -> Audit:
    """Of figures; names and the first person's file, which is none, are such as somebody might have chosen."""
    joints = (EVIL, *persons.skeleton.joints[1:-1], "right_ankle_as_the_annotators_of_the_second_campaign_called_it")
    names = (EVIL, *persons.file_name[1:])
    named = replace(persons, skeleton=replace(persons.skeleton, joints=joints), file_name=names, name=EVIL)
    audit = replace(corrupted(named), remarks=(EVIL,))
    probability = audit.probability.copy()
    probability[np.flatnonzero(audit.row == 0)[0]] = np.arange(len(KINDS)) == KINDS.index("miss")  # is the first one
    return replace(audit, probability=probability)


@pytest.fixture(scope="module")
def page(audit: Audit, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(audit, tmp_path_factory.mktemp("audit")).read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="audit">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    document: dict[str, Any] = json.loads(found[1])
    return document


def test_every_suspected_label_is_in_the_page(page: str, audit: Audit) -> None:
    data = data_of(page)
    suspects = audit.order[audit.suspicion[audit.order] >= LEAST]
    assert len(data["labels"]) == len(suspects) > 50
    for found, index in zip(data["labels"][:50], suspects, strict=False):
        person = data["persons"][found["person"]]
        assert person["annotation_id"] == audit.persons.annotation_id[audit.row[index]]
        assert found["joint"] == audit.joint[index]
        np.testing.assert_allclose(found["label"], audit.label[index], atol=0.01)
        np.testing.assert_allclose(found["corrected"], audit.corrected[index], atol=0.01)
        np.testing.assert_allclose(found["probability"], audit.probability[index], atol=1e-4)
        assert data["actions"][found["action"]] == ACTIONS[audit.action[index]]


def test_names_are_text_everywhere(page: str) -> None:
    assert len(re.findall("<script", page)) == 2
    assert "<b>" not in page
    assert data_of(page)["joints"][0] == EVIL


def test_crops_show_where_the_view_says(persons: Persons, tmp_path: Path) -> None:
    """A dot at a label of the image is at that place of the crop, as the view maps it."""
    image = persons.picture(persons.file_name[0])
    assert not isinstance(image, str)
    dark = np.zeros_like(image)
    x, y = np.round(persons.keypoints[0, 5]).astype(int)
    cv2.circle(dark, (int(x), int(y)), 3, (255, 255, 255), -1)
    one = replace(persons.select([0]), pictures={persons.file_name[0]: dark})
    audit = corrupted(one, share=1.0)
    person = data_of(write_page(audit, tmp_path).read_text(encoding="utf-8"))["persons"][0]
    jpeg = np.frombuffer(base64.b64decode(person["picture"].split(",")[1]), np.uint8)
    crop = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    assert crop is not None
    light = crop.astype(float) * (crop > 60)
    rows, columns = np.indices(crop.shape)
    centre = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    left, top, width, height = person["view"]
    place = np.array([left, top]) + (centre + 0.5) / crop.shape[::-1] * [width, height]
    np.testing.assert_allclose(place, [x, y], atol=0.6)


def test_a_far_label_does_not_shrink_the_person(browser: Browser, persons: Persons, tmp_path: Path) -> None:
    audit = corrupted(persons.select([0]), share=1.0)
    keypoints = audit.persons.keypoints.copy()
    keypoints[0, audit.joint[audit.order[0]]] = 1e6
    audit = replace(audit, persons=replace(audit.persons, keypoints=keypoints))
    page = write_page(audit, tmp_path).read_text(encoding="utf-8")
    x, _, width, height = data_of(page)["persons"][0]["view"]
    box = audit.persons.box[0]
    assert width < 4 * max(box[2:])
    assert height < 4 * max(box[2:])
    assert x < box[0] < x + width
    assert browser.ask(page, "return page.getElementById('place').textContent")[0].endswith(", outside the crop")


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_regions_hold_what_they_say(audit: Audit, factor: float, tmp_path: Path) -> None:
    """Of good labels, also where the stated covariances are too small; labels that are wrong do not widen them."""
    good = np.where(audit.probability.argmax(1) == 0, 1.0, 0.0)
    away = np.random.default_rng(1).normal(size=(len(audit), 2)) * factor
    away[good == 0] *= 50
    root = np.linalg.cholesky(audit.covariance)
    predicted = audit.label - np.einsum("mij,mj->mi", root, away)
    probability = np.eye(len(KINDS))[np.where(good == 1, 0, len(KINDS) - 1)]
    found = data_of(
        write_page(replace(audit, predicted=predicted, probability=probability), tmp_path).read_text("utf-8")
    )
    count = int(good.sum())
    for radius, content in zip(found["radii"], (0.5, 0.9), strict=True):
        exact = factor * np.sqrt(-2 * np.log(1 - content))
        error = factor * np.sqrt(content / (1 - content) / count) / (exact / factor)  # of a quantile of Rayleigh's law
        assert abs(radius - exact) < 4 * error + 1e-3


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_page_fits_and_loads_nothing(browser: Browser, page: str, width: int) -> None:
    found = browser.measure(page, width)
    assert (found.width, found.reach) == (width, width)
    assert found.height > 500
    assert [name for name in found.loaded if not name.startswith("data:")] == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("device", WIDTHS)
def test_look(browser: Browser, page: str, device: str, scheme: str, tmp_path: Path) -> None:
    """Paper or night behind, ink that stands out; the page is kept in the folder PROBPOSE_LOOK, where named."""
    shot = browser.picture(page, WIDTHS[device], 900, scheme)
    keep(shot, f"audit_{device}_{scheme}", tmp_path)
    check_look(shot[:200], scheme)


TOLD = """
frame.localStorage.clear()
const by = id => page.getElementById(id)
const press = (key, target = page.body) =>
  target.dispatchEvent(new frame.KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}))
const choose = (id, value) => {
  by(id).value = value
  by(id).dispatchEvent(new frame.Event("input", {bubbles: true}))
  by(id).dispatchEvent(new frame.Event("change", {bubbles: true}))
}
const now = () => {
  const row = page.querySelector("[aria-current]")
  return row ? Number(row.dataset.index) : null
}
const rows = () => page.querySelectorAll("#rows button").length
const status = () => by("status").textContent
"""


@pytest.fixture(scope="module")
def told(browser: Browser, page: str) -> dict[str, Any]:
    """What the page answers to each script."""
    scripts = (STARTED, FILTERED, MOVED, DECIDED, PAIRED, CHOSEN, REACHED)
    return dict(zip(scripts, browser.ask(page, *(TOLD + script for script in scripts)), strict=True))


STARTED = """
const marks = [...page.querySelectorAll("#picture path.mark")].map(one => one.getAttribute("stroke"))
return {now: now(), title: by("title").textContent, status: status(), marks: [...new Set(marks)],
        bars: [...page.querySelectorAll("#bars .number")].map(one => one.textContent),
        text: by("picture").textContent, place: by("place").textContent, alert: frame.alert.name}
"""


def test_it_starts_at_the_most_suspicious_label(told: dict[str, Any], audit: Audit) -> None:
    found = told[STARTED]
    assert found["now"] == 0
    assert found["title"] == EVIL
    assert EVIL in found["place"]
    assert "There is no picture" in found["text"]  # of the first person
    assert f"of {int((audit.suspicion >= 0.5).sum())};" in found["status"]
    assert found["bars"] == ["0%", "0%", "0%", "0%", "0%", "100%"]
    assert "#ff7d3b" in found["marks"]  # the label
    assert "#49b9ff" in found["marks"]  # the prediction


FILTERED = """
const counts = [status()]
choose("kind", "inversion"); counts.push(status())
choose("joint", "left_knee"); counts.push(status())
choose("least", "0"); counts.push(status())
choose("kind", ""); choose("joint", ""); choose("least", "1"); counts.push(status(), by("bench").hidden)
choose("least", "0"); counts.push(status(), rows(), by("pages").textContent)
by("page-on").click(); counts.push(now(), by("pages").textContent)
return counts
"""


def test_filters_reduce_the_list(told: dict[str, Any], audit: Audit) -> None:
    found = told[FILTERED]
    inversion, knee = audit.probability[:, KINDS.index("inversion")], audit.persons.skeleton.joints.index("left_knee")
    suspects = audit.suspicion >= LEAST
    expected = [
        (audit.suspicion >= 0.5).sum(),
        (inversion >= 0.5).sum(),
        ((inversion >= 0.5) & (audit.joint == knee)).sum(),
        (suspects & (audit.joint == knee)).sum(),
    ]
    assert all(f"of {count};" in text for count, text in zip(expected, found[:4], strict=True))
    assert expected[0] > expected[1] > expected[2] > 0
    assert found[6].startswith(f"Label 1 of {suspects.sum()};")
    assert found[7:9] == [40, f"1 to 40 of {suspects.sum()}"]
    assert found[9:] == [40, f"41 to 80 of {suspects.sum()}"]


MOVED = """
const places = [now(), by("previous").disabled]
press("n"); places.push(now())
press("j"); places.push(now())
press("p"); places.push(now())
by("next").click(); places.push(now())
by("previous").click(); by("previous").click(); press("p"); places.push(now())
press("n", by("kind")); places.push(now())
page.querySelectorAll("#rows button")[5].click(); places.push(now())
const before = by("picture").getAttribute("viewBox")
press("+"); const inside = by("picture").getAttribute("viewBox")
press("0"); places.push(inside !== before, by("picture").getAttribute("viewBox") === before)
return places
"""


def test_keys_and_buttons_move(told: dict[str, Any]) -> None:
    found = told[MOVED]
    assert found == [0, True, 1, 2, 1, 2, 0, 0, 5, True, True]


DECIDE = """
let file, name
frame.Blob = class { constructor(parts) { file = parts.join("") } }
frame.URL.createObjectURL = () => "about:blank"
frame.HTMLAnchorElement.prototype.click = function () { name = this.download }
"""


DECIDED = (
    DECIDE
    + """
choose("kind", "miss")
press("n")
const before = now()
press("a")
const states = [before, now() !== before, by("status").textContent]
press("r"); press("a"); press("p"); press("u")
choose("decided", "accept"); states.push(status())
states.push(by("accept").getAttribute("aria-pressed"), page.querySelector("[aria-current]").dataset.decision)
choose("decided", "undecided"); states.push(status())
by("export").click()
return {states, file, name, kept: frame.restored().size, text: by("export").textContent}
"""
)


def test_decisions_are_kept_and_exported(told: dict[str, Any], audit: Audit, tmp_path: Path, persons: Persons) -> None:
    """Accept the second label, reject the third, accept and take back the fourth: the file says so, and is applied."""
    found = told[DECIDED]
    assert found["name"] == "decisions.json"
    assert found["kept"] == 2
    assert found["text"] == "Export 2 decisions"
    assert found["states"][1] is True
    assert "1 accepted, 0 rejected" in found["states"][2]
    assert "Label 1 of 1;" in found["states"][3]
    assert found["states"][4:6] == ["true", "accept"]
    document = json.loads(found["file"])
    assert document["audit"] == digest_of(audit.models, audit.persons)
    miss = audit.probability[:, KINDS.index("miss")]
    order = np.argsort(-np.round(miss, 4), kind="stable")
    accepted, rejected = sorted(document["decisions"], key=lambda one: one["decision"])
    for one, index in ((accepted, order[1]), (rejected, order[2])):
        assert one["annotation_id"] == audit.persons.annotation_id[audit.row[index]]
        assert one["joint"] == audit.persons.skeleton.joints[audit.joint[index]]
    file = tmp_path / "decisions.json"
    file.write_text(found["file"], encoding="utf-8")
    applied = decided(audit, read_decisions(file, audit.models, audit.persons))
    assert np.flatnonzero(applied.action).tolist() == [order[1]]


PAIRED = """
choose("kind", "inversion")
press("a")
const pair = frame.exported().decisions
choose("kind", ""); choose("least", "0")
press("R")
return {pair, all: frame.exported().decisions.slice(-1)[0].decision, count: frame.exported().decisions.length}
"""


def test_sides_are_decided_in_pairs_and_persons_as_a_whole(told: dict[str, Any], audit: Audit) -> None:
    found = told[PAIRED]
    one, other = found["pair"]
    partner = audit.persons.skeleton.flip_permutation[audit.persons.skeleton.joints.index(one["joint"])]
    assert other["joint"] == audit.persons.skeleton.joints[partner]
    assert one["annotation_id"] == other["annotation_id"]
    assert {one["action"], other["action"]} == {"exchange"}
    assert found["count"] > 2


CHOSEN = """
choose("action", "unlabel")
const before = frame.exported().decisions.length
press("a")
return [before, frame.exported().decisions[0]]
"""


def test_another_correction_can_be_chosen(told: dict[str, Any]) -> None:
    found = told[CHOSEN]
    assert found[0] == 0
    assert (found[1]["action"], found[1]["to"]) == ("unlabel", None)


REACHED = """
const all = [...page.querySelectorAll("button, select, input")].filter(one => one.offsetParent && !one.disabled)
return all.map(one => {
  one.focus({focusVisible: true})
  const style = frame.getComputedStyle(one)
  return [one.id || one.dataset.index, page.activeElement === one, one.tabIndex, one.type === "button"
    ? one.getAttribute("aria-label") || one.textContent : one.labels[0].textContent, style.outlineStyle]
})
"""


def test_everything_works_without_a_mouse(told: dict[str, Any]) -> None:
    """Whatever can be clicked can be reached by Tab, has a name, and shows that it has the focus."""
    found = told[REACHED]
    assert len(found) > 50
    for name, focused, tab, label, outline in found:
        assert (focused, tab) == (True, 0), name
        assert label.strip(), name
        assert outline == "solid", name


def test_many_labels_are_few_elements(browser: Browser, persons: Persons, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many persons the crops lie beside the page, which has but the one that is shown."""
    monkeypatch.setattr(writer, "EMBEDDED", 0)
    many = persons.select(np.arange(600) % len(persons))
    red = dict.fromkeys(many.file_name, np.full((400, 400, 3), (255, 0, 0), np.uint8))
    page = write_page(corrupted(replace(many, pictures=red)), browser.folder).read_text(encoding="utf-8")
    assert len(data_of(page)["labels"]) == MOST
    script = """
    choose("least", "0"); press("n")
    const images = [...page.querySelectorAll("image")].map(one => one.getAttribute("href"))
    return {elements: page.querySelectorAll("*").length, images}
    """
    (found,) = browser.ask(page, TOLD + script)
    assert found["elements"] < 700
    (crop,) = found["images"]
    assert re.fullmatch(rf"{CROPS}/\d+\.jpg", crop)
    shot = browser.picture(page, 1280, 900, "light").astype(int)
    assert ((shot[..., 2] > 200) & (shot[..., :2].max(-1) < 60)).mean() > 0.1


def test_nothing_suspected_is_said(browser: Browser, audit: Audit, tmp_path: Path) -> None:
    sure = replace(audit, probability=np.tile(np.eye(len(KINDS))[0], (len(audit), 1)))
    page = write_page(sure, tmp_path).read_text(encoding="utf-8")
    (found,) = browser.ask(page, TOLD + "return [status(), by('bench').hidden]")
    assert found[0].startswith("No label passes these filters")
    assert found[1] is True


def test_a_folder_that_cannot_be_written_is_named(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"the page cannot be written to .*file.*Make room, or name another folder"):
        write_page(audit, tmp_path / "file" / PAGE)
