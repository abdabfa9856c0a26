"""Public datasets' own metadata and layouts to manifest rows; every oddity counted and listed."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.datasets.vggsound import balanced
from avprep.errors import ManifestError
from avprep.manifest import Clip, read_manifest


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def table(path: Path) -> list[dict]:
    return list(csv.DictReader(path.read_text().splitlines()))


def report_of(out: Path) -> dict:
    return json.loads(out.with_suffix(".report.json").read_text())


def test_vggsound_both_namings_and_every_oddity_at_once(tmp_path):
    (tmp_path / "vggsound.csv").write_text(
        "# YouTube ID, start seconds, label, train/test split\n"
        'aaaaaaaaaaa,30,"people, whispering.",train\n'
        "bbbbb_bbbbb,1,dog,train\n"
        "-ccccc-cccc,5,dog,test\n"
        "bbbbb_bbbbb,20,dog,test\n"
        "aaaaaaaaaaa,30,dog,train\n"
        "ddddddddddd,7,cat,train\n"
        "eeeeeeeeeee,7,cat,dev\n"
        "fffffffffff,7,cat,train\n"
    )
    root = tmp_path / "videos"
    touch(root, "aaaaaaaaaaa_30000_40000.mp4", "x/bbbbb_bbbbb_000001.mp4", "x/y/-ccccc-cccc_000005.mp4")
    touch(root, "bbbbb_bbbbb_20000_30000.mp4", "eeeeeeeeeee_000007.mp4", "fffffffffff_000007.mp4")
    (tmp_path / "exclude.txt").write_text("fffffffffff\n")
    out = tmp_path / "m.csv"
    base = ["manifest", "vggsound", "--root", root, "--metadata", tmp_path / "vggsound.csv", "--out", out]
    printed = invoke(*base, "--exclude", tmp_path / "exclude.txt")
    clips = read_manifest(out)
    assert [(clip.clip_id, clip.label, clip.split, clip.group) for clip in clips] == [
        ("aaaaaaaaaaa_000030", "people, whispering.", "train", "aaaaaaaaaaa"),
        ("bbbbb_bbbbb_000001", "dog", "train", "bbbbb_bbbbb"),
        ("-ccccc-cccc_000005", "dog", "test", "-ccccc-cccc"),
        ("bbbbb_bbbbb_000020", "dog", "test", "bbbbb_bbbbb"),
    ]
    assert all((tmp_path / clip.video_path).is_file() for clip in clips)
    assert report_of(out) == {
        "missing": ["ddddddddddd_000007"],
        "duplicates": ["aaaaaaaaaaa_000030"],
        "unknown_splits": ["eeeeeeeeeee_000007 (dev)"],
        "excluded": ["fffffffffff_000007"],
        "leaks": ["bbbbb_bbbbb"],
        "dropped_leaks": [],
    }
    assert all(word in printed for word in ("1 clips have no file", "1 rows repeat", "1 sources stand in two splits"))
    invoke(*base, "--drop-leaks")
    assert [clip.clip_id for clip in read_manifest(out)].count("bbbbb_bbbbb_000001") == 0
    assert report_of(out)["dropped_leaks"] == ["bbbbb_bbbbb_000001"]


def test_vggsound_balanced_and_per_class():
    clips = [Clip(f"{label}{k}", label, "train") for label, n in (("a", 9), ("b", 4)) for k in range(n)]
    clips += [Clip("t", "a", "test")]
    for count, expected in ((None, 4), (3, 3)):
        kept = balanced(clips, count, seed=0)
        assert Counter((c.label, c.split) for c in kept) == {
            ("a", "train"): expected, ("b", "train"): expected, ("a", "test"): 1,
        }  # fmt: skip
    assert balanced(clips, None, 0) == balanced(clips, None, 0) != balanced(clips, None, 1)
    with pytest.raises(ManifestError, match="'b' has 4 training clips, fewer than 5"):
        balanced(clips, 5, 0)


def test_the_papers_subset_of_vggsound(real_data, tmp_path):
    """The given list of 309 x 123 clips, all files there: 38,007 rows; YouTube ids that are in test too are told."""
    metadata = real_data / "metadata"
    rows = table(metadata / "vggsound_balanced_38007.csv")
    touch(tmp_path / "videos", *(f"{row['youtube_id']}_{int(row['start_seconds']):06d}.mp4" for row in rows[1:]))
    out = tmp_path / "m.parquet"
    invoke("manifest", "vggsound", "--root", tmp_path / "videos", "--out", out,
           "--metadata", metadata / "vggsound_labelled_merged.csv",
           "--subset", metadata / "vggsound_balanced_38007.csv")  # fmt: skip
    train = [clip for clip in read_manifest(out) if clip.split == "train"]
    counts = Counter(clip.label for clip in train)
    assert (len(train), len(counts), sorted(set(counts.values()))) == (38_006, 309, [122, 123])
    assert f"{rows[0]['youtube_id']}_{int(rows[0]['start_seconds']):06d}" in report_of(out)["missing"]


def test_tau_with_its_own_lists(real_data, tmp_path):
    metadata = real_data / "metadata"
    names = [row["filename_audio"] for row in table(metadata / "tau_av2021_train.csv")][:40]
    tests = [row["test_dataname"] for row in table(metadata / "tau_av2021_test.csv")][:20]
    for name in [Path(n).stem for n in names + tests]:
        touch(tmp_path / "tau", f"audio/{name}.wav", f"video/{name}.mp4")
    out = tmp_path / "m.csv"
    printed = invoke(
        "manifest",
        "tau2021",
        "--root",
        tmp_path / "tau",
        "--out",
        out,
        "--train",
        metadata / "tau_av2021_train.csv",
        "--test",
        metadata / "tau_av2021_test.csv",
    )
    clips = read_manifest(out)
    assert Counter(clip.split for clip in clips) == {"train": 40, "test": 20}
    assert all(clip.label == clip.clip_id.split("-")[0] for clip in clips)
    assert all(clip.group == "-".join(clip.clip_id.split("-")[1:3]) for clip in clips)
    assert all((tmp_path / c.audio_path).is_file() and (tmp_path / c.video_path).is_file() for c in clips)
    assert len(report_of(out)["missing"]) == 7907 - 40 + 3645 - 20
    assert "have no file" in printed


def test_fsdnoisy18k_subsets(tmp_path):
    root = tmp_path / "fsd"
    meta = root / "FSDnoisy18k.meta"
    meta.mkdir(parents=True)
    header = "fname,label,aso_id,manually_verified,noisy_small\n"
    (meta / "train.csv").write_text(header + "1.wav,Rain,/m/1,1,0\n2.wav,Rain,/m/1,0,1\n3.wav,Bass_guitar,/m/2,0,0\n")
    (meta / "test.csv").write_text("fname,label,aso_id\n9.wav,Rain,/m/1\n")
    touch(root, *(f"FSDnoisy18k.audio_train/{n}.wav" for n in (1, 2, 3)), "FSDnoisy18k.audio_test/9.wav")
    for subset, expected in (("all", "1 2 3"), ("clean", "1"), ("noisy", "2 3"), ("noisy_small", "2")):
        invoke("manifest", "fsdnoisy18k", "--root", root, "--out", tmp_path / "m.jsonl", "--subset", subset)
        clips = read_manifest(tmp_path / "m.jsonl")
        assert " ".join(clip.clip_id for clip in clips if clip.split == "train") == expected
        assert [clip.clip_id for clip in clips if clip.split == "test"] == ["9"]
        assert all(clip.video_path == "" and (tmp_path / clip.audio_path).is_file() for clip in clips)


@pytest.mark.parametrize(
    ("content", "word"),
    [("youtube_id,label\na,b\n", "no column 'start_seconds'"), ("a,1\n", "has 2 fields"), ("a,x,b,train\n", "'x'")],
)
def test_metadata_that_does_not_fit(tmp_path, content, word):
    (tmp_path / "m.csv").write_text(content)
    done = CliRunner().invoke(main, ["manifest", "vggsound", "--root", str(tmp_path), "--metadata",
                                     str(tmp_path / "m.csv"), "--out", str(tmp_path / "o.csv")])  # fmt: skip
    assert done.exit_code == 2
    assert word in done.output
