"""The saved posterior: read back by ArviZ and xarray, compared by ArviZ, and drawn."""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import xarray

import probpose
from probpose.analysis.evaluation.statistics import paired_difference
from probpose.analysis.posterior import draw_levels, draw_pit, elpd_table, load_posterior, loo, save_posterior, summary
from probpose.analysis.posterior.library import az
from probpose.errors import DataError
from probpose.inference.fitting.residual_posterior import ResidualPosterior, sample_residual_posterior
from probpose.models.predictive.location_scale import LocationScale
from tests.calibration_cases import JOINTS, fake_cases
from tests.test_full_disk import in_namespace

FILL_DISK = """
mount -t tmpfs -o size=300k tmpfs {disk} || exit 77
echo kept >{disk}/posterior.nc
{python} -c '{program}' 2>{disk}/../log; echo $? >{disk}/../rc
ls -A {disk} >{disk}/../left; cp {disk}/posterior.nc {disk}/../content
"""
PROGRAM = """
from pathlib import Path
from probpose.analysis.posterior import save_posterior
from probpose.errors import DataError
from tests.calibration_cases import fake_cases
cases = fake_cases()
try:
    save_posterior(Path("{disk}/posterior.nc"), cases, cases.scores("level", "axes"))
except DataError as error:
    raise SystemExit(f"told: {{error}}")
"""


@pytest.fixture(scope="module")
def residual_posterior() -> ResidualPosterior:
    scores = fake_cases(persons=60).scores("sigma")
    names = tuple(f"joint {k}" for k in range(JOINTS))
    z = scores.error / scores.sigma_px
    return sample_residual_posterior(z, scores.joint, names, draws=20, warmup=20, points=60)


def test_only_one_module_imports_arviz() -> None:
    root = Path(probpose.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {str(path.relative_to(root)) for name in names if name.split(".")[0] == "arviz"}
    assert found == {"analysis/posterior/library.py"}


def test_round_trip_by_arviz_and_xarray(tmp_path: Path) -> None:
    cases = fake_cases(persons=30)
    scores = cases.scores("level", "axes")
    save_posterior(tmp_path / "posterior.nc", cases, scores, draws=300, attrs={"recalibrated": "scale"})
    found = az.from_netcdf(str(tmp_path / "posterior.nc"))
    assert set(found.groups()) == {"posterior_predictive", "log_likelihood", "observed_data", "constant_data"}
    draws, labels = found.posterior_predictive["keypoints"], found.observed_data["keypoints"]
    assert draws.dims == ("chain", "draw", "person", "joint", "axis")
    assert draws.shape == (1, 300, 30, JOINTS, 2)
    assert list(draws["joint"].values) == list(cases.joints)
    assert list(draws["axis"].values) == ["x", "y"]
    np.testing.assert_array_equal(np.isnan(labels.values).all(-1), ~cases.labelled)
    np.testing.assert_array_equal(labels.values[cases.labelled], cases.keypoints[cases.labelled])
    likelihood = found.log_likelihood["keypoints"]
    assert likelihood.dims == ("chain", "draw", "person", "joint")
    np.testing.assert_array_equal(likelihood.values[0, 0][cases.labelled], scores.log_prob)
    np.testing.assert_array_equal(np.isnan(likelihood.values[0, 0]), ~cases.labelled)
    constant = found.constant_data
    np.testing.assert_array_equal(constant["pit"].values[cases.labelled], scores.pit)
    np.testing.assert_array_equal(constant["instance"].values, cases.instance)
    assert isinstance(cases.predictive, LocationScale)
    np.testing.assert_allclose(constant["mean"].values, cases.predictive.mean.numpy())
    z = (draws.mean(("chain", "draw")) - constant["mean"]) / constant["sigma_px"] * math.sqrt(300)
    assert float((z**2).mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / z.size))
    assert (found.attrs["thinned"], found.attrs["seed"], found.attrs["recalibrated"]) == (0, 0, "scale")
    with xarray.open_datatree(tmp_path / "posterior.nc") as tree:
        assert set(tree.children) == {"posterior_predictive", "log_likelihood", "observed_data", "constant_data"}
        assert tree["observed_data/keypoints"].sel(joint="joint 2", axis="y").shape == (30,)
        assert tree.attrs["data"] == "fakes"
    np.testing.assert_array_equal(load_posterior(tmp_path / "posterior.nc").observed_data["keypoints"], labels)


def test_large_sets_are_thinned_with_a_stated_seed(tmp_path: Path) -> None:
    cases = fake_cases(persons=50)
    before = torch.get_rng_state()
    for name in "ab":
        save_posterior(tmp_path / name, cases, cases.scores("level", "axes"), draws=3, persons=20, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    found, again = load_posterior(tmp_path / "a"), load_posterior(tmp_path / "b")
    assert found.attrs["persons"] == 20
    assert found.attrs["persons_available"] == 50
    assert (found.attrs["thinned"], found.attrs["seed"]) == (1, 7)
    rows = found.constant_data["person"].values
    assert len(set(rows.tolist())) == 20
    np.testing.assert_array_equal(found.constant_data["image"], cases.image[rows])
    level = np.full(cases.labelled.shape, np.nan)
    scores = cases.scores("level", "axes")
    level[scores.person, scores.joint] = scores.level
    np.testing.assert_array_equal(found.constant_data["hdr_level"], level[rows])
    np.testing.assert_array_equal(found.posterior_predictive["keypoints"], again.posterior_predictive["keypoints"])


def test_posterior_draws_are_saved_summarised_and_left_out(
    tmp_path: Path, residual_posterior: ResidualPosterior
) -> None:
    cases = fake_cases(persons=60)
    save_posterior(tmp_path / "p.nc", cases, cases.scores("level", "axes"), draws=5, posterior=residual_posterior)
    found = load_posterior(tmp_path / "p.nc")
    assert found.posterior["scale"].dims == ("chain", "draw", "joint", "axis")
    np.testing.assert_array_equal(found.posterior["df"], residual_posterior.draws["df"])
    assert found.log_likelihood["residual"].dims == ("chain", "draw", "label")
    assert found.attrs["residual_log_likelihood"].startswith(f"{len(residual_posterior.point)} of ")
    assert int(found.sample_stats["diverging"].sum()) == residual_posterior.convergence.divergences
    table = summary(found, var_names=["scale"])
    assert table["mean"]["scale[joint 3, y]"] == pytest.approx(
        residual_posterior.draws["scale"][..., 3, 1].mean(), abs=1e-3
    )
    left_out = loo(found)
    assert left_out.n_data_points == len(residual_posterior.point)
    mean = residual_posterior.log_likelihood.mean(axis=(0, 1)).sum()
    assert left_out.elpd_loo == pytest.approx(mean, abs=0.1 * len(residual_posterior.point))
    assert left_out.elpd_loo < np.log(np.exp(residual_posterior.log_likelihood).mean(axis=(0, 1))).sum()


def test_missing_labels_are_left_out_of_loo(tmp_path: Path, residual_posterior: ResidualPosterior) -> None:
    cases = fake_cases(persons=60)
    save_posterior(tmp_path / "p.nc", cases, cases.scores("level", "axes"), draws=5, posterior=residual_posterior)
    found = load_posterior(tmp_path / "p.nc")
    whole = loo(found)
    found.log_likelihood["residual"][:, :, 3] = np.nan
    assert loo(found).n_data_points == whole.n_data_points - 1
    assert loo(found).elpd_loo == pytest.approx(whole.elpd_loo - float(whole.loo_i[3]))


def test_without_draws_summary_and_loo_say_so(tmp_path: Path) -> None:
    cases = fake_cases(persons=5)
    save_posterior(tmp_path / "p.nc", cases, cases.scores("level", "axes"), draws=5)
    for wrapper in (summary, loo):
        with pytest.raises(DataError, match="no posterior draws"):
            wrapper(load_posterior(tmp_path / "p.nc"))


def test_scores_of_other_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not those of the cases"):
        save_posterior(tmp_path / "p.nc", fake_cases(persons=5), fake_cases(persons=6).scores("level", "axes"))


def test_broken_and_foreign_files_are_named(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.nc", str(tmp_path / "none.nc")):
        with pytest.raises(DataError, match="does not exist"):
            load_posterior(missing)
    cases = fake_cases(persons=20)
    save_posterior(tmp_path / "p.nc", cases, cases.scores("level", "axes"), draws=20)
    whole = (tmp_path / "p.nc").read_bytes()
    for content in (b"", b"no netCDF\n", whole[: len(whole) // 2], whole[:100]):
        (tmp_path / "p.nc").write_bytes(content)
        with pytest.raises(DataError, match=r"p\.nc cannot be read as netCDF"):
            load_posterior(tmp_path / "p.nc")
    xarray.Dataset({"a": ("b", [1.0])}).to_netcdf(tmp_path / "foreign.nc", group="posterior", engine="h5netcdf")
    with pytest.raises(DataError, match="no group posterior_predictive, log_likelihood"):
        load_posterior(tmp_path / "foreign.nc")


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    program = PROGRAM.format(disk=disk)
    if in_namespace(FILL_DISK.format(disk=disk, python=sys.executable, program=program)) == 77:
        pytest.skip("needs the right to mount a small file system in a namespace of its own")
    message = (tmp_path / "log").read_text()
    assert (tmp_path / "rc").read_text() == "1\n"
    assert "told: " in message
    assert "could not be written (" in message
    assert "Traceback" not in message
    assert (tmp_path / "left").read_text() == "posterior.nc\n"
    assert (tmp_path / "content").read_text() == "kept\n"


def scores(rng: np.random.Generator, image: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Three models; differences share an effect of the image."""
    base = rng.normal(-4, 1, image.size)
    effect = rng.normal(0, 0.4, image.max() + 1)[image]
    return {
        "worst": (base - 0.6 + effect, image),
        "best": (base, image),
        "middle": (base - 0.2 + effect + rng.normal(0, 0.3, image.size), image),
    }


def test_elpd_differences_are_the_paired_differences() -> None:
    """With equally many keypoints an image, ArviZ's dse is the paired standard error with n in place of n - 1."""
    image = np.repeat(np.arange(50), 14)
    models = scores(np.random.default_rng(0), image)
    table = elpd_table(models)
    assert list(table.index) == ["best", "middle", "worst"]
    for name in ("middle", "worst"):
        exact = paired_difference([models["best"][0]], [models[name][0]], image)
        row = table.loc[name]
        assert exact.se_images is not None
        assert row["elpd_diff"] / image.size == pytest.approx(exact.mean, rel=1e-9)
        assert row["dse"] / image.size * math.sqrt(50 / 49) == pytest.approx(exact.se_images, rel=1e-9)
        assert (row["difference"], row["difference_se"]) == (exact.mean, exact.se_images)
        assert row["elpd_loo"] == pytest.approx(models[name][0].sum())
        assert row["se"] == pytest.approx(math.sqrt(50 * models[name][0].reshape(50, 14).sum(1).var()))
    assert table["weight"].sum() == pytest.approx(1, abs=1e-6)


def test_elpd_of_images_with_different_numbers_of_keypoints() -> None:
    image = np.repeat(np.arange(40), np.random.default_rng(1).integers(1, 60, 40))
    models = scores(np.random.default_rng(2), image)
    row = elpd_table(models).loc["worst"]
    exact = paired_difference([models["best"][0]], [models["worst"][0]], image)
    assert (row["difference"], row["difference_se"]) == (exact.mean, exact.se_images)
    per_image = np.bincount(image, models["best"][0] - models["worst"][0])
    assert row["elpd_diff"] == pytest.approx(per_image.sum())
    assert row["dse"] == pytest.approx(math.sqrt(40 * per_image.var()))


def test_scores_far_below_the_range_of_exp_are_compared() -> None:
    image = np.repeat(np.arange(30), 14)
    near = np.random.default_rng(3).normal(-90, 1, image.size)
    table = elpd_table({"near": (near, image), "far": (near - 300, image)})
    assert table["elpd_diff"]["far"] == pytest.approx(300 * image.size)
    assert table["weight"]["near"] == pytest.approx(1)


def test_scores_that_cannot_be_compared_are_refused() -> None:
    image = np.repeat(np.arange(3), 2)
    some = np.zeros(6)
    for models, message in (
        ({"a": (some, image)}, "at least two models"),
        ({"a": (some, image), "b": (some, image[::-1])}, "b was judged on other labels than a"),
        ({"a": (some, image), "b": (np.full(6, np.nan), image)}, "b: 6 log scores are not finite"),
        ({"a": (some, image * 0), "b": (some, image * 0)}, "at least two images"),
    ):
        with pytest.raises(DataError, match=message):
            elpd_table(models)


def test_curves_are_drawn(tmp_path: Path) -> None:
    files = {}
    for name in ("exact", "over-confident"):
        scores = fake_cases(name).scores("level", "axes")
        files[name] = tmp_path / f"{name}.png"
        draw_levels(scores.level, scores.image, [files[name]])
        draw_pit(scores.pit, scores.image, [tmp_path / f"{name} pit.png"])
    pictures = [cv2.imread(str(file)) for file in (*files.values(), tmp_path / "exact pit.png")]
    assert all(picture is not None and picture.std() > 5 for picture in pictures)
    shown = draw_levels(scores.level, scores.image), draw_pit(scores.pit, scores.image)  # for a notebook: no files
    assert [len(figure.axes) for figure in shown] == [1, 2]
    assert np.any(pictures[0] != pictures[1])
    with pytest.raises(DataError, match="no labels"):
        draw_levels(np.zeros(0), np.zeros(0, dtype=np.int64), [tmp_path / "none.png"])
    assert not (tmp_path / "none.png").exists()
