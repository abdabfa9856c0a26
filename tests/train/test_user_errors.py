"""Every mistake of a user ends in one sentence and exit code 2, and does not hinder the right call."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from avprep import schema
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.devices import own_gpu
from tests.train.forge import Forged, forge_dataset, write_labels

TINY = ("--model-size", "tiny", "--device", "cpu", "--threads", "1")
TRAIN = ("pretrain", "DATA", "--run", "NEW", *TINY, "--batch-size", "6", "--max-steps", "1")
MEASURE = ("evaluate", "DATA", "--run", "RUN", "--out", "NEW", "--device", "cpu", "--threads", "1", "--epochs", "1")
STEP = "run/step_00000001"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with a dataset, others that are none or differ, a run, and runs that have come to harm."""
    root = tmp_path_factory.mktemp("mistakes")
    clips = [Forged("abcd"[row % 4], "train" if row < 16 else "test", seconds=1.0) for row in range(20)]
    sizes = {"frame_size": 32, "mel_bands": 32}
    data = forge_dataset(root / "data", clips, **sizes)
    write_labels(data, "single", {f"c{row}": row for row in range(16)}, [f"n{row}" for row in range(16)])
    write_labels(data, "none", {}, ["x"])
    forge_dataset(root / "other-bands", clips, frame_size=32, mel_bands=24)
    forge_dataset(root / "other-size", clips, frame_size=40, mel_bands=32)
    forge_dataset(root / "train-only", clips[:16], **sizes)
    forge_dataset(root / "one-class", [Forged("a"), Forged("a", split="test")], **sizes)
    done = invoke(root, "pretrain", "DATA", "--run", "RUN", *TINY, "--batch-size", "6", "--max-steps", "1")
    assert done.exit_code == 0, done.output
    return root


def invoke(root, *words):
    """The command in this process; names in capitals are folders below `root`."""
    places = {"DATA": "data", "RUN": "run", "NEW": "new"}
    return CliRunner().invoke(main, [str(root / places[word]) if word in places else word for word in words])


def linked(source, target):
    """A copy, or the same file under another name where no test alters it: shards."""
    return os.link(source, target) if source.endswith(".tar") else shutil.copy2(source, target)


@pytest.fixture
def root(template, tmp_path, monkeypatch):
    """A copy of the template, which is also the working directory."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True, copy_function=linked)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(root, *words):
    """The one sentence in which the command refuses; a traceback or another exit code fails the test."""
    done = invoke(root, *words)
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.output.startswith("error: ")
    assert "Traceback" not in done.output
    first, *further = done.output.removeprefix("error: ").splitlines()
    assert all(line.startswith("  ") for line in further), done.output  # a list of differences
    return first


@pytest.mark.parametrize("command", ["plan", "pretrain", "evaluate"])
@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda data: shutil.rmtree(data), "data is no finished dataset; 'avprep build-shards' makes one"),
        (lambda data: shutil.rmtree(data) or data.write_text("x"), "data is no finished dataset"),
        (lambda data: (data / schema.DATASET).write_text('{"format": "avshards/9"}'), "has format 'avshards/9'; this"),
        (lambda data: (data / schema.DATASET).write_text("[]"), "has format None; this version reads avshards/1"),
        (lambda data: (data / schema.DATASET).write_text("{"), "dataset.json is not valid JSON"),
        (lambda data: (data / schema.INDEX).unlink(), "index.parquet cannot be read"),
        (lambda data: (data / schema.INDEX).write_bytes(b"PAR1"), "index.parquet cannot be read"),
    ],
    ids=["gone", "a file", "format", "list", "no json", "no index", "torn index"],
)
def test_a_folder_that_is_no_dataset(root, command, harm, sentence):
    harm(root / "data")
    words = {"plan": ("plan", "DATA"), "pretrain": TRAIN, "evaluate": MEASURE}[command]
    assert sentence in told(root, *words)
    assert not (root / "new").exists()


@pytest.mark.parametrize("command", ["plan", "pretrain"])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--batch-size 99", "A batch of 99 cannot be drawn from 16 clips; choose 1 to 16."),
        ("--batch-size 1", "batch_size must be 2 or more, not 1."),
        ("--labels pseudo", "has no label column 'pseudo'; it has label, none, single."),
        ("--strategy easy-negative", "6 clips of different labels cannot be drawn from 4 labels"),
        ("--strategy hard-negative --labels single", "hard-negative finds no label with two clips"),
        ("--strategy class-balanced --labels none", "A batch of 6 cannot be drawn from 0 clips with a label"),
        ("--strategy hardest", "There is no strategy 'hardest'; choose from random"),
        ("--strategy soft-positive:p=2", "p of soft-positive is a probability, 0 to 1, not 2.0."),
        ("--strategy pairs:none.parquet", "none.parquet cannot be read as Parquet"),
        ("--seed -1", "seed must be 0 or more, not -1."),
        ("--epochs 0", "must be 1 or more"),
    ],
)
def test_batches_that_cannot_be_made(root, command, options, sentence):
    words = TRAIN if command == "pretrain" else ("plan", "DATA", "--batch-size", "6")
    assert sentence in told(root, *words, *options.split())
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--learning-rate 0", "learning_rate must be above 0"),
        ("--learning-rate inf", "learning_rate must be above 0, weight_decay not below, and both finite."),
        ("--weight-decay nan", "weight_decay not below"),
        ("--temperature 0", "temperature must be above 0 and finite, not 0.0."),
        ("--temperature -1", "temperature must be above 0 and finite, not -1.0."),
        ("--device cuda:99", "Device 'cuda:99' cannot be used here"),
        ("--device meta", "Device 'meta' cannot be used here: choose auto, cpu, cuda or cuda:N."),
        ("--video-model resnet", "There is no video model 'resnet'; choose one of r2plus1d_18,"),
        ("--video-model no_such_package:net", "no_such_package:net cannot be imported"),
        ("--audio-model cnn", "There is no audio model 'cnn'; choose one of cnn9, tiny or package:function."),
        ("--audio-model no_such_package:net", "no_such_package:net cannot be imported"),
        ("--audio-model torch.nn:Identity", "torch.nn:Identity gives [2, 1, 10, 32] for [2, 1, 10, 32]"),
        ("--video-pool median", "There is no pool 'median'"),
        ("--init-from nowhere", "nowhere holds no checkpoint"),
        ("--run data", "data is what the command reads (DIR); choose another --run."),
        ("--run other-size", "other-size is not empty and holds no run; choose another folder."),
        ("--run /proc/run", "/proc/run/config.json cannot be written"),
        ("--run data/dataset.json/run", "dataset.json/run/config.json cannot be written"),
        ("--run run --seed 4", "run was begun with another seed, which cannot change in a run; use the same again, or"),
        ("--config nowhere.json", "nowhere.json is not a saved config"),
        ("--cache kept", "is on this machine already"),
        ("--seeds 3-1", "--seeds 3-1 names no seeds in '3-1'; write 0-4 or 0,2,5."),
        ("--seeds 0,x", "--seeds 0,x names no seeds in 'x'"),
        ("--seeds 0-3,2", "names a seed twice"),
        ("--seeds 0-1 --seed 1", "--seed and --seeds exclude each other"),
        ("--seeds 0-1 --run run", "is a run itself"),
    ],
)
def test_settings_of_a_run_that_cannot_be(root, options, sentence):
    assert sentence in told(root, *TRAIN, *options.split())
    assert not (root / "new").exists()


def test_cuda_where_there_is_none(root):
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here, so nothing is refused")
    assert "Device 'cuda' cannot be used here" in told(root, *TRAIN, "--device", "cuda")
    assert "Device 'cuda' cannot be used here" in told(root, *MEASURE, "--device", "cuda")


def test_more_processes_than_gpus():
    assert [own_gpu(rank, 2) for rank in range(2)] == ["cuda:0", "cuda:1"]
    with pytest.raises(UserError, match=r"Process 2 of this machine .* among 2; use --nproc-per-node 2 at most"):
        own_gpu(2, 2)


def test_what_an_earlier_process_left_cannot_be_removed(root):
    (root / "run" / "exit.json").unlink()
    (root / "run" / "exit.json").mkdir()
    assert "exit.json cannot be removed" in told(root, *TRAIN, "--run", "run")


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


HARM = {
    "format": (lambda: _set_format("avtrain-checkpoint/9"), "is a checkpoint of format 'avtrain-checkpoint/9'; this"),
    "list": (lambda: Path(STEP, "meta.json").write_text("[]"), "is a checkpoint of format None"),
    "torn meta": (lambda: halve(Path(STEP, "meta.json")), "meta.json is not valid JSON"),
    "torn": (lambda: halve(Path(STEP, "model.safetensors")), "model.safetensors is missing or damaged"),
    "gone": (lambda: Path(STEP, "model.safetensors").unlink(), "remove run/step_00000001, and the checkpoint before"),
    "none": (lambda: shutil.rmtree(STEP), "'avtrain pretrain' writes"),
}


def _set_format(name):
    path = Path(STEP, "meta.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": name}))


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("words", [MEASURE, (*MEASURE, "--protocol", "retrieval"), (*TRAIN, "--init-from", "RUN")])
@pytest.mark.parametrize("harm", HARM)
def test_a_checkpoint_that_cannot_be_read(root, words, harm):
    do, sentence = HARM[harm]
    do()
    words = [word if word != "RUN" else "run" for word in words]
    assert sentence in told(root, *words)
    assert not (root / "new").exists()


def _without(name):
    path = Path(STEP, "meta.json")
    meta = json.loads(path.read_text())
    del meta[name]
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config", MEASURE),
        ("config", (*MEASURE, "--protocol", "retrieval")),
        ("config", ("embed", "DATA", "--run", "RUN", "--out", "new.parquet", "--device", "cpu")),
        ("loader", (*TRAIN, "--run", "RUN")),
    ],
    ids=["evaluate", "retrieval", "embed", "resume"],
)
def test_a_checkpoint_that_does_not_hold_all(root, name, words):
    _without(name)
    sentence = told(root, *words)
    assert f"{STEP}/meta.json has no '{name}." in sentence
    assert f"remove {sentence.split(' has no ')[0].removesuffix('/meta.json')}, and the checkpoint before" in sentence


@pytest.mark.parametrize("harm", ["format", "torn", "optimiser"])
def test_a_run_whose_checkpoint_cannot_be_read_does_not_go_on(root, harm):
    do, sentence = HARM.get(
        harm, (lambda: halve(Path(STEP, "optim.safetensors")), "optim.safetensors is missing or damaged")
    )
    do()
    assert sentence in told(root, *TRAIN, "--run", "run")
    assert json.loads((root / "run" / "exit.json").read_text())["status"] == "user-error"
    shutil.rmtree(STEP)  # as the sentence says
    assert invoke(root, *TRAIN, "--run", "run").exit_code == 0


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        ("other-bands", "", "was trained on other log-mel than other-bands holds"),
        ("other-bands", "--protocol finetune", "was trained on other log-mel than other-bands holds"),
        ("other-bands", "--protocol knn", "was trained on other log-mel than other-bands holds"),
        ("other-bands", "--protocol retrieval", "was trained on other log-mel than other-bands holds"),
        ("other-size", "--protocol retrieval", "was trained on other pictures than other-size holds"),
        ("train-only", "", "train-only has no split 'test'; it has train."),
        ("train-only", "--protocol retrieval", "train-only has no split 'test'; it has train."),
        ("one-class", "", "one-class has too few groups of clips"),
        ("data", "--protocol supervised", "Supervised training starts from scratch"),
        ("data", "--learning-rate inf", "learning_rate must be above 0"),
        ("data", "--batch-size 1", "batch_size 2 or more"),
        ("data", "--windows-per-clip 0", "windows_per_clip must be 1 or more"),
        ("data", "--out data", "data is what the command reads (DIR); choose another --out."),
        ("data", "--out other-size", "other-size is not empty and holds no evaluation"),
        ("data", "--out /proc/out", "/proc/out/config.json cannot be written"),
        ("data", "--config nowhere.json", "nowhere.json is not a saved config"),
    ],
)
def test_what_cannot_be_evaluated(root, data, options, sentence):
    words = [word if word != "DATA" else data for word in MEASURE]
    assert sentence in told(root, *words, *options.split())
    assert not (root / "new").exists()


def test_pictures_of_another_size_do_not_matter_to_the_sound(root):
    done = invoke(root, *[word if word != "DATA" else "other-size" for word in MEASURE])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("model", ["cnn", "torch.nn:Identity"])
def test_an_encoder_that_is_none_without_a_run(root, model):
    assert model in told(root, "evaluate", "DATA", "--audio-model", model, "--out", "NEW", "--device", "cpu")
