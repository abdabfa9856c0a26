"""An encoder published and fetched against a hub on loopback: bit-equal, held to its digests, refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from avtrain.cli import main
from avtrain.inference import load_encoder
from avtrain.runs import checkpoint
from tests.prep.loopback_hub import LoopbackHub, logged_in
from tests.train.forge import Forged, forge_dataset

pytestmark = pytest.mark.slow

TARGET = "hf://lab/pets"
FILES = ["README.md", "audio_encoder.onnx", "audio_encoder.safetensors", "encoder.json"]
OF_CHECKPOINT = ["step_00000007/meta.json", "step_00000007/model.safetensors"]


@pytest.fixture(scope="module")
def published(exported_encoder, tmp_path_factory):
    """(hub, folder with `pets`, `soft` and `encoder`, what the command printed): `encoder` is published."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("pets", "soft", "encoder"):
        shutil.copytree(exported_encoder / name, folder / name)
    (folder / "cite.bib").write_text("@misc{pets}\n")
    with logged_in(folder / "cache") as hub:
        done = publish(folder, "--license", "cc-by-4.0", "--creator", "A lab", "--citation", folder / "cite.bib")
        assert done.exit_code == 0, (done.output, done.exception)
        yield hub, folder, done.stdout


@pytest.fixture
def hub(published, tmp_path, monkeypatch):
    """The hub with the published files, and an empty cache; what a test does to the files is undone."""
    import huggingface_hub.constants as constants

    hub, _, _ = published
    before = dict(hub.files["lab/pets"])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.fetched.clear()
    yield hub
    hub.files["lab/pets"] = before


def run(*words: object):
    return CliRunner().invoke(main, list(map(str, words)))


def publish(folder: Path, *options: object, out: str = "encoder", target: str = TARGET):
    return run("export", "--run", folder / "soft", "--out", folder / out, "--publish", target, *options)


def refused(done) -> str:
    assert done.exit_code == 2, (done.output, done.exception)
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("error: ")
    return sentence


def embeddings(folder: Path, source: object) -> np.ndarray:
    out = folder / f"{len(list(folder.glob('*.parquet')))}.parquet"
    done = run("embed", folder / "pets", "--run", source, "--out", out, "--device", "cpu")
    assert done.exit_code == 0, (done.output, done.exception)
    return np.array(pq.read_table(out).column("embedding").to_pylist(), np.float32)


def test_one_commit_has_weights_spec_card_and_the_checkpoint_without_its_optimiser(published):
    hub, folder, printed = published
    assert sorted(hub.files["lab/pets"]) == [".gitattributes", *FILES, *OF_CHECKPOINT]
    assert [sorted(names) for names in hub.commits] == [[*FILES, *OF_CHECKPOINT]]
    assert f"{hub.endpoint}/lab/pets: 6 files" in printed
    assert hub.created[0].get("private", hub.created[0].get("visibility") == "private") is True
    for name in (*FILES, *OF_CHECKPOINT):
        assert hub.files["lab/pets"][name] == (folder / "encoder" / name).read_bytes()


def test_a_fetched_encoder_gives_bit_equal_embeddings(published, hub):
    _, folder, _ = published
    wanted = embeddings(folder, folder / "soft")
    np.testing.assert_array_equal(embeddings(folder, TARGET), wanted)
    assert set(hub.fetched) == {"encoder.json", "audio_encoder.safetensors"}  # and nothing of another format
    logmel = np.random.default_rng(0).uniform(-80, 0, (1, 101, 128)).astype(np.float32)
    np.testing.assert_array_equal(load_encoder(TARGET).encode(logmel), load_encoder(folder / "soft").encode(logmel))


def test_the_hub_reads_licence_results_and_intervals_from_the_card(published):
    from huggingface_hub import ModelCard

    hub, _, _ = published
    card = ModelCard(hub.files["lab/pets"]["README.md"].decode())
    assert (card.data.license, card.data.tags) == ("cc-by-4.0", ["audio", "audio-visual", "self-supervised"])
    (result,) = card.data.eval_results
    assert (result.task_type, result.dataset_name, result.dataset_split) == (
        "audio-classification",
        "pets-linear-s0",
        "test",
    )
    assert (result.metric_type, result.metric_value) == ("accuracy", 62.5)
    assert result.metric_args["interval_95"] == [50.0, 75.0]
    for words in ("[cc-by-4.0](https://creativecommons.org/", "Made by A lab.", "@misc{pets}", "50.0 to 75.0"):
        assert words in card.content


@pytest.mark.parametrize("name", ["audio_encoder.safetensors", "encoder.json"])
def test_a_tampered_file_is_refused_by_its_digest(published, hub, name):
    _, folder, _ = published
    data = hub.files["lab/pets"][name]
    if name == "encoder.json":
        values = json.loads(data)
        values["logmel_mean"][0] += 1.0
        hub.files["lab/pets"][name] = json.dumps(values).encode()
    else:
        hub.files["lab/pets"][name] = data[:-1] + bytes([data[-1] ^ 1])
    sentence = refused(run("embed", folder / "pets", "--run", TARGET, "--out", folder / "no.parquet"))
    wrong = "was altered: its own digest" if name == "encoder.json" else "has another sha256 than encoder.json records"
    assert f"{TARGET}@{hub.commit('lab/pets')}/{name} {wrong}" in sentence
    assert "name another revision, or remove" in sentence
    assert not (folder / "no.parquet").exists()


def test_an_altered_export_on_disk_is_refused_too(published, tmp_path):
    _, folder, _ = published
    shutil.copytree(folder / "encoder", tmp_path / "encoder")
    path = tmp_path / "encoder" / "audio_encoder.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    sentence = refused(run("embed", folder / "pets", "--run", tmp_path / "encoder", "--out", tmp_path / "no.parquet"))
    assert "has another sha256 than encoder.json records, so it was altered or cut; export" in sentence


def test_an_earlier_revision_is_fetched_by_its_commit(published, hub):
    _, folder, _ = published
    commit = hub.commit("lab/pets")
    hub.files["lab/pets"]["audio_encoder.safetensors"] = b"later"
    np.testing.assert_array_equal(embeddings(folder, f"{TARGET}@{commit}"), embeddings(folder, folder / "soft"))
    assert "has no revision v9" in refused(
        run("embed", folder / "pets", "--run", f"{TARGET}@v9", "--out", folder / "no.parquet")
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A dataset of 8 clips to fit on and 4 to test."""
    clips = [Forged("ab"[row % 2], ("train", "test")[row > 7], 1.0, level=-3.0 * (row % 2)) for row in range(12)]
    return forge_dataset(tmp_path_factory.mktemp("many") / "many", clips, mel_bands=128)


def evaluated(data: Path, source: object, out: Path, *options: object) -> dict:
    """What `avtrain evaluate --json` prints."""
    words = ("evaluate", data, "--run", source, "--out", out, "--device", "cpu", "--json", "-q", *options)
    done = run(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


OF_THE_HUB = ("run", "revision", "encoder", "seen_in_training")


@pytest.mark.parametrize(
    "options",
    [("--protocol", "knn", "--side", "both"), ("--protocol", "linear", "--epochs", 2), ("--protocol", "retrieval")],
)
def test_a_published_encoder_measures_as_its_run_and_the_result_has_the_revision(
    published, hub, many, tmp_path, options
):
    _, folder, _ = published
    theirs = evaluated(many, folder / "soft", tmp_path / "run", *options)
    ours = evaluated(many, f"{TARGET}@main", tmp_path / "hub", *options)
    assert (ours["run"], ours["revision"]) == (TARGET, hub.commit("lab/pets"))
    assert ours.get("encoder", f"run {TARGET}@").startswith(f"run {TARGET}@")
    assert ours["seen_in_training"]["known"] == "none"
    left = [{name: value for name, value in one.items() if name not in OF_THE_HUB} for one in (ours, theirs)]
    assert left[0] == left[1]
    assert set(hub.fetched) == {"encoder.json", *OF_CHECKPOINT}
    assert json.loads((tmp_path / "hub" / "result.json").read_text())["revision"] == ours["revision"]


def test_one_encoder_alone_is_measured_with_its_own_features(published, hub, many, tmp_path):
    _, folder, _ = published
    alone = tmp_path / "alone"
    shutil.copytree(folder / "encoder", alone, ignore=shutil.ignore_patterns("step_*"))
    theirs = evaluated(many, folder / "soft", tmp_path / "run", "--protocol", "knn", "--norm", "encoder")
    ours = evaluated(many, alone, tmp_path / "out", "--protocol", "knn", "--norm", "encoder")
    tables = [pq.read_table(tmp_path / name / "predictions.parquet") for name in ("run", "out")]
    assert tables[0].equals(tables[1])
    assert (ours["run"], ours["step"], "revision" in ours) == (theirs["run"], 7, False)
    files = json.loads((alone / "encoder.json").read_text())["files"]
    assert ours["model_sha256"] == files["audio_encoder.safetensors"]["sha256"]
    again = ("evaluate", many, "--run", alone, "--out", tmp_path / "no")
    for options in (("--side", "both"), ("--side", "video"), ("--protocol", "retrieval")):
        assert "has its audio encoder alone; measure it by --side audio" in refused(run(*again, *options))
    assert "has one set of weights; leave --weights out" in refused(run(*again, "--weights", "ema"))
    assert "give --out OUT" in refused(run(*again[:4]))
    path = alone / "audio_encoder.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert "has another sha256 than encoder.json records" in refused(run(*again))
    assert not (tmp_path / "no").exists()


def test_a_tampered_checkpoint_is_not_measured_and_a_revision_that_is_missing_is_named(published, hub, many, tmp_path):
    evaluate = ("evaluate", many, "--out", tmp_path / "no", "--run")
    assert "has no revision v9" in refused(run(*evaluate, f"{TARGET}@v9"))
    assert "give --out OUT" in refused(run("evaluate", many, "--run", TARGET))
    hub.files["lab/pets"][OF_CHECKPOINT[1]] += b"x"
    assert f"{OF_CHECKPOINT[1]} has another sha256" in refused(run(*evaluate, TARGET))
    assert not (tmp_path / "no").exists()


def test_the_errors_of_a_published_encoder_have_a_map(published, hub, many, tmp_path):
    evaluated(many, TARGET, tmp_path / "out", "--protocol", "knn")
    done = run("errors", tmp_path / "out", "--data", many, "--out", tmp_path / "errors.html", "--device", "cpu")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "a map needs 5 test clips" in (tmp_path / "errors.html").read_text()


def test_a_run_begins_with_the_published_weights_and_records_the_commit(published, hub, tmp_path):
    _, folder, _ = published
    clips = [Forged("ab"[row % 2]) for row in range(8)]
    data = forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=128)
    options = ("--model-size", "tiny", "--batch-size", 4, "--epochs", 1, "--device", "cpu", "--learning-rate", "1e-30",
               "--weight-decay", 0)  # fmt: skip
    done = run("pretrain", data, "--run", tmp_path / "run", "--init-from", TARGET, *options)
    assert done.exit_code == 0, (done.output, done.exception)
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["init_revision"] == hub.commit("lab/pets")
    assert saved["init_digest"] == checkpoint.digest(folder / "soft" / "step_00000007")
    begun = load_file(checkpoint.latest(tmp_path / "run") / "model.safetensors")
    theirs = load_file(folder / "soft" / "step_00000007" / "model.safetensors")
    kept = [name for name in theirs if "running_" not in name and "num_" not in name]
    assert [name for name in kept if not torch.allclose(begun[name], theirs[name], rtol=0, atol=1e-20)] == []
    assert set(hub.fetched) == {"encoder.json", *OF_CHECKPOINT}
    hub.files["lab/pets"].clear()  # the run goes on without the hub
    on = run("pretrain", data, "--run", tmp_path / "run", "--init-from", TARGET, *options, "--epochs", 2)
    assert on.exit_code == 0, on.output


def test_an_altered_checkpoint_is_refused_before_training(published, hub, tmp_path):
    _, folder, _ = published
    hub.files["lab/pets"][OF_CHECKPOINT[1]] += b"x"
    begin = ("pretrain", folder / "pets", "--run", tmp_path / "run", "--batch-size", 2, "--model-size", "tiny")
    sentence = refused(run(*begin, "--init-from", TARGET))
    assert "model.safetensors has another sha256 than encoder.json records" in sentence
    assert not (tmp_path / "run").exists()


def test_the_same_command_uploads_what_is_not_there(published, hub: LoopbackHub):
    _, folder, _ = published
    del hub.files["lab/pets"]["audio_encoder.onnx"]
    again = publish(folder, "--license", "cc-by-4.0", "--creator", "A lab", "--citation", folder / "cite.bib")
    assert "1 files" in again.stdout
    assert "5 were there" in again.stdout
    changed = publish(folder, "--license", "mit")
    assert hub.commits[-1] == ["README.md"], changed.output
    assert b"license: mit" in hub.files["lab/pets"]["README.md"]


def test_an_edited_card_is_published_as_it_is(published, hub, tmp_path):
    _, folder, _ = published
    for name in ("soft", "encoder"):
        shutil.copytree(folder / name, tmp_path / name)
    card = tmp_path / "encoder" / "README.md"
    card.write_text("---\nlicense: mit\n---\n# Ours\n")
    assert "was edited since it was written, so --license" in refused(publish(tmp_path, "--license", "cc-by-4.0"))
    assert publish(tmp_path).exit_code == 0
    assert hub.files["lab/pets"]["README.md"] == card.read_bytes()


def test_what_cannot_be_published_is_refused_before_the_hub_is_asked(published, hub, tmp_path):
    _, folder, _ = published
    commits = len(hub.commits)
    for target in ("hf://datasets/lab/pets", "s3://lab/pets", "hf://pets", "hf://lab/pets@main", "hf://lab/../x"):
        assert "names no model of the hub; give hf://ORG/NAME" in refused(publish(folder, target=target))
    assert "need a licence; give --license NAME" in refused(publish(folder))
    assert "license 'cc' is not known; give one of" in refused(publish(folder, "--license", "cc"))
    assert "--public and --encoder-only are of what --publish uploads" in refused(
        run("export", "--run", folder / "soft", "--out", tmp_path / "x", "--public")
    )
    assert "holds no encoder of the weights of" in refused(publish(folder, "--license", "mit", out="pets"))
    assert "has the checkpoint with both encoders already" in refused(
        publish(folder, "--license", "mit", "--encoder-only")
    )
    assert len(hub.commits) == commits


def test_what_cannot_be_fetched_is_refused(published, hub, tmp_path, monkeypatch):
    _, folder, _ = published
    embed = ("embed", folder / "pets", "--out", tmp_path / "no.parquet", "--run")
    assert "hf://lab/cats does not exist, or this account may not see it" in refused(run(*embed, "hf://lab/cats"))
    assert "give hf://ORG/NAME[@REVISION]" in refused(run(*embed, "hf://datasets/lab/pets"))
    assert "copy the run to this machine, or give hf://ORG/NAME" in refused(run(*embed, "s3://lab/run"))
    for source in (TARGET, "s3://lab/run"):
        cluster = ("cluster", folder / "pets", "--clusters", 2, "--name", "x", "--run", source)
        assert f"{source} is an address, and a run on this machine is needed" in refused(run(*cluster))
    hub.files["lab/pets"] = {"pytorch_model.bin": b"pickle"}
    assert f"{TARGET} holds no encoder.json" in refused(run(*embed, TARGET))
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert "may not be read (HTTP 401): log in with 'hf auth login'" in refused(run(*embed, TARGET))


def test_an_encoder_alone_is_no_source_of_a_run(published, hub, tmp_path):
    _, folder, _ = published
    values = json.loads(hub.files["lab/pets"]["encoder.json"])
    assert set(values["files"]) == {*OF_CHECKPOINT, *FILES[1:3]}
    shutil.copytree(folder / "soft", tmp_path / "soft")
    shutil.copytree(folder / "encoder", tmp_path / "encoder", ignore=shutil.ignore_patterns("step_*"))
    done = publish(tmp_path, "--license", "mit", "--encoder-only", target="hf://lab/small")
    assert done.exit_code == 0, done.output
    assert sorted(hub.files["lab/small"]) == [".gitattributes", *FILES]
    sentence = refused(run("pretrain", folder / "pets", "--run", tmp_path / "run", "--init-from", "hf://lab/small",
                           "--batch-size", 2, "--model-size", "tiny"))  # fmt: skip
    assert "has one encoder alone, not the checkpoint with both" in sentence
