"""Tables of predicted points: .csv, .npz in chunks, .parquet."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from probpose.data.predictions.points import Points
from probpose.data.predictions.shards import open_shards
from probpose.data.predictions.tables import PointsTable, open_points, survey_shards
from probpose.errors import DataError
from probpose.keyed_uniform import name_keys

Columns = dict[str, npt.NDArray[Any]]


def columns(rows: int = 500, seed: int = 0) -> Columns:
    """A table with everything: images of one to five points, a tenth unlabelled."""
    rng = np.random.default_rng(seed)
    image = 7 + np.repeat(np.arange(rows), rng.integers(1, 6, rows))[:rows]
    label = rng.normal(100, 30, (rows, 2))
    label[rng.uniform(size=rows) < 0.1] = np.nan
    return {
        "prediction": rng.normal(100, 30, (rows, 2)),
        "label": label,
        "scale": rng.uniform(1, 4, (rows, 2)),
        "image": image,
        "instance": np.arange(rows),
        "joint": np.array(["paw", "nose", "tail"])[np.arange(rows) % 3],
        "confidence": rng.uniform(size=rows),
        "visibility": np.where(np.isnan(label[:, 0]), 0, rng.integers(1, 3, rows)),
        "area": rng.uniform(100, 400, rows),
    }


def long(table: Columns) -> Columns:
    """The same, one number a column."""
    names = {"prediction": ("x", "y"), "label": ("label_x", "label_y"), "scale": ("sigma_x", "sigma_y")}
    found: Columns = {}
    for name, values in table.items():
        found |= {half: values[:, i] for i, half in enumerate(names[name])} if name in names else {name: values}
    return found


def write_csv(file: Path, table: Columns) -> Path:
    lines = [",".join(table)]
    for row in zip(*(values.tolist() for values in table.values()), strict=True):
        lines.append(",".join("" if value != value else str(value) for value in row))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_npz(file: Path, table: Columns) -> Path:
    np.savez(file, **table)  # type: ignore[arg-type]
    return file


def write_small(file: Path, table: Columns) -> Path:
    np.savez_compressed(file, **table)  # type: ignore[arg-type]
    return file


def write_parquet(file: Path, table: Columns) -> Path:
    arrow, parquet = (pytest.importorskip(f"pyarrow{part}", reason="needs pyarrow") for part in ("", ".parquet"))
    file = file.with_suffix(".parquet")
    parquet.write_table(arrow.table({name: arrow.array(v, from_pandas=True) for name, v in table.items()}), file)
    return file


def together(table: PointsTable, rows: int = 64) -> Points:
    first, *others = table.chunks(rows)
    return first.followed_by(*others)


WRITERS: dict[str, tuple[Callable[[Path, Columns], Path], str, bool]] = {
    "csv": (write_csv, "points.csv", True),
    "npz": (write_npz, "points.npz", False),
    "npz of single columns": (write_npz, "points.npz", True),
    "compressed npz": (write_small, "points.npz", False),
    "parquet": (write_parquet, "points.parquet", True),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_back_what_was_written(kind: str, tmp_path: Path) -> None:
    write, name, is_long = WRITERS[kind]
    table = columns()
    opened = open_points(write(tmp_path / name, long(table) if is_long else table))
    points = together(opened)
    assert opened.rows == len(points) == 500
    assert opened.images == len(np.unique(table["image"]))
    assert opened.joints == ("paw", "nose", "tail")
    assert opened.has_scale
    for column in ("prediction", "scale", "image", "instance", "joint", "confidence", "visibility", "area"):
        assert np.array_equal(getattr(points, column), table[column]), column
    labelled = points.visibility > 0
    assert np.array_equal(points.label[labelled], table["label"][labelled])
    assert not points.label[~labelled].any()
    assert points.row.tolist() == list(range(500))


@pytest.mark.parametrize("rows", [1, 3, 64, 499, 500, 10_000])
def test_chunks_hold_whole_images(rows: int, tmp_path: Path) -> None:
    table = columns()
    opened = open_points(write_npz(tmp_path / "points.npz", table))
    chunks = list(opened.chunks(rows))
    assert np.array_equal(np.concatenate([chunk.prediction for chunk in chunks]), table["prediction"])
    assert all(a.image[-1] != b.image[0] for a, b in itertools.pairwise(chunks))
    assert max(len(chunk) for chunk in chunks) <= rows + 5
    again = [chunk.row.tolist() for chunk in opened.chunks(rows)]
    assert again == [chunk.row.tolist() for chunk in chunks]


def test_an_image_larger_than_a_chunk_stays_whole(tmp_path: Path) -> None:
    table = columns(300)
    table["image"] = np.repeat([5, 3, 4], [10, 280, 10])
    lengths = [len(chunk) for chunk in open_points(write_npz(tmp_path / "a.npz", table)).chunks(20)]
    assert lengths == [10, 290]


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_numbers_of_any_type_and_order_are_read(dtype: type, tmp_path: Path) -> None:
    table = {name: columns()[name].round() for name in ("prediction", "label")}
    table["label"] = np.nan_to_num(table["label"])
    stored: Columns = {name: np.asfortranarray(values.astype(dtype)) for name, values in table.items()}
    points = together(open_points(write_npz(tmp_path / "points.npz", stored)))
    assert np.array_equal(points.prediction, table["prediction"])
    assert np.array_equal(points.label, table["label"])
    assert points.prediction.dtype == np.float64


def test_the_fewest_columns_do(tmp_path: Path) -> None:
    table = {
        "x": np.arange(3),
        "y": np.zeros(3),
        "label_x": np.array([0, np.nan, 4]),
        "label_y": np.array([0, np.nan, 4]),
    }
    opened = open_points(write_csv(tmp_path / "points.csv", table | {"note": np.arange(3)}))
    points = together(opened)
    assert points.visibility.tolist() == [2, 0, 2]
    assert points.image.tolist() == [0, 1, 2]  # every row is an image of its own
    assert (points.scale, points.instance, points.joint, points.confidence, points.area) == (None,) * 5
    assert (opened.joints, opened.ignored, opened.has_scale) == ((), ("note",), False)


@pytest.mark.parametrize("name", ["sigma", "scale"])
def test_one_scale_serves_both_axes(name: str, tmp_path: Path) -> None:
    table = {"prediction": np.ones((2, 2)), "label": np.zeros((2, 2)), name: np.array([3.0, 4.0])}
    scale = together(open_points(write_npz(tmp_path / "points.npz", table))).scale
    assert scale is not None
    assert scale.tolist() == [[3, 3], [4, 4]]


@pytest.mark.parametrize("write", [write_csv, write_npz])
def test_images_may_have_names(write: Callable[[Path, Columns], Path], tmp_path: Path) -> None:
    table = {"x": np.zeros(5), "y": np.ones(5), "label_x": np.zeros(5), "label_y": np.ones(5)}
    table["image"] = np.array(["b.png", "b.png", "a.png", "c.png", "c.png"])
    file = tmp_path / ("points.csv" if write is write_csv else "points.npz")
    opened = open_points(write(file, table))
    assert opened.images == 3
    for rows in (1, 2, 100):
        assert together(opened, rows).image.tolist() == [0, 0, 1, 2, 2]


def changed(**changes: Any) -> Columns:
    table = columns(20)
    for name, value in changes.items():
        if value is None:
            del table[name]
        else:
            table[name] = value
    return table


def with_cell(name: str, row: int, value: float) -> Columns:
    values = columns(20)[name].astype(np.float64)
    values[row] = value
    return changed(**{name: values})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed(prediction=None), "has no prediction: give the columns x and y"),
        (changed(label=None), "has no label: give the columns label_x and label_y"),
        (changed(x=np.zeros(20)), "the prediction is not clear from the columns prediction, x"),
        (changed(sigma=np.ones(20)), "the scale is not clear from the columns scale, sigma"),
        (changed(scale=None, sigma_x=np.ones(20)), "the scale is not clear from the columns sigma_x"),
        (changed(prediction=np.zeros((20, 3))), r"prediction has shape \(20, 3\), expected \(20, 2\)"),
        (changed(label=np.zeros((19, 2))), r"label has shape \(19, 2\), expected \(20, 2\)"),
        (changed(confidence=np.float64(1)), r"confidence has shape \(\), expected \(20,\)"),
        ({name: values[:0] for name, values in columns().items()}, "has no rows"),
        (with_cell("prediction", 3, np.nan), r"row 3 \(the first is 0\): the prediction is not finite"),
        (with_cell("label", 4, np.inf), "row 4 .*: the label is not finite"),
        (changed(visibility=np.full(20, 2)), "the label is not finite: leave it blank"),
        (with_cell("visibility", 5, 3), "row 5 .*: the visibility is not 0, 1 or 2"),
        (with_cell("scale", 6, 0), "row 6 .*: the scale is not positive"),
        (with_cell("scale", 6, np.nan), "row 6 .*: the scale is not positive"),
        (with_cell("confidence", 7, np.inf), "row 7 .*: the confidence is infinite"),
        (with_cell("area", 8, -1), "row 8 .*: the area is not positive"),
        (with_cell("image", 9, 0.5), "row 9 .*: image is not a whole number"),
        (with_cell("image", 9, np.nan), "row 9 .*: image is"),
        (with_cell("image", 19, 7), "row 19 .*: image 7 begins again.*sort the table by image"),
        (changed(area=np.array(["a"] * 20)), "area holds str.*expected numbers"),
        (changed(instance=np.array(["a"] * 20)), "instance holds str.*expected whole numbers"),
        (changed(joint=np.array(["a", None] * 10, dtype=object)), "joint.npy holds Python objects"),
    ],
)
def test_bad_arrays_are_named(table: Columns, message: str, tmp_path: Path) -> None:
    file = write_npz(tmp_path / "points.npz", table)
    with pytest.raises(DataError, match=message) as caught:
        open_points(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no prediction"),
        ("x,y,label_x,label_y\n", "has no rows"),
        ("x,y,x\n1,2,3\n", "names a column twice"),
        ("x,y,label_x,label_y\n1,2,3,4\n1,2,3\n", r"row 1 \(the first is 0\): 3 cells, the header has 4"),
        ("x,y,label_x,label_y\n1,2,3,4\n1,2,3,4\n1,2,ten,4\n", "row 2 .*: label_x is 'ten', which is not a number"),
        ("x,y,label_x,label_y\n1,,3,4\n", "row 0 .*: the prediction is not finite"),
        ("x,y,label_x,label_y\n1,2,3,\n", "row 0 .*: the label is not finite"),
        ("x,y,label_x,label_y,image\n1,2,3,4,a\n1,2,3,4,\n", "row 1 .*: image is missing"),
    ],
)
def test_bad_csv_is_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        open_points(file)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "points.npz", columns())
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"not an \.npz file.*truncated"):
        open_points(file)
    middle = content.index(b"prediction.npy") + 1000  # a number, whose change only the checksum tells
    file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(DataError, match=r"prediction\.npy cannot be read: Bad CRC-32"):
        open_points(file)
    (tmp_path / "latin.csv").write_bytes("x,y,label_x,label_y,image\n1,2,3,4,Ä\n".encode("latin-1"))
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        open_points(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("name", "message"),
    [("no.csv", "cannot be read: No such file"), ("no.npz", "No such file"), ("a.json", r"end in \.csv")],
)
def test_missing_and_other_files_are_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        open_points(tmp_path / name)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    if importlib.util.find_spec("pyarrow") is not None:
        pytest.skip("pyarrow is installed")
    (tmp_path / "points.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="pip install pyarrow"):
        open_points(tmp_path / "points.parquet")


def test_bad_parquet_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    (tmp_path / "points.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="not a Parquet file"):
        open_points(tmp_path / "points.parquet")
    table = long(columns(3)) | {"joint": np.array(["nose", None, "tail"], dtype=object)}
    with pytest.raises(DataError, match=r"row 1 \(the first is 0\): joint is missing"):
        open_points(write_parquet(tmp_path / "points.parquet", table))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    rows = 1_500_000
    rng = np.random.default_rng(0)
    point = rng.normal(size=(rows, 2))
    file = tmp_path / "points.npz"
    np.savez(file, prediction=point, label=point + 1, scale=np.ones((rows, 2)), image=np.arange(rows) // 50)
    code = (
        "import json, resource, sys\nfrom pathlib import Path\n"
        "from probpose.data.predictions.shards import open_shards\n"
        "from probpose.data.predictions.tables import survey_shards\n"
        "file = Path(sys.argv[1])\n"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = most()\ntable = survey_shards(file, open_shards(file), most=50_000)\n"
        "rows = sum(map(len, table.chunks()))\n"
        "print(json.dumps([rows, most() - before]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    read, grown = json.loads(done.stdout)
    assert read == rows
    assert grown < 40  # MB; the file has 84


NUMBERS = [["0", "1.5", "-2.25", "1.0", "2.0", "0.5"], ["1", "10.0", "20.0", "11.0", "21.0", "4.5"]]
HEADER = ["image", "x", "y", "label_x", "label_y", "sigma"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("header", [str, str.upper, str.title, " {} ".format, '"{}"'.format])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_any_spreadsheet_are_read(
    separator: str, decimal: str, header: Callable[[str], str], encoding: str, tmp_path: Path
) -> None:
    if separator == decimal:
        return
    rows = [list(map(header, HEADER)), *([cell.replace(".", decimal) for cell in row] for row in NUMBERS)]
    file = tmp_path / "points.csv"
    file.write_text("\r\n".join(separator.join(row) for row in rows), encoding=encoding, newline="")
    (points,) = open_points(file).chunks()
    assert points.prediction.tolist() == [[1.5, -2.25], [10.0, 20.0]]
    assert points.scale is not None
    assert points.scale[:, 0].tolist() == [0.5, 4.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a;b;c\n1;2;3\n", "has no prediction: its columns are 'a;b;c', expected x, y"),
        ("image;x;y;label_x;label_y\n0;1.234,5;2;3;4\n", r"row 0 .*: x is '1\.234,5', which is not a number"),
        ("x,y,label_x,label_y\n1e13,2,3,4\n", r"row 0 .*: the prediction is beyond 1e\+12"),
        ("x,y,label_x,label_y\n1,2,3,-1e300\n", r"row 0 .*: the label is beyond 1e\+12"),
        ("x,y,label_x,label_y\n0.1,0.2,30,40\n0.3,0.4,60,50\n", "the predictions look normalised"),
        ("x,y,label_x,label_y\n10,20,0.3,0.4\n30,40,0.6,0.5\n", "the labels look normalised"),
    ],
)
def test_what_a_table_says_that_it_cannot_mean_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        open_points(tmp_path / "points.csv")


@pytest.mark.parametrize("content", [gzip.compress(b"x,y\n1,2\n", mtime=0), b"PK\x03\x04spreadsheet"])
def test_a_table_that_is_compressed_is_called_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_bytes(content)
    with pytest.raises(DataError, match="is compressed, or a spreadsheet: unpack it"):
        open_points(tmp_path / "points.csv")


def test_predictions_in_the_corner_and_coordinates_below_1_are_remarked(tmp_path: Path) -> None:
    (tmp_path / "corner.csv").write_text("x,y,label_x,label_y\n0,0,30,40\n0,0,50,60\n5,6,5,7\n")
    (line,) = open_points(tmp_path / "corner.csv").remarks
    assert line.startswith("2 predictions at exactly (0, 0)")
    (tmp_path / "unit.csv").write_text("x,y,label_x,label_y\n0.1,0.2,0.3,0.4\n0.3,0.4,0.6,0.5\n")
    (line,) = open_points(tmp_path / "unit.csv").remarks
    assert "all coordinates lie between 0 and 1" in line


def shards(folder: Path, table: Columns, write: Callable[[Path, Columns], Path], cuts: list[int]) -> Path:
    """The table in several files, cut at rows; the pattern that names them."""
    for i, (start, end) in enumerate(itertools.pairwise([0, *cuts, None])):
        written = write(folder / f"{i}.npz", {name: values[start:end] for name, values in table.items()})
    return folder / f"*{written.suffix}"


@pytest.mark.parametrize("write", [write_npz, write_parquet])
@pytest.mark.parametrize("named", [False, True])
def test_shards_are_read_as_one_table(write: Callable[[Path, Columns], Path], named: bool, tmp_path: Path) -> None:
    table = long(columns())
    if named:
        table["image"] = np.char.add("image ", table["image"].astype(str))
    first = np.flatnonzero(table["image"][1:] != table["image"][:-1]) + 1
    pattern = shards(tmp_path, table, write, first[[20, 21, 100]].tolist())
    opened, alone = open_points(pattern), open_points(write(tmp_path / "whole.npz", table))
    assert (opened.rows, opened.images, opened.joints) == (500, alone.images, alone.joints)
    assert len(opened.shards) == 4
    ours, theirs = together(opened), together(alone)
    for column in ("row", "prediction", "label", "scale", "image", "instance", "joint", "confidence", "area"):
        assert np.array_equal(getattr(ours, column), getattr(theirs, column)), column
    third = list(opened.shards[2].chunks(30))  # alone, as another process reads it
    assert np.array_equal(np.concatenate([part.image for part in third]), theirs.image[first[21] : first[100]])


def test_rows_of_shards_without_images_are_told_apart(tmp_path: Path) -> None:
    table = {name: values for name, values in columns().items() if name not in ("image", "instance")}
    points = together(open_points(shards(tmp_path, table, write_npz, [100, 333])))
    assert points.image.tolist() == list(range(500))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"image": np.array([9, 7])}, r"1\.npz, row 1 .*image 7 begins again.*adjacent, and in one file"),
        ({"image": np.array([8, 9])}, r"1\.npz, row 0 .*image 8 begins again"),
        ({"x": np.array([0, np.nan])}, r"1\.npz, row 1 .*the prediction is not finite"),
        ({"sigma": np.ones(2)}, r"1\.npz and .*0\.npz have not the same columns: only one has sigma"),
        ({"image": np.array(["a", "b"])}, "column image holds numbers in some files and names in others"),
    ],
)
def test_a_fault_is_named_by_its_shard(second: Columns, message: str, tmp_path: Path) -> None:
    table: Columns = {name: np.arange(5.0) for name in ("x", "y", "label_x", "label_y")}
    table["image"] = np.array([7, 7, 8, 9, 9])
    shards(tmp_path, table, write_npz, [3])
    write_npz(tmp_path / "1.npz", {name: values[3:] for name, values in table.items()} | second)
    with pytest.raises(DataError, match=message):
        open_points(tmp_path / "*.npz")


def test_a_pattern_without_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\*\.parquet names no file"):
        open_points(tmp_path / "*.parquet")


def test_units_of_a_csv_may_have_names(tmp_path: Path) -> None:
    table = {name: np.arange(4.0) for name in ("x", "y", "label_x", "label_y")}
    opened = open_points(write_csv(tmp_path / "a.csv", table | {"unit": np.array(["s1", "s1", "s2", "s3"])}))
    units = together(opened).unit
    assert units is not None
    assert units.tolist() == [0, 0, 1, 2]


def test_a_parquet_file_is_read_in_pieces(tmp_path: Path) -> None:
    arrow, parquet = (pytest.importorskip(f"pyarrow{part}", reason="needs pyarrow") for part in ("", ".parquet"))
    table = long(columns()) | {"joint": np.array(["paw", "nose", "tail"])[np.arange(500) % 3]}
    made = arrow.table({name: arrow.array(values, from_pandas=True) for name, values in table.items()})
    coded = made.set_column(made.column_names.index("joint"), "joint", made["joint"].dictionary_encode())
    parquet.write_table(coded, tmp_path / "a.parquet", row_group_size=120)
    opened = open_points(tmp_path / "a.parquet")
    assert not isinstance(opened.shards[0].columns["x"], np.ndarray)
    points = together(opened, 50)
    assert np.array_equal(points.prediction, columns()["prediction"])
    assert points.joint is not None
    assert np.array_equal(points.joint, table["joint"])
    assert max(len(chunk) for chunk in opened.chunks(50)) <= 55


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("cuts", [[], [20, 21, 100]])
def test_the_sample_is_of_whole_images_chosen_by_name(named: bool, cuts: list[int], tmp_path: Path) -> None:
    """The same images however the table is cut into files; by the numbers that they have in the whole."""
    table = long(columns())
    if named:
        table["image"] = np.char.add("image ", table["image"].astype(str))
    first = np.flatnonzero(table["image"][1:] != table["image"][:-1]) + 1
    alone = open_points(write_npz(tmp_path / "whole.npz", table))
    (folder := tmp_path / "shards").mkdir()
    files = open_shards(shards(folder, table, write_npz, first[cuts].tolist()))
    found = survey_shards(folder, files, most=150, seed=3)
    image = np.concatenate([points.image for points in found.sample])
    row = np.concatenate([points.row for points in found.sample])
    numbers = together(alone).image
    assert np.array_equal(image, numbers[row])
    assert np.array_equal(row, np.flatnonzero(np.isin(numbers, image)))
    assert 100 < len(row) < 200
    whole = survey_shards(tmp_path / "whole.npz", alone.shards, most=150, seed=3)
    assert np.array_equal(row, whole.sample[0].row)
    assert np.array_equal(np.concatenate(found.units), np.unique(numbers))
    assert (sum(found.persons), found.labels) == (sum(alone.persons), alone.labels)


def test_of_a_table_with_few_labels_more_is_kept(tmp_path: Path) -> None:
    table = long(columns(3000))
    table["label_x"][300:] = table["label_y"][300:] = np.nan
    table["visibility"][:] = ~np.isnan(table["label_x"])
    files = open_shards(write_npz(tmp_path / "a.npz", table))
    found = survey_shards(tmp_path, files, most=150)
    kept = sum(int((points.visibility > 0).sum()) for points in found.sample)
    assert 100 < kept < 200


def test_names_are_keys_whatever_is_beside_them() -> None:
    """Text has the key of its letters, in any array; a number its own."""
    names = np.array(["a", "b", "ab", "ba", "image 1", "image 2", "a\u00e9"])
    keys = name_keys(names)
    assert len(set(keys.tolist())) == len(names)
    assert [int(name_keys(np.array([name]))[0]) for name in names] == keys.tolist()
    assert name_keys(np.array([7, -1])).tolist() == [7, 2**64 - 1]
