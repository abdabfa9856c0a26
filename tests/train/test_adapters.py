"""Encoders by the interfaces of HEAR, X-ARES and mteb: the same features as ours, at the right times."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.adapters import hear, inputs, xares
from avtrain.embed import embed_file, embed_file_frames
from avtrain.inference import load_encoder, load_video_encoder
from tests.train.forge import Forged, forge_dataset
from tests.train.test_encoder import OWN, save_run

RATE_HZ = 48_000


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`soft`, `released` (of files at their own rates) and `own` (an encoder of the user's), and the sound a.wav."""
    root = tmp_path_factory.mktemp("adapters")
    clips = [Forged("a", seconds=1.0), Forged("b", seconds=1.0)]
    sizes = {"mel_bands": 128, "frame_size": 32}
    save_run(root / "soft", Dataset(forge_dataset(root / "pets", clips, **sizes)))
    save_run(root / "released", Dataset(forge_dataset(root / "old", clips, **sizes, preset="released-code")))
    (root / "own_package.py").write_text(OWN)
    wavfile.write(root / "a.wav", RATE_HZ, noise(2.0))
    return root


def noise(seconds, seed=0):
    return (0.2 * np.random.default_rng(seed).standard_normal(int(RATE_HZ * seconds))).astype(np.float32)


def test_hear_gives_the_embedding_of_a_whole_sound(runs):
    model = hear.load_model(str(runs / "soft"))
    assert isinstance(model, torch.nn.Module)
    assert (model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size) == (48_000, 64, 64)
    audio = torch.from_numpy(np.stack([noise(2.0), noise(2.0, 1)]))
    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.dtype == torch.float32
    own = embed_file(load_encoder(runs / "soft"), runs / "a.wav")
    np.testing.assert_allclose(scenes[0].numpy(), own, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scenes, model(audio))


def test_hear_times_are_40_ms_apart_and_hold_our_own_frames(runs):
    model, encoder = hear.load_model(str(runs / "soft")), load_encoder(runs / "soft")
    embeddings, times = hear.get_timestamp_embeddings(torch.from_numpy(noise(2.0))[None], model)
    assert embeddings.shape == (1, 51, 64)  # 201 log-mel frames by 4
    assert times[0].tolist() == pytest.approx([40.0 * k for k in range(51)])
    frames, hop_seconds = embed_file_frames(encoder, runs / "a.wav")
    assert hop_seconds == 0.16
    np.testing.assert_allclose(embeddings[0, ::4].numpy(), frames, rtol=1e-4, atol=1e-5)


def test_hear_embeddings_move_with_the_sound(runs):
    model = hear.load_model(str(runs / "soft"))
    whole = noise(3.0)
    whole[:4] = 1.0  # so that the loudest bin, which sets the floor, is of both
    later = np.concatenate([np.zeros(int(0.04 * RATE_HZ), np.float32), whole])[: len(whole)]
    (one, two), _ = hear.get_timestamp_embeddings(torch.from_numpy(np.stack([whole, later])), model)
    np.testing.assert_allclose(two[21:51].numpy(), one[20:50].numpy(), rtol=1e-3, atol=1e-3)
    assert np.abs(two[20:50].numpy() - one[20:50].numpy()).max() > 0.01


def test_hear_takes_a_sound_of_less_than_a_second(runs):
    model = hear.load_model(str(runs / "soft"))
    audio = torch.from_numpy(noise(0.3))[None]
    assert hear.get_scene_embeddings(audio, model).shape == (1, 64)
    embeddings, times = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.shape[1] == times.shape[1] == 8  # to 280 ms of 300


def test_xares_has_our_frames_under_a_name_of_its_own(runs):
    encoder = xares.factory(runs / "soft")()
    assert type(encoder).__name__.startswith("soft_step7_")
    assert type(encoder).__name__.endswith("Encoder")
    assert (encoder.sampling_rate, encoder.hop_size_in_ms, encoder.output_dim) == (48_000, 160.0, 64)
    features = encoder(torch.from_numpy(noise(2.0))[None])
    frames, _ = embed_file_frames(load_encoder(runs / "soft"), runs / "a.wav")
    np.testing.assert_allclose(features[0].numpy(), frames, rtol=1e-4, atol=1e-5)
    assert encoder(torch.randn(2, 50_000)).shape == (2, 7, 64)


def test_no_name_of_the_module_is_taken_for_an_encoder_beside_the_users(runs):
    """X-ARES takes the one name of a file that ends in Encoder."""
    module = ModuleType("mine")
    exec(f"from avtrain.adapters import xares\nSoftEncoder = xares.factory({str(runs / 'soft')!r})", module.__dict__)
    assert [name for name in dir(module) if name.endswith("Encoder")] == ["SoftEncoder"]
    assert [name for name in dir(xares) if name.endswith("Encoder")] == ["FrameEncoder"]


@pytest.mark.parametrize("load", [lambda run: hear.load_model(str(run)), xares.load], ids=["hear", "xares"])
def test_an_encoder_of_files_at_their_own_rates_is_refused(load, runs):
    with pytest.raises(UserError, match=r"at each file's own rate .* use mteb's own tasks"):
        load(runs / "released")


def test_an_encoder_of_ones_own_has_no_features_over_time(runs, monkeypatch):
    monkeypatch.syspath_prepend(str(runs))
    save_run(runs / "mine", Dataset(runs / "pets"), audio_model="own_package:mean")
    with pytest.raises(UserError, match="own_package:mean gives one vector a sound"):
        xares.load(runs / "mine")
    assert hear.get_scene_embeddings(torch.zeros(1, RATE_HZ), hear.load_model(str(runs / "mine"))).shape == (1, 128)


def test_samples_that_are_not_finite_are_refused(runs):
    with pytest.raises(UserError, match="A sound cannot be encoded"):
        hear.get_scene_embeddings(torch.full((1, RATE_HZ), torch.nan), hear.load_model(str(runs / "soft")))


def test_rates_that_hear_does_not_know_become_the_next_higher_one(runs):
    description = load_encoder(runs / "soft").description
    for own, wanted in ((32_000, 44_100), (16_000, 16_000), (96_000, 48_000)):
        audio = description.audio | {"sample_rate_hz": own, "hop_samples": own // 100}
        assert inputs.one_rate_hz(SimpleNamespace(audio=audio), hear.SAMPLE_RATES_HZ) == wanted


class StandIn:
    """Keeps what it is given."""

    def __init__(self, **values):
        self.__dict__.update(values)


@pytest.fixture
def mteb(monkeypatch):
    """avtrain.adapters.mteb against the real mteb or, where it is missing, stand-ins of the four names it takes."""
    if importlib.util.find_spec("mteb") is None:
        names = ("mteb", "mteb.models", "mteb.models.abs_encoder", "mteb.models.model_implementations")
        modules = {name: ModuleType(name) for name in names}
        modules["mteb.models"].ModelMeta = StandIn
        modules["mteb.models.abs_encoder"].AbsEncoder = object
        modules["mteb.models.model_implementations"].MODEL_REGISTRY = {}
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "avtrain.adapters.mteb", raising=False)
    yield importlib.import_module("avtrain.adapters.mteb")
    if isinstance(sys.modules["mteb"], ModuleType) and not hasattr(sys.modules["mteb"], "__file__"):
        sys.modules.pop("avtrain.adapters.mteb")


class Loader(list):
    """Batches of rows, collated as a torch DataLoader would."""

    collate_fn = None

    def __iter__(self):
        return (self.collate_fn(rows) for rows in super().__iter__())


class Video:
    """A decoder of 24 pictures a second, whose red is the number of the picture."""

    def __init__(self, seconds):
        self.metadata = SimpleNamespace(begin_stream_seconds=0.0, end_stream_seconds=seconds)

    def get_frames_played_at(self, seconds):
        numbers = torch.tensor([int(24 * time) for time in seconds], dtype=torch.uint8)
        pictures = torch.zeros(len(seconds), 3, 20, 40, dtype=torch.uint8)
        pictures[:, 0] = numbers[:, None, None]
        return SimpleNamespace(data=pictures)


def samples(seconds, seed=0):
    return {"array": noise(seconds, seed), "sampling_rate": RATE_HZ}


def test_mteb_has_our_embeddings_in_order_whatever_the_lengths(runs, mteb):
    model = mteb.MediaEncoder("x", run=str(runs / "soft"))
    rows = [{"audio": samples(2.0)}, {"audio": samples(1.2, 1)}, {"audio": {"path": str(runs / "a.wav")}}]
    vectors = model.encode(Loader([rows, rows[:1]]), task_metadata=None, hf_split="test", hf_subset="default")
    assert vectors.shape == (4, 64)
    own = embed_file(load_encoder(runs / "soft"), runs / "a.wav")
    for number in (0, 2, 3):
        np.testing.assert_allclose(vectors[number], own, rtol=1e-5, atol=1e-6)
    assert np.abs(vectors[1] - own).max() > 0.01


def test_mteb_takes_the_picture_that_is_shown_at_each_tick(runs, mteb):
    encoder = load_video_encoder(runs / "soft")
    pictures = mteb.pictures_of(Video(1.5), encoder)
    assert pictures.shape == (24, 32, 32, 3)
    assert pictures[:, 5, 5, 0].tolist() == pytest.approx([int(24 * k / 16) for k in range(24)], abs=1)
    model = mteb.MediaEncoder("x", run=str(runs / "soft"), side="video")
    np.testing.assert_array_equal(model.vectors([{"video": Video(1.5)}])[0], encoder.encode(pictures[None])[0])


def test_mteb_of_both_sides_lays_all_rows_into_the_common_space(runs, mteb):
    both = mteb.MediaEncoder("x", run=str(runs / "soft"), side="both")
    sound, video = samples(1.0), Video(1.0)
    one, two, joint = both.vectors([{"audio": sound}, {"video": video}, {"audio": sound, "video": video}])
    assert one.shape == (128,)
    np.testing.assert_allclose(joint, (one + two) / np.linalg.norm(one + two), rtol=1e-5)
    audio = mteb.MediaEncoder("x", run=str(runs / "soft"), projection=True)
    np.testing.assert_allclose(audio.vectors([{"audio": sound}])[0], one, rtol=1e-5, atol=1e-7)


def test_mteb_refuses_rows_without_the_medium_and_unknown_sides(runs, mteb):
    model = mteb.MediaEncoder("x", run=str(runs / "soft"))
    with pytest.raises(UserError, match="A row has no audio"):
        model.vectors([{"audio": samples(1.0)}, {"audio": None, "video": Video(1.0)}])
    with pytest.raises(UserError, match="There is no side 'sound'; choose from audio, video, both"):
        mteb.meta_of(runs / "soft", "sound")
    with pytest.raises(UserError, match="neither samples nor a path"):
        model.vectors([{"audio": {"bytes": b""}}])


def test_mteb_knows_a_run_by_name_and_weights(runs, mteb):
    name = mteb.register(runs / "soft", "both")
    assert name == "avtrain/soft-step7-both"
    meta = mteb.MODEL_REGISTRY[name]
    assert (meta.modalities, meta.embed_dim, len(meta.revision)) == (["audio", "video"], 128, 12)
    assert mteb.meta_of(runs / "soft").revision != meta.revision
    assert mteb.meta_of(runs / "soft", projection=True).name == "avtrain/soft-step7-audio-projection"


@pytest.mark.slow
def test_the_real_mteb_passes_its_mock_tasks_of_sound(runs):
    mteb = pytest.importorskip("mteb")
    pytest.importorskip("torchcodec")
    from avtrain.adapters.mteb import register

    done = mteb.mock_run(mteb.get_model(register(runs / "soft")))
    assert done.all_passed
    assert ("✓ (7/7)", "audio", "") in done.modality_summary()


def test_the_real_check_of_xares_passes(runs):
    checker = pytest.importorskip("xares.audio_encoder_checker")
    assert checker.check_audio_encoder(xares.load(runs / "soft"))


@pytest.mark.slow
def test_the_real_validator_of_hear_passes(runs):
    pytest.importorskip("tensorflow")
    validate = pytest.importorskip("hearvalidator.validate")
    validate.ValidateModel("avtrain.adapters.hear", str(runs / "soft"), device="cpu")()


@pytest.mark.slow
def test_transformers_loads_an_encoder_without_code_of_the_folder(runs, tmp_path):
    transformers = pytest.importorskip("transformers")
    from avtrain.adapters.transformers import convert

    convert(runs / "soft", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert "auto_map" not in (tmp_path / "out" / "config.json").read_text()
    model = transformers.AutoModel.from_pretrained(tmp_path / "out", trust_remote_code=False)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "out", trust_remote_code=False)
    inputs = extractor(noise(2.0), sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.no_grad():
        made = model(**inputs)
    encoder = load_encoder(runs / "soft")
    own, (frames, _) = embed_file(encoder, runs / "a.wav"), embed_file_frames(encoder, runs / "a.wav")
    np.testing.assert_allclose(made.pooler_output[0].numpy(), own, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made.last_hidden_state[0].numpy(), frames, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="The sounds differ in length"):
        extractor([noise(1.0), noise(2.0)], sampling_rate=RATE_HZ)
    with pytest.raises(UserError, match="is not empty; choose another folder"):
        convert(runs / "soft", tmp_path / "out")
