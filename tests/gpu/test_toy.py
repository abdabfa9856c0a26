"""Everything that a GPU is tried for runs at toy size on a CPU; on a card, at its real size: `pytest -m gpu`."""

from __future__ import annotations

import json

import pytest
import torch

from tests import warm
from tests.gpu.bench import Bench
from tests.gpu.rows import FAIL, LEFT_OUT, MEASURED, PASS, Row
from tests.gpu.sizes import FULL, TOY
from tests.gpu.table import CHECKS, line_of, machine, rows_of, write


def tried(bench, names, most_seconds=600.0):
    """The rows, printed; none may fail."""
    rows = rows_of(bench, names, most_seconds, lambda name, row: print(line_of(name, row)))
    assert [(row["what"], row["value"]) for row in rows if row["state"] == FAIL] == []
    return rows


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return Bench(device="cpu", size=TOY, folder=tmp_path_factory.mktemp("gpu"), python=warm.python())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parity", "copies", "jpegs"])
def test_a_check_at_toy_size(toy, name):
    torch.set_num_threads(1)
    states = {row["state"] for row in tried(toy, [name])}
    assert states <= {PASS, MEASURED, LEFT_OUT}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["equal", "speed", "loading", "downstream", "ranks", "export", "chunks"])
def test_a_longer_check_at_toy_size(toy, name):
    torch.set_num_threads(1)
    tried(toy, [name])


def test_a_check_that_fails_loses_no_other_row(toy, monkeypatch, tmp_path):
    def broken(bench):
        yield Row("first", PASS, "fine")
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setitem(CHECKS, "parity", broken)
    monkeypatch.setitem(CHECKS, "copies", lambda bench: iter([Row("later", PASS, "fine")]))
    rows = rows_of(toy, ["parity", "copies"], 600, lambda name, row: None)
    assert [(row["what"], row["state"]) for row in rows] == [("first", PASS), ("parity", FAIL), ("later", PASS)]
    assert rows[1]["value"] == "RuntimeError: no such kernel"
    write(tmp_path / "gpu.json", machine(toy), rows)
    read = json.loads((tmp_path / "gpu.json").read_text())
    assert "no such kernel" in read["rows"][1]["numbers"]["traceback"]
    assert read["machine"]["torch"] == torch.__version__


def test_a_check_that_would_begin_too_late_is_left_out(toy):
    (row,) = rows_of(toy, ["equal"], -1, lambda name, row: None)
    assert row["state"] == LEFT_OUT


@pytest.mark.gpu
@pytest.mark.parametrize("name", CHECKS)
def test_a_check_on_a_card(name, card):
    tried(card, [name])


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    return Bench(device="cuda", size=FULL, folder=tmp_path_factory.mktemp("card"), threads=8)
