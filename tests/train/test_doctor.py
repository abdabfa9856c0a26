"""avtrain doctor: what is there, what lacks, and the exit code that goes with it."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from avprep.shared import machine
from avtrain import doctor
from avtrain.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)])


def test_a_machine_that_can_train_is_fit(tmp_path):
    done = run(tmp_path)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("MISSING")]
    for words in (f"torch {torch.__version__}", "torchvision ", "CUDA", "NCCL", "gloo: there", "cores: ", "memory: "):
        assert any(line[8:].startswith(words) for line in lines), words
    (disk,) = (line for line in lines if line[8:].startswith("disk "))
    assert f"disk {tmp_path}: " in disk
    assert "MB/s" in disk
    assert list(tmp_path.iterdir()) == []


def test_each_gpu_is_listed_or_why_there_is_none():
    texts = {finding.text for finding in doctor.examine() if finding.fine}
    for number in range(torch.cuda.device_count()):
        assert any(text.startswith(f"GPU {number}: {torch.cuda.get_device_name(number)}") for text in texts)
    (cuda,) = (finding for finding in doctor.examine() if finding.text.startswith("CUDA"))
    assert cuda.fine == torch.cuda.is_available()
    assert cuda.fine or "no GPU can be used (" in cuda.text or "built without it" in cuda.text
    assert not cuda.needed


def test_what_is_missing_is_in_the_json_too(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "NEEDED_PACKAGES", ("torchvision", "no-such-package"))
    monkeypatch.setattr(doctor, "OTHER_PACKAGES", ("no-other-package",))
    done = run(tmp_path, "--json")
    assert done.exit_code == 1
    found = {one["text"]: (one["fine"], one["needed"]) for one in json.loads(done.stdout)}
    assert found["no-such-package is not installed"] == (False, True)
    assert found["no-other-package is not installed"] == (False, False)
    lines = run(tmp_path).stdout.splitlines()
    assert "MISSING no-such-package is not installed" in lines
    assert "absent  no-other-package is not installed" in lines


def test_a_library_that_belongs_to_another_torch_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "TORCHS_PACKAGES", {"torchaudio": "torchaudio.no_such_part", "no-such-package": "x"})
    texts = {finding.text: finding for finding in doctor.examine() if finding.needed and not finding.fine}
    assert "no-such-package is not installed" in texts
    (broken,) = (text for text in texts if text.startswith("torchaudio "))
    assert f"does not load beside torch {torch.__version__} (No module named" in broken


def test_a_folder_that_cannot_be_written_to_is_missing():
    done = run("/proc")
    assert done.exit_code == 1
    assert "MISSING disk /proc cannot be written to" in done.stdout


@pytest.mark.parametrize(("least_bytes", "fine"), [(0, True), (10**18, False)])
def test_too_little_shared_memory_is_reported(tmp_path, least_bytes, fine):
    found = machine.shared_memory(tmp_path, least_bytes)
    assert found.fine == fine
    assert ("it should be" in found.text) != fine
    assert not machine.shared_memory(tmp_path / "none").fine
