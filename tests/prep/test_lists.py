"""The lists of manifests/: what their README says, whence they come, what the adapters make of them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.datasets.tau2021 import SCENES
from avprep.datasets.vggsound import COLUMNS
from avprep.manifest.read_write import read_manifest
from tests.conftest import REPOSITORY
from tests.prep.test_datasets import invoke, report_of, table, touch

MANIFESTS = REPOSITORY / "manifests"


@pytest.mark.slow
def test_the_papers_subset_of_vggsound(tmp_path):
    """All of its clips there, of the test list those of every tenth row and of the four leaking videos."""
    subset, tests = MANIFESTS / "vggsound_balanced_38007.csv", MANIFESTS / "vggsound_test.csv"
    wanted, listed = ([clip_name(row) for row in table(path)] for path in (subset, tests))
    both = {name[:11] for name in wanted} & {name[:11] for name in listed}
    there = [name for row, name in enumerate(listed) if row % 10 == 0 or name[:11] in both]
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in wanted + there:
        (videos / f"{name}.mp4").touch()
    out = tmp_path / "m.parquet"
    base = ["manifest", "vggsound", "--root", videos, "--metadata", tests, "--subset", subset, "--out"]
    printed = invoke(*base, out)
    clips = read_manifest(out)
    counts = Counter(clip.label for clip in clips if clip.split == "train")
    assert (len(counts), set(counts.values()), counts.total()) == (309, {123}, 38_007)
    assert sorted(counts) == (MANIFESTS / "vggsound_classes.txt").read_text().splitlines()
    assert [clip.clip_id for clip in clips if clip.split == "test"] == there
    report = report_of(out)
    assert report["missing"] == [name for name in listed if name not in set(there)]
    assert report["leaks"] == ["JixXL5s6fnE", "o4HqWhVTW2o", "rajXrf_Dzfw", "sKtU5y4czNc"]
    assert not any(found for name, found in report.items() if name not in ("missing", "leaks"))
    assert f"{len(listed) - len(there)} clips have no file and were left out" in printed
    assert "4 sources are in two splits" in printed

    gone = [wanted[0], wanted[200]]
    for name in gone:
        (videos / f"{name}.mp4").unlink()
    (tmp_path / "exclude.txt").write_text(f"{wanted[5]}\n{there[5][:11]}\n")
    out = tmp_path / "less.parquet"
    printed = invoke(*base, out, "--drop-leaks", "--exclude", tmp_path / "exclude.txt")
    left, report = read_manifest(out), report_of(out)
    assert set(gone) <= set(report["missing"])
    assert {wanted[5], there[5]} <= set(report["excluded"])
    assert len(report["dropped_leaks"]) == 5
    assert not {c.group for c in left if c.split == "train"} & {c.group for c in left if c.split == "test"}
    assert sum(clip.split == "train" for clip in left) == 38_007 - len(gone) - 1 - 5


@pytest.mark.slow
def test_a_list_is_taken_by_its_bare_name_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = table(MANIFESTS / "vggsound_balanced_38007.csv")[3]
    touch(tmp_path / "videos", f"{clip_name(row)}.mp4")
    base = [
        "manifest",
        "vggsound",
        "--root",
        "videos",
        "--metadata",
        "vggsound_test.csv",
        "--out",
        "m.csv",
        "--overwrite",
    ]
    invoke(*base, "--subset", "vggsound_balanced_38007.csv")
    assert [clip.clip_id for clip in read_manifest(Path("m.csv"))] == [clip_name(row)]
    Path("vggsound_balanced_38007.csv").write_text(f"{row['youtube_id']},{row['start_seconds']},mine,train\n")
    invoke(*base, "--subset", "vggsound_balanced_38007.csv")
    assert [clip.label for clip in read_manifest(Path("m.csv"))] == ["mine"]
    for name in ("none.csv", f"{tmp_path}/videos/vggsound_test.csv"):
        done = CliRunner().invoke(main, [*base, "--subset", name])
        assert done.exit_code == 2
        assert f"{name} does not exist" in done.output


def clip_name(row: dict) -> str:
    return f"{row['youtube_id']}_{int(row['start_seconds']):06d}"


def test_the_lists_are_as_in_their_readme():
    """Digest and number of rows of each file; no file without them; all of them part of the package."""
    told = re.findall(
        r"^\| `(\S+)` \| ([\d,]+) \| .* \| `([0-9a-f]{64})` \|$", (MANIFESTS / "README.md").read_text(), re.M
    )
    found = []
    for path in MANIFESTS.iterdir():
        if path.name != "README.md":
            rows = len(path.read_text().splitlines()) - (path.suffix == ".csv")
            found.append((path.name, f"{rows:,}", hashlib.sha256(path.read_bytes()).hexdigest()))
    assert sorted(told) == sorted(found)
    assert {path.name for path in (files("avprep") / "manifests").iterdir()} == {
        path.name for path in MANIFESTS.iterdir()
    }


def test_the_lists_are_those_they_come_from(real_data):
    metadata = real_data / "metadata"
    assert table(MANIFESTS / "vggsound_balanced_38007.csv") == table(metadata / "vggsound_balanced_38007.csv")
    known = [row for row in table(metadata / "vggsound_labelled_merged.csv") if row["split"] == "test"]
    assert table(MANIFESTS / "vggsound_test.csv") == [{k: row[k] for k in COLUMNS} for row in known]
    assert (MANIFESTS / "vggsound_classes.txt").read_text() == (metadata / "vggsound_classes.txt").read_text()
    assert tuple((MANIFESTS / "tau2021_classes.txt").read_text().split()) == SCENES


def test_taus_validation_locations_give_both_splits(real_data, tmp_path):
    """All 8,646 training segments by name; by the adapter two of each place, from one list."""
    given = {"paper": ("tau_av2021_paper", 7128, 1518), "public": ("tau_av2021", 7907, 739)}
    some: dict[str, list[str]] = {}
    for name, (start, train, val) in given.items():
        train_names, val_names = (segments(real_data, f"{start}_{split}") for split in ("train", "val"))
        assert (len(train_names), len(val_names)) == (train, val)
        places = set((MANIFESTS / f"tau2021_val_locations_{name}.txt").read_text().split())
        assert {segment for segment in train_names | val_names if place_of(segment) in places} == val_names
        for segment in sorted(train_names | val_names):
            of_place = some.setdefault(place_of(segment), [])
            of_place += [segment] * (len(of_place) < 2 and segment not in of_place)
    names = [segment for of_place in some.values() for segment in of_place]
    touch(tmp_path / "tau", *(f"audio/{name}.wav" for name in names), *(f"video/{name}.mp4" for name in names))
    rows = [f"audio/{name}.wav,video/{name}.mp4,{name.split('-')[0]}" for name in names]
    (tmp_path / "train.csv").write_text("\n".join(["filename_audio,filename_video,scene_label", *rows]))
    (tmp_path / "test.csv").write_text("test_dataname\nbus-lyon-9-1.wav\n")
    out = tmp_path / "m.csv"
    base = ["manifest", "tau2021", "--root", tmp_path / "tau", "--train", tmp_path / "train.csv"]
    base += ["--test", tmp_path / "test.csv", "--out", out, "--overwrite", "--val-locations"]
    for name in given:
        path = MANIFESTS / f"tau2021_val_locations_{name}.txt"
        invoke(*base, path)
        clips = read_manifest(out)
        assert len(clips) == len(names) > 300
        assert {place_of(clip.clip_id) for clip in clips if clip.split == "val"} == set(path.read_text().split())
        assert {clip.split for clip in clips} == {"train", "val"}
    (tmp_path / "places.txt").write_text("bus-lyon-12345\n")
    done = CliRunner().invoke(main, [str(a) for a in [*base, tmp_path / "places.txt"]])
    assert done.exit_code == 2
    assert "no list has a segment of 1 id, such as 'bus-lyon-12345'" in done.output


def segments(real_data: Path, name: str) -> set[str]:
    return {Path(row["filename_audio"]).stem for row in table(real_data / "metadata" / f"{name}.csv")}


def place_of(segment: str) -> str:
    return segment.rpartition("-")[0]
