"""avprep append: a grown dataset holds what one build would, old bytes stay, and no kill leaves anything half done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import avprep
from avprep.build import settle
from avprep.build.exclude import exclude
from avprep.build.finalize import finalize
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avprep.quality.table import read_quality, write_quality
from avprep.shared.store import read_json_lines
from avprep.verify.dataset import verify
from tests.conftest import REPOSITORY
from tests.prep.killing import append_campaign
from tests.prep.test_build import tree

CONFIG = BuildConfig(video=VideoSpec(frame_size=32), shards=ShardSpec(clips_per_shard=2))
KILLED_AT_EVERY_RENAME = """
import os, shutil, signal, sys
from pathlib import Path
from avprep.build.append import append
from avprep.build.execute import Execution
from avprep.config import Limits
from avprep.dataset import Dataset
from avprep.shared.store import sha256
from avprep.verify.dataset import verify

folder, manifest, scratch = map(Path, sys.argv[1:])

def grow(data):
    return append(data, manifest, Limits(), date="2026-11-30", how=Execution())

def killed(data, at):
    left = at
    def hook(event, arguments):
        nonlocal left
        if event in ("os.rename", "os.remove", "shutil.rmtree") and str(data) in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if not child:
        sys.addaudithook(hook)
        grow(data)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0

for at in range(1, 100):
    data = scratch / str(at)
    shutil.copytree(folder, data)
    hit = killed(data, at)
    read = Dataset(data)
    read.read_clip(len(read) - 1), read.group_names, read.labels("labels")
    problems = verify(data, 1, quiet=True).problems
    after = Dataset(data)
    again = grow(data)
    print(at, len(read), read.digest, after.digest == read.digest, problems, Dataset(data).digest, again.clips)
    if not hit:
        break
"""


def clip(name, label, video, start=0.0, **more):
    return Clip(name, label, video_path=str(video), start_seconds=start, end_seconds=1.0, group=f"g{name}", **more)


@pytest.fixture(scope="module")
def built(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests a.csv, b.csv and both.csv, with the dataset `a`, `grown` of b.csv on top of it, and `whole` of both."""
    folder = tmp_path_factory.mktemp("built")
    good, empty = videos / "bbb_h264_aac.mp4", videos / "empty.mp4"
    old = [clip(f"a{n}", "a", good, n / 5, labels="a;cc" if n else "a") for n in range(3)]
    old += [clip("b0", "c", good, 0.1, split="test"), clip("e0", "c", empty)]
    new = [
        clip("a3", "a", good, 0.3),
        clip("n0", "b", good),
        clip("e1", "a", empty),
        clip("n1", "c", good, split="test"),
    ]
    for name, clips in (("a", old), ("b", [old[0], *new]), ("both", old + new)):
        write_manifest(folder / f"{name}.csv", clips)
    for name, out in (("a", "a"), ("both", "whole")):
        build_shards(folder / f"{name}.csv", folder / out, CONFIG, Limits())
    shutil.copytree(folder / "a", folder / "grown")
    avprep.append(folder / "grown", folder / "b.csv", workers=1)
    return folder


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "a", tmp_path / "data"))


def avprep_command(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def facts(folder: Path) -> dict[str, tuple[object, ...]]:
    """What a dataset holds of each clip, by its id."""
    dataset = Dataset(folder)
    column = dataset.labels("labels")
    lists = dataset.label_lists("labels")
    names = {}
    for row, name in enumerate(dataset.clip_ids):
        whole = dataset.read_clip(row)
        split, label = dataset.splits[dataset.split[row]], dataset.class_names[dataset.label[row]]
        arrays = whole.frames.tobytes(), whole.logmel.tobytes()
        names[name] = (split, label, dataset.group_names[row], dataset.duration_seconds[row], lists[row], *arrays)
    assert column.class_names == sorted(column.class_names)
    return names


def test_a_grown_dataset_holds_what_one_build_of_all_clips_holds(built):
    assert facts(built / "grown") == facts(built / "whole")
    grown, whole = (json.loads((built / name / "dataset.json").read_text()) for name in ("grown", "whole"))
    assert grown["class_names"] == ["a", "c", "b"]  # new ones last, so that no class id changes
    of = {
        split: {name: count for name, count in classes.items() if count} for split, classes in grown["counts"].items()
    }
    assert of == {"train": {"a": 4, "b": 1}, "test": {"c": 2}}
    assert grown["logmel"]["mean"] == whole["logmel"]["mean"]
    assert grown["logmel"]["frames"] == whole["logmel"]["frames"]
    assert np.allclose(grown["logmel"]["std"], whole["logmel"]["std"], rtol=1e-13, atol=0)
    left = [read_json_lines(built / name / "failures.jsonl") for name in ("grown", "whole")]
    assert left[0] == left[1]
    assert len(left[0]) == 2


def test_old_bytes_and_rows_stay_and_verify_is_content(built):
    before, after = tree(built / "a"), tree(built / "grown")
    old = [name for name in before if name.startswith("shards/")]
    assert [before[name] for name in old] == [after[name] for name in old]
    assert sum(name.endswith(".tar") for name in after) == sum(name.endswith(".tar") for name in before) + 3
    rows = pq.read_table(built / "a" / "index.parquet")
    assert pq.read_table(built / "grown" / "index.parquet").slice(0, len(rows)).to_pylist() == rows.to_pylist()
    findings = verify(built / "grown", 1, quiet=True)
    assert (findings.problems, findings.notes, findings.clips) == ([], [], 7)
    assert not list(built.glob("grown/*append*"))


def test_the_change_is_on_record(built):
    (line,) = read_json_lines(built / "grown" / "history.jsonl")
    assert (line["command"], line["clips"], line["failed"]) == ("append", 3, 1)
    assert line["digest_before"] == Dataset(built / "a").digest
    assert line["digest_after"] == Dataset(built / "grown").digest
    assert "grown     3 clips came by 'avprep append' on 2" in avprep_command("inspect", built / "grown").output


def test_the_same_clips_are_skipped_and_counted(built, tmp_path):
    data = shutil.copytree(built / "grown", tmp_path / "data")
    before = tree(data)
    done = avprep_command("append", data, built / "b.csv")
    assert done.exit_code == 0, done.output
    assert f"{data}: 0 clips came in 0 shards, 0 failed; 5 were there already" in done.output
    assert tree(data) == before


def test_a_second_append_and_the_other_commands_know_the_parts(built, videos, tmp_path):
    data = shutil.copytree(built / "grown", tmp_path / "data")
    write_manifest(tmp_path / "c.csv", [clip("a9", "a", videos / "bbb_h264_aac.mp4", 0.5)])
    assert avprep.append(data, tmp_path / "c.csv", workers=1).clips == 1
    assert verify(data, 1, quiet=True).problems == []
    assert len(read_json_lines(data / "history.jsonl")) == 2
    tables = tree(data)
    finalize(data)
    assert tree(data) == tables
    assert exclude(data, ["n0", "a0"], "asked for", "2026-11-30").left == 6
    assert verify(data, 1, quiet=True).problems == []


def test_a_shard_of_either_part_is_repaired_as_it_was(built, tmp_path):
    data = shutil.copytree(built / "grown", tmp_path / "data")
    before = tree(data)
    for name in ("shards/train/0000-a/000000", "shards/train/0002-b/000000"):
        for ending in (".tar", ".json"):
            (data / f"{name}{ending}").unlink()
    plan = data / "plan"
    words = ["build-shards", plan / "manifest.parquet", "--out", data, "--config", plan / "build.json", "--root", "/"]
    done = avprep_command(*words, "--workers", "1")
    assert done.exit_code == 0, done.output
    assert tree(data) == before


@pytest.mark.slow
def test_killed_at_every_rename_it_is_the_old_dataset_or_the_new_one(built, data, tmp_path):
    state = Path(shutil.copytree(data, tmp_path / "state"))
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED_BEFORE_THE_SHARDS_MOVE, state, built / "b.csv"], cwd=REPOSITORY, check=True
    )
    assert stopped.returncode == 0
    assert len(list(state.glob("append/shards/*/*/*.json"))) == 3
    script = [sys.executable, "-c", KILLED_AT_EVERY_RENAME, state, built / "b.csv", tmp_path]
    done = subprocess.run([str(word) for word in script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 3) for line in done.stdout.splitlines()]
    old, new = Dataset(built / "a").digest, Dataset(built / "grown").digest
    seen = [(int(rows), digest) for _, rows, digest, _ in lines]
    assert set(seen) == {(4, old), (7, new)}
    assert seen == sorted(seen)  # one instant divides them
    for _, _, _, rest in lines:
        assert rest.startswith("True [] " + new), rest
    assert len(lines) > 15


@pytest.mark.slow
def test_three_kills_at_random_moments(built, tmp_path):
    append_campaign(built / "a", built / "b.csv", tmp_path / "killed", kills=3, seed=1)
    assert facts(tmp_path / "killed") == facts(built / "grown")


STOPPED_BEFORE_THE_SHARDS_MOVE = """
import sys
from pathlib import Path
from avprep.build import append, commit

class Stopped(Exception):
    pass

def stop(*_):
    raise Stopped

commit._move_shards = stop
try:
    append.append(Path(sys.argv[1]), Path(sys.argv[2]), append.Limits(), date="2026-11-30", how=append.Execution())
except Stopped:
    sys.exit(0)
"""


def test_other_rows_of_a_known_clip_are_refused_and_named(built, data, tmp_path):
    clips = [*read_manifest(built / "b.csv")]
    write_manifest(tmp_path / "m.csv", [clip("a1", "c", "x.mp4"), *clips])
    before = tree(data)
    done = avprep_command("append", data, tmp_path / "m.csv")
    assert done.exit_code == 2
    assert "has other rows for clips that the dataset has, and nothing was changed" in done.output
    assert "a1 (label 'a' -> 'c', " in done.output
    assert tree(data) == before


def test_nothing_good_leaves_the_dataset_as_it_was(built, data, videos, tmp_path):
    write_manifest(tmp_path / "m.csv", [clip("e9", "a", videos / "empty.mp4")])
    digest = Dataset(data).digest
    done = avprep_command("append", data, tmp_path / "m.csv", "--workers", "1")
    assert done.exit_code == 2
    assert "Not one of 1 new clips could be used" in done.output
    assert "empty: e9" in done.output
    assert Dataset(data).digest == digest
    findings = verify(data, 1, quiet=True)
    assert (findings.problems, len(findings.notes)) == ([], 1)
    other = avprep_command("append", data, built / "b.csv", "--workers", "1")
    assert other.exit_code == 2
    assert (
        f"has an append under way of other clips or versions; repeat its own command, or delete {data}" in other.output
    )
    shutil.rmtree(data / "append")
    assert avprep.append(data, built / "b.csv", workers=1).digest == Dataset(built / "grown").digest


def test_measures_of_a_dataset_that_grows_stay_whole(built, data):
    write_quality(data)
    parts = {path: path.stat().st_mtime_ns for path in data.glob("quality/**/*.parquet")}
    avprep.append(data, built / "b.csv", workers=1)
    table = read_quality(Dataset(data))
    assert table.column("clip_id").to_pylist() == Dataset(data).clip_ids
    peaks = table.column("peak").to_pylist()
    assert [peak is None for peak in peaks] == [True] * 4 + [False] * 3, "new clips are measured while they are decoded"
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in parts.items())
    assert verify(data, 1, quiet=True).problems == []


def test_a_dry_run_counts_and_writes_nothing(built, data, tmp_path):
    before = tree(data)
    done = avprep_command("append", data, built / "b.csv", "--dry-run")
    assert done.exit_code == 0, done.output
    assert f"{data}: 4 clips would come in 3 shards; 1 are there already" in done.output
    assert "new classes: b" in done.output
    write_manifest(tmp_path / "m.csv", [clip("z", "a", tmp_path / "gone.mp4"), clip("a0", "a", "other.mp4")])
    assert "has other rows for clips" in avprep_command("append", data, tmp_path / "m.csv", "--dry-run").output
    write_manifest(tmp_path / "m.csv", [clip("z", "a", tmp_path / "gone.mp4")])
    assert "have no file" in avprep_command("append", data, tmp_path / "m.csv", "--dry-run").output
    assert "0 clips would come in 0 shards; 1 are" in (
        avprep_command("append", built / "grown", built / "b.csv", "--dry-run").output.replace("5 are", "1 are")
    )
    assert tree(data) == before


def test_what_cannot_grow(data, built, tmp_path):
    for folder, words in (
        ("s3://bucket/data", "is a URL; datasets grow on this machine alone"),
        (tmp_path / "none", "is no finished dataset"),
    ):
        done = avprep_command("append", folder, built / "b.csv")
        assert done.exit_code == 2
        assert words in done.output


def test_label_columns_stay_valid_and_know_that_clips_came(built, data, tmp_path):
    (tmp_path / "t.csv").write_text("clip_id,label\na0,x\na1,y\n")
    avprep.add_labels(data, tmp_path / "t.csv", "own")
    done = avprep_command("append", data, built / "b.csv", "--workers", "1")
    assert "the new clips have no label in column 'own'; make it again with --replace" in done.output
    column = Dataset(data).labels("own")
    assert column.values.tolist() == [-1, 0, 1, -1, -1, -1, -1]
    assert verify(data, 1, quiet=True).problems == []
    with pytest.raises(
        UserError, match=r"own.parquet was made before 3 clips came by 'avprep append' on 20.*--replace"
    ):
        avprep.add_labels(data, tmp_path / "t.csv", "own")
    avprep.add_labels(data, tmp_path / "t.csv", "own", replace=True)


def test_a_dataset_that_was_opened_before_reports_that_it_changed(built, data):
    dataset = Dataset(data)
    avprep.append(data, built / "b.csv", workers=1)
    with pytest.raises(UserError, match="has got other clips since it was opened"):
        dataset.ids_of(np.array([0]))


def test_settling_is_no_ones_business_twice(built):
    before = tree(built / "grown")
    settle.settle(built / "grown")
    settle.discard(built / "grown")
    assert tree(built / "grown") == before


@pytest.mark.slow
def test_a_run_of_the_smaller_dataset_does_not_go_on_with_the_grown_one(built, data, tmp_path):
    from avtrain.config import PretrainConfig
    from avtrain.training.pretrain import pretrain

    config = PretrainConfig(model_size="tiny", batch_size=2, epochs=1, val_every=0)
    run = tmp_path / "run"
    pretrain(data, run, config, quiet=True)
    avprep.append(data, built / "b.csv", workers=1)
    with pytest.raises(UserError) as refused:
        pretrain(data, run, config, quiet=True, change=True)
    assert "as it was before 3 clips came by 'avprep append' on 20" in str(refused.value)
    assert str(refused.value).endswith(
        f"and a run keeps its clips; choose another folder, where --init-from {run} begins with its weights."
    )
    again = PretrainConfig(**{**vars(config), "init_from": str(run)})
    assert pretrain(data, tmp_path / "next", again, quiet=True).steps == 2
