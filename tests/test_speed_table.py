"""The frame of `benchmarks.speed`: turns, cells, the table in a page, and rows on another checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed.parent import LACKS, as_json, before, from_json
from benchmarks.speed.rows import Row, Turns, alternate, cells
from benchmarks.speed.steps import slope
from benchmarks.tables import BEGIN, END, with_table

SLOW, FAST = Turns((4.0, 5.0, 6.0), (10.0, 10.0, 10.0)), Turns((2.0, 2.5, 3.0), (10.0, 10.0, 10.0))


def row(peer: str = "published") -> Row:
    return Row("flow", "flow", peer, ">= 3x", lambda: FAST)


def test_both_sides_take_turns_and_the_first_turn_does_not_count() -> None:
    calls: list[str] = []
    turns = alternate(lambda: calls.append("ours"), lambda: calls.append("peer"), turns=3)
    assert calls == ["ours", "peer"] * 4
    assert len(turns.ours) == len(turns.peer) == 3


def test_processor_time_is_in_the_unit_of_the_row() -> None:
    work = alternate(lambda: sum(range(200_000)), lambda: sum(range(800_000)), turns=5)
    assert sorted(work.ratios)[2] > 1.5
    assert alternate(lambda: None).peer == ()


def test_a_ratio_compares_with_the_peer_and_without_one_with_before() -> None:
    assert cells(row(), FAST, SLOW)["ratio"] == "4.00x, 2.00x before"
    assert cells(row(), FAST, "-")["ratio"] == "4.00x"
    assert cells(row(), FAST, SLOW)["before"] == "5 (2.00x)"
    alone = cells(row(""), Turns(FAST.ours), Turns(SLOW.ours))
    assert alone["ratio"] == "2.00x before"
    assert alone["peer"] == "-"


def test_what_was_not_measured_says_why() -> None:
    assert cells(row(), "no GPU", LACKS) == {
        "what": "flow, ms", "peer": "published", "before": "n/a", "ours": "not measured: no GPU", "ratio": "-",
        "spread": "-", "goal": ">= 3x",
    }  # fmt: skip


def test_spread_is_that_of_the_ratios() -> None:
    steady = Turns((1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0))
    assert cells(row(), steady, "-")["spread"] == "0%"
    assert cells(row(""), Turns(steady.ours), "-")["spread"] != "0%"


def test_turns_survive_a_file() -> None:
    assert from_json(as_json(FAST)) == FAST
    assert from_json(as_json("no GPU")) == "no GPU"


def test_a_checkout_that_lacks_the_api_is_not_available(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "probpose").mkdir()
    (tmp_path / "probpose" / "__init__.py").touch()
    assert before("flow-64", tmp_path) == LACKS
    assert "flow-64" in capfd.readouterr().err


def test_the_table_of_a_page_is_replaced() -> None:
    page = f"head\n{BEGIN}\nold\n{END}\ntail\n"
    assert with_table(page, "new\n") == f"head\n{BEGIN}\n\nnew\n\n{END}\ntail\n"
    with pytest.raises(ValueError, match="one"):
        with_table("no markers", "new")


def test_memory_is_a_slope_over_epochs() -> None:
    assert slope([100.0, 103.0, 106.0, 109.0]) == pytest.approx(3)
    assert slope([100.0, 100.0, 100.0]) == pytest.approx(0)
