"""Zero-shot pseudo-labels: tiny random CLIP and CLAP models, their scores against the models called directly."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

import avprep
from avprep.audio_features import clip_samples
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.labels.pseudo_label import PseudoLabelConfig, pseudo_label
from avprep.labels.pseudo_label.class_list import NamedClass, read_classes
from avprep.labels.pseudo_label.zero_shot import load_zero_shot
from avprep.manifest.read_write import Clip, write_manifest
from avprep.media.audio import Wanted, read_audio
from avprep.media.clip import decode_clip
from avprep.media.with_pyav import open_sound
from tests.conftest import FIXTURES
from tests.prep.rendering import pattern, render
from tests.prep.test_pseudo_label import Touch, by_clip
from tests.prep.test_pseudo_label_parts import labelled
from tests.prep.tiny_hf import SOUND_SECONDS, save_clap, save_clip, transformers

pytestmark = pytest.mark.slow  # models of transformers are loaded

CLASSES = ["dog", "car, electric", "rain"]
RATE_HZ = 48_000
SOURCES = {
    "edited": Clip("edited", "a", video_path="bbb_editlist.mp4"),
    "cut": Clip("cut", "a", video_path="bbb_vp9_opus.webm", start_seconds=0.13, end_seconds=0.77),
    "mixed": Clip("mixed", "a", video_path="bbb_vfr.mkv", audio_path="long.wav", start_seconds=0.2, end_seconds=0.9),
    "long": Clip("long", "b", audio_path="long.wav", start_seconds=0.3),
    "late": Clip("late", "b", video_path="late.mkv", start_seconds=0.6, end_seconds=1.8),
    "early": Clip("early", "b", video_path="early.mkv", start_seconds=0.6),
    "gone": Clip("gone", "b", audio_path="gone.wav"),
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of a dataset, which is `data` beside them; gone.wav is there no more."""
    folder = tmp_path_factory.mktemp("media")
    for name in ("bbb_editlist.mp4", "bbb_vp9_opus.webm", "bbb_vfr.mkv"):
        shutil.copy(FIXTURES / "video" / name, folder)
    draw = np.random.default_rng(0)
    for name, seconds in (("long", 5), ("gone", 1)):
        times = np.arange(seconds * 44_100) / 44_100
        left = np.sin(2 * np.pi * (200 + 300 * times) * times) * np.linspace(0.1, 0.9, len(times))
        stereo = np.stack([left, draw.uniform(-0.1, 0.1, len(times))], 1)
        with wave.open(str(folder / f"{name}.wav"), "wb") as out:
            out.setparams((2, 2, 44_100, 0, "NONE", ""))
            out.writeframes((stereo * 32767).astype("<i2").tobytes())
    sweep = ["-f", "lavfi", "-i", "aevalsrc=sin(800*t*t):s=48000:d=2"]
    coded = ["-map", "0", "-map", "1", "-c:v", "mpeg4", "-c:a", "pcm_s16le"]
    picture = pattern("64x64", "16", 2)
    render(folder / "late.mkv", *picture, "-itsoffset", "0.3137", *sweep, *coded)
    render(folder / "early.mkv", "-itsoffset", "0.3137", *picture, *sweep, *coded)
    write_manifest(folder / "m.csv", list(SOURCES.values()))
    assert build_shards(folder / "m.csv", folder / "data", BuildConfig(), Limits()).clips == len(SOURCES)
    (folder / "gone.wav").unlink()
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_clip(folder / "clip")
    save_clap(folder / "clap")
    save_clap(folder / "fusion", fusion=True)
    return folder


@pytest.fixture
def data(media: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(media / "data", tmp_path / "data"))


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("# comment\n\n" + "\n".join(CLASSES) + "\n")
    return path


def picture_scores(folder: Path, frame: np.ndarray, prompts: list[str]) -> np.ndarray:
    """Probabilities [prompts] by CLIP itself."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.CLIPProcessor.from_pretrained(folder)
    with torch.inference_mode():
        inputs = processor(text=prompts, images=[frame], padding=True, return_tensors="pt")
        return model(**inputs).logits_per_image.softmax(1)[0].numpy()


def sound_scores(folder: Path, sound: np.ndarray, prompts: list[str]) -> np.ndarray:
    """Probabilities [prompts] by CLAP itself."""
    model = transformers.ClapModel.from_pretrained(folder).eval()
    processor = transformers.ClapProcessor.from_pretrained(folder)
    with torch.inference_mode():
        inputs = processor(text=prompts, audio=[sound], sampling_rate=RATE_HZ, padding=True, return_tensors="pt")
        inputs["is_longer"][:] = False
        return model(**inputs).logits_per_audio.softmax(1)[0].numpy()


def sound_of(folder: Path, clip: Clip) -> np.ndarray:
    """The middle SOUND_SECONDS of a clip's sound, by the span that the build's decoder gives the clip."""
    video = folder / clip.video_path if clip.video_path else None
    audio = folder / clip.audio_path if clip.audio_path else None
    span = decode_clip(video, audio, clip.start_seconds, clip.end_seconds, BuildConfig(), Limits()).span
    source = audio or video
    assert source is not None
    with open_sound(source, Limits()) as sound:
        whole = read_audio(sound, RATE_HZ, Wanted(limit_seconds=300)).window(span)
    wanted = SOUND_SECONDS * RATE_HZ
    begin = max(len(whole) - wanted, 0) // 2
    return whole[begin : begin + wanted]


def test_clip_chooses_from_the_users_classes(data, models, classes):
    done = run("pseudo-label", data, "--model", f"hf:{models / 'clip'}", "--classes", classes, "--name", "seen")
    assert done.exit_code == 0, done.output
    assert "5 clips of " in done.output
    assert "2 without a label" in done.output
    dataset = Dataset(data)
    labels = by_clip(data / "labels" / "seen.parquet")
    prompts = [f"a photo of {name}" for name in CLASSES]
    for row, clip_id in enumerate(dataset.clip_ids):
        if not dataset.num_frames[row]:
            assert labels[clip_id] == {"clip_id": clip_id, "label": -1, "class_name": None, "probability": None}
            continue
        count = int(dataset.num_frames[row])
        expected = picture_scores(models / "clip", dataset.read_clip(row).frames[count // 2], prompts)
        assert np.ptp(expected) > 0.01, "the reference cannot tell"
        assert labels[clip_id]["class_name"] == CLASSES[expected.argmax()]
        assert labels[clip_id]["probability"] == pytest.approx(expected.max(), abs=1e-5)
    assert dataset.labels("seen").class_names == CLASSES
    assert dataset.label_probabilities("seen").min() < 1
    origin = json.loads(pq.read_schema(data / "labels" / "seen.parquet").metadata[b"origin"])
    assert (origin["model"], origin["templates"]) == ("hf:clip", ["a photo of {}"])


def test_clap_scores_the_sound_of_the_sources(media, data, models, classes, caplog):
    arguments = ["--model", f"hf:{models / 'clap'}", "--classes", classes, "--workers", "1", "--root", media]
    done = run("pseudo-label", data, *arguments)
    assert done.exit_code == 0, done.output
    assert "1 clips have no label, since their sources could not be decoded (1 missing), such as 'gone'" in caplog.text
    labels = by_clip(data / "labels" / "clap.parquet")
    assert labels["gone"]["label"] == -1
    prompts = [f"this is a sound of {name}" for name in CLASSES]
    for clip in [clip for clip in SOURCES.values() if clip.clip_id != "gone"]:
        expected = sound_scores(models / "clap", sound_of(media, clip), prompts)
        assert labels[clip.clip_id]["class_name"] == CLASSES[expected.argmax()]
        assert labels[clip.clip_id]["probability"] == pytest.approx(expected.max(), abs=1e-5)


def test_several_processes_write_the_same_bytes_of_sounds(media, data, models, classes):
    """One of the sources is gone."""
    settings = {"model": f"hf:{models / 'clap'}", "classes": classes, "batch_size": 2, "device": "cpu"}
    wanted = avprep.pseudo_label(data, "heard", root=media, workers=1, **settings).read_bytes()
    words = ["--model", settings["model"], "--classes", classes, "--batch-size", 2, "--root", media, "--replace"]
    assert labelled(data, "heard", *words, "--processes", 2, "--workers", 2, "--threads", 1) == wanted


@pytest.mark.parametrize("model", ["clap", "fusion"])
def test_scores_of_sounds_do_not_depend_on_the_batch_or_on_chance(media, models, model):
    sounds = [sound_of(media, SOURCES[name]) for name in ("long", "cut", "edited")]
    named = [NamedClass(name, (name,)) for name in CLASSES]
    classifier = load_zero_shot(str(models / model), named, [], torch.device("cpu")).classifier
    prompts = [f"this is a sound of {name}" for name in CLASSES]
    expected = np.stack([sound_scores(models / model, sound, prompts) for sound in sounds])
    with torch.inference_mode():
        together = classifier.network(classifier.prepare(sounds)).softmax(1).numpy()
        alone = [classifier.network(classifier.prepare([sound])).softmax(1).numpy()[0] for sound in sounds]
    np.testing.assert_allclose(together, expected, atol=1e-5)
    np.testing.assert_allclose(np.stack(alone), expected, atol=1e-5)


def test_the_sound_of_a_clip_is_that_of_its_span(media):
    """By the span that the build's decoder gives; of a longer sound the part asked for."""
    dataset = Dataset(media / "data")
    rows = np.array([dataset.clip_ids.index(name) for name in ("mixed", "long", "cut", "late", "early")])
    offsets = dict(zip(dataset.clip_ids, dataset.av_offset_seconds, strict=True))
    assert offsets["late"] > 0.2
    assert offsets["early"] < -0.2
    settings = {"rate_hz": RATE_HZ, "longest_seconds": SOUND_SECONDS, "root": media, "workers": 1}
    parts = {end: list(clip_samples(dataset, rows, position=end, **settings)) for end in (0.0, 1.0)}
    for part in parts.values():
        for row, sound in zip(rows, part, strict=True):
            if dataset.clip_ids[row] != "long":
                expected = sound_of(media, SOURCES[dataset.clip_ids[row]])
                assert abs(len(sound) - len(expected)) <= 1
                length = min(len(sound), len(expected))
                np.testing.assert_array_equal(sound[:length], expected[:length])
    for end, start in ((0.0, 0.3), (1.0, 3.0)):
        clip = Clip("long", "b", audio_path="long.wav", start_seconds=start, end_seconds=start + SOUND_SECONDS)
        np.testing.assert_array_equal(parts[end][1], sound_of(media, clip))


def test_without_any_source_nothing_is_written(data, models, classes, tmp_path):
    arguments = ["pseudo-label", data, "--model", f"hf:{models / 'clap'}", "--classes", classes, "--root", tmp_path]
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Not one file that" in done.output
    assert "--root names the folder" in done.output
    (tmp_path / "long.wav").write_text("not sound")
    done = run(*arguments, "--workers", "1")
    assert done.exit_code == 2
    assert "No clip has a sound that could be decoded (5 missing, 2 not-media)" in done.output
    assert not (data / "labels").exists()


def test_synonyms_and_templates_are_averaged(models):
    """The mean of normalised embeddings, by hand."""
    folder, templates = models / "clip", ["a photo of {}", "{} here"]
    named = [NamedClass("dog", ("dog", "puppy", "hound")), NamedClass("rain", ("rain",))]
    classifier = load_zero_shot(str(folder), named, templates, torch.device("cpu")).classifier
    frame = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 50, 50), np.uint8))
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.CLIPProcessor.from_pretrained(folder)
    with torch.inference_mode():
        ours = classifier.network(classifier.prepare(frame))[0]
        rows = []
        for one in named:
            prompts = [template.format(word) for word in one.words for template in templates]
            inputs = processor(text=prompts, images=[frame[0].numpy()], padding=True, return_tensors="pt")
            outputs = model(**inputs)
            mean = outputs.text_embeds.mean(0)
            rows.append(model.logit_scale.exp() * outputs.image_embeds[0] @ (mean / mean.norm()))
    np.testing.assert_allclose(ours.numpy(), torch.stack(rows).numpy(), rtol=1e-5)
    assert classifier.class_names == ["dog", "rain"]


def test_several_labels_over_a_threshold(data, models, classes):
    dataset = Dataset(data)
    config = PseudoLabelConfig(model=f"hf:{models / 'clip'}", classes=classes, top_k=2)
    two = dataset.label_lists(pseudo_label(dataset, config, "two").stem)
    prompts = [f"a photo of {name}" for name in CLASSES]
    scores = {}
    for row in np.flatnonzero(dataset.num_frames):
        frame = dataset.read_clip(row).frames[int(dataset.num_frames[row]) // 2]
        scores[row] = picture_scores(models / "clip", frame, prompts)
        assert two[row] == sorted(CLASSES[number] for number in np.argsort(-scores[row])[:2])
    assert two[dataset.clip_ids.index("long")] is None
    firsts, seconds = (sorted(np.sort(one)[-number] for one in scores.values()) for number in (1, 2))
    assert seconds[-1] < firsts[0], "a threshold between both is wanted"
    middle = float(seconds[-1] + firsts[0]) / 2
    done = run(
        *("pseudo-label", data, "--model", config.model, "--classes", classes, "--name", "sure"),
        *("--top-k", "3", "--threshold", middle),
    )
    assert done.exit_code == 0, done.output
    assert "5 clips of" in done.output
    sure = dataset.label_lists("sure")
    assert all(sure[row] == [CLASSES[one.argmax()]] for row, one in scores.items())
    high = PseudoLabelConfig(model=config.model, classes=classes, threshold=float(firsts[-1]) - 1e-6)
    values = dataset.labels(pseudo_label(dataset, high, "high").stem).values
    assert (values >= 0).sum() == 1, "one label a clip: those below the threshold have none"


def test_a_name_of_the_hub_comes_from_its_cache_and_a_missing_one_is_a_sentence(data, models, classes, monkeypatch):
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(data.parent / "hub"))
    kept = data.parent / "hub" / "models--some--tiny.clip"
    shutil.copytree(models / "clip", kept / "snapshots" / ("0" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0" * 40)
    done = run("pseudo-label", data, "--model", "hf:some/tiny.clip", "--classes", classes)
    assert done.exit_code == 0, done.output
    assert (data / "labels" / "tiny.clip.parquet").exists()
    done = run("pseudo-label", data, "--model", "hf:some/other", "--classes", classes)
    assert done.exit_code == 2
    assert "some/other is no folder here, is not in the cache of the Hugging Face hub" in done.output
    assert "--model hf:FOLDER" in done.output


def damaged(folder: Path, what: str) -> None:
    weights = folder / "model.safetensors"
    if what == "pickle":
        weights.unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touch(folder / "ran"), 2))
    elif what == "tensor":
        tensors = load_file(weights)
        del tensors["visual_projection.weight"]
        save_file(tensors, weights, {"format": "pt"})
    elif what == "shape":
        save_file(load_file(weights) | {"visual_projection.weight": torch.zeros(3, 3)}, weights, {"format": "pt"})
    elif what == "text":
        weights.write_text("not weights")
    elif what == "kind":
        (folder / "config.json").write_text('{"model_type": "bert"}')
    else:
        (folder / what).unlink()


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("pickle", "has no weights as safetensors"),
        ("tensor", "has no fitting weights for 1 tensors, such as visual_projection.weight"),
        ("shape", "has no fitting weights for 1 tensors, such as visual_projection.weight"),
        ("text", "cannot be read as a model"),
        ("kind", "holds a model of type 'bert'"),
        ("config.json", "has no config.json"),
        ("processor_config.json", "has neither processor_config.json nor preprocessor_config.json"),
        ("tokenizer.json", "has neither tokenizer.json nor vocab.json"),
    ],
)
def test_a_damaged_model_is_refused_and_never_run(data, models, classes, tmp_path, what, sentence):
    folder = Path(shutil.copytree(models / "clip", tmp_path / "copy"))
    damaged(folder, what)
    done = run("pseudo-label", data, "--model", f"hf:{folder}", "--classes", classes)
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert not (folder / "ran").exists()
    assert not (data / "labels").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "hf:no/such/folder"], "is no folder here, nor ORG/NAME"),
        (["--model", "efficientnet-lite0"], "--classes and --template are for --model hf:NAME"),
        (["--template", "a dog"], "--template 'a dog' has no {}"),
        (["--template", "word " * 20 + "{}"], "tokens, and"),
        (["--clusters", "3"], "for --clusters take an image classifier"),
        (["--weights", "w.pth"], "leave out --weights"),
        (["--top-k", "0"], "top_k must be 1 or more"),
        (["--threshold", "1.5"], "threshold must be 0 to 1"),
        (["--threshold", "nan"], "threshold must be 0 to 1"),
    ],
)
def test_what_zero_shot_refuses(data, models, classes, arguments, sentence):
    done = run("pseudo-label", data, "--model", f"hf:{models / 'clip'}", "--classes", classes, *arguments)
    assert done.exit_code == 2, done.output
    assert sentence in done.output


def test_classes_are_needed_and_transformers_too(data, models, classes, monkeypatch):
    done = run("pseudo-label", data, "--model", f"hf:{models / 'clip'}")
    assert done.exit_code == 2
    assert "needs --classes FILE" in done.output
    monkeypatch.setitem(sys.modules, "transformers", None)
    done = run("pseudo-label", data, "--model", f"hf:{models / 'clip'}", "--classes", classes)
    assert "pip install 'avprep-avtrain[transformers]'" in done.output


def test_lists_of_classes(tmp_path):
    path = tmp_path / "c.txt"
    path.write_bytes(b"\xef\xbb\xbfdog: dog, puppy\r\nbird chirping, tweeting\r\n# no\r\n\r\n12:30\r\n")
    assert read_classes(path) == [
        NamedClass("dog", ("dog", "puppy")),
        NamedClass("bird chirping, tweeting", ("bird chirping, tweeting",)),
        NamedClass("12:30", ("12:30",)),
    ]
    for text, sentence in {
        "dog\ncat:\n": "line 2: no synonym after the colon of 'cat'",
        "dog\ncat\ndog: puppy\n": "line 3: 'dog' is there twice",
        ": dog\ncat\n": "line 1: no name before the colon",
        "dog\n": "has 1 classes and needs two or more",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError, match=sentence):
            read_classes(path)
