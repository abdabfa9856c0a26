"""An audio encoder on its own: normalisation inside, described by its checkpoint, whole sounds in bounded memory."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.config import PretrainConfig
from avtrain.data.augment import Normalise
from avtrain.inference import encoder
from avtrain.inference.encoder import load_encoder
from avtrain.inference.export import export
from avtrain.models.audio import AudioCNN, build_audio, tiny_audio
from avtrain.models.two_tower import TwoTower
from avtrain.models.video import build_video
from avtrain.runs import checkpoint
from avtrain.runs.data_spec import data_described
from avtrain.sampling.windows import WindowSpec
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

OWN = """
from torch import nn
class Mean(nn.Module):
    def forward(self, logmel):
        return logmel.mean(dim=2)[:, 0]
def mean(): return Mean()
"""

BANDED = """
from torch import nn
class Bands(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(64, 64)
    def forward(self, logmel):
        return self.scale(logmel.mean(dim=2)[:, 0])
def banded(): return Bands()
"""


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A dataset of 128 bands."""
    clips = [Forged(label, seconds=1.0, level=level) for label, level in (("a", 0.0), ("b", -9.0))]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "heard", clips, mel_bands=128)


def save_run(run, dataset, audio_model="", video_model=""):
    """A run folder of fresh weights, batch statistics among them, with what pretraining says of its data."""
    torch.manual_seed(1)
    model = TwoTower(
        build_video(video_model or "tiny", frame_size=32), build_audio(audio_model or "tiny", dataset.num_mel_bands)
    )
    model.train()(torch.randn(4, 3, 8, 32, 32), torch.randn(4, 1, 100, dataset.num_mel_bands))
    config = {"model_size": "tiny", "audio_model": audio_model, "video_model": video_model, "strategy": "random"}
    meta = {"config": config, "dataset_digest": dataset.digest, "data": data_described(dataset, WindowSpec())}
    checkpoint.save(run, 7, model, torch.optim.Adam(model.parameters()), meta)
    return model.eval()


def test_it_takes_decibels_as_stored_and_gives_the_towers_features(heard, tmp_path):
    dataset = Dataset(heard)
    model = save_run(tmp_path / "run", dataset)
    logmel = np.stack([dataset.read_clip(row).logmel for row in range(2)])
    normalise = Normalise(dataset.logmel_mean, dataset.logmel_std)
    with torch.no_grad():
        wanted = model.audio(normalise.audio(torch.from_numpy(logmel))).numpy()
    for folder in (tmp_path / "run", tmp_path / "run" / "step_00000007"):
        found = load_encoder(folder)
        np.testing.assert_allclose(found.encode(logmel), wanted, rtol=1e-5, atol=1e-6)
        assert found.encode(logmel).dtype == np.float32
        assert (found.description.training["run"], found.description.training["step"]) == ("run", 7)


def test_a_checkpoint_of_pretraining_records_how_its_log_mel_was_made(tmp_path):
    clips = [Forged(label) for label in "abab"] + [Forged("a", "test")]
    folder = forge_dataset(tmp_path / "data", clips, frame_size=32)
    config = PretrainConfig(model_size="tiny", batch_size=4, max_steps=1, epochs=1)
    pretrain(folder, tmp_path / "run", config, quiet=True)
    dataset, about = Dataset(folder), load_encoder(tmp_path / "run").description
    assert about.audio == dataset.info["audio"]
    assert about.logmel_mean == dataset.logmel_mean.tolist()
    assert about.logmel_std == dataset.logmel_std.tolist()
    assert about.training["dataset"] == {
        "name": "data",
        "digest": dataset.digest,
        "train_clips": 4,
        "class_names": ["a", "b"],
    }
    assert about.training["config"]["max_steps"] == 1


@pytest.mark.parametrize("network", [AudioCNN, tiny_audio], ids=["full", "tiny"])
@pytest.mark.parametrize("frames", [193, 400, 641])
def test_a_long_sound_part_by_part_has_the_features_of_the_whole(heard, tmp_path, monkeypatch, network, frames):
    save_run(tmp_path / "run", Dataset(heard))
    whole = load_encoder(tmp_path / "run")
    whole.network = network().eval()
    logmel = np.random.default_rng(frames).uniform(-80, 0, (2, frames, 128)).astype(np.float16)
    wanted = whole.encode(logmel)
    seen = []
    whole.network.layers.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[2]))
    monkeypatch.setattr(encoder, "WHOLE_FRAMES", 64)
    np.testing.assert_allclose(whole.encode(logmel), wanted, rtol=1e-5, atol=1e-6)
    assert len(seen) == -(-frames // 64)
    assert max(seen) < 64 + 2 * 170


def test_ones_own_encoder_takes_a_minute_and_no_more(heard, tmp_path, monkeypatch):
    (tmp_path / "my_sound_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    save_run(tmp_path / "run", Dataset(heard), "my_sound_models:mean")
    own = load_encoder(tmp_path / "run")
    assert own.encode(np.zeros((2, 6000, 128), np.float16)).shape == (2, 128)
    with pytest.raises(UserError, match=r"my_sound_models:mean .* 60 s at once; .*--window-seconds"):
        own.encode(np.zeros((1, 6001, 128), np.float16))


@pytest.mark.slow
def test_ones_own_encoder_of_other_bands_is_rebuilt_with_them(tmp_path, monkeypatch):
    (tmp_path / "my_banded_models.py").write_text(BANDED)
    monkeypatch.syspath_prepend(tmp_path)
    clips = [Forged(label, seconds=1.0) for label in "ab"]
    dataset = Dataset(forge_dataset(tmp_path / "data", clips, mel_bands=64))
    save_run(tmp_path / "run", dataset, "my_banded_models:banded")
    export(tmp_path / "run", tmp_path / "out")
    for folder in ("run", "out"):
        assert load_encoder(tmp_path / folder).encode(np.zeros((2, 100, 64), np.float16)).shape == (2, 64)


@pytest.mark.slow
def test_a_torn_file_of_weights_is_refused_in_a_sentence(exported_encoder, tmp_path):
    shutil.copytree(exported_encoder / "encoder", tmp_path / "out")
    path = tmp_path / "out" / "audio_encoder.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"audio_encoder\.safetensors has another sha256 than .*export the encoder"):
        load_encoder(tmp_path / "out")


def test_what_is_no_encoder_is_refused_in_a_sentence(heard, tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint and no exported encoder"):
        load_encoder(tmp_path)
    save_run(tmp_path / "run", Dataset(heard))
    path = tmp_path / "run" / "step_00000007" / "meta.json"
    meta = json.loads(path.read_text())
    del meta["data"]
    path.write_text(json.dumps(meta))
    with pytest.raises(
        UserError, match=r"does not record how its log-mel was made \(it is an import.*pretrain further"
    ):
        load_encoder(tmp_path / "run")
    (tmp_path / "encoder.json").write_text('{"format": "avtrain-encoder/9"}')
    with pytest.raises(UserError, match="format 'avtrain-encoder/9'; this version reads avtrain-encoder/1"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text('{"format": "avtrain-encoder/1"}')
    with pytest.raises(UserError, match=r"encoder\.json has no 'model'; export the encoder again"):
        load_encoder(tmp_path)
