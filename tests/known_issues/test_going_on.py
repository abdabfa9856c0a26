"""A finished run could not go on: more epochs were "other settings", and no change of settings could be recorded."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from click.testing import CliRunner

from avprep.shared.errors import Interrupted, UserError
from avtrain.cli import main
from avtrain.config import PretrainConfig
from avtrain.data.augment import Augment
from avtrain.runs import changes, checkpoint
from avtrain.runs import folder as run_folder
from avtrain.training.optimizer import learning_rate_at
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

CLIPS = 8
SHORT = PretrainConfig(model_size="tiny", batch_size=4, epochs=2, learning_rate=1e-3, val_every=0, keep_checkpoints=9)
PER_EPOCH = CLIPS // SHORT.batch_size


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("ab"[number % 2]) for number in range(CLIPS)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    pretrain(data, run, SHORT, quiet=True)
    return run


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a run of two epochs, four updates."""
    return shutil.copytree(finished, tmp_path / "run")


def changed(**settings):
    return dataclasses.replace(SHORT, **settings)


def stopped(data, run, config, updates, change=False):
    """Go on for so many updates, then be asked to stop."""
    asked = iter([False] * (updates - 1) + [True])
    with pytest.raises(Interrupted):
        pretrain(data, run, config, quiet=True, change=change, stopping=lambda: next(asked))


def weights(run):
    return (checkpoint.latest(run) / checkpoint.MODEL).read_bytes()


def rates(run):
    return [line["learning_rate"] for line in run_folder.read_metrics(run)]


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("longer", [{"epochs": 4}, {"epochs": 4, "max_steps": 7}])
def test_more_epochs_are_the_run_that_always_had_them(data, run, tmp_path, longer):
    result = pretrain(data, run, changed(**longer), quiet=True)
    pretrain(data, tmp_path / "whole", changed(**longer), quiet=True)
    assert result.steps == longer.get("max_steps", 8)
    assert weights(run) == weights(tmp_path / "whole")
    losses = [[line["loss"] for line in run_folder.read_metrics(one)] for one in (run, tmp_path / "whole")]
    assert losses[0] == losses[1]


def test_a_later_last_update_goes_on_inside_an_epoch(data, tmp_path):
    run = tmp_path / "run"
    pretrain(data, run, changed(max_steps=3), quiet=True)
    assert pretrain(data, run, changed(max_steps=0), quiet=True).steps == 4
    pretrain(data, tmp_path / "whole", SHORT, quiet=True)
    assert weights(run) == weights(tmp_path / "whole")


def test_going_on_is_on_record(data, run):
    pretrain(data, run, changed(epochs=3), quiet=True)
    (entry,) = changes.read_changes(run)
    assert entry == {
        "step": 4,
        "changed": {"epochs": [2, 3]},
        "updates": 6,
        "offset": 0,
        "loader": {"epoch": 2, "step": 0},
        "learning_rate": 1e-3,
    }
    assert changes.sentence_of(entry) == "epochs 2 -> 3 from update 4 on"
    assert json.loads((run / "config.json").read_text())["config"]["epochs"] == 3
    assert checkpoint.read_meta(checkpoint.latest(run))["changes"] == [entry]
    before = files(run)
    assert pretrain(data, run, changed(epochs=3), quiet=True).steps == 6
    assert files(run) == before  # the same command again finds it done


def test_a_schedule_is_drawn_over_all_updates_anew_and_that_is_logged(data, tmp_path, caplog):
    run, cosine = tmp_path / "run", {"schedule": "cosine"}
    pretrain(data, run, changed(**cosine), quiet=True)
    longer = changed(epochs=4, **cosine)
    pretrain(data, run, longer)
    assert rates(run)[:4] == [learning_rate_at(step, 4, longer) for step in range(4)]
    assert rates(run)[4:] == [learning_rate_at(step, 8, longer) for step in range(4, 8)]
    assert changes.read_changes(run)[0]["learning_rate"] == rates(run)[4]
    assert "the cosine schedule is drawn over all 8 updates anew; the next learning rate is 0.0005" in caplog.text


def test_other_settings_need_leave_and_are_refused_with_nothing_written(data, run):
    before = files(run)
    with pytest.raises(UserError, match=r"or --change to go on with the new ones:\n  batch_size: 4 -> 2\n  epochs: 2"):
        pretrain(data, run, changed(batch_size=2, epochs=4), quiet=True)
    assert files(run) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 1e-4, "weight_decay": 0.1},
        {"batch_size": 2},
        {"accumulate": 2, "loss": "supcon"},
        {"strategy": "soft-positive:p=0.5", "temperature": 0.2},
    ],
)
def test_after_a_change_a_run_that_is_stopped_ends_with_the_same_bits(data, tmp_path, settings):
    """Changed in the middle of an epoch; then stopped at once, and once more, and gone on with by the same command."""
    one, two = tmp_path / "one", tmp_path / "two"
    stopped(data, one, changed(epochs=3), 1)
    shutil.copytree(one, two)
    new = changed(epochs=3, **settings)
    pretrain(data, one, new, quiet=True, change=True)
    stopped(data, two, new, 1, change=True)
    stopped(data, two, new, 1)
    pretrain(data, two, new, quiet=True, change=True)
    assert weights(one) == weights(two)
    told = [
        [{**line, "seconds": 0, "waited_seconds": 0} for line in run_folder.read_metrics(run)] for run in (one, two)
    ]
    assert told[0] == told[1]
    assert len(changes.read_changes(one)) == 1
    assert changes.read_changes(one) == changes.read_changes(two)


def test_another_batch_size_goes_on_at_the_same_clips(data, tmp_path, monkeypatch):
    """Two batches of two, then batches of four: the epoch's clips come once each, and epochs keep their number."""
    run, taken = tmp_path / "run", []
    forward = Augment.forward
    monkeypatch.setattr(
        Augment, "forward", lambda self, batch: taken.append((batch.epoch, batch.plan[:, 0])) or forward(self, batch)
    )
    stopped(data, run, changed(batch_size=2, epochs=3, val_every=1), 2)
    result = pretrain(data, run, changed(batch_size=4, epochs=3, val_every=1), quiet=True, change=True)
    assert [(epoch, len(rows)) for epoch, rows in taken] == [(0, 2), (0, 2), (0, 4), (1, 4), (1, 4), (2, 4), (2, 4)]
    for epoch in range(3):
        assert sorted(row for other, rows in taken if other == epoch for row in rows) == list(range(CLIPS))
    assert result.steps == 7
    (entry,) = changes.read_changes(run)
    assert (entry["step"], entry["offset"], entry["loader"]) == (2, 1, {"epoch": 0, "step": 1})
    back = pretrain(data, run, changed(batch_size=2, epochs=4, val_every=1), quiet=True, change=True)
    assert back.steps == 7 + 4
    assert changes.read_changes(run)[1]["offset"] == 7 - 3 * 4


def test_validation_comes_at_the_ends_of_epochs_after_a_change_too(tmp_path):
    clips = [Forged("ab"[n % 2], split) for split in ("train", "val") for n in range(CLIPS)]
    data = forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=32)
    run, new = tmp_path / "run", changed(epochs=3, val_every=1)
    stopped(data, run, dataclasses.replace(new, batch_size=2), 2)
    pretrain(data, run, new, quiet=True, change=True)
    assert [(line["step"], line["epoch"]) for line in run_folder.read_validation(run)] == [(2, 0), (4, 1), (6, 2)]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"seed": 1}, "another seed"),
        ({"audio_model": "cnn9"}, "other models"),
        ({"learn_temperature": True}, "other models"),
        ({"val_share": 0.5, "val_every": 1}, "other clips or labels"),
    ],
)
def test_what_cannot_change_is_refused_with_leave_too(data, run, settings, what):
    before = files(run)
    with pytest.raises(UserError, match=f"was begun with {what}, which cannot change in a run"):
        pretrain(data, run, changed(**settings), quiet=True, change=True)
    assert files(run) == before


def test_another_dataset_is_refused_with_leave_too(data, run, tmp_path):
    other = forge_dataset(tmp_path / "other", [Forged("ab"[n % 2]) for n in range(4)], frame_size=32, mel_bands=32)
    with pytest.raises(UserError, match=r"other clips or labels, which cannot change .*\n  dataset_digest"):
        pretrain(other, run, changed(epochs=9), quiet=True, change=True)


def test_a_run_cannot_end_before_it_is(data, run):
    with pytest.raises(UserError, match="has 4 updates, more than the 2 of these settings"):
        pretrain(data, run, changed(epochs=1), quiet=True, change=True)
    with pytest.raises(UserError, match="--change"):
        pretrain(data, run, changed(epochs=1), quiet=True)


def test_a_change_that_a_kill_kept_out_of_the_config_never_held(data, run):
    settings = (run / "config.json").read_bytes()
    pretrain(data, run, changed(batch_size=2, epochs=3), quiet=True, change=True)
    (run / "config.json").write_bytes(settings)
    for folder in checkpoint.checkpoints(run)[1:]:
        shutil.rmtree(folder)
    assert changes.read_changes(run) == []
    pretrain(data, run, changed(batch_size=2, epochs=3), quiet=True, change=True)
    assert [entry["step"] for entry in changes.read_changes(run)] == [4]


def test_the_command_goes_on_and_reports_it(data, tmp_path, caplog):
    run = tmp_path / "runs"
    words = ["pretrain", str(data), "--run", str(run), "--seeds=0,1", "--model-size=tiny", "--batch-size=4"]
    words += ["--device=cpu", "--threads=1", "--epochs=1"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert CliRunner().invoke(main, [*words, "--epochs=2"]).exit_code == 0
    done = CliRunner().invoke(main, [*words, "--epochs=2", "--learning-rate=0.5"])
    assert done.exit_code == 2
    assert "or --change to go on" in done.output
    done = CliRunner().invoke(main, [*words, "--epochs=3", "--learning-rate=0.5", "--change"])
    assert done.exit_code == 0, done.output
    for seed in (0, 1):
        entries = changes.read_changes(run / f"seed-{seed}")
        assert [entry["changed"] for entry in entries] == [
            {"epochs": [1, 2]},
            {"epochs": [2, 3], "learning_rate": [1e-4, 0.5]},
        ]
        assert f"seed-{seed} goes on with epochs 2 -> 3, learning rate 0.0001 -> 0.5 from update 4 on" in caplog.text
