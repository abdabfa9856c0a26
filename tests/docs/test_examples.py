"""Every Python example of README and the pages runs as a reader meets it: page by page, block after block."""

from __future__ import annotations

import shutil
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner

from avprep.dataset import Dataset
from avtrain.cli import main
from avtrain.data import training_table
from tests.conftest import REPOSITORY
from tests.docs.pages import DOCS, PAGES, blocks, name_of
from tests.prep.test_audio_features import write_wav
from tests.train.forge import Forged, forge_dataset, write_labels
from tests.train.test_encoder import save_run

README = REPOSITORY / "README.md"
TESTED = {
    "README.md": 3,
    "docs/pages/concepts/plans-are-data.md": 1,
    "docs/pages/extend/backbone.md": 1,
    "docs/pages/extend/dataset-adapter.md": 1,
    "docs/pages/extend/encoder.md": 1,
    "docs/pages/extend/evaluation.md": 1,
    "docs/pages/extend/loss.md": 1,
    "docs/pages/extend/strategy.md": 1,
    "docs/pages/guides/embed-and-export.md": 3,
    "docs/pages/guides/leaderboards.md": 1,
    "docs/pages/guides/python.md": 7,
    "docs/pages/guides/share.md": 2,
    "docs/pages/reference/format-avshards-1.md": 2,
}
"""Pages with Python, and how many blocks of each run below."""


def run(page, *markers):
    """(names after those blocks of a page that have one of `markers` have run, arguments of each your_step)."""
    steps = []
    names = {"__name__": "example", "your_step": lambda *arguments: steps.append(arguments)}
    examples = [text for text in blocks(page, "python") if not markers or any(marker in text for marker in markers)]
    assert len(examples) >= len(markers), f"{name_of(page)} has lost an example"
    for example in examples:
        exec(compile(example, name_of(page), "exec"), names)
    return names, steps


def lines_of(example):
    return [line for line in example.splitlines() if line.strip()]


def test_every_python_block_is_tested_here():
    assert {name_of(page): len(blocks(page, "python")) for page in PAGES if blocks(page, "python")} == TESTED


@pytest.mark.parametrize("page", sorted((DOCS / "extend").glob("*.md")), ids=name_of)
def test_extensions_take_less_than_thirty_lines(page):
    examples = blocks(page, "python")
    assert examples
    assert all(len(lines_of(example)) < 30 for example in examples)


@pytest.fixture(params=["raw", "jpeg"])
def in_a_folder_with_data(request, tmp_path, monkeypatch):
    """The working directory has my-data: 130 clips of two classes, and a column of pseudo labels."""
    forge_dataset(tmp_path / "my-data", [Forged(f"{row % 2}") for row in range(130)], 20, request.param)
    write_labels(tmp_path / "my-data", "efficientnet_b0", {f"c{row}": 0 for row in range(130)}, ["thing"])
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_a_folder_with_data")
def test_ten_lines_train_a_model_of_ones_own():
    names, steps = run(README, "Augment(")
    assert [(tuple(video.shape), tuple(audio.shape)) for video, audio in steps] == 4 * [
        ((64, 3, 8, 8, 8), (64, 1, 100, 6))
    ]
    assert names["position"] == {"epoch": 2, "step": 0}
    (example,) = [text for text in blocks(README, "python") if "Augment(" in text]
    assert len(lines_of(example)) <= 10


@pytest.mark.usefixtures("in_a_folder_with_data")
def test_whole_clips_by_webdataset_are_those_of_the_index():
    _, steps = run(DOCS / "reference" / "format-avshards-1.md", "webdataset.WebDataset(")
    dataset = Dataset("my-data")
    rows = np.lexsort((dataset.logmel_offset, dataset.shard))
    assert len(steps) == len(rows) == 130
    for (frames, logmel, label), row in zip(steps, rows, strict=True):
        clip = dataset.read_clip(int(row))
        np.testing.assert_array_equal(frames, clip.frames)
        np.testing.assert_array_equal(logmel, clip.logmel)
        assert label == dataset.class_names[dataset.label[row]]


@pytest.mark.usefixtures("in_a_folder_with_data")
def test_whole_clips_by_the_index():
    names, _ = run(DOCS / "reference" / "format-avshards-1.md", "read_clip(0)")
    assert names["clip"].frames.shape == (32, 8, 8, 3)
    assert len(names["rows"]) == 130


@pytest.mark.usefixtures("in_a_folder_with_data")
def test_a_card_is_written():
    names, _ = run(DOCS / "guides" / "share.md", "write_card(")
    assert names["written"].facts.clips == 130


@pytest.mark.slow
def test_a_shared_dataset_is_read_by_datasets(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="datasets is not installed; it is in the extra test")
    clips = [Forged("a", level=float(row)) for row in range(3)]
    dataset = Dataset(forge_dataset(tmp_path / "my-data", clips))
    monkeypatch.chdir(tmp_path)
    run(DOCS / "guides" / "share.md", "write_card(")
    names, _ = run(DOCS / "guides" / "share.md", "load_dataset(")
    last = dataset.read_clip(2)
    np.testing.assert_array_equal(names["frames"], last.frames)
    np.testing.assert_array_equal(names["logmel"], last.logmel)


@pytest.mark.usefixtures("in_a_folder_with_data")
def test_plans_are_arrays_of_rows():
    names, _ = run(DOCS / "concepts" / "plans-are-data.md")
    dataset = Dataset("my-data")
    assert names["plan"].shape == (64, 2)
    assert (dataset.label[names["audio_rows"]] == dataset.label[names["video_rows"]]).all()
    assert (names["audio_rows"] != names["video_rows"]).all()


def module_of(page, folder):
    """The only Python block of a page, as the module that its first line names, in `folder`."""
    (example,) = blocks(page, "python")
    (folder / example.split()[1]).write_text(example, encoding="utf-8")


def test_a_strategy_of_ones_own_pairs_the_next_clip_of_the_class(tmp_path, monkeypatch):
    import avtrain

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    clips = [Forged(f"{row % 2}") for row in range(130)]
    dataset = Dataset(forge_dataset(tmp_path / "my-data", clips, 20, frame_size=32, mel_bands=32))
    monkeypatch.delitem(sys.modules, "my_rules", raising=False)
    module_of(DOCS / "extend" / "strategy.md", tmp_path)
    from my_rules import NextOfClass

    table, strategy = training_table(dataset), NextOfClass()
    plans = list(strategy.plan(table, batch_size=64, seed=3, epoch=1))
    assert len(plans) == strategy.steps(table, 64) == 2
    audio, video = np.concatenate(plans).T
    assert (dataset.label[audio] == dataset.label[video]).all()
    assert (np.where(audio % 65 == 64, audio - 64, audio + 1) == video).all()  # 65 rows a class, one after the other
    (tail,) = strategy.plan(table, batch_size=64, seed=3, epoch=1, first_step=1)
    np.testing.assert_array_equal(tail, plans[1])
    wanted = {"batch_size": 64, "epochs": 1}
    found = avtrain.plan("my-data", strategy="my_rules:NextOfClass:ahead=2", **wanted)
    assert found["pair_shares"] == {"exact": 0.0, "soft": 1.0, "fallback": 0.0}
    settings = {"strategy": "my_rules:NextOfClass:ahead=2", "model_size": "tiny", **wanted}
    assert avtrain.pretrain("my-data", "runs/next", device="cpu", quiet=True, **settings).steps == 2


def test_a_loss_of_ones_own_trains_both_encoders(tmp_path, monkeypatch):
    import avtrain

    clips = [Forged(f"{row % 2}") for row in range(64)]
    forge_dataset(tmp_path / "my-data", clips, 32, frame_size=32, mel_bands=32)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module_of(DOCS / "extend" / "loss.md", tmp_path)
    settings = {"model_size": "tiny", "batch_size": 32, "epochs": 1}
    ends = [
        avtrain.pretrain("my-data", f"runs/{number}", device="cpu", quiet=True, loss=loss, **settings)
        for number, loss in enumerate(("info-nce", "my_losses:half_positive", "supcon"))
    ]
    assert [end.steps for end in ends] == [2, 2, 2]
    assert ends[0].last_loss < ends[1].last_loss < ends[2].last_loss  # its targets are between those of the others


def test_an_encoder_of_ones_own_trains(tmp_path, monkeypatch):
    import avtrain

    (example,) = blocks(DOCS / "extend" / "encoder.md", "python")
    (tmp_path / "my_models.py").write_text(example, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    forge_dataset(tmp_path / "my-data", [Forged(f"{row % 2}") for row in range(16)], 8, frame_size=32, mel_bands=32)
    settings = {"model_size": "tiny", "audio_model": "my_models:small_audio_encoder", "batch_size": 8, "epochs": 1}
    assert avtrain.pretrain("my-data", "runs/mine", device="cpu", **settings).steps == 2


def test_an_evaluation_of_ones_own_is_compared(tmp_path, monkeypatch):
    from avtrain.embed import embed, load_encoder

    clips = [Forged("ab"[row % 2], "train" if row < 24 else "test", level=20.0 * (row % 2)) for row in range(40)]
    dataset = Dataset(forge_dataset(tmp_path / "my-data", clips, mel_bands=32))
    save_run(tmp_path / "soft", dataset)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module_of(DOCS / "extend" / "evaluation.md", tmp_path)
    embed(load_encoder("soft"), ["my-data"], tmp_path / "soft.parquet")
    from my_evaluation import nearest_mean

    scores = nearest_mean("soft.parquet", "eval-soft")
    assert scores["accuracy"] > 0.9
    (tmp_path / "eval-soft" / "copy.parquet").write_bytes((tmp_path / "eval-soft" / "predictions.parquet").read_bytes())
    done = CliRunner().invoke(main, ["compare", "eval-soft", "eval-soft/copy.parquet"])
    assert done.exit_code == 0, done.output


def test_features_over_time_are_read_from_the_table(tmp_path, monkeypatch):
    from avtrain.embed import embed, load_encoder

    save_run(tmp_path / "run", Dataset(forge_dataset(tmp_path / "data", [Forged("dog")], mel_bands=32)))
    embed(load_encoder(tmp_path / "run"), [tmp_path / "data"], tmp_path / "frames.parquet", frame_level=True)
    monkeypatch.chdir(tmp_path)
    names, _ = run(DOCS / "guides" / "embed-and-export.md", "frames.parquet")
    assert names["features"].shape == (13, 64)
    assert names["seconds"][-1] == pytest.approx(1.92)


@pytest.mark.slow
def test_pretrained_backbones_encode_pictures_and_sounds(tmp_path, monkeypatch):
    """With the smallest of timm's models and random weights, since tests download none."""
    pytest.importorskip("timm")
    import avtrain

    (example,) = blocks(DOCS / "extend" / "backbone.md", "python")
    example = example.replace('"resnet18", pretrained=True', '"test_resnet", pretrained=False')
    (tmp_path / "my_backbones.py").write_text(example, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    forge_dataset(tmp_path / "my-data", [Forged(f"{row % 2}") for row in range(16)], 8, frame_size=32, mel_bands=32)
    models = {"video_model": "my_backbones:pictures", "audio_model": "my_backbones:sounds", "freeze": "video"}
    assert avtrain.pretrain("my-data", "runs/mine", device="cpu", batch_size=8, epochs=1, **models).steps == 2


def test_a_dataset_adapter_of_the_registry_becomes_a_command(tmp_path):
    from avprep.cli.manifests import command_of
    from avprep.datasets.manifest_of import clips_of_dataset
    from avprep.datasets.media_folder import media_folder

    (tmp_path / "birds" / "video").mkdir(parents=True)
    rows = ["file,species,recordist,fold", "a.mp4,wren,ann,1", "b.mp4,wren,bob,5", "c.mp4,robin,ann,2"]
    (tmp_path / "birds" / "annotations.csv").write_text("\n".join(rows), encoding="utf-8")
    for name in "ab":
        (tmp_path / "birds" / "video" / f"{name}.mp4").touch()
    names, _ = run(DOCS / "extend" / "dataset-adapter.md")
    media = media_folder(tmp_path / "birds", tmp_path)
    clips, report = clips_of_dataset(names["ADAPTER"], media, {"test_fold": 5})
    assert [(clip.clip_id, clip.label, clip.split, clip.video_path, clip.group) for clip in clips] == [
        ("a", "wren", "train", "birds/video/a.mp4", "ann"),
        ("b", "wren", "test", "birds/video/b.mp4", "bob"),
    ]
    assert report.missing == ["c"]
    command = command_of(names["ADAPTER"])
    assert "--test-fold" in command.get_help(click.Context(command))


@pytest.fixture
def in_a_folder_with_an_encoder(exported_encoder, tmp_path, monkeypatch):
    """The working directory has dog.wav and an encoder as exported, where the examples have it."""
    for name in ("encoder", "runs/soft"):
        shutil.copytree(exported_encoder / "encoder", tmp_path / name)
    write_wav(tmp_path / "dog.wav", 1.5)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_folder_with_an_encoder")
def test_ten_lines_embed_a_sound_with_torch_and_without():
    page = DOCS / "guides" / "embed-and-export.md"
    names, _ = run(page, "embed_file(")
    assert names["embedding"].shape == (64,)
    assert np.linalg.norm(names["embedding"]) > 0
    assert (names["features"].shape[1], names["hop_seconds"]) == (64, 0.16)
    others, _ = run(page, "onnxruntime")
    np.testing.assert_allclose(others["embeddings"][0], names["embedding"], rtol=0, atol=1e-5)
    assert all(len(lines_of(example)) <= 10 for example in blocks(page, "python"))
    of_readme, _ = run(README, "embed_file(")
    np.testing.assert_array_equal(of_readme["embedding"], names["embedding"])


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_folder_with_an_encoder")
def test_transformers_has_the_embedding_too():
    pytest.importorskip("transformers")
    names, _ = run(DOCS / "guides" / "leaderboards.md")
    ours, _ = run(README, "embed_file(")
    np.testing.assert_allclose(names["made"].pooler_output[0].detach(), ours["embedding"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_readme_leads_from_clips_to_a_score(demo_clips, tmp_path, monkeypatch):
    shutil.copytree(demo_clips.parent / "clips", tmp_path / "my-clips")
    monkeypatch.chdir(tmp_path)
    names, _ = run(README, "manifest_of_folder(")
    assert 0 <= names["scores"]["accuracy"] <= 1
    assert (tmp_path / "runs/soft/eval/my-data-linear-s0/predictions.parquet").exists()


@pytest.mark.slow
def test_the_python_guide_leads_from_clips_to_a_score(demo_clips, tmp_path, monkeypatch, capsys):
    shutil.copytree(demo_clips.parent, tmp_path / "my-clips")
    monkeypatch.chdir(tmp_path)
    names, _ = run(DOCS / "guides" / "python.md")
    assert names["build"].clips == 80
    assert names["build"].complete
    assert names["result"].steps == 2 * (names["manifest"].splits["train"] // 16)
    assert 0 <= names["scores"]["accuracy"] <= 1
    assert names["difference"]["second_run"] == "soft-positive"
    assert names["vector"].shape == (64,)
    assert tuple(names["batch"].video.shape) == (16, 8, 48, 48, 3)
    assert "holds a run of other settings" in capsys.readouterr().out
    for page in ("my-data.html", "runs.html"):
        assert "</html>" in (tmp_path / page).read_text(encoding="utf-8")
    assert len(list(tmp_path.glob("runs/*/eval/my-data-linear-s0/result.json"))) == 2
