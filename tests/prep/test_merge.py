"""avprep merge: two datasets become one with the arrays of one build, and what cannot be merged is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import avprep
from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.manifest.read_write import read_manifest, write_manifest
from avprep.quality.table import read_quality, write_quality
from avprep.verify.dataset import verify
from tests.prep.test_append import CONFIG, avprep_command, built, clip, facts
from tests.prep.test_build import tree

__all__ = ["built"]


@pytest.fixture(scope="module")
def pair(built: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The dataset `a` and one of the clips that `grown` has beside it."""
    folder = tmp_path_factory.mktemp("pair")
    write_manifest(folder / "b.csv", [one for one in read_manifest(built / "b.csv") if one.clip_id != "a0"])
    build_shards(folder / "b.csv", folder / "b", CONFIG, Limits())
    return built / "a", folder / "b"


def test_merged_datasets_hold_what_one_build_holds(built, pair, tmp_path):
    before = [tree(folder) for folder in pair]
    done = avprep_command("merge", *pair, "--out", tmp_path / "c")
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'c'}: 7 clips of 3 classes in 7 shards" in done.output
    assert facts(tmp_path / "c") == facts(built / "whole")
    findings = verify(tmp_path / "c", 1, quiet=True)
    assert (findings.problems, findings.notes) == ([], [])
    merged = json.loads((tmp_path / "c" / "dataset.json").read_text())
    assert merged["class_names"] == ["a", "c", "b"]
    assert [part["clips"] for part in merged["parts"]] == [5, 4]
    assert [tree(folder) for folder in pair] == before
    written = tree(tmp_path / "c")
    assert avprep_command("merge", *pair, "--out", tmp_path / "c").exit_code == 0
    assert tree(tmp_path / "c") == written
    avprep.merge(pair, tmp_path / "linked", link=True)
    assert tree(tmp_path / "linked") == written


def test_a_grown_dataset_is_merged_and_a_merged_one_grows(built, videos, tmp_path):
    write_manifest(tmp_path / "d.csv", [clip("d0", "d", videos / "bbb_h264_aac.mp4", 0.2)])
    build_shards(tmp_path / "d.csv", tmp_path / "d", CONFIG, Limits())
    assert avprep.merge([tmp_path / "d", built / "grown"], tmp_path / "c").clips == 8
    assert verify(tmp_path / "c", 1, quiet=True).problems == []
    write_manifest(tmp_path / "e.csv", [clip("x0", "b", videos / "bbb_h264_aac.mp4", 0.4)])
    assert avprep.append(tmp_path / "c", tmp_path / "e.csv", workers=1).clips == 1
    assert verify(tmp_path / "c", 1, quiet=True).problems == []
    assert {name: values for name, values in facts(tmp_path / "c").items() if name in facts(built / "grown")} == facts(
        built / "grown"
    )


def test_label_columns_are_joined_by_name(pair, tmp_path):
    a, b = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in pair)
    (tmp_path / "a.csv").write_text("clip_id,label\na0,x\na1,y\n")
    (tmp_path / "b.csv").write_text("clip_id,label\nn0,z\nn1,x\n")
    avprep.add_labels(a, tmp_path / "a.csv", "own")
    avprep.add_labels(b, tmp_path / "b.csv", "own")
    avprep.add_labels(b, tmp_path / "b.csv", "lone", multi=True)
    assert avprep.merge([a, b], tmp_path / "c").columns == ["labels", "lone", "own"]
    dataset = Dataset(tmp_path / "c")
    own = dataset.labels("own")
    names = {one: own.class_names[value] for one, value in zip(dataset.clip_ids, own.values, strict=True) if value >= 0}
    assert names == {"a0": "x", "a1": "y", "n0": "z", "n1": "x"}
    lone = dict(zip(dataset.clip_ids, dataset.label_lists("lone"), strict=True))
    assert (lone["n0"], lone["a0"]) == (["z"], None)
    assert verify(tmp_path / "c", 1, quiet=True).problems == []


def test_measures_are_joined_where_all_have_them(pair, tmp_path):
    a, b = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in pair)
    write_quality(a)
    done = avprep_command("merge", a, b, "--out", tmp_path / "one")
    assert f"no quality.parquet, since {b} has none; 'avprep quality {tmp_path / 'one'}' makes it" in done.output
    assert len(list((tmp_path / "one" / "quality").rglob("*.parquet"))) == 3
    write_quality(b)
    assert avprep.merge([a, b], tmp_path / "both").unmeasured == []
    assert read_quality(Dataset(tmp_path / "both")).column("clip_id").to_pylist() == Dataset(tmp_path / "both").clip_ids
    assert avprep.merge(pair, tmp_path / "none").unmeasured == []


def test_what_cannot_be_merged_is_named_and_nothing_is_written(built, pair, videos, tmp_path):
    write_manifest(tmp_path / "m.csv", [clip("m0", "a", videos / "bbb_h264_aac.mp4")])
    small = BuildConfig(video=VideoSpec(frame_size=16))
    build_shards(tmp_path / "m.csv", tmp_path / "small", small, Limits())
    out = tmp_path / "c"
    for folders, why in (
        ([built / "a", built / "grown"], "5 clip ids are in more than one of the datasets, and nothing was written"),
        ([built / "a", tmp_path / "small"], "frame_size: 32 -> 16"),
        ([built / "a", built / "a"], "is given twice"),
        ([built / "a"], "needs two datasets or more"),
        ([built / "a", tmp_path], "is no finished dataset"),
        ([built / "a", "s3://bucket/b"], "datasets grow on this machine alone"),
    ):
        done = avprep_command("merge", *folders, "--out", out)
        assert done.exit_code == 2
        assert why in done.output
        assert not out.exists()
    assert "a1" in avprep_command("merge", built / "a", built / "grown", "--out", out).output
    done = avprep_command("merge", *pair, "--out", pair[0])
    assert done.exit_code == 2
    done = avprep_command("merge", *pair, "--out", built)
    assert "is not empty and holds no dataset" in done.output


def test_a_damaged_shard_is_not_merged(pair, tmp_path):
    b = Path(shutil.copytree(pair[1], tmp_path / "b"))
    tar = sorted(b.glob("shards/*/*/*.tar"))[0]
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(bytes(data))
    with pytest.raises(UserError, match="has other bytes than its marker records"):
        avprep.merge([pair[0], b], tmp_path / "c")
    assert not (tmp_path / "c" / "dataset.json").exists()
