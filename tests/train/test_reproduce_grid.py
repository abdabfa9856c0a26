"""The GRID benchmark: whose clips they are and what they say, folds without leaks, the table after any stop."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from avprep.dataset import Dataset
from avprep.datasets.grid_corpus import WORDS, Sentence, sentences_below, word_times
from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import PretrainConfig
from avtrain.reproduce import run_grid
from avtrain.reproduce.av_digits import rows as av_digits
from avtrain.reproduce.grid_corpus.data import are_cut, span_of
from avtrain.reproduce.grid_corpus.folds import folds_of
from avtrain.reproduce.grid_corpus.page import write_page
from avtrain.reproduce.grid_corpus.rows import QUICK, ROWS
from avtrain.reproduce.grid_corpus.run import reproduce_grid, rows_named
from avtrain.reproduce.grid_corpus.settings import GridSettings
from tests import warm

SMALL = GridSettings(label="colour", folds=2, runs=2, updates=4, batch_size=4, finetune_epochs=1, window_seconds=2)
NAMES = ("random", "soft-positive-shuffled-labels")
ALIGNED = """0 10000 sil
10000 15000 bin
15000 20000 blue
20000 22500 at
22500 25000 f
25000 35000 two
35000 50000 now
50000 74500 sil
"""


def folder_of(root: Path, *names: str) -> Path:
    """`root` with empty files of these names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def spoken(speakers, names):
    """Sentences of speakers, as sentences_below returns them."""
    return [
        Sentence(name=name, speaker=speaker, path=f"{speaker}/{name}.mpg", align="")
        for speaker in speakers
        for name in names
    ]


ALL = ["".join(letters) for letters in itertools.product("b", "bg", "a", "abcd", "z12", "n")]


def test_the_corpus_as_handed_out_has_speakers_words_and_align_files(tmp_path):
    root = folder_of(tmp_path, "s1/bbaf2n.mpg", "s10/video/lwbzzp.mpg", "s2/bbaf2n.mpg", "align/s1/bbaf2n.align")
    folder_of(root, "s1/bbaf2n.wav", "s1/Thumbs.db")
    found = sentences_below(root)
    assert [(one.speaker, one.name, bool(one.align)) for one in found] == [
        ("s1", "bbaf2n", True),
        ("s2", "bbaf2n", False),
        ("s10", "lwbzzp", False),
    ]
    assert list(found[2].words.values()) == ["lay", "white", "by", "z", "zero", "please"]
    assert [len(names) for names in WORDS.values()] == [4, 4, 4, 25, 10, 4]
    assert [one.speaker for one in sentences_below(root / "s2")] == ["s2"]


def test_a_folder_of_one_speaker_has_any_folders(real_data):
    found = sentences_below(real_data / "grid")
    assert len(found) == 400
    assert {one.speaker for one in found} == {""}
    assert {one.path.split("/")[0] for one in found} == {"blue", "green", "red", "white"}
    assert all(one.path.startswith(one.words["colour"] + "/") for one in found)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "has no videos; give the folder of the GRID corpus"),
        (["s1/bbaf2n.mpg", "s1/video1.mpg"], "1 videos below .* have no name of the GRID corpus.*: s1/video1.mpg"),
        (["bbaw2n.mpg"], "such as bbaf2n: bbaw2n.mpg"),
        (["BBAF2N.mpg"], "such as bbaf2n: BBAF2N.mpg"),
        (["s1/a/bbaf2n.mpg", "s1/b/bbaf2n.mp4"], "the clip bbaf2n of s1 twice, s1/a/bbaf2n.mpg and s1/b/bbaf2n.mp4"),
        (["s1/bbaf2n.mpg", "x/bbaf2n.mpg"], "x/bbaf2n.mpg below .* is in no folder of a speaker"),
    ],
)
def test_what_is_not_the_corpus_is_refused(tmp_path, names, sentence):
    folder_of(tmp_path / "grid", *names)
    (tmp_path / "grid").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=sentence):
        sentences_below(tmp_path / "grid")


def test_clips_are_cut_around_the_word_where_all_have_align_files(tmp_path):
    root = folder_of(tmp_path, "s1/bbaf2n.mpg", "s1/bbaf3n.mpg", "s1/bbaf3n.align")
    (root / "s1/bbaf2n.align").write_text(ALIGNED)
    settings = GridSettings()
    (root / "s1/bbaf3n.align").write_text(ALIGNED)
    found = sentences_below(root)
    assert are_cut(root, found, settings)
    assert not are_cut(root, found, GridSettings(whole_clips=True))
    assert word_times(root, found[0], "digit") == (1.0, 1.4, 2.98)
    assert span_of(root, found[0], settings) == (0.45, 1.95)
    assert span_of(root, found[0], GridSettings(label="command")) == (0.0, 1.5)
    assert span_of(root, found[0], GridSettings(label="adverb", window_seconds=2)) == (0.45, 2.95)
    assert span_of(root, found[0], GridSettings(window_seconds=3)) == (None, None)
    with pytest.raises(UserError, match="has not the words of bbaf3n"):
        span_of(root, found[1], settings)
    (root / "s1/bbaf3n.align").write_text("0 x bin\n")
    with pytest.raises(UserError, match="is not readable as lines of start, end and word"):
        span_of(root, found[1], settings)
    (root / "s1/bbaf3n.align").unlink()
    with pytest.raises(UserError, match=r"1 of 2 clips below .* have no align file, such as s1/bbaf3n.mpg"):
        are_cut(root, sentences_below(root), settings)


def test_with_one_speaker_no_sentence_is_in_two_folds_and_each_has_its_share_of_every_class(real_data):
    found = sentences_below(real_data / "grid")
    for label in ("digit", "letter"):
        folds = folds_of(found, label, 3)
        labels = np.array([one.words[label] for one in found])
        parts = [{one.name for one, fold in zip(found, folds, strict=True) if fold == part} for part in range(3)]
        assert sum(map(len, parts)) == len(found) == len(set().union(*parts))
        assert np.ptp(np.bincount(folds)) <= 1
        for one in np.unique(labels):
            assert np.ptp(np.bincount(folds[labels == one], minlength=3)) <= 1
    again = folds_of(found[::-1], "letter", 3)
    assert np.array_equal(again[::-1], folds)


def test_with_several_speakers_each_is_in_one_fold():
    speakers = [f"s{number}" for number in range(1, 9)]
    found = spoken(speakers, ALL)
    folds = folds_of(found, "digit", 3)
    of_speaker = {who: {int(f) for one, f in zip(found, folds, strict=True) if one.speaker == who} for who in speakers}
    assert all(len(its) == 1 for its in of_speaker.values())
    assert sorted(np.bincount([next(iter(its)) for its in of_speaker.values()])) == [2, 3, 3]


@pytest.mark.parametrize(
    ("speakers", "folds", "sentence"),
    [
        (["s1", "s2"], 2, "clips are of 2 speakers, too few"),
        (["s1", "s2", "s3"], 2, "choose --folds between 3 and 3"),
        (["s1", "s2", "s3", "s4"], 5, "choose --folds between 3 and 4"),
        (["s1"], 5, "Only 8 clips have the digit 'one', too few for 5 folds"),
    ],
)
def test_too_few_for_the_folds(speakers, folds, sentence):
    with pytest.raises(UserError, match=sentence):
        folds_of(spoken(speakers, ALL), "digit", folds)


def test_rows_are_those_of_av_digits_and_windows_are_settings_of_the_run():
    assert {row.name for row in ROWS} < {row.name for row in av_digits.ROWS}
    assert len({row.slug for row in ROWS}) == len(ROWS)
    assert [row.slug for row in QUICK] == ["random", "soft-positive", "soft-positive-shuffled-labels"]
    assert GridSettings().amounts_of(ROWS[0]).windows == {}
    windows = SMALL.amounts_of(ROWS[0]).windows
    assert (PretrainConfig(**windows).window_frames, PretrainConfig(**windows).audio_seconds) == (16, 2.0)
    with pytest.raises(UserError, match="label must be one of command"):
        GridSettings(label="word")


@pytest.fixture(scope="module")
def clips(real_data, tmp_path_factory):
    """Five clips of each of two colours."""
    root = tmp_path_factory.mktemp("grid")
    for colour in ("blue", "red"):
        for clip in sorted((real_data / "grid" / colour).iterdir())[:5]:
            (root / colour).mkdir(exist_ok=True)
            (root / colour / clip.name).symlink_to(clip)
    return root


@pytest.fixture(scope="module")
def in_this_process():
    """Cells are made here, one after the other: the demo's test has them made by processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_grid, "map_processes", lambda run, cells, *_: map(run, cells))
        yield


@pytest.fixture(scope="module")
def table(clips, in_this_process, tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "out"
    return out, reproduce_grid(out, clips, SMALL, rows_named(NAMES), workers=1)


@pytest.mark.slow
def test_a_miniature_has_every_column_and_no_clip_in_two_splits(table):
    out, made = table
    columns = {"linear", "linear windows", "finetune", "finetune windows", "pair R@1", "class R@1"}
    assert {line["name"]: set(line["scores"]) for line in made.lines} == {
        "random": columns,
        "soft-positive, shuffled labels": columns,
    }
    assert [(line["runs"], line["updates"]) for line in made.lines] == [(2, 4)] * 2
    tested = []
    for fold in range(2):
        dataset = Dataset(out / "data" / f"fold-{fold}" / "shards")
        assert len(dataset) == 10
        ids = {split: {dataset.clip_ids[row] for row in dataset.rows_of(split)} for split in dataset.splits}
        assert not ids["train"] & ids["test"]
        assert set(dataset.group_names) == set(dataset.clip_ids)
        tested += sorted(ids["test"])
        assert dataset.labels(f"shuffled-{fold}").class_names == dataset.class_names
    assert len(tested) == len(set(tested)) == 10
    run = store.read_json(out / "runs" / "soft-positive-shuffled-labels-1" / "config.json")["config"]
    assert (run["labels"], run["window_frames"], run["audio_seconds"]) == ("shuffled-1", 16, 2.0)
    measured = store.read_json(out / "runs" / "random-0" / "eval" / "linear" / "config.json")["config"]
    assert measured["window_seconds"] == 2.0
    text = (out / "table.md").read_text()
    assert "| link |" not in text
    assert "Windows of 2 s lie anywhere in the 3 s of a clip" in text
    page = write_page(out, SMALL, made.lines, made.layout).read_text()
    assert "GRID, colour" in page
    assert "What it was to show" not in page


@pytest.mark.slow
def test_a_cell_that_cannot_be_made_ends_no_table(table, clips, tmp_path):
    out, _ = table
    again = tmp_path / "again"
    shutil.copytree(out, again)
    rows = (av_digits.Row(name="clusters", link="", begin="cluster", finetuned=False), *rows_named(NAMES))
    with pytest.raises(UserError, match="2 of 6 cells could not be made, such as clusters-0: 30 clusters are more"):
        reproduce_grid(again, clips, SMALL, rows, workers=1)
    assert (again / "results.csv").read_bytes() == (out / "results.csv").read_bytes()


@pytest.mark.slow
def test_killed_and_begun_again_it_comes_to_the_same_table(table, clips, tmp_path):
    """The finished table without one cell stands for what was made before."""
    out, made = table
    again, cell = tmp_path / "again", tmp_path / "again" / "runs" / "random-0"
    shutil.copytree(out, again)
    shutil.rmtree(cell)
    code = (
        "from pathlib import Path\n"
        "from tests.train.test_reproduce_grid import NAMES, SMALL, reproduce_grid, rows_named\n"
        "if __name__ == '__main__':\n"
        f"    reproduce_grid(Path({str(again)!r}), Path({str(clips)!r}), SMALL, rows_named(NAMES), workers=1)\n"
    )
    script = tmp_path / "again.py"
    script.write_text(code)
    with warm.all_gone() as stream:
        environ = {**os.environ, warm.POOLS: "yes"}
        process = subprocess.Popen([*warm.python(), str(script)], stdin=stream, env=environ, start_new_session=True)
        while not (cell / "config.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (cell / "cell.json").exists()
    assert reproduce_grid(again, clips, SMALL, rows_named(NAMES), workers=1).lines == made.lines
    assert (again / "results.csv").read_bytes() == (out / "results.csv").read_bytes()


def test_the_command_refuses_what_cannot_be_and_leaves_nothing(tmp_path, clips):
    def refused(*words):
        done = CliRunner().invoke(main, ["reproduce", "grid", str(tmp_path / "out"), *words])
        assert done.exit_code == 2, done.output
        return done.output

    assert "is not a folder" in refused("--root", str(tmp_path / "missing"))
    assert "Missing option '--root'" in refused()
    assert "There is no row 'softly'" in refused("--root", str(clips), "--row", "softly")
    assert "fewer than a batch of 64" in refused("--root", str(clips), "--label", "colour", "--folds", "2")
    assert "'word' is not one of" in refused("--root", str(clips), "--label", "word")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_another_corpus_or_other_settings_are_refused_and_more_runs_are_not(table, clips):
    out, _ = table
    for settings, sentence in (
        (GridSettings(**{**vars(SMALL), "updates": 5}), "updates: 4 -> 5"),
        (GridSettings(**{**vars(SMALL), "whole_clips": True}), "whole_clips: False -> True"),
    ):
        with pytest.raises(UserError, match=sentence):
            reproduce_grid(out, clips, settings, ROWS[:1], workers=1)
