"""Validation: on which clips, with which scores, what is kept for the best, and that a stop changes none of it."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import avtrain.training.gradient
import avtrain.training.validation
from avprep.dataset import Dataset
from avprep.shared.errors import Interrupted, UserError
from avtrain.cli import main
from avtrain.config import PlanConfig, PretrainConfig
from avtrain.data.plan_survey import survey
from avtrain.data.plans import training_table
from avtrain.data.splits import set_aside
from avtrain.distributed import ALONE
from avtrain.evaluation.retrieval import retrieve, summary
from avtrain.models.two_tower import build_two_tower
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.load import checkpoint_at, checkpoint_of, load_audio_encoder, load_two_tower
from avtrain.sampling.windows import WindowSpec
from avtrain.training.pretrain import pretrain
from avtrain.training.validation import Validation, description_of
from tests.train.forge import Forged, forge_dataset, write_labels
from tests.train.test_distributed import launch

SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": 4, "learning_rate": 1e-3, "checkpoint_every_steps": 100}
STEPS, PER_EPOCH = 16, 4


def forged(folder, clips):
    return forge_dataset(folder, clips, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 training clips of four classes, 40 to validate on, 4 to test on; `other` lacks half of those."""
    clips = [Forged("abcd"[row % 4], split="train" if row < 24 else "val" if row < 64 else "test") for row in range(68)]
    folder = forged(tmp_path_factory.mktemp("dataset") / "data", clips)
    write_labels(folder, "other", {f"c{row}": row % 3 for row in range(44)}, ["x", "y", "z"])
    return folder


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """32 training clips of two classes, each group two clips of a class; nothing to validate on."""
    clips = [Forged("ab"[row % 2], group=f"{row // 4}{'ab'[row % 2]}") for row in range(32)]
    folder = forged(tmp_path_factory.mktemp("dataset") / "grouped", clips)
    write_labels(folder, "partly", {f"c{row}": row % 2 for row in range(24)}, ["x", "y"])
    return folder


def trained(folder, run, **settings):
    return pretrain(folder, run, PretrainConfig(**(SETTINGS | settings)), quiet=True)


def measured(run):
    """Lines of validation, without the time that they took."""
    return [{k: v for k, v in line.items() if k != "val_seconds"} for line in run_folder.read_validation(run)]


def losses(run):
    return [line["loss"] for line in run_folder.read_metrics(run)]


@pytest.mark.slow
def test_scores_of_the_val_split_are_those_of_retrieval(folder, tmp_path):
    result = trained(folder, tmp_path / "run", val_every=2)
    lines = measured(tmp_path / "run")
    assert [(line["step"], line["epoch"]) for line in lines] == [(7, 1), (15, 3)]
    found = retrieve(folder, tmp_path / "run", split="val")
    assert lines[-1]["val_clips"] == 40
    for name in ("class_recall_at_1", "recall_at_1", "recall_at_5"):
        assert lines[-1][f"val_{name}"] == found[name]
    assert lines[-1]["val_class_chance_at_1"] == pytest.approx(0.25)
    best = max(lines, key=lambda line: line["val_class_recall_at_1"])
    assert result.best == run_folder.best_validation(tmp_path / "run")
    assert result.best["class_recall_at_1"] == best["val_class_recall_at_1"]
    again = retrieve(folder, tmp_path / "run", split="val", which="best")
    assert again["class_recall_at_1"] == best["val_class_recall_at_1"]
    trained(folder, tmp_path / "off", val_every=0)
    assert losses(tmp_path / "run") == losses(tmp_path / "off")
    assert measured(tmp_path / "off") == []


def test_a_run_that_ends_inside_an_epoch_is_measured_there_by_the_column_of_the_run(folder, tmp_path):
    trained(folder, tmp_path / "run", max_steps=5, labels="other", val_every=100, precision="bf16")
    (line,) = measured(tmp_path / "run")
    assert 0 < line["val_class_recall_at_1"] <= 1
    assert (line["step"], line["epoch"], line["val_clips"]) == (4, 1, 20)
    dataset = Dataset(folder)
    table, clips = set_aside(dataset, training_table(dataset, "other"), "other", 0.5, 0)
    assert (len(table), len(clips)) == (24, 20)
    assert [row % 3 for row in range(24, 44)] == [
        clips.labels[clips.rows.tolist().index(dataset.clip_ids.index(f"c{row}"))] for row in range(24, 44)
    ]


def test_clips_set_aside_are_whole_groups_and_seeded(grouped):
    dataset = Dataset(grouped)
    whole = training_table(dataset)
    kept, aside = set_aside(dataset, whole, "label", 0.25, 3)
    assert sorted([*kept.rows, *aside.rows]) == whole.rows.tolist()
    assert all(2 <= count <= 8 for count in np.bincount(dataset.label[aside.rows]))  # of 16: up to twice the share
    assert not set(dataset.groups[kept.rows]) & set(dataset.groups[aside.rows])
    again, other = (set_aside(dataset, whole, "label", 0.25, seed)[1].rows.tolist() for seed in (3, 4))
    assert again == aside.rows.tolist() != other
    none = set_aside(dataset, whole, "label", 0.0, 3)
    assert (len(none[0]), len(none[1])) == (32, 0)


def test_clips_without_label_are_not_validated_on_and_leave_with_their_group(tmp_path):
    clips = [Forged("a", group=f"g{row // 4}") for row in range(32)]
    folder = forged(tmp_path / "data", clips)
    write_labels(folder, "partly", {f"c{row}": 0 for row in range(32) if row % 2}, ["x"])
    dataset = Dataset(folder)
    kept, aside = set_aside(dataset, training_table(dataset, "partly"), "partly", 0.25, 0)
    assert (aside.labels == 0).all()
    gone = np.isin(dataset.groups, dataset.groups[aside.rows])
    assert 2 * len(aside) == gone.sum() == 32 - len(kept)  # every second clip of a group has a label
    assert not set(dataset.groups[kept.rows]) & set(dataset.groups[aside.rows])


def test_clips_set_aside_are_not_trained_on_and_the_plan_reports_them(grouped, tmp_path, monkeypatch):
    met = []
    augment = avtrain.training.gradient.Augment.forward
    monkeypatch.setattr(
        avtrain.training.gradient.Augment,
        "forward",
        lambda self, batch: met.extend(batch.plan.ravel()) or augment(self, batch),
    )
    settings = {"strategy": "soft-positive", "val_share": 0.25, "seed": 3}
    trained(grouped, tmp_path / "run", **settings)
    dataset = Dataset(grouped)
    kept, aside = set_aside(dataset, training_table(dataset), "label", 0.25, 3)
    assert set(met) == set(kept.rows)
    assert [line["val_clips"] for line in measured(tmp_path / "run")] == [len(aside)] * 4
    found = survey(dataset, PlanConfig(batch_size=6, epochs=4, **settings))
    assert (found["clips"], found["updates"]) == (24, STEPS)


def test_what_is_validated_on_is_logged(folder, grouped):
    def said(data, share, **settings):
        config = PretrainConfig(val_share=share, **settings)
        dataset = Dataset(data)
        _, clips = set_aside(dataset, training_table(dataset), "label", share, 0)
        made = Validation(dataset=dataset, clips=clips, window=WindowSpec(), config=config, device="cpu", ranks=ALONE)
        return description_of(made if len(clips) else None, config)

    assert said(folder, 0.25) == "validation on 40 clips of the val split, every epoch"
    assert (
        said(grouped, 0.25, val_every=5) == "validation on 16 clips of the train split, not trained on, every 5 epochs"
    )
    assert "no --val-share of the clips was set aside" in said(grouped, 0.0)
    assert said(folder, 0.0, val_every=0) == "no validation"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["--val-share=0.2", "--strategy=pairs:x.parquet"], "A file of pairs names the clips to train on"),
        (["--val-share=0.2", "--val-every=0"], "val_share holds clips back that val_every 0 never looks at"),
        (["--val-share=1"], "val_share must be 0 or more and below 1"),
        (["--val-every=-1"], "val_every must be 0 or more"),
        (["--accumulate=0"], "accumulate must be 1 or more"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(grouped, tmp_path, wrong, sentence):
    done = CliRunner().invoke(main, ["pretrain", str(grouped), "--run", str(tmp_path / "run"), *wrong])
    assert done.exit_code == 2
    assert sentence in done.output


def test_classes_of_one_group_cannot_be_set_aside(tmp_path):
    folder = forged(tmp_path / "data", [Forged("ab"[row % 2], group="ab"[row % 2]) for row in range(8)])
    with pytest.raises(UserError, match="too few groups of clips to hold some out"):
        trained(folder, tmp_path / "run", batch_size=4, val_share=0.25)


def scores_are(monkeypatch, *values):
    """Each measurement in turn finds such a score."""
    left = iter(values)
    monkeypatch.setattr(
        avtrain.training.validation, "summary", lambda *found: {**summary(*found), "class_recall_at_1": next(left)}
    )


def steps_of(run):
    return [checkpoint.read_meta(folder)["step"] for folder in checkpoint.checkpoints(run)]


@pytest.mark.slow
def test_the_first_best_checkpoint_stays_beside_the_last(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    scores_are(monkeypatch, 0.2, 0.6, 0.6, 0.4)
    result = trained(folder, run, keep_checkpoints=1)
    best = {"step": 8, "epoch": 1, "class_recall_at_1": 0.6}
    assert result.best == best
    assert steps_of(run) == [8, 16]
    assert [checkpoint.read_meta(each)["best"] for each in checkpoint.checkpoints(run)] == [best, best]
    assert checkpoint_at(run, "best") == run / "step_00000008"
    assert checkpoint_at(run) == run / "step_00000016"
    scores_are(monkeypatch, 0.2, 0.6, 0.7, 0.4)
    trained(folder, tmp_path / "other", keep_checkpoints=1)
    assert steps_of(tmp_path / "other") == [12, 16]


def test_the_best_checkpoint_is_evaluated_where_asked(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    scores_are(monkeypatch, 0.6, 0.2)
    trained(folder, run, epochs=2)
    for which, step, place in (("newest", 8, "knn-s0"), ("best", 4, "knn-s0-best")):
        command = ["evaluate", str(folder), "--protocol=knn", "--run", str(run), "--checkpoint", which, "--device=cpu"]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert json.loads((run / "eval" / f"data-{place}" / "result.json").read_text())["step"] == step
        weights = load_file(run / f"step_{step:08d}" / "model.safetensors")
        found = checkpoint_of(run, which)
        for model in (load_two_tower(*found, 32).audio, load_audio_encoder(*found)):
            assert all(torch.equal(tensor, weights[f"audio.{name}"]) for name, tensor in model.state_dict().items())
    trained(folder, tmp_path / "off", epochs=1, val_every=0)
    with pytest.raises(UserError, match="was not validated, so none of its checkpoints is the best"):
        checkpoint_at(tmp_path / "off", "best")
    done = CliRunner().invoke(main, ["evaluate", str(folder), "--checkpoint=best"])
    assert (done.exit_code, "--checkpoint is of a run; give --run." in done.output) == (2, True)


class KilledError(Exception):
    """Stands for a kill: files stay as they are at this moment."""


def stopped(folder, run, monkeypatch, how):
    """Run until it is stopped in the way of a name, after four updates, the first epoch."""
    save = checkpoint.save
    polls = iter({"asked before": [False] * 3 + [True], "asked within": [False] * 5 + [True]}.get(how, []))

    def killed_save(run, step, *others):
        if how == "killed after":
            save(run, step, *others)
        raise KilledError

    config = PretrainConfig(**SETTINGS | {"epochs": 2})
    monkeypatch.setattr(checkpoint, "save", killed_save if how.startswith("killed") else save)
    with pytest.raises((Interrupted, KilledError)):
        pretrain(folder, run, config, stopping=lambda: next(polls, False), quiet=True)
    monkeypatch.setattr(checkpoint, "save", save)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    torch.set_num_threads(1)  # as each test has it
    run = tmp_path_factory.mktemp("runs") / "whole"
    trained(folder, run, epochs=2)
    return run


@pytest.mark.parametrize(
    "ways",
    [["asked within"], ["killed before"], ["killed after"], ["asked before", "killed before"]],
    ids=" then ".join,
)
def test_a_stop_at_a_validation_changes_nothing(folder, whole, tmp_path, monkeypatch, ways):
    run = tmp_path / "run"
    for how in ways:
        stopped(folder, run, monkeypatch, how)
    assert steps_of(run) == ([] if ways == ["killed before"] else [4])
    trained(folder, run, epochs=2)
    assert losses(run) == losses(whole)
    assert measured(run) == measured(whole)
    files = sorted(path.relative_to(whole) for path in whole.glob("step_*/*"))
    assert files == sorted(path.relative_to(run) for path in run.glob("step_*/*"))
    assert len(files) == 6
    for path in files:
        assert (run / path).read_bytes() == (whole / path).read_bytes(), path


def test_a_run_that_is_done_is_not_measured_again(folder, whole, monkeypatch):
    lines = (whole / "metrics.jsonl").read_text()
    monkeypatch.setattr(Validation, "measure", lambda *_: pytest.fail("measured"))
    assert trained(folder, whole, epochs=2).best == json.loads(json.dumps(run_folder.best_validation(whole)))
    assert (whole / "metrics.jsonl").read_text() == lines


def measured_by(folder, ranks):
    """Scores of one untrained model, whose batch statistics differ from rank to rank."""
    torch.manual_seed(0)
    model = build_two_tower("tiny").train()
    if ranks.rank:
        for buffer in model.buffers():
            buffer += 3
    dataset = Dataset(folder)
    _, clips = set_aside(dataset, training_table(dataset), "label", 0.0, 0)
    config = PretrainConfig(**SETTINGS)
    validation = Validation(dataset=dataset, clips=clips, window=WindowSpec(), config=config, device="cpu", ranks=ranks)
    scores = validation.measure(model.train(), lambda: False)
    stopped = validation.measure(model, lambda: ranks.rank == ranks.world_size - 1)
    scores.pop("val_seconds")
    return scores, stopped, model.training


@pytest.mark.slow
def test_ranks_share_the_work_and_have_the_scores_of_one(folder):
    alone, *_ = measured_by(folder, ALONE)
    answers, codes = launch(functools.partial(measured_by, folder), 2)
    assert codes == [0, 0]
    assert [answers[rank] for rank in (0, 1)] == [(alone, None, True)] * 2
