"""Cells of a grid: made once, read from then on, refused where other settings made them; tables as text."""

from __future__ import annotations

import pytest

from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.reproduce import run_grid


def made(calls):
    """A cell's work, which notes each time that it is done."""

    def make():
        calls.append(1)
        return {"row": {"loss": "mask"}, "score": len(calls)}

    return make


def test_a_cell_is_made_once_and_again_where_it_is_not_whole(tmp_path):
    path, calls, settings = tmp_path / "runs" / "cell.json", [], {"row": {"loss": "mask"}}
    assert run_grid.result_of(path, settings, made(calls))["score"] == 1
    assert run_grid.result_of(path, settings, made(calls))["score"] == 1
    again = run_grid.result_of(path, settings, made(calls), is_whole=lambda result: result["score"] > 1)
    assert again["score"] == 2
    assert store.read_json(path) == again


def test_a_cell_of_other_settings_is_refused_and_nothing_is_made(tmp_path):
    path, calls = tmp_path / "cell.json", []
    run_grid.result_of(path, {"row": {"loss": "mask"}}, made(calls))
    with pytest.raises(UserError, match="loss: 'mask' -> 'info-nce'"):
        run_grid.result_of(path, {"row": {"loss": "info-nce"}}, made(calls))
    assert len(calls) == 1


def test_a_setting_that_came_later_had_its_default(tmp_path):
    path = tmp_path / "result.json"
    store.write_json(path, {"config": {"seed": 3}, "accuracy": 0.5})
    defaults = {"seed": 0, "side": "audio"}
    assert run_grid.result_at(path, {"config": {"seed": 3, "side": "audio"}}, defaults)["accuracy"] == 0.5
    with pytest.raises(UserError, match="side: 'audio' -> 'video'"):
        run_grid.result_at(path, {"config": {"seed": 3, "side": "video"}}, defaults)
    assert run_grid.result_at(tmp_path / "none.json", {}) is None


def test_a_table_as_text():
    rows = [["row", "linear"], ["random", "1.0"]]
    assert run_grid.csv_text(*rows[:1], rows[1:]) == "row,linear\nrandom,1.0\n"
    assert run_grid.aligned(rows) == ["row     linear", "random  1.0"]
    assert run_grid.markdown(rows) == ["| row | linear |", "| random | 1.0 |"]
    assert run_grid.aligned([]) == []
