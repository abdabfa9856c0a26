"""Adapters of public datasets: each on metadata as the dataset ships it, with the oddities that such metadata has.

Of ESC-50 it is the real file, where shared data is there. The others are written here by what their publishers
describe: AudioSet's csv with comments and spaces after commas, Kinetics' label,youtube_id,time_start,time_end,split,
is_cc, AVE's fields divided by &, FSD50K's ground truth, UrbanSound8K.csv, VGGSounder 1.0's one row a label.
"""

from __future__ import annotations

import importlib.util
import json
import runpy
from pathlib import Path
from shlex import split as words_of

import pytest
from click.testing import CliRunner

import avprep
from avprep.cli import main
from avprep.dataset import Dataset
from avprep.datasets.registry import ADAPTERS, MODULES, column_table, dataset_table
from avprep.manifest.clips import Clip
from avprep.manifest.read_write import read_manifest
from tests.conftest import REPOSITORY
from tests.docker.recipes import parsed
from tests.prep.test_datasets import report_of, touch
from tests.train.forge import Forged, forge_dataset

LISTS = REPOSITORY / "manifests"


def run(line: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, words_of(line))
    assert done.exit_code == status, done.output
    return done.output


def lists_of(folder: Path, name: str) -> list[list[str] | None]:
    """The lists of a column in the order of the clips' ids."""
    dataset = Dataset(folder)
    return [own for _, own in sorted(zip(dataset.clip_ids, dataset.label_lists(name), strict=True))]


def findings(out: Path) -> dict[str, list[str]]:
    """The findings of a manifest that there are."""
    return {name: items for name, items in report_of(out).items() if items and name != "no_split"}


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


AUDIOSET = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=6, num_segs=6, num_unique_labels=3, num_positive_labels=7
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/05zppz,/t/dd00088"
00000000007, 0.000, 10.000, "/t/dd00088"
1e100000000, 5.500, 15.500, "/m/05zppz"
--PJHxphWEs, 30.000, 40.000, "/m/05zppz"
gonegonegon, 20.000, 30.000, "/m/05zppz"
"""
EVAL = AUDIOSET[: AUDIOSET.index("--PJ")] + '1e100000000, 90.000, 100.000, "/m/0dgw9r,/m/05zppz"\n'
ONTOLOGY = [
    {"id": "/m/0dgw9r", "name": "Human sounds", "child_ids": ["/m/05zppz"], "restrictions": ["abstract"]},
    {"id": "/m/05zppz", "name": "Male speech, man speaking", "child_ids": [], "restrictions": []},
    {"id": "/t/dd00088", "name": "Gush", "child_ids": [], "restrictions": []},
]


@pytest.fixture
def audioset(tmp_path):
    (tmp_path / "balanced.csv").write_text(AUDIOSET)
    (tmp_path / "eval.csv").write_text(EVAL)
    (tmp_path / "ontology.json").write_text(json.dumps(ONTOLOGY))
    touch(tmp_path / "clips", "A/--PJHxphWEs_30000_40000.wav", "a/--PJHxphWEs_30000_40000.mp4", "extra.wav")
    touch(tmp_path / "clips", "b/Y00000000007_0.000_10.000.wav", "1e100000000_5500_15500.flac")
    touch(tmp_path / "clips", "1e100000000_000090_000100.webm")
    return "manifest audioset --root clips --ontology ontology.json --out m.csv --overwrite"


def test_audioset(audioset):
    printed = run(f"{audioset} --balanced balanced.csv --eval eval.csv")
    assert "4 clips" in printed
    assert "3 labels in all (1.5 a clip), 1 test, 3 train" in printed
    clips = {clip.clip_id: clip for clip in read_manifest(Path("m.csv"))}
    assert {name: (clip.split, clip.group, clip.all_labels) for name, clip in clips.items()} == {
        "--PJHxphWEs_30000": ("train", "--PJHxphWEs", ["Male speech, man speaking", "Gush"]),
        "00000000007_0": ("train", "00000000007", ["Gush"]),
        "1e100000000_5500": ("train", "1e100000000", ["Male speech, man speaking"]),
        "1e100000000_90000": ("test", "1e100000000", ["Human sounds", "Male speech, man speaking"]),
    }
    assert clips["--PJHxphWEs_30000"].video_path == "clips/a/--PJHxphWEs_30000_40000.mp4"
    assert clips["00000000007_0"].audio_path == "clips/b/Y00000000007_0.000_10.000.wav"
    assert findings(Path("m.csv")) == {
        "missing": ["gonegonegon_20000"],
        "duplicates": ["--PJHxphWEs_30000"],
        "leaks": ["1e100000000"],
        "unnamed": ["extra.wav"],
    }
    run(f"{audioset} --balanced balanced.csv --eval eval.csv --drop-leaks")
    assert findings(Path("m.csv"))["dropped_leaks"] == ["1e100000000_5500"]


def test_a_file_named_by_the_id_alone_is_a_segment_or_a_video(audioset, tmp_path):
    touch(tmp_path / "clips", "gonegonegon.mp4")
    assert "clips/gonegonegon.mp4" not in run(f"{audioset} --eval eval.csv")
    assert "gonegonegon.mp4 is named by the YouTube id alone; give --files segments" in run(
        f"{audioset} --unbalanced balanced.csv", 2
    )
    for files, span in (("segments", (None, None)), ("videos", (20.0, 30.0))):
        run(f"{audioset} --unbalanced balanced.csv --files {files}")
        clips = {clip.clip_id: clip for clip in read_manifest(Path("m.csv"))}
        assert (clips["gonegonegon_20000"].start_seconds, clips["gonegonegon_20000"].end_seconds) == span
        assert clips["1e100000000_5500"].start_seconds is None


def test_audioset_refuses(audioset, tmp_path):
    assert "give --balanced, --unbalanced or --eval" in run(audioset, 2)
    (tmp_path / "eval.csv").write_text('abc, 0, 10, "/m/none"\n')
    assert "ontology.json has no name for the label '/m/none' of abc in eval.csv" in run(
        f"{audioset} --eval eval.csv", 2
    )
    (tmp_path / "eval.csv").write_text('abc, x, 10, "/t/dd00088"\n')
    assert "eval.csv: start_seconds 'x' is not a time in seconds" in run(f"{audioset} --eval eval.csv", 2)
    (tmp_path / "eval.csv").write_text("abc, 0, 10, /m/05zppz,/t/dd00088\n")
    assert "line 1 has 5 fields, not 4" in run(f"{audioset} --eval eval.csv", 2)


KINETICS = """label,youtube_id,time_start,time_end,split,is_cc
bowling,---aQ-tA5_A,9,19,train,0
"playing drums",00000000007,0,10,train,0
typing,1e100000000,5,15,train,1
archery,aaaaaaaaaaa,5,15,train,1
"strumming guitar",bbbbbbbbbbb,5,15,train,0
bowling,---aQ-tA5_A,9,19,train,0
bowling,gonegonegon,9,19,train,0
bowling,ccccccccccc,9,19,holdout,0
bowling,ddddddddddd,3,13,validate,0
"ripping paper, loudly",eeeeeeeeeee,3,13,train,0
"""


@pytest.fixture
def kinetics(tmp_path):
    (tmp_path / "kinetics.csv").write_text(KINETICS)
    touch(tmp_path / "k", "train/bowling/---aQ-tA5_A_000009_000019.mp4", "train/x/00000000007_000000_000010.mp4")
    touch(tmp_path / "k", "1e100000000_000005_000015.mp4", "aaaaaaaaaaa_000005_000015.mp4", "stray.mp4")
    touch(tmp_path / "k", "bbbbbbbbbbb_000005_000015.mkv", "ccccccccccc_000009_000019.mp4")
    touch(tmp_path / "k", "val/ddddddddddd_000003_000013.mp4", "eeeeeeeeeee_000003_000013.mp4")
    return "manifest kinetics-sounds --root k --metadata kinetics.csv --out m.csv --overwrite"


def test_kinetics_sounds(kinetics):
    run(f"{kinetics} --classes kinetics_sounds_31.txt")
    clips = list(read_manifest(Path("m.csv")))
    assert [(clip.clip_id, clip.label, clip.split, clip.group) for clip in clips] == [
        ("---aQ-tA5_A_000009_000019", "bowling", "train", "---aQ-tA5_A"),
        ("00000000007_000000_000010", "playing drums", "train", "00000000007"),
        ("ddddddddddd_000003_000013", "bowling", "val", "ddddddddddd"),
    ]
    found = findings(Path("m.csv"))
    assert len(found.pop("absent")) == 31 - 2
    assert found == {
        "missing": ["gonegonegon_000009_000019"],
        "duplicates": ["---aQ-tA5_A_000009_000019"],
        "unknown_splits": ["ccccccccccc_000009_000019 (holdout)"],
        "unnamed": ["stray.mp4"],
    }


def test_lists_of_kinetics_sounds_differ_as_their_readme_has_it(kinetics, tmp_path):
    """27 classes keep their name, 4 have another one, 3 are none of Kinetics-400, and one list has one more."""
    folder = Path(str(importlib.util.find_spec("torchvision").origin)).parent  # to import it takes long
    meta = runpy.run_path(str(folder / "models" / "_meta.py"))
    published = set(meta["_KINETICS400_CATEGORIES"])
    of_31, of_32 = ((LISTS / f"kinetics_sounds_{count}.txt").read_text().splitlines() for count in (31, 32))
    rows = [line.split(",") for line in (LISTS / "kinetics_sounds_34.csv").read_text().splitlines()[1:]]
    assert (len(of_31), len(of_32), len(rows), len(dict(rows))) == (31, 32, 34, 34)
    assert set(of_32) == {*of_31, "strumming guitar"} <= published
    assert {label for label, _ in rows} - published == {"typing", "fingerpicking", "patting"}
    assert {label for label, _ in rows} & published == set(of_31)
    assert sum(label == name for label, name in rows) == 27 + 3
    more = {"kinetics_sounds_32.txt": "strumming guitar", "kinetics_sounds_34.csv": "typing"}
    for name, label in more.items():
        run(f"{kinetics} --classes {name}")
        assert {clip.label for clip in read_manifest(Path("m.csv"))} == {"bowling", "playing drums", label}
    (tmp_path / "own.csv").write_text('label\n"ripping paper, loudly"\n')
    run(f"{kinetics} --classes own.csv")
    assert [clip.label for clip in read_manifest(Path("m.csv"))] == ["ripping paper, loudly"]


def test_kinetics_sounds_with_val_as_test_and_what_it_refuses(kinetics, tmp_path):
    assert "1 test, 2 train" in run(f"{kinetics} --classes kinetics_sounds_31.txt --test-split val")
    header = KINETICS.splitlines()[0]
    (tmp_path / "test.csv").write_text(f"{header}\nbowling,fffffffffff,1,11,test,0\n")
    two = f"{kinetics} --metadata test.csv --classes kinetics_sounds_31.txt"
    assert "test.csv has test clips, and --test-split val" in run(f"{two} --test-split val", 2)
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end,split\nfffffffffff,1,11,test\n")
    assert "test.csv has no column 'label'" in run(two, 2)
    (tmp_path / "own.txt").write_text("swimming\n")
    assert "own.txt has no class of kinetics.csv: 1 id, such as 'swimming'" in run(f"{kinetics} --classes own.txt", 2)
    assert "Missing option '--classes'" in run(kinetics, 2)


HEADER = "Category&VideoID&Quality&StartTime&EndTime\n"
AVE = {
    "trainSet.txt": "Church bell&--UhOCu3LNX&good&0&10\n"
    "Male speech, man speaking&00000000007&good&2&7\n"
    "Bark&00000000007&good&1&3\n"
    "Bark&00000000007&good&1&3\n"
    "Bark&1e100000000&good&0&0\n"
    "Bark&bothsplits_&good&0&4\n",
    "valSet.txt": "Bark&gonegonegon&good&3&4\n",
    "testSet.txt": "Violin, fiddle&bothsplits_&good&4&9\n",
}


@pytest.fixture
def ave(tmp_path):
    for name, lines in AVE.items():
        touch(tmp_path, f"ave/{name}")
        (tmp_path / "ave" / name).write_text(lines)
    (tmp_path / "ave" / "Annotations.txt").write_text(HEADER + "".join(AVE.values()) + "Bark&nolist_____&good&1&2\n")
    videos = ("--UhOCu3LNX", "00000000007", "1e100000000", "bothsplits_", "nolist_____", "stray")
    touch(tmp_path / "ave/AVE", *(f"{video}.mp4" for video in videos))
    return "manifest ave --root ave --out m.csv --overwrite"


def test_ave(ave):
    run(ave)
    clips = {clip.clip_id: clip for clip in read_manifest(Path("m.csv"))}
    assert {name: (clip.split, clip.group, clip.all_labels) for name, clip in clips.items()} == {
        "--UhOCu3LNX": ("train", "--UhOCu3LNX", ["Church bell"]),
        "00000000007": ("train", "00000000007", ["Male speech, man speaking", "Bark"]),
        "1e100000000": ("train", "1e100000000", ["Bark"]),
        "bothsplits__train": ("train", "bothsplits_", ["Bark"]),
        "bothsplits__test": ("test", "bothsplits_", ["Violin, fiddle"]),
    }
    assert all(clip.end_seconds is None for clip in clips.values())
    assert findings(Path("m.csv")) == {
        "missing": ["gonegonegon"],
        "duplicates": ["00000000007 (Bark)"],
        "same_media": ["bothsplits__test (as bothsplits__train)"],
        "unknown_splits": ["nolist_____ (none)"],
        "leaks": ["bothsplits_"],
        "unnamed": ["AVE/stray.mp4"],
    }


def test_events_of_ave_are_spans(ave):
    run(f"{ave} --span event")
    clips = {clip.clip_id: clip for clip in read_manifest(Path("m.csv"))}
    assert {name: (clip.label, clip.start_seconds, clip.end_seconds) for name, clip in clips.items()} == {
        "--UhOCu3LNX_0_10": ("Church bell", 0.0, 10.0),
        "00000000007_2_7": ("Male speech, man speaking", 2.0, 7.0),
        "00000000007_1_3": ("Bark", 1.0, 3.0),
        "bothsplits__train_0_4": ("Bark", 0.0, 4.0),
        "bothsplits__test_4_9": ("Violin, fiddle", 4.0, 9.0),
    }
    assert findings(Path("m.csv"))["no_length"] == ["1e100000000_0_0 (0 to 0 s)"]


def test_fsd50k(tmp_path):
    truth = tmp_path / "fsd/FSD50K.ground_truth"
    truth.mkdir(parents=True)
    (truth / "vocabulary.csv").write_text("0,Bark,/m/05tny_\n1,Dog,/m/0bt9lr\n2,Animal,/m/0jbk\n")
    (truth / "dev.csv").write_text(
        "fname,labels,mids,split\n"
        '007,"Bark,Dog,Animal","/m/05tny_,/m/0bt9lr,/m/0jbk",train\n'
        "1e10,Animal,/m/0jbk,val\n"
        "1e10,Animal,/m/0jbk,val\n"
        "12,Animal,/m/0jbk,train\n"
        "13,Animal,/m/0jbk,extra\n"
        '14,"",,train\n'
    )
    (truth / "eval.csv").write_text('fname,labels,mids\n99,"Dog,Animal","/m/0bt9lr,/m/0jbk"\n')
    touch(tmp_path / "fsd/FSD50K.dev_audio", "007.wav", "1e10.wav", "13.wav", "14.wav", "15.wav")
    touch(tmp_path / "fsd/FSD50K.eval_audio", "99.wav")
    base = "manifest fsd50k --root fsd --out m.jsonl"
    run(base)
    assert [(clip.clip_id, clip.split, clip.all_labels) for clip in read_manifest(Path("m.jsonl"))] == [
        ("007", "train", ["Bark", "Dog", "Animal"]),
        ("1e10", "val", ["Animal"]),
        ("99", "test", ["Dog", "Animal"]),
    ]
    assert findings(Path("m.jsonl")) == {
        "missing": ["12"],
        "duplicates": ["1e10"],
        "unknown_splits": ["13 (extra)"],
        "unlabelled": ["14"],
        "unnamed": ["FSD50K.dev_audio/15.wav"],
    }
    (truth / "eval.csv").write_text("fname,labels,mids\n99,Cat,/m/01yrx\n")
    assert "eval.csv: the label 'Cat' of 99 is not in vocabulary.csv" in run(base, 2)


def test_esc50_with_its_own_metadata(real_data, tmp_path):
    """The rows of the real file in shared data: fold 4 whole, some of others; ESC-10 as its own table has it."""
    (tmp_path / "esc/meta").mkdir(parents=True)
    (tmp_path / "esc/audio").mkdir()
    text = (real_data / "metadata" / "esc50.csv").read_text()
    (tmp_path / "esc/meta/esc50.csv").write_text(text)
    for line in text.splitlines()[1:]:
        (tmp_path / "esc/audio" / line.split(",")[0]).touch()
    printed = run("manifest esc50 --root esc --test-fold 4 --val-fold 3 --out m.csv")
    assert "414 clips, 50 classes, 400 test, 13 train, 1 val" in printed
    clips = {clip.clip_id: clip for clip in read_manifest(Path("m.csv"))}
    splits = {(clip.group, clip.split) for clip in clips.values()}
    assert splits == {("2", "train"), ("3", "val"), ("4", "test"), ("5", "train")}
    audio = "esc/audio/2-103426-A-3.wav"
    assert clips["2-103426-A-3"] == Clip("2-103426-A-3", "cow", "train", "", audio, None, None, "2", cluster="103426")
    assert not Path("m.report.json").exists()
    printed = run("manifest esc50 --root esc --test-fold 4 --esc10 --out ten.csv")
    assert "83 clips, 10 classes, 80 test, 3 train" in printed
    sources = {row.split(",")[3].removeprefix("freesound:") for row in (real_data / "esc10.csv").open()}
    assert {clip.cluster for clip in read_manifest(Path("ten.csv"))} <= sources


def test_esc50_and_urbansound8k_report_what_is_odd_and_refuse_other_folds(tmp_path):
    touch(tmp_path, "esc/meta/x", "esc/audio/1-007-A-0.wav", "esc/audio/1-8-A-0.wav", "esc/audio/9-1-A-0.wav")
    (tmp_path / "esc/meta/esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n"
        '1-007-A-0.wav,1,0,"dog, barking",True,007,A\n'
        "1-8-A-0.wav,2,0,cat,False,1e10,A\n"
        "1-8-A-0.wav,2,0,cat,False,1e10,A\n"
        "1-9-A-0.wav,2,0,cat,False,9,A\n"
        "9-1-A-0.wav,9,0,cat,False,1,A\n"
    )
    touch(
        tmp_path, "us/metadata/x", "us/audio/fold1/7-3-0-0.wav", "us/audio/fold10/007-3-0-0.wav", "us/audio/fold2/a.wav"
    )
    (tmp_path / "us/metadata/UrbanSound8K.csv").write_text(
        "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
        '7-3-0-0.wav,7,0.0,4.0,1,1,3,"dog, barking"\n'
        "007-3-0-0.wav,007,0.0,0.317551,1,10,3,dog_bark\n"
        "007-3-0-0.wav,007,0.0,0.317551,1,10,3,dog_bark\n"
        "9-3-0-0.wav,9,0.0,4.0,1,2,3,dog_bark\n"
        "a.wav,9,0.0,4.0,1,2b,3,dog_bark\n"
    )
    run("manifest esc50 --root esc --test-fold 1 --out e.csv")
    assert [(c.clip_id, c.label, c.split, c.cluster) for c in read_manifest(Path("e.csv"))] == [
        ("1-007-A-0", "dog, barking", "test", "007"),
        ("1-8-A-0", "cat", "train", "1e10"),
    ]
    assert findings(Path("e.csv")) == {
        "missing": ["1-9-A-0"],
        "duplicates": ["1-8-A-0"],
        "unknown_splits": ["9-1-A-0 (fold 9)"],
    }
    run("manifest urbansound8k --root us --test-fold 10 --out u.csv")
    assert [(c.clip_id, c.label, c.split, c.group, c.cluster) for c in read_manifest(Path("u.csv"))] == [
        ("7-3-0-0", "dog, barking", "train", "1", "7"),
        ("007-3-0-0", "dog_bark", "test", "10", "007"),
    ]
    assert findings(Path("u.csv")) == {
        "missing": ["9-3-0-0", "a"],
        "duplicates": ["007-3-0-0"],
        "unnamed": ["audio/fold2/a.wav"],
    }
    for line, words in {
        "esc50 --root esc --test-fold 6": "--test-fold 6 is not one of the 5 folds",
        "esc50 --root esc --test-fold 1 --val-fold 1": "--val-fold 1 is the test fold already",
        "urbansound8k --root us --test-fold 11": "--test-fold 11 is not one of the 10 folds",
        "urbansound8k --root us": "Missing option '--test-fold'",
        "urbansound8k --root esc --test-fold 1": "esc has no metadata/UrbanSound8K.csv; --root is the folder",
        "esc50 --root esc --test-fold 2 --test-share 0.2": "leave --test-share out",
    }.items():
        assert words in run(f"manifest {line} --out no.csv", 2)
    assert not Path("no.csv").exists()


VGGSOUNDER = """video_id,label,modality,background_music,static_image,voice_over
---g-f_I2yQ_000001,male singing,A,True,False,False
---g-f_I2yQ_000001,people crowd,AV,True,False,False
00000000007_000030,"child speech, kid speaking",V,False,False,True
1e100000000_000000,,,False,False,False
notvggsound_000000,dog baying,AV,False,True,False
gonegonegon_000010,dog baying,AV,False,True,False
"""
VGGSOUND = """---g-f_I2yQ,1,people marching,test
00000000007,30,"child speech, kid speaking",test
1e100000000,0,dog baying,test
unlabelled_,5,dog baying,test
gonegonegon,10,dog baying,test
trainclip__,10,dog baying,train
---g-f_I2yQ,1,people marching,test
"""


@pytest.fixture
def vggsounder(tmp_path):
    (tmp_path / "vggsounder.csv").write_text(VGGSOUNDER)
    (tmp_path / "vggsound.csv").write_text(VGGSOUND)
    touch(tmp_path / "v", "---g-f_I2yQ_1000_11000.mp4", "00000000007_000030.mp4", "1e100000000_000000.mp4", "other.mp4")
    touch(tmp_path / "v", "unlabelled__000005.mp4", "trainclip___000010.mp4")
    return "manifest vggsounder --root v --table vggsounder.csv --out m.csv --overwrite"


def test_vggsounder(vggsounder, tmp_path):
    run(f"{vggsounder} --metadata vggsound.csv --train vggsound.csv")
    assert [clip.clip_id for clip in read_manifest(Path("m.csv")) if clip.split == "train"] == ["trainclip___000010"]
    run(f"{vggsounder} --metadata vggsound.csv")
    assert [(clip.clip_id, clip.label, clip.split, clip.labels) for clip in read_manifest(Path("m.csv"))] == [
        ("---g-f_I2yQ_000001", "people marching", "test", ""),
        ("00000000007_000030", "child speech, kid speaking", "test", ""),
        ("1e100000000_000000", "dog baying", "test", ""),
    ]
    assert findings(Path("m.csv")) == {
        "missing": ["gonegonegon_000010"],
        "duplicates": ["---g-f_I2yQ_000001"],
        "unlabelled": ["unlabelled__000005"],
        "absent": ["notvggsound_000000"],
        "unnamed": ["other.mp4"],
    }
    (tmp_path / "vggsound_test.csv").write_text("nobody_____,1,dog baying,test\n")  # not what the default names
    run(vggsounder)
    assert [clip.clip_id for clip in read_manifest(Path("m.csv"))] == ["---g-f_I2yQ_000001"]
    assert "has no test clip of vggsound_test.csv" in run(f"{vggsounder} --metadata vggsound_test.csv", 2)
    (tmp_path / "vggsounder.csv").write_text(VGGSOUNDER.replace(",AV,", ",B,", 1))
    assert "gives ---g-f_I2yQ_000001 the modality 'B', not A, V or AV" in run(vggsounder, 2)


def test_columns_of_vggsounder(vggsounder, tmp_path):
    """A clip with no label of a kind has an empty list; one that the table does not have is not known."""
    table = VGGSOUNDER
    for row, clip in enumerate(("---g-f_I2yQ_000001", "00000000007_000030", "1e100000000_000000")):
        table = table.replace(clip, f"c{row}")
    Path("own.csv").write_text(table)
    data = forge_dataset(tmp_path / "data", [Forged("people crowd", "test"), *[Forged("dog baying", "test")] * 3])
    printed = run("add-labels data own.csv --of vggsounder")
    assert "audible.parquet: 1 clips with labels, 2 with none, 1 that the table does not have" in printed
    assert "2 clips of own.csv are not in the dataset" in printed
    assert {name: lists_of(data, name) for name in ("audible", "visible", "audiovisual")} == {
        "audible": [["male singing", "people crowd"], [], [], None],
        "visible": [["people crowd"], ["child speech, kid speaking"], [], None],
        "audiovisual": [["people crowd"], [], [], None],
    }
    before = {path.name: path.read_bytes() for path in (data / "labels").iterdir()}
    assert list(avprep.add_labels_of(data, "own.csv", "vggsounder")) == ["audible", "visible", "audiovisual"]
    assert {path.name: path.read_bytes() for path in (data / "labels").iterdir()} == before
    Path("own.csv").write_text(table + "c1,dog baying,A,False,False,False\n")
    assert "audible.parquet was made otherwise; give --replace" in run("add-labels data own.csv --of vggsounder", 2)
    assert {path.name: path.read_bytes() for path in (data / "labels").iterdir()} == before
    run("add-labels data own.csv --of vggsounder --replace")
    assert lists_of(data, "audible")[1] == ["dog baying"]
    assert "vggsounder.csv has none of the clips of data" in run("add-labels data vggsounder.csv --of vggsounder", 2)
    for words in ("", "--of vggsounder --name x"):
        assert "Give --name, or --of" in run(f"add-labels data own.csv {words}", 2)
    assert "leave --column, --multi and --separator out" in run("add-labels data own.csv --of vggsounder --multi", 2)
    with pytest.raises(avprep.UserError, match="esc50 has no table that makes label columns"):
        avprep.add_labels_of(data, "own.csv", "esc50")


def test_the_function_is_the_command(kinetics, audioset):
    run(f"{kinetics} --classes kinetics_sounds_32.txt --test-share 0.4 --seed 3")
    made = avprep.manifest_of_dataset(
        "kinetics-sounds",
        "k",
        "n.csv",
        metadata=["kinetics.csv"],
        classes="kinetics_sounds_32.txt",
        test_share=0.4,
        seed=3,
    )
    assert Path("n.csv").read_bytes() == Path("m.csv").read_bytes()
    assert (made.clips, made.labels) == (4, 3)
    wrong = {
        "There is no dataset 'esc10'; there are audioset, ave": ("esc10", {}),
        "esc50 needs --test-fold: The fold": ("esc50", {}),
        "--test-fold '1' is not a whole number": ("esc50", {"test_fold": "1"}),
        "--span 'all' is not one of whole, event": ("ave", {"span": "all"}),
    }
    for words, (name, options) in wrong.items():
        with pytest.raises(avprep.UserError, match=words):
            avprep.manifest_of_dataset(name, "k", "n.csv", **options)
    with pytest.raises(TypeError, match="esc50 has no setting 'fold'; it has esc10, test_fold, val_fold"):
        avprep.manifest_of_dataset("esc50", "k", "n.csv", fold=1)


def test_a_label_of_several_with_the_sign_between_them_is_refused(audioset, tmp_path):
    (tmp_path / "ontology.json").write_text(json.dumps(ONTOLOGY).replace("Gush", "Gush; flow"))
    assert "The label 'Gush; flow' of --PJHxphWEs_30000 has a ';'" in run(f"{audioset} --balanced balanced.csv", 2)


def test_commands_and_pages_come_from_the_registry():
    assert list(ADAPTERS) == [module.rpartition(".")[2].replace("_", "-") for module in MODULES]
    files = {path.stem for path in (REPOSITORY / "avprep/datasets").glob("*.py") if "ADAPTER = " in path.read_text()}
    assert files == {module.rpartition(".")[2] for module in MODULES}
    assert set(ADAPTERS) == set(main.commands["manifest"].commands) - {"archive", "folder", "table"}
    for adapter in ADAPTERS.values():
        parsed(words_of(f"avprep manifest {adapter.name} {adapter.example} --out clips.csv"))
        assert f"`avprep manifest {adapter.name} {adapter.example} --out clips.csv`" in dataset_table()
    assert "`avprep add-labels DIR FILE --of vggsounder` | `audible`, `visible`, `audiovisual` |" in column_table()
