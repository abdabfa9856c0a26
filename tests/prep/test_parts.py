"""How clips are cut into parts and shared, and what is refused of it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.shared.errors import UserError
from avprep.shared.side_by_side import SideBySide, own_device


@pytest.mark.parametrize("processes", [1, 2, 3, 64])
@pytest.mark.parametrize("batch", [1, 3, 32, 1000])
@pytest.mark.parametrize("count", [0, 1, 5, 97, 5000])
def test_parts_are_all_clips_in_order_in_whole_batches(processes, batch, count):
    how = SideBySide(processes=processes)
    parts = how.parts_of(count, batch)
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    assert all(part.start % batch == 0 for part in parts)
    assert all(part.stop - part.start <= max(256, batch) for part in parts)
    if count >= 4 * processes * batch:
        assert len(parts) >= 4 * processes


@pytest.mark.parametrize(
    ("options", "name", "gpus", "device"),
    [
        ({"processes": 2}, "auto", 2, "cuda"),
        ({"processes": 2}, "auto", 0, "cpu"),
        ({"processes": 9}, "cpu", 2, "cpu"),
        ({"executor": "ray"}, "cuda", 0, "cuda"),
        ({"processes": 2}, "cuda:1", 2, "--device cuda:1 is not for several processes"),
        ({"processes": 3}, "auto", 2, "--processes 3 need a GPU each, and this machine has 2"),
        ({"processes": 2}, "cuda", 0, "this machine has 0; ask for fewer, or give --device cpu"),
        ({"executor": "ray"}, "mps", 0, "--device mps is not for several processes"),
    ],
)
def test_each_process_has_a_device(options, name, gpus, device):
    how = SideBySide(**options)
    if device in ("cpu", "cuda"):
        assert how.device_of(name, gpus) == device
    else:
        with pytest.raises(UserError, match=device):
            how.device_of(name, gpus)


def test_the_gpu_of_a_process_is_that_of_its_number(monkeypatch):
    assert own_device("cuda") == "cuda"
    monkeypatch.setattr("avprep.shared.processes._number", 3)
    assert own_device("cuda") == "cuda:3"
    assert own_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"processes": 0}, "processes must be 1 or more"),
        ({"executor": "slurm"}, "executor must be local or ray"),
        ({"address": "auto"}, "give --executor ray with it"),
    ],
)
def test_what_cannot_be(options, sentence):
    with pytest.raises(UserError, match=sentence):
        SideBySide(**options)


def test_the_command_refuses_it_too(tmp_path):
    done = CliRunner().invoke(main, ["pseudo-label", str(tmp_path), "--processes", "0"])
    assert done.exit_code == 2
    assert "0 is not in the range x>=1" in done.output
