"""av-digits of AudioMNIST's folder: 60 speakers in six folds; FSDD's clips and records stay what they were."""

from __future__ import annotations

import os
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

from avprep.dataset import Dataset
from avprep.shared import store
from avprep.shared.errors import UserError
from avprep.synthetic.av_digits import DigitsConfig, pair_up
from avprep.synthetic.spoken_digits import CORPORA, recordings_below
from avtrain.cli import main
from avtrain.reproduce import run_grid
from avtrain.reproduce.av_digits.data import Sources
from avtrain.reproduce.av_digits.run import reproduce_digits, rows_named
from avtrain.reproduce.av_digits.settings import DigitsSettings
from avtrain.reproduce.av_digits.table import LAYOUT, layout_of

CORPUS = CORPORA["audiomnist"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Files of the corpus's names and form, 48 kHz mono of 16 bit, four of each digit and speaker."""
    root = tmp_path_factory.mktemp("AudioMNIST")
    (root / "audioMNIST_meta.txt").write_text("{}")
    tone = root / "tone"
    with wave.open(str(tone), "wb") as sound:
        sound.setparams((1, 2, 48_000, 0, "NONE", ""))
        sound.writeframes((8000 * np.sin(np.arange(9600) / 20)).astype("<i2").tobytes())
    for speaker in range(1, 61):
        folder = root / "data" / f"{speaker:02d}"
        folder.mkdir(parents=True)
        for digit in range(10):
            for take in range(4):
                os.link(tone, folder / f"{digit}_{speaker:02d}_{take}.wav")
    return root


def test_each_of_sixty_speakers_is_tested_in_one_of_six_folds():
    assert [len(fold) for fold in CORPUS.folds] == [10] * 6
    assert sorted(speaker for fold in CORPUS.folds for speaker in fold) == [f"{n:02d}" for n in range(1, 61)]
    with pytest.raises(UserError, match="fold must be 0 to 5, not 6"):
        DigitsConfig(corpus="audiomnist", fold=6)
    with pytest.raises(UserError, match="corpus must be one of fsdd, audiomnist, not 'mnist'"):
        DigitsConfig(corpus="mnist")


@pytest.mark.parametrize("fold", [0, 5])
def test_no_speaker_recording_or_image_is_in_two_splits(root, fold):
    config = DigitsConfig(corpus="audiomnist", fold=fold, seed=fold)
    pairs = pair_up(config, recordings_below(root, CORPUS), load_digits().target)
    assert len({pair.recording for pair in pairs}) == len({pair.image for pair in pairs}) == len(pairs) == 1000
    speakers = {split: {p.speaker for p in pairs if p.split == split} for split in config.counts}
    assert speakers["test"] == set(CORPUS.folds[fold])
    assert {split: len(its) for split, its in speakers.items()} == {"train": 40, "val": 10, "test": 10}
    assert len(set().union(*speakers.values())) == 60
    assert set(Counter((p.split, p.digit) for p in pairs).values()) == {40, 20}


def test_fsdd_has_the_records_and_the_table_of_before(tmp_path):
    assert "corpus" not in DigitsConfig().on_record
    assert DigitsConfig(corpus="audiomnist").on_record["corpus"] == "audiomnist"
    assert Sources(digits=tmp_path).on_record == {}
    assert layout_of("fsdd") is LAYOUT
    assert (LAYOUT.folds, layout_of("audiomnist").folds) == (3, 6)
    assert "s + 6 are of one fold and share its 10 test speakers" in layout_of("audiomnist").notes[0]


@pytest.mark.slow
def test_a_miniature_of_the_table(root, tmp_path, monkeypatch):
    monkeypatch.setattr(run_grid, "map_processes", lambda run, cells, *_: map(run, cells))
    out, settings = tmp_path / "out", DigitsSettings(clips_per_class=2, runs=1, batch_size=4, epochs=1)
    sources = Sources(digits=root, corpus="audiomnist")
    (line,) = reproduce_digits(out, sources, settings, rows_named(["envelope-log-mel-statistics-64-features"]))
    assert set(line["scores"]) == {"linear", "linear windows"}
    dataset = Dataset(out / "data" / "envelope-0" / "shards")
    assert len(dataset) == 50
    assert set(dataset.group_names[dataset.rows_of("test")]) <= set(CORPUS.folds[0])
    assert store.read_json(out / "settings.json")["corpus"] == "audiomnist"
    with pytest.raises(UserError, match="corpus: 'audiomnist' -> None"):
        reproduce_digits(out, Sources(digits=root), settings)


def test_the_command_takes_one_folder_that_holds_all_speakers(tmp_path, root):
    words = ["reproduce", "av-digits", str(tmp_path / "out")]
    for folders in ([], ["--fsdd", str(root), "--audiomnist", str(root)]):
        done = CliRunner().invoke(main, [*words, *folders])
        assert done.exit_code == 2, done.output
        assert "Give the recordings by one of --fsdd FOLDER and --audiomnist FOLDER" in done.output
    done = CliRunner().invoke(main, [*words, "--audiomnist", str(root / "data" / "07")])
    assert done.exit_code == 2, done.output
    assert "has no recording 0_01_*.wav; give the folder of the AudioMNIST dataset" in done.output
    assert not (tmp_path / "out" / "runs").exists()
