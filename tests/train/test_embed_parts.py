"""Embeddings by several processes: the bytes of one process, also where one of them is killed."""

from __future__ import annotations

import dataclasses
import os
import subprocess

import pyarrow.parquet as pq
import pytest

from avprep.dataset import Dataset
from avprep.manifest.read_write import Clip, write_manifest
from avprep.shared.errors import Interrupted, UserError
from avprep.shared.side_by_side import SideBySide
from avtrain.embed import embed, load_encoder, load_video_encoder
from avtrain.embed.clips import choose
from tests import warm
from tests.prep.test_audio_features import write_wav
from tests.processes import DECODER, processes_below
from tests.train.forge import Forged, forge_dataset
from tests.train.test_encoder import save_run

MAIN = "import sys; sys.path.insert(0, {!r}); from avtrain.cli import main; main()"

KILLING = """
import os, signal
from torch import nn
class Mean(nn.Module):
    def forward(self, logmel):
        if len(logmel) == 1:  # a clip, no trial of the model
            os.close(os.open({calls!r} + os.urandom(8).hex(), os.O_CREAT))
        if len(os.listdir(os.path.dirname({calls!r}))) >= 3 and not os.path.exists({flag!r}):
            os.close(os.open({flag!r}, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
        return logmel.mean(dim=2)[:, 0]
def mean(): return Mean()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset of 19 clips, two without pictures, and a run on it."""
    folder = tmp_path_factory.mktemp("parts")
    clips = [Forged("ab"[row % 2], seconds=1 + row % 3, pictures=row not in (4, 11)) for row in range(19)]
    forge_dataset(folder / "data", clips, frame_size=32, mel_bands=16)
    save_run(folder / "run", Dataset(folder / "data"))
    return folder


def command(run, out, *options, data=None):
    """`avtrain embed` as a process whose workers are forked like itself; of the `data` beside the run by default."""
    words = [
        "embed",
        data or run.parent / "data",
        "--run",
        run,
        "--out",
        out,
        "--device",
        "cpu",
        "--threads",
        "1",
        *options,
    ]
    environ = {**os.environ, warm.POOLS: "yes"}
    line = [*warm.python(), "-c", MAIN.format(str(run.parent)), *map(str, words)]
    return subprocess.run(line, env=environ, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    ("processes", "options"),
    [
        pytest.param("2", [], marks=pytest.mark.slow),
        pytest.param("3", ["--window-seconds", "0.4"], marks=pytest.mark.slow),
        pytest.param("3", ["--frame-level"], marks=pytest.mark.slow),
        pytest.param("3", ["--side", "video"], marks=pytest.mark.slow),
    ],
)
def test_any_number_of_processes_writes_the_same_bytes(place, tmp_path, processes, options):
    load = load_video_encoder if "video" in options else load_encoder
    named = {"window_seconds": 0.4} if "--window-seconds" in options else {"frame_level": "--frame-level" in options}
    embed(load(place / "run"), [place / "data"], tmp_path / "one.parquet", **named)
    done = command(place / "run", tmp_path / "some.parquet", "--processes", processes, *options)
    assert done.returncode == 0, done.stderr
    for end in ("parquet", "failures.jsonl"):
        assert (tmp_path / f"some.{end}").read_bytes() == (tmp_path / f"one.{end}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
    rows = pq.read_metadata(tmp_path / "one.parquet").num_rows
    assert f"{rows} embeddings of {17 if 'video' in options else 19} clips" in done.stdout


@pytest.fixture
def killing(place, tmp_path):
    """A folder with `data`, `run` of an encoder that once kills the process of its third clip, and `one.parquet`."""
    folder = tmp_path / "own"
    (folder / "calls").mkdir(parents=True)
    (folder / "data").symlink_to(place / "data")
    code = KILLING.format(calls=str(folder / "calls" / "x"), flag=str(folder / "killed"))
    (folder / "my_killing_model.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        (folder / "killed").touch()
        save_run(folder / "run", Dataset(place / "data"), "my_killing_model:mean")
        embed(load_encoder(folder / "run"), [place / "data"], folder / "one.parquet")
    for path in (folder / "killed", *(folder / "calls").iterdir()):
        path.unlink()
    return folder


@pytest.mark.slow
def test_a_killed_process_changes_nothing(killing, tmp_path):
    out = tmp_path / "out" / "x.parquet"
    (tmp_path / "out" / ".x.parquet.parts").mkdir(parents=True)
    (tmp_path / "out" / ".x.parquet.parts" / "old").touch()  # of a command that was killed
    done = command(killing / "run", out, "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert (killing / "killed").exists()
    assert "a process was killed" in done.stderr
    assert out.read_bytes() == (killing / "one.parquet").read_bytes()
    assert sorted(path.name for path in out.parent.iterdir()) == ["x.failures.jsonl", "x.parquet"]


@pytest.mark.slow
def test_files_too(place, tmp_path):
    """One of four is missing."""
    for number in range(3):
        write_wav(tmp_path / f"{number}.wav", 1.0 + number / 4, 16_000, number)
    clips = [Clip(name, "a", "train", audio_path=f"{name}.wav") for name in ("0", "gone", "1", "2")]
    write_manifest(tmp_path / "clips.csv", clips)
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    assert len(embed(load_encoder(place / "run"), [tmp_path / "clips.csv"], one, workers=1).failures) == 1
    done = command(place / "run", two, "--processes", "2", "--workers", "2", data=tmp_path / "clips.csv")
    assert done.returncode == 0, done.stderr
    assert two.read_bytes() == one.read_bytes()
    assert (tmp_path / "two.failures.jsonl").read_bytes() == (tmp_path / "one.failures.jsonl").read_bytes()


def test_stopped_it_leaves_nothing(place, tmp_path):
    """Processes that are started, not forked."""
    with pytest.raises(Interrupted, match="nothing was written; the same command starts again"):
        embed(
            load_encoder(place / "run"),
            [place / "data"],
            tmp_path / "x.parquet",
            how=SideBySide(processes=2),
            stopping=lambda: True,
        )
    assert not list(tmp_path.iterdir())
    assert not processes_below(os.getpid(), DECODER)


def test_a_failure_in_the_middle_leaves_nothing(place, tmp_path, monkeypatch):
    """Of this process, with parts yet to come, all in this process."""
    monkeypatch.setattr("avtrain.embed.joined", lambda *_: 1 / 0)
    monkeypatch.setattr("avtrain.embed.parts.map_parts", lambda work, parts, *_, **__: (work(part) for part in parts))
    monkeypatch.setattr("avtrain.embed.ROWS_AT_ONCE", 3)
    with pytest.raises(ZeroDivisionError):
        embed(load_encoder(place / "run"), [place / "data"], tmp_path / "x.parquet", how=SideBySide(processes=2))
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_changes_meanwhile_is_refused(place):
    chosen = choose(load_encoder(place / "run").description, [place / "data"], [])
    other = dataclasses.replace(chosen, digest="other").part(slice(0, 2))
    with pytest.raises(UserError, match="was changed while it was read; start the command again"):
        other.clips(load_encoder(place / "run").description, 1)
