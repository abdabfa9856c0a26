"""av-digits: nothing stands in two clips, test speakers are strangers, the link is there or is not, seeds repeat."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.signal import fftconvolve
from sklearn.datasets import load_digits

from avprep.cli import main
from avprep.errors import UserError
from avprep.manifest.read_write import Clip, read_manifest
from avprep.synthetic.av_digits import LEAST_SECONDS, DigitsConfig, loudness, pair_up, render_digits
from avprep.synthetic.spoken_digits import FOLDS, read_recording, recordings_below
from tests.prep.rendering import brightness_with_loudness

SMALL = DigitsConfig(clips_per_class=2, fold=1, seed=5, frame_size=48)
NAME = re.compile(r"((\d)_([a-z]+)_\d+)_image(\d{4})")


@pytest.fixture(scope="module")
def spoken(real_data) -> Path:
    return real_data / "fsdd"


@pytest.fixture(scope="module")
def linked(spoken, tmp_path_factory) -> Path:
    """The manifest of 50 clips whose brightness follows their sound."""
    return render_digits(tmp_path_factory.mktemp("linked") / "clips", spoken, SMALL, workers=2)


@pytest.fixture(scope="module")
def unlinked(spoken, tmp_path_factory) -> Path:
    """The same without the link."""
    config = dataclasses.replace(SMALL, link="none")
    return render_digits(tmp_path_factory.mktemp("unlinked") / "clips", spoken, config, workers=2)


def samples_of(path: Path) -> np.ndarray:
    """The sound of a rendered clip, mono at its own rate."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fold", range(3))
def test_no_recording_image_or_speaker_is_where_it_must_not_be(spoken, fold, seed):
    """By names and by content: FSDD and scikit-learn's digits hold nothing twice."""
    images = load_digits()
    pairs = pair_up(DigitsConfig(fold=fold, seed=seed), recordings_below(spoken), images.target)
    assert len({pair.recording.read_bytes() for pair in pairs}) == len(pairs) == 1000
    assert len({images.images[pair.image].tobytes() for pair in pairs}) == len(pairs)
    assert Counter((pair.split, pair.digit) for pair in pairs) == {
        (split, digit): count for digit in "0123456789" for split, count in (("train", 40), ("val", 20), ("test", 40))
    }
    assert all(images.target[pair.image] == int(pair.digit) == int(pair.recording.name[0]) for pair in pairs)
    assert all(pair.recording.name.split("_")[1] == pair.speaker for pair in pairs)
    heard = {split: {p.speaker for p in pairs if p.split == split} for split in ("train", "val", "test")}
    assert heard["test"] == set(FOLDS[fold])
    assert (len(heard["train"]), len(heard["val"])) == (3, 1)
    assert heard["train"] | heard["val"] | heard["test"] == {speaker for both in FOLDS for speaker in both}
    of_class = Counter((pair.split, pair.digit, pair.speaker) for pair in pairs)
    assert {n for (split, _, _), n in of_class.items() if split == "test"} == {20}
    assert {n for (split, _, _), n in of_class.items() if split == "train"} == {13, 14}


def test_a_seed_chooses_its_own_subset_and_the_link_does_not(spoken):
    recordings, targets = recordings_below(spoken), load_digits().target
    chosen = {seed: pair_up(DigitsConfig(seed=seed), recordings, targets) for seed in range(8)}
    assert pair_up(DigitsConfig(seed=3, link="none", frame_size=48), recordings, targets) == chosen[3]
    assert len({tuple(pairs) for pairs in chosen.values()}) == 8
    assert len({pair.speaker for pairs in chosen.values() for pair in pairs if pair.split == "val"}) > 1
    train = [{pair.recording for pair in pairs if pair.split == "train"} for pairs in chosen.values()]
    assert len(train[0] & train[1]) < 200


@pytest.mark.slow
def test_the_manifest_names_speaker_recording_and_image(linked):
    clips = read_manifest(linked)
    assert Counter(clip.split for clip in clips) == {"train": 20, "val": 10, "test": 20}
    for clip in clips:
        found = NAME.fullmatch(clip.clip_id)
        assert found
        assert (found[2], found[3]) == (clip.label, clip.group)
        assert clip.video_path == f"clips/{clip.split}/{clip.label}/{clip.clip_id}.mp4"
    assert {clip.group for clip in clips if clip.split == "test"} == {"jackson", "nicolas"}


@pytest.mark.slow
def test_the_same_seed_renders_the_same_pixels_again(linked, spoken, tmp_path):
    clips = read_manifest(linked)[::17]
    before = {clip.clip_id: (linked.parent / clip.video_path).read_bytes() for clip in clips}
    pixels = {clip.clip_id: frames_of(linked.parent / clip.video_path) for clip in clips}
    manifest = linked.read_bytes()
    for clip in clips:
        (linked.parent / clip.video_path).unlink()
    linked.unlink()
    assert render_digits(linked.parent, spoken, SMALL, workers=1) == linked
    assert linked.read_bytes() == manifest
    for clip in clips:
        path = linked.parent / clip.video_path
        np.testing.assert_array_equal(frames_of(path), pixels[clip.clip_id])
        assert path.read_bytes() == before[clip.clip_id]
    with pytest.raises(UserError, match="fold: 1 -> 2"):
        render_digits(linked.parent, spoken, dataclasses.replace(SMALL, fold=2), workers=1)


@pytest.mark.slow
def test_a_clip_is_its_recording_in_silence(linked, spoken):
    for clip in read_manifest(linked)[::7]:
        recording, rate = read_recording(spoken / f"{NAME.fullmatch(clip.clip_id)[1]}.wav")
        heard = samples_of(linked.parent / clip.video_path)
        seconds = len(frames_of(linked.parent / clip.video_path)) / 16
        assert rate == 8000
        assert 0.4 < np.abs(heard).max() < 0.6
        assert seconds >= LEAST_SECONDS
        assert seconds - 0.0625 < max(len(recording) / rate + 0.5, LEAST_SECONDS)
        match = fftconvolve(heard, recording[::-1], mode="valid")
        first = int(match.argmax())
        there = heard[first : first + len(recording)]
        assert np.corrcoef(there, recording)[0, 1] > 0.95
        assert 0.249 * rate <= first <= seconds * rate - len(recording) - 0.249 * rate
        assert np.sum(there.astype(float) ** 2) > 0.98 * np.sum(heard.astype(float) ** 2)


def likeness(picture: np.ndarray, image: np.ndarray) -> float:
    """How well an image matches a picture [H, W] wherever and however large it is in it."""
    picture = picture - picture.mean()
    best = -1.0
    for pixels in (4, 5):
        drawn = np.kron(image, np.ones((pixels, pixels)))
        drawn = (drawn - drawn.mean()) / np.linalg.norm(drawn - drawn.mean())
        best = max(best, float(fftconvolve(picture, drawn[::-1, ::-1], mode="valid").max()))
    return best


@pytest.mark.slow
def test_a_clip_shows_its_own_image(unlinked):
    """Among the images of the ten digits, that of the clip is the likest to what it shows."""
    images = load_digits().images
    clips: dict[str, Clip] = {clip.label: clip for clip in read_manifest(unlinked)}
    numbers = [int(NAME.fullmatch(clip.clip_id)[4]) for clip in clips.values()]
    found = []
    for clip in clips.values():
        picture = frames_of(unlinked.parent / clip.video_path)[4].mean(axis=-1)
        found.append(numbers[int(np.argmax([likeness(picture, images[number]) for number in numbers]))])
    assert sum(left == right for left, right in zip(found, numbers, strict=True)) >= 8


@pytest.mark.slow
def test_brightness_follows_loudness_where_it_is_linked_alone(linked, unlinked):
    with_link, without = (
        brightness_with_loudness([m.parent / c.video_path for c in read_manifest(m)[::3]]) for m in (linked, unlinked)
    )
    assert np.mean(with_link) > 0.7
    assert min(with_link) > 0.3
    assert abs(np.mean(without)) < 0.2
    assert [c.clip_id for c in read_manifest(linked)] == [c.clip_id for c in read_manifest(unlinked)]


def test_loudness_is_of_the_time_in_which_a_frame_is_shown():
    samples = np.zeros(8000, np.float32)
    samples[4000:4500] = 0.25
    samples[7500:] = 1
    assert loudness(samples, 16).tolist() == [0] * 8 + [0.5] + [0] * 6 + [1]
    assert loudness(np.zeros(160, np.float32), 4).tolist() == [0] * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "av-digits"], "needs --root"),
        (["--kind", "av-digits", "--root", "."], "has no recording 0_george_*.wav"),
        (["--kind", "av-digits", "--root", "FSDD", "--clips-per-class", "75"], "75 clips a class are too many"),
        (["--kind", "av-digits", "--root", "FSDD", "--size", "51"], "must be even"),
        (["--kind", "av-digits", "--instance-cue", "0.5"], "--instance-cue is for --kind shapes"),
        (["--fold", "0"], "--fold is for --kind av-digits"),
    ],
)
def test_mistakes_cost_a_sentence_and_nothing_is_written(spoken, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    arguments = [str(spoken) if argument == "FSDD" else argument for argument in arguments]
    done = CliRunner().invoke(main, ["demo", "out", *arguments])
    assert done.exit_code == 2
    assert words in done.output
    assert not (tmp_path / "out").exists()


def test_a_recording_of_another_kind_is_named(tmp_path):
    (tmp_path / "0_theo_0.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"0_theo_0\.wav is not readable as a wav file"):
        read_recording(tmp_path / "0_theo_0.wav")
