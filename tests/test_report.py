"""The calibration report: verdict, every picture and table, one file that needs nothing else."""

from __future__ import annotations

import re
import resource
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from probpose.analysis.calibration.calibrate import Outcome
from probpose.analysis.calibration.cases import Residuals
from probpose.analysis.calibration.diagnostics.record import UsefulnessRecord
from probpose.analysis.calibration.report.density import density_pictures
from probpose.analysis.calibration.report.density_table import TAIL_SHARE, Shape, density_table
from probpose.analysis.calibration.report.page import write_report
from probpose.analysis.calibration.tables import LISTED
from probpose.analysis.figures.residual import ResidualGrid
from probpose.analysis.pages.pictures import style
from probpose.errors import DataError
from probpose.models.densities import GaussianResidual, LaplaceResidual, ResidualDensity, StudentTResidual
from tests.report_outcomes import fake_outcome

NAMES = ("nose", "<b>", "a $knee$ and $")
VOID = {"meta", "link", "br", "hr", "img", "input"}
PICTURES = {
    *("coverage", "reliability", "pit", "coverage_by_group", "correlation_x", "correlation_y"),
    *("sparsification", "confidence", "score_and_oks"),
    *(f"{name}_{state}" for name in ("density", "marginal") for state in ("before_by_joint", "after_by_joint")),
    *(f"density_{state}{peer}" for state in ("before", "after") for peer in ("", "_gaussian", "_laplace")),
    *(f"marginal_{state}_{axis}" for state in ("before", "after") for axis in "xy"),
} - {"density_before_by_joint", "marginal_before_by_joint"}


class Page(HTMLParser):
    """What a page is made of, and whether its tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.names: list[str] = []
        self.references: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.names += [value for key, value in attrs if key == "id" and value]
        self.references += [value for key, value in attrs if key in ("src", "href", "srcset", "data") and value]
        if tag == "div" and found.get("class") == "scroll":
            self.tables[found["aria-labelledby"] or ""] = []
        if tag == "tr":
            list(self.tables.values())[-1].append([])
        if tag in ("th", "td"):
            list(self.tables.values())[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"th", "td"} & set(self.open):
            list(self.tables.values())[-1][-1][-1] += data


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return fake_outcome("over-confident", names=NAMES, outliers=60)


@pytest.fixture(scope="module")
def report(outcome: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(outcome, tmp_path_factory.mktemp("report") / "new" / "folder")


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_tags_nest_and_names_are_unique(page: Page) -> None:
    assert page.open == []
    assert len(page.names) == len(set(page.names))
    assert {"h1", "h2", "h3", "figure", "figcaption", "svg", "table"} <= set(page.tags)


def test_verdict_comes_first(page: Page, outcome: Outcome) -> None:
    verdict = page.text.index(outcome.record.verdict.text)
    assert "times too small" in outcome.record.verdict.text
    assert page.tags.index("svg") > page.tags.index("h1")
    assert verdict < page.text.index("Coverage of the regions") < page.text.index("Tables")


def test_page_needs_nothing_else(page: Page, report: Path) -> None:
    """References are to names in the page or to embedded data; nothing is loaded, nothing runs."""
    assert page.references
    assert {reference for reference in page.references if not reference.startswith(("#", "data:"))} == set()
    assert {reference[1:] for reference in page.references if reference[0] == "#"} <= set(page.names)
    text = report.read_text(encoding="utf-8")
    assert re.findall(r"url\((?!#)", text) == []
    assert re.findall(r"https?://|@import", text) == []
    assert {"script", "link", "img", "iframe"} & set(page.tags) == set()


def test_colours_of_the_figures_are_the_pages(report: Path) -> None:
    """Ink on paper would be invisible on a dark page."""
    drawn = "".join(re.findall(r"<svg.*?</svg>", report.read_text(encoding="utf-8"), re.DOTALL))
    assert "var(--ink)" in drawn
    assert "#1b2733" not in drawn
    assert "#000000" not in drawn


def test_names_are_escaped(report: Path, page: Page) -> None:
    assert "joint: &lt;b&gt;" in report.read_text(encoding="utf-8")
    assert "b" not in page.tags
    assert "a $knee$ and $" in page.text


def test_every_picture_is_saved(report: Path) -> None:
    saved = {file.name for file in (report.parent / "figures").iterdir()}
    assert saved == {f"{name}.{kind}" for name in PICTURES for kind in ("png", "pdf")}
    for name in PICTURES:
        assert imread(report.parent / "figures" / f"{name}.png").std() > 0.01
        assert (report.parent / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_every_picture_says_what_it_shows(page: Page, report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert page.tags.count("figure") == page.tags.count("figcaption") == page.tags.count("svg") == len(PICTURES)
    assert len(re.findall(r'role="img" aria-label="[^"]{20,}"', text)) == len(PICTURES)


def test_every_table_is_there(page: Page, outcome: Outcome) -> None:
    """With a row for everything that the record holds."""
    before = outcome.record.before
    rows = {name: len(rows) - 1 for name, rows in page.tables.items()}
    assert rows["recalibrations"] == len(outcome.record.recalibrations)
    assert rows["deviations"] == len(before.deviations) > 0
    assert rows["groups"] == len(before.groups) > 0
    assert rows["joints"] == len(NAMES)
    assert rows["outliers"] == LISTED
    assert rows["scores"] > len(before.scores)
    assert {"density-before", "density-after"} <= set(rows)
    assert all(len(row) == len(table[0]) for table in page.tables.values() for row in table)


def test_numbers_are_those_of_the_record(page: Page, outcome: Outcome) -> None:
    found = outcome.record.before.hdr_coverage[0.9]
    cell = f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"
    assert page.tables["recalibrations"][1][-1] == cell
    chosen = next(row for row in page.tables["recalibrations"] if row[0].endswith("(chosen)"))
    assert chosen[0].split(" (")[0] == outcome.record.recalibrated.name
    assert page.tables["outliers"][1][3] == "900.0"
    assert "60 labels, 0.60% of all labels; 50 are shown" in page.text


def test_nothing_after_recalibration(outcome: Outcome, tmp_path: Path) -> None:
    """A prediction that stands as it was, without a density that could be drawn, without confidences and outliers."""
    bare = fake_outcome("exact", names=NAMES[:1], persons=700)
    useless = UsefulnessRecord(spearman=None, ause=None, sparsification=None)
    before = replace(bare.record.before, usefulness=useless)
    assert bare.record.after is None
    stands = replace(bare, record=replace(bare.record, before=before), before=None, after=None)
    page = Page(write_report(stands, tmp_path).read_text(encoding="utf-8"))
    assert page.open == []
    assert bare.record.verdict.text in page.text
    assert "no recalibration is better than the prediction as it is" in page.text
    assert bare.record.recalibrated.reason in page.text
    assert "nothing changed" in page.text
    deviations = {"deviations"} if before.deviations else set()
    assert set(page.tables) == {"recalibrations", "scores", "causes", "groups", "joints"} | deviations
    pictures = {file.stem for file in (tmp_path / "figures").iterdir()}
    assert pictures == {"coverage", "reliability", "pit", "coverage_by_group"}


def test_same_outcome_gives_the_same_figures(outcome: Outcome) -> None:
    assert outcome.before is not None
    with style():
        one, other = (density_pictures(outcome.before, NAMES, "before")[0] for _ in range(2))
        assert one.svg() == other.svg() == one.svg()


def test_one_density_a_joint_is_drawn_joint_by_joint(outcome: Outcome) -> None:
    assert outcome.before is not None
    residuals = replace(outcome.before, density=LaplaceResidual(len(NAMES)).frozen(2**10))
    with style():
        names = [picture.name for picture in density_pictures(residuals, NAMES, "before", by_joint=False)]
    assert names == ["density_before_by_joint", "marginal_before_by_joint"]
    rows = density_table(residuals, NAMES, "before").texts
    assert [row[:2] for row in rows if row[1] == "R"] == [[name, "R"] for name in NAMES]


@pytest.mark.parametrize("density", [GaussianResidual(), LaplaceResidual(), StudentTResidual(gauge="quantile")])
def test_marginals_of_a_grid_are_those_of_the_density(density: ResidualDensity) -> None:
    exact = density.frozen(2**16)
    grid = ResidualGrid.of(exact)
    for column in (0, 1):
        found = grid.marginal(column)[0]
        content = np.concatenate([[0], np.cumsum((found[1:] + found[:-1]) / 2 * np.diff(grid.side))])
        inside = np.searchsorted(np.sort(exact.nodes[0, :, column].numpy()), grid.side) / 2**16
        np.testing.assert_allclose(content, inside - inside[0], atol=5e-3 + 1 - found @ np.gradient(grid.side))


def test_density_table_knows_the_true_density(outcome: Outcome) -> None:
    """Draws of a Laplace density: its NLL is least, and their moments are its own within 4 standard errors."""
    rng, draws = np.random.default_rng(0), 20_000
    z = rng.laplace(scale=np.sqrt(0.5), size=(draws, 2))
    residuals = Residuals(LaplaceResidual().frozen(2**14), z, rng.integers(0, len(NAMES), draws))
    table = density_table(residuals, NAMES, "before")
    column = {name: i for i, name in enumerate(table.headings)}
    met, own = table.texts[:2]
    assert [row[1] for row in table.texts[:4]] == ["labels", "R", "Gaussian", "Laplace"]
    assert met[column["NLL R"]] == met[column["NLL Laplace"]] < met[column["NLL Gaussian"]]
    assert sum(int(row[column["labels"]]) for row in table.texts[4:]) == draws
    for name, error in (("mean x", 1), ("std y", np.sqrt(5) / 2), ("correlation", 1)):  # sd of |u|: kurtosis 6
        assert abs(float(met[column[name]]) - float(own[column[name]])) < 0.01 + 4 * error / np.sqrt(draws)


@pytest.mark.parametrize("index", [1.5, 4.0])
def test_tail_index_of_a_power_law(index: float) -> None:
    """With P(r > t) = t^-index, Hill's estimate has the relative standard error 1 / sqrt(draws in the tail)."""
    rng, draws = np.random.default_rng(0), 200_000
    radius, angle = rng.uniform(size=draws) ** (-1 / index), rng.uniform(0, 2 * np.pi, draws)
    shape = Shape.of(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    assert shape is not None
    assert shape.tail_index == pytest.approx(index, rel=4 / np.sqrt(TAIL_SHARE * draws))


def test_tail_index_weighs_its_draws() -> None:
    """A draw of weight 2 counts as two draws."""
    points = np.random.default_rng(0).standard_t(3, (4000, 2))
    twice = np.concatenate([points, points[:1000]])
    weights = np.where(np.arange(4000) < 1000, 2.0, 1.0)
    weighted, repeated = Shape.of(points, weights), Shape.of(twice)
    assert weighted is not None
    assert repeated is not None
    assert weighted.std == pytest.approx(repeated.std)
    assert weighted.kurtosis == pytest.approx(repeated.kurtosis)
    assert weighted.tail_index == pytest.approx(repeated.tail_index, rel=0.02)


def test_tails_of_the_densities_are_told_apart() -> None:
    """By Hill's estimate from the nodes: Student-t, Laplace, Gaussian."""
    densities = [StudentTResidual(), LaplaceResidual(), GaussianResidual()]
    shapes = [Shape.of(d.nodes[0].numpy(), d.native.weights[0].numpy()) for d in (d.frozen(2**14) for d in densities)]
    student, laplace, gaussian = (shape.tail_index for shape in shapes if shape is not None)
    assert student is not None
    assert laplace is not None
    assert gaussian is not None
    assert student < laplace < gaussian


@pytest.mark.parametrize("points", [np.zeros((0, 2)), np.ones((5, 2))])
def test_nothing_to_describe(points: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    assert Shape.of(points) is None


def test_folder_that_cannot_be_written(outcome: Outcome, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"the report cannot be written to .*file"):
        write_report(outcome, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_no_room_for_the_page(outcome: Outcome, tmp_path: Path) -> None:
    """Where a file may not grow to the size of the page, the old page still stands."""
    (tmp_path / "report.html").write_text("the old page")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written .* Make room"):
            write_report(replace(outcome, before=None, after=None), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "report.html").read_text() == "the old page"
    assert len(list((tmp_path / "figures").glob("*.pdf"))) > 5
