"""pretrain --profile: a trace and a table of where time goes, in a run that is otherwise the same; or one sentence."""

from __future__ import annotations

import gzip
import json

import pytest
from click.testing import CliRunner

from avtrain.cli import main
from avtrain.runs import checkpoint
from avtrain.training.profiling import WARM
from tests.train.forge import Forged, forge_dataset

OPTIONS = ["--model-size=tiny", "--batch-size=4", "--epochs=3", "--device=cpu", "--threads=1", "--chunk-size=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = [Forged("ab"[row % 2]) for row in range(16)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def pretrain(folder, run, *options):
    return CliRunner().invoke(main, ["pretrain", str(folder), "--run", str(run), *OPTIONS, *options])


@pytest.mark.slow
def test_a_profile_has_the_parts_and_a_trace_and_changes_nothing(folder, tmp_path, caplog):
    done = pretrain(folder, tmp_path / "run", "--profile=2")
    assert done.exit_code == 0, done.output
    written = tmp_path / "run" / "profile"
    assert {path.name for path in written.iterdir()} == {"00000003-table.txt", "00000003-trace.json.gz"}
    table = (written / "00000003-table.txt").read_text()
    parts = {line[:30].strip(): float(line[30:].split()[0]) for line in table.split("\n\n")[0].splitlines()[1:]}
    names = {"waiting for a batch", "copy and augmentation", "encoders", "loss over all ranks", "backward pass"}
    names |= {"gradient norm", "optimiser", "numbers", "rest"}
    whole = parts.pop("all, waiting after each part")
    assert parts.pop("all, as traced") > 0
    assert parts.keys() == names
    assert sum(parts.values()) == pytest.approx(whole, abs=0.1)
    assert "aten::convolution" in table
    assert table.splitlines()[1][:30].strip() in caplog.text
    with gzip.open(written / "00000003-trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    assert sum(event.get("name") == "optimiser" and event.get("cat") == "user_annotation" for event in events) == 2
    assert pretrain(folder, tmp_path / "plain").exit_code == 0
    ends = [checkpoint.latest(tmp_path / name) for name in ("run", "plain")]
    assert len({(end / "optim.safetensors").read_bytes() for end in ends}) == 1
    assert (tmp_path / "run" / "config.json").read_bytes() == (tmp_path / "plain" / "config.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--profile=5"],
            "takes 13 updates (3 to warm up, 5 timed, 5 traced), and this run has 12 to make",
        ),
        (["--profile=2", "--seeds=0,1"], "--profile is for one run"),
        (["--profile=0"], "0 is not in the range 1<=x<=1000"),
        (["--profile=many"], "'many' is not a valid integer"),
    ],
)
def test_a_profile_that_cannot_be_is_one_sentence_before_the_run(folder, tmp_path, options, sentence):
    done = pretrain(folder, tmp_path / "run", *options)
    assert done.exit_code == 2
    assert sentence in done.output
    assert not (tmp_path / "run").exists()


def test_a_run_that_stops_earlier_writes_no_profile(folder, tmp_path, caplog):
    from avprep.shared.errors import Interrupted
    from avtrain import pretrain as from_python

    asked = iter([False] * WARM + [True])
    settings = {"model_size": "tiny", "batch_size": 4, "epochs": 3, "stopping": lambda: next(asked)}
    with pytest.raises(Interrupted):
        from_python(folder, tmp_path / "run", device="cpu", profile=2, **settings)
    assert "stopped before --profile 2 was through" in caplog.text
    assert not (tmp_path / "run" / "profile").exists()
