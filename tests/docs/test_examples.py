"""The README's Python examples run as they stand there."""

from __future__ import annotations

import re

import numpy as np
import pytest

from avprep.dataset import Dataset
from avtrain.inference.export import export
from tests.conftest import REPOSITORY
from tests.prep.test_hearing import write_wav
from tests.train.forge import Forged, forge_dataset, write_labels
from tests.train.test_encoder import save_run

EXAMPLES = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(params=["raw", "jpeg"])
def in_a_folder_with_data(request, tmp_path, monkeypatch):
    """The working directory has my-data: 130 clips of two classes, and a column of pseudo labels."""
    forge_dataset(tmp_path / "my-data", [Forged(f"{row % 2}") for row in range(130)], 20, request.param)
    write_labels(tmp_path / "my-data", "efficientnet_b0", {f"c{row}": 0 for row in range(130)}, ["thing"])
    monkeypatch.chdir(tmp_path)


def run(marker):
    """(names after the example with `marker` has run, arguments of each your_step)."""
    (example,) = [text for text in EXAMPLES if marker in text]
    steps = []
    names = {"your_step": lambda *arguments: steps.append(arguments)}
    exec(compile(example, "README.md", "exec"), names)
    return names, steps


@pytest.mark.usefixtures("in_a_folder_with_data")
def test_ten_lines_train_a_model_of_ones_own():
    names, steps = run("Augment(")
    assert [(tuple(video.shape), tuple(audio.shape)) for video, audio in steps] == 4 * [
        ((64, 3, 8, 8, 8), (64, 1, 100, 6))
    ]
    assert names["position"] == {"epoch": 2, "step": 0}
    (example,) = [text for text in EXAMPLES if "Augment(" in text]
    assert len([line for line in example.splitlines() if line.strip()]) <= 10


@pytest.mark.usefixtures("in_a_folder_with_data")
def test_planned_batches_in_a_dataloader():
    _, steps = run("PlannedBatches(")
    assert [(tuple(video.shape), tuple(audio.shape)) for video, audio in steps] == 2 * [
        ((64, 8, 8, 8, 3), (64, 100, 6))
    ]


@pytest.mark.usefixtures("in_a_folder_with_data")
def test_whole_clips_by_webdataset_are_those_of_the_index():
    _, steps = run("webdataset.WebDataset(")
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
    names, _ = run("read_clip(0)")
    assert names["clip"].frames.shape == (32, 8, 8, 3)
    assert len(names["rows"]) == 130


@pytest.fixture
def in_a_folder_with_an_encoder(tmp_path, monkeypatch):
    """The working directory has dog.wav, an encoder as exported, and the encoder itself to compare with."""
    dataset = Dataset(forge_dataset(tmp_path / "data", [Forged("dog")], mel_bands=128))
    save_run(tmp_path / "run", dataset)
    export(tmp_path / "run", tmp_path / "encoder")
    write_wav(tmp_path / "dog.wav", 1.5)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_a_folder_with_an_encoder")
def test_ten_lines_embed_a_sound_with_torch_and_without():
    names, _ = run("embed_file(")
    assert names["embedding"].shape == (64,)
    assert np.linalg.norm(names["embedding"]) > 0
    others, _ = run("onnxruntime")
    np.testing.assert_allclose(others["embeddings"][0], names["embedding"], rtol=0, atol=1e-5)
    for marker in ("embed_file(", "onnxruntime"):
        (example,) = [text for text in EXAMPLES if marker in text]
        assert len([line for line in example.splitlines() if line.strip()]) <= 10
