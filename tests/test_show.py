"""The page to look through predictions on: what it holds, and how it behaves in a browser."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import probpose as pp
from probpose.analysis.show import page as writer
from probpose.analysis.show.gallery import Gallery
from probpose.analysis.show.page import FOLDER, PAGE, write_show
from probpose.cli import main
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.persons import Persons
from probpose.errors import ConfigError, DataError
from probpose.models.densities import GaussianResidual
from probpose.models.predictive.location_scale import LocationScale
from tests.audit_cases import corrupted
from tests.browser import SCHEMES, WIDTHS, Browser, check_look, keep

EVIL = "</script><script>alert(1)</script>\"'<b>&amp;"


@pytest.fixture(scope="module")
def persons(figures: Path) -> Persons:
    found = open_dataset("synthetic", "train", root=figures).select(np.arange(12))
    names = (EVIL, *found.file_name[1:])  # the first one is no file
    skeleton = replace(found.skeleton, joints=(EVIL, *found.skeleton.joints[1:]))
    return replace(found, file_name=names, skeleton=skeleton, name=EVIL)


def gallery_of(persons: Persons, seed: int = 0) -> Gallery:
    """Predictions with correlated regions, some joints not predicted."""
    rng = np.random.default_rng(seed)
    shape = persons.keypoints.shape
    scale = np.zeros((*shape, 2))
    scale[..., 0, 0], scale[..., 1, 1] = rng.uniform(2, 8, shape[:2]), rng.uniform(2, 8, shape[:2])
    scale[..., 1, 0] = rng.normal(0, 2, shape[:2])
    truth = np.where(persons.labelled[..., None], persons.keypoints, persons.box[:, None, :2])
    point = truth + np.einsum("nkij,nkj->nki", scale, rng.normal(size=shape))
    located = LocationScale(torch.from_numpy(point), torch.from_numpy(scale), GaussianResidual().frozen(2**10))
    hidden = rng.uniform(size=shape[:2]) < 0.1
    return Gallery(persons.name, persons, np.where(hidden[..., None], np.nan, point), located)


@pytest.fixture(scope="module")
def gallery(persons: Persons) -> Gallery:
    return gallery_of(persons)


@pytest.fixture(scope="module")
def page(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_show(gallery, tmp_path_factory.mktemp("show"))[0].read_text(encoding="utf-8")


def json_of(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def values_of(page: str, measure: str) -> np.ndarray[Any, Any]:
    index = json_of(page, "gallery")
    one = next(one for one in index["measures"] if one["name"] == measure)
    return np.frombuffer(base64.b64decode(one["values"]), "<f4").reshape(index["persons"], -1)


def test_measures_are_those_of_the_densities(page: str, gallery: Gallery) -> None:
    parts, persons = json_of(page, "part-0"), gallery.persons
    rows = [person["place"] for person in parts]
    assert sorted(rows) == list(range(len(gallery)))
    assert gallery.predictive is not None
    log_prob = gallery.predictive.log_prob(torch.from_numpy(persons.keypoints)).numpy()
    known = persons.labelled & gallery.predicted
    np.testing.assert_allclose(values_of(page, "surprise"), np.where(known, -log_prob, np.nan)[rows], rtol=1e-5)
    level = values_of(page, "level") / 100  # of a Gaussian 1 - exp(-m^2 / 2)
    z = gallery.predictive.as_location_scale().standardised(torch.from_numpy(persons.keypoints)).numpy()
    exact = np.where(known, 1 - np.exp(-(z**2).sum(-1) / 2), np.nan)[rows]
    np.testing.assert_allclose(level, exact, atol=0.02)
    surprise = np.nanmax(values_of(page, "surprise"), 1)
    assert (np.diff(surprise) <= 0).all()
    assert values_of(page, "sigma").shape == known.shape


def test_regions_are_those_of_the_density(page: str, gallery: Gallery) -> None:
    """Every point of an outline, moved as the page moves it, has the level that it is drawn for."""
    index, person = json_of(page, "gallery"), json_of(page, "part-0")[3]
    located = gallery.predictive
    assert located is not None
    for joint in range(0, len(index["joints"]), 5):
        a, b, c, d, x, y = person["moved"][joint]
        for path, content in zip(index["shapes"][joint], (0.5, 0.9), strict=True):
            z = np.array([[float(v) for v in pair.split()] for pair in re.split("[MLZ]", path) if pair])
            places = z @ np.array([[a, b], [c, d]]) + [x, y]
            value = torch.from_numpy(places).unsqueeze(1)
            one = located.rows(torch.tensor([person["place"]])).as_location_scale()
            far = np.linalg.norm(
                one.standardised(value.unsqueeze(1).expand(-1, 1, len(index["joints"]), 2))[:, 0, joint], axis=-1
            )
            np.testing.assert_allclose(far, np.sqrt(-2 * np.log(1 - content)), rtol=0.06)


def test_names_are_text_everywhere(page: str) -> None:
    assert len(re.findall("<script", page)) == 3
    assert "<b>" not in page
    assert json_of(page, "gallery")["joints"][0] == EVIL


def test_nobody_and_a_folder_that_is_a_file(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no person to show"):
        write_show(gallery.select(np.zeros(0, dtype=np.int64)), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="name another folder"):
        write_show(gallery, tmp_path / "file")


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
    keep(shot, f"show_{device}_{scheme}", tmp_path)
    check_look(shot[:200], scheme)


TOLD = """
const by = id => page.getElementById(id)
const faults = []
frame.addEventListener("error", event => faults.push(event.message))
const press = (key, target = page.body) =>
  target.dispatchEvent(new frame.KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}))
const choose = (id, value) => { by(id).value = value; by(id).dispatchEvent(new frame.Event("input", {bubbles: true})) }
const now = () => Number(page.querySelector("[aria-current][data-index]").dataset.index)
const lines = () => page.querySelectorAll("#picture .region").length
const crosses = () => page.querySelectorAll('#picture path.mark[stroke="#ff7d3b"]').length
const values = () => [...page.querySelectorAll("#rows button span:last-child")].map(one => Number(one.textContent))
"""

STARTED = """
return {now: now(), status: by("status").textContent, rows: values(), lines: lines(), crosses: crosses(),
        title: by("title").textContent, table: page.querySelectorAll("#table tbody tr").length, alert: frame.alert.name,
        legend: by("legend").textContent, faults}
"""

DRIVEN = """
const found = []
press("n"); press("ArrowRight"); found.push(now())
press("p"); found.push(now())
press("g"); found.push(lines(), crosses() > 0); press("l"); found.push(crosses()); press("g"); press("l")
press("s"); found.push(by("sort").value)
choose("joint", "5"); found.push(lines(), page.querySelector("#table [aria-current] th").textContent)
choose("sort", "sigma"); found.push(values()[0])
by("ascending").click(); found.push(values()[0])
press("+"); found.push(by("picture").viewBox.baseVal.width < 1e9)
found.push(faults)
return found
"""


@pytest.fixture(scope="module")
def told(browser: Browser, page: str) -> dict[str, Any]:
    scripts = (STARTED, DRIVEN)
    return dict(zip(scripts, browser.ask(page, *(TOLD + script for script in scripts)), strict=True))


def test_it_starts_at_the_most_surprising_label(told: dict[str, Any], page: str, gallery: Gallery) -> None:
    found = told[STARTED]
    surprise = np.nanmax(values_of(page, "surprise"), 1)
    assert found["now"] == 0
    np.testing.assert_allclose(found["rows"], surprise, atol=0.051)
    assert found["status"].startswith(f"Person 1 of {len(gallery)}, sorted by surprise")
    first = json_of(page, "part-0")[0]
    assert found["lines"] == 4 * sum(point is not None for point in first["points"])  # two regions, a halo each
    assert found["table"] == len(gallery.persons.skeleton.joints)
    assert found["title"] == f"annotation {first['annotation_id']}"
    assert "left" in found["legend"]
    assert found["faults"] == []
    assert found["alert"] == "alert"


def test_keys_and_filters(told: dict[str, Any], page: str) -> None:
    after_two, back, hidden, still, without, order, lines, row, largest, smallest, drawn, faults = told[DRIVEN]
    sigma = values_of(page, "sigma")[:, 5]
    assert (after_two, back, hidden, still, without, order) == (2, 1, 0, True, 0, "level")
    assert lines in (0, 4)
    assert row == json_of(page, "gallery")["joints"][5].replace("_", " ")
    np.testing.assert_allclose([largest, smallest], [np.nanmax(sigma), np.nanmin(sigma)], atol=0.0051)
    assert drawn
    assert faults == []


def test_many_persons_come_in_parts(
    browser: Browser, gallery: Gallery, persons: Persons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a browser that has no server: parts and crops are loaded when they are shown, and the hash finds a person."""
    monkeypatch.setattr(writer, "EMBEDDED", 3)
    monkeypatch.setattr(writer, "PART", 5)
    files = write_show(gallery, browser.folder)
    assert files == [browser.folder / PAGE, browser.folder / FOLDER]
    names = {file.name for file in (browser.folder / FOLDER).iterdir()}
    assert {"part-0.js", "part-1.js", "part-2.js"} < names
    assert len([name for name in names if name.endswith(".jpg")]) == len(persons) - 1
    script = "<script>addEventListener('load', () => setTimeout(() => {" + (
        "document.body.append(Object.assign(document.createElement('pre'), {id: 'told', textContent: JSON.stringify({"
        "title: document.getElementById('title').textContent, parts: [...parts.keys()],"
        "image: !!document.querySelector('#picture image'), hash: location.hash})}))}, 300))</script>"
    )
    told = files[0].with_name("told.html")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", files[0].read_text("utf-8"))
    told.write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    dom = browser.visit(
        f"{told.as_uri()}#sort=surprise&person=7&regions=false", "--dump-dom", "--virtual-time-budget=3000"
    )
    found = re.search(r'<pre id="told">(.+?)</pre>', dom)
    assert found is not None
    answer = json.loads(found[1].replace("&amp;", "&"))
    part = json.loads((browser.folder / FOLDER / "part-1.js").read_text("utf-8").strip()[len("takePart(1, ") : -1])
    assert answer["title"] == f"annotation {part[2]['annotation_id']}"
    assert answer["parts"] == [1]
    assert answer["image"]
    assert "person=7" in answer["hash"]
    assert "regions=false" in answer["hash"]


def test_the_guard_lets_parts_through(browser: Browser) -> None:
    """The page as it was written, with its Content-Security-Policy: what it shows comes from its first part."""
    dom = browser.visit(f"{(browser.folder / PAGE).as_uri()}", "--dump-dom", "--virtual-time-budget=2000")
    assert re.search(r'<h2 id="title">annotation \d+</h2>', dom)


def test_densities_without_scale_and_location(persons: Persons, tmp_path: Path) -> None:
    """A mixture's regions are drawn as they are; points alone have none."""
    two = gallery_of(persons.select(np.arange(2)))
    maps = np.random.default_rng(0).uniform(size=(2, len(persons.skeleton.joints), 12, 9)) ** 8
    heat = pp.Heatmap(maps, two.persons.box).predictive
    page = write_show(replace(two, predictive=heat), tmp_path / "maps")[0].read_text("utf-8")
    assert json_of(page, "gallery")["shapes"] == []
    assert all(path.startswith("M") for joint in json_of(page, "part-0")[0]["regions"] for path in joint)
    bare = replace(two, predictive=None, persons=two.persons.without_labels(np.zeros_like(two.persons.labelled)))
    page = write_show(bare, tmp_path / "bare")[0].read_text("utf-8")
    assert [one["name"] for one in json_of(page, "gallery")["measures"]] == ["error"]


def rows_of(persons: Persons, sigma: bool) -> list[dict[str, Any]]:
    rows = []
    for i in range(len(persons)):
        flat = np.column_stack([persons.keypoints[i] + 1, np.linspace(0.1, 0.9, persons.keypoints.shape[1])])
        row = {"image_id": int(persons.image_id[i]), "category_id": 1, "keypoints": flat.ravel().tolist(), "score": 0.5}
        row |= {"bbox": persons.box[i].tolist()}
        rows.append(row | ({"sigma_px": [3.0] * 2 * persons.keypoints.shape[1]} if sigma else {}))
    return rows


def test_a_file_with_and_without_annotations(figures: Path, tmp_path: Path) -> None:
    persons = open_dataset("synthetic", "train", root=figures)
    file = tmp_path / "results.json"
    assert persons.annotations is not None
    for sigma in (True, False):
        file.write_text(json.dumps(rows_of(persons.select(np.arange(12)), sigma)))
        written = pp.show(file, image_dir=persons.image_dir, out=tmp_path / "bare")
        page = written[0].read_text("utf-8")
        names = [one["name"] for one in json_of(page, "gallery")["measures"]]
        assert names == (["sigma", "relative", "doubt"] if sigma else ["doubt"])
        command = ["show", str(file), "--annotations", str(persons.annotations), "--image-dir", str(persons.image_dir)]
        done = CliRunner().invoke(main, [*command, "--json"], catch_exceptions=False)
        assert done.exit_code == 0
        assert json.loads(done.stdout)["files"] == [str(tmp_path / "results-show" / PAGE)]
        page = (tmp_path / "results-show" / PAGE).read_text("utf-8")
        assert [one["name"] for one in json_of(page, "gallery")["measures"]][:2] == ["surprise", "level"]
        assert json_of(page, "part-0")[0]["picture"].startswith("data:image/jpeg")


def test_suspicion_of_an_audit(figures: Path, tmp_path: Path) -> None:
    persons = open_dataset("synthetic", "train", root=figures).select(np.arange(12))
    audit = corrupted(persons)
    file = tmp_path / "results.json"
    file.write_text(json.dumps(rows_of(persons, sigma=True)))
    (tmp_path / "audit.json").write_text(json.dumps(audit.to_json()))
    pages = [
        pp.show(file, persons, audit=one, out=tmp_path / "show")[0].read_text("utf-8")
        for one in (audit, tmp_path / "audit.json")
    ]
    np.testing.assert_allclose(values_of(pages[0], "suspicion"), values_of(pages[1], "suspicion"), atol=0.1)
    assert np.nanmax(values_of(pages[0], "suspicion")) == pytest.approx(100 * audit.suspicion.max(), abs=0.1)
    other = replace(audit, persons=replace(persons, annotation_id=persons.annotation_id + 10_000))
    with pytest.raises(DataError, match="audit is of other labels"):
        pp.show(file, persons, audit=other, out=tmp_path / "show")
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(DataError, match=r"is no audit\.json"):
        pp.show(file, persons, audit=tmp_path / "audit.json", out=tmp_path / "show")
    with pytest.raises(ConfigError, match="name a folder"):
        pp.show(replace(pp.read_predictions(file), file=None))
