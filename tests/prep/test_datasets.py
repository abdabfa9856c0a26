"""Public datasets' own metadata and layouts to manifest rows; every oddity counted and listed."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits
from avprep.datasets.vggsound import balanced_clips as balanced
from avprep.errors import ManifestError
from avprep.manifest.checks import Report, missing, settle
from avprep.manifest.read_write import Clip, read_manifest


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


NOTHING_MORE: dict[str, list[str]] = {name: [] for name in ("nested", "unnamed", "classless", "emptied", "no_split")}
NOTHING_MORE |= {name: [] for name in ("unlabelled", "no_length", "absent")}


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
    base = [
        "manifest",
        "vggsound",
        "--root",
        root,
        "--metadata",
        tmp_path / "vggsound.csv",
        "--out",
        out,
        "--overwrite",
    ]
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
        "same_media": [],
        "unknown_splits": ["eeeeeeeeeee_000007 (dev)"],
        "excluded": ["fffffffffff_000007"],
        "strangers": [],
        "foreign": [],
        "leaks": ["bbbbb_bbbbb"],
        "dropped_leaks": [],
        "similar_labels": [],
        **NOTHING_MORE,
    }
    assert all(word in printed for word in ("1 clips have no file", "1 rows repeat", "1 sources are in two splits"))
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


def test_folds_in_file_names(real_data, tmp_path):
    """ESC-10's five official folds: 80 clips each, of eight sounds a class; a source in one fold alone."""
    out = tmp_path / "esc10.csv"
    base = [
        "manifest",
        "folder",
        "--root",
        real_data / "esc10",
        "--out",
        out,
        "--overwrite",
        "--fold-pattern",
        r"(\d)-",
    ]
    official = {row["path"].removeprefix("esc10/"): row for row in table(real_data / "esc10.csv")}
    tested = []
    for fold in "12345":
        printed = invoke(*base, "--test-fold", fold)
        assert "400 clips, 10 classes, 80 test, 320 train" in printed
        clips = read_manifest(out)
        assert {clip.clip_id: (clip.label, clip.group) for clip in clips} == {
            name: (row["label"], row["split_or_fold"]) for name, row in official.items()
        }
        assert set(Counter(clip.label for clip in clips if clip.split == "test").values()) == {8}
        assert {clip.group for clip in clips if clip.split == "test"} == {fold}
        tested += [clip.clip_id for clip in clips if clip.split == "test"]
    assert sorted(tested) == sorted(official)
    assert not out.with_suffix(".report.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fold-pattern", "(\\d)-"], "go together"),
        (["--fold-pattern", "(", "--test-fold", "1"], "no regular expression"),
        (["--fold-pattern", "\\d-", "--test-fold", "1"], "needs one group"),
        (["--fold-pattern", "(\\d)-", "--test-fold", "3"], "'3' is not one of at least two folds"),
        (["--fold-pattern", "(\\d)-a", "--test-fold", "1"], "does not fit x/2-b.wav"),
        (["--fold-pattern", "(9)?", "--test-fold", "9"], "does not fit x/"),
    ],
)
def test_folds_that_do_not_fit(tmp_path, arguments, words):
    touch(tmp_path, "in/x/1-a.wav", "in/x/2-b.wav")
    base = ["manifest", "folder", "--root", str(tmp_path / "in"), "--out", str(tmp_path / "o.csv")]
    done = CliRunner().invoke(main, [*base, *arguments])
    assert done.exit_code == 2
    assert words in done.output
    touch(tmp_path, "in/test/x/1-a.wav", "in/train/x/2-a.wav")
    shutil.rmtree(tmp_path / "in/x")
    done = CliRunner().invoke(main, [*base, "--fold-pattern", r"(\d)-", "--test-fold", "1"])
    assert "has folders for its splits" in done.output


def test_a_table_of_any_column_names_with_every_oddity_at_once(tmp_path):
    (tmp_path / "in").mkdir()
    touch(tmp_path / "media", "a.mp4", "b.mp4", "c.mp4", "sub/d.mp4", "e.wav", "e.mp4")
    (tmp_path / "in" / "mine.csv").write_text(
        "category,file,sound,split,t0,end_seconds,clip_id,mood\n"
        "dog,a.mp4,,train,0,2,a0,x\n"
        "dog,./a.mp4,,test,2,4,a1,x\n"
        "Dog,b.mp4,,train,,,b0,x\n"
        "dog,b.mp4,,train,,,b1,x\n"
        "cat,c.mp4,,train,,,b0,x\n"
        "cat,gone.mp4,,train,,,g,x\n"
        "cat,c.mp4,,extra,,,v,x\n"
        "cat,e.mp4,e.wav,val,,,e,x\n"
        f"cat,{tmp_path}/media/sub/../sub/d.mp4,,train,,,d,x\n"
    )
    out = tmp_path / "out" / "m.jsonl"
    out.parent.mkdir()
    base = [
        "manifest",
        "table",
        tmp_path / "in" / "mine.csv",
        "--root",
        tmp_path / "media",
        "--out",
        out,
        "--overwrite",
    ]
    base += ["--rename", "category=label", "--rename", "file=video_path", "--rename", "sound=audio_path"]
    printed = invoke(*base, "--rename", "t0=start_seconds")
    clips = {clip.clip_id: clip for clip in read_manifest(out)}
    assert set(clips) == {"a0", "a1", "b0", "b1", "e", "d"}
    assert clips["a1"] == Clip("a1", "dog", "test", "../media/a.mp4", "", 2.0, 4.0, "../media/a.mp4")
    assert clips["e"].audio_path == "../media/e.wav"
    assert clips["d"].video_path == f"{tmp_path}/media/sub/../sub/d.mp4"
    assert report_of(out) == {
        "missing": ["g"],
        "duplicates": ["b0"],
        "same_media": ["b1 (as b0)"],
        "unknown_splits": ["v (extra)"],
        "excluded": [],
        "strangers": [],
        "foreign": [],
        "leaks": ["a.mp4"],
        "dropped_leaks": [],
        "similar_labels": ["'Dog' / 'dog'"],
        **NOTHING_MORE,
    }
    for words in ("1 clips have no file and were left out", "1 rows repeat", "1 sources are in two", "1 sets of"):
        assert words in printed
    printed = invoke(*base, "--rename", "t0=start_seconds", "--drop-leaks", "--missing", "keep")
    assert {clip.clip_id for clip in read_manifest(out)} == {"a1", "b0", "b1", "e", "d", "g"}
    assert report_of(out)["dropped_leaks"] == ["a0"]
    assert "1 clips have no file and will fail" in printed
    for rename, word in (
        ("t1=start_seconds", "no column 't1'"),
        ("t0=begin", "'begin' is no column"),
        ("t0", "OLD=NEW"),
    ):
        done = CliRunner().invoke(main, [str(a) for a in [*base, "--rename", rename]])
        assert done.exit_code == 2
        assert word in done.output


def test_bad_rows_of_a_table_are_reported_beside_what_is_odd(tmp_path):
    (tmp_path / "m.csv").write_text("label,video_path,split\n,a.mp4,train\nx,b.mp4,dev\nx,c.mp4,train\n")
    done = CliRunner().invoke(main, ["manifest", "table", str(tmp_path / "m.csv"), "--out", str(tmp_path / "o.csv")])
    assert done.exit_code == 2
    assert "line 2: no label" in done.output
    assert "2 clips have no file" in done.output


def test_a_build_reports_what_is_odd_and_goes_on(tmp_path, sounds, caplog):
    shutil.copy(sounds / "elec_blip.ogg", tmp_path / "a.ogg")
    rows = ["label,audio_path,split,clip_id,start_seconds", "x,a.ogg,train,1,", "X,a.ogg,test,2,", "X,a.ogg,fold1,3,"]
    (tmp_path / "m.csv").write_text("\n".join([*rows, "x,gone.ogg,train,4,", ""]))
    result = build_shards(tmp_path / "m.csv", tmp_path / "out", BuildConfig(), Limits())
    assert (result.clips, result.failures) == (3, {"missing": 1})
    [told] = [record.getMessage() for record in caplog.records if "such as" in record.getMessage()]
    for words in ("1 clips have no file and will fail, such as 4", "2 clips are the same span", "1 sources are",
                  "1 rows are of no known split (train, val, test), such as 3 (fold1)", "'X' / 'x'"):  # fmt: skip
        assert words in told
    assert "--drop-leaks" not in told


def test_a_leak_is_reported_once():
    """By its group where that leaks, else by its file."""
    spans = [
        Clip("1", "a", "train", "a.mp4", "", 0.0, 1.0, "ann"),
        Clip("2", "a", "test", "a.mp4", "", 1.0, 2.0, "ann"),
    ]
    files = [Clip("3", "a", "train", "b.mp4", "", 0.0, 1.0, "bob"), Clip("4", "a", "val", "b.mp4", "", 1.0, 2.0, "cat")]
    report = Report()
    left = settle([*spans, *files], report, drop_leaks=True)
    assert report.leaks == ["ann", "b.mp4"]
    assert [clip.clip_id for clip in left] == ["2", "4"]


def test_files_are_looked_for_in_listed_and_in_single_folders(tmp_path):
    touch(tmp_path, *(f"many/{n}.wav" for n in range(30)), *(f"single/{n}/x.wav" for n in range(6)))
    (tmp_path / "many" / "30.wav").symlink_to("nowhere")
    (tmp_path / "many" / "31.wav").mkdir()
    clips = [Clip(f"many{n}", "a", audio_path=f"many/{n}.wav") for n in range(33)]
    clips += [Clip(f"single{n}", "a", audio_path=f"single/{n}/x.wav") for n in range(8)]
    gone = ["many30", "many31", "many32"]
    assert missing(clips, tmp_path) == ([*gone, "single6", "single7"], 0)
    assert missing(clips, tmp_path, most_lookups=7) == ([*gone, "single6"], 1)
    assert missing(clips[:2], tmp_path / "many") == (["many0", "many1"], 0)


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
        invoke(
            "manifest", "fsdnoisy18k", "--root", root, "--out", tmp_path / "m.jsonl", "--subset", subset, "--overwrite"
        )
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
