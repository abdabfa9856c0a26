"""Random crops, colours, gain, shift and mixup: what they do, that every rank draws the same, and what is measured."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torchvision.transforms.v2 import functional as pictures

from avprep.dataset import Dataset
from avtrain.cli import main
from avtrain.config import PretrainConfig
from avtrain.data.augment import Augment, Normalise, SpecAugment
from avtrain.data.picture_augment import PICTURE_DRAWS, PictureAugment, crop_box
from avtrain.data.sound_augment import SoundAugment, mixed, shifted
from avtrain.evaluation.retrieval import retrieve
from avtrain.runs import folder as run_folder
from avtrain.sampling.backgrounds import background_items
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset
from tests.train.interruptions import on_one_process
from tests.train.test_loader import loader_of
from tests.train.test_training import damage

EVERYTHING = {
    "crop_size": 24,
    "crop_min_area": 0.3,
    "colour_jitter": 0.5,
    "grey_share": 0.2,
    "gain_db": 6.0,
    "time_shift_seconds": 0.1,
    "sound_mixup": 0.4,
    "spec_augment": True,
}
OPTIONS = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in EVERYTHING.items()]
SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("abcd"[row % 4], split="train" if row < 24 else "test") for row in range(32)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def draws(count, seed=0):
    return np.random.default_rng(seed).random((PICTURE_DRAWS, count))


def clips(count, size=16, frames=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, frames, size, size, 3), np.uint8))


def augmented(folder, rank=0, world_size=1, seed=3):
    """Pictures and sounds of the first batches of 4, of one rank, with everything on."""
    loader = loader_of(folder, epochs=1, rank=rank, world_size=world_size, background=True)
    augment = Augment(
        loader.recipe.dataset,
        pictures=PictureAugment(crop_size=6, crop_min_area=0.3, colour_jitter=0.8, grey_share=0.3),
        sounds=SoundAugment(sound_mixup=0.4, gain_db=6, time_shift_seconds=0.2),
        spec_augment=SpecAugment(bands=3, frames=20),
        seed=seed,
    )
    return [torch.stack(parts) for parts in zip(*(augment(batch) for batch in loader), strict=True)]


def test_any_number_of_ranks_has_the_same_pictures_and_sounds_bit_for_bit(short_dataset):
    alone = augmented(short_dataset)
    assert all(torch.equal(one, again) for one, again in zip(alone, augmented(short_dataset), strict=True))
    for world_size in (2, 3):
        ranks = [augmented(short_dataset, rank, world_size) for rank in range(world_size)]
        for side in range(2):
            assert torch.equal(torch.cat([parts[side] for parts in ranks], dim=1), alone[side])
    for one, other in zip(alone, augmented(short_dataset, seed=4), strict=True):
        assert not torch.equal(one, other)


def test_all_pictures_of_a_clip_are_changed_in_one_way_and_clips_in_ways_of_their_own():
    still = clips(1, frames=1).expand(4, 5, 16, 16, 3)
    found = PictureAugment(crop_size=12, crop_min_area=0.3, colour_jitter=0.8, grey_share=0.2)(still, draws(4))
    assert found.shape == (4, 5, 12, 12, 3)
    assert found.dtype == torch.uint8
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert len({clip.numpy().tobytes() for clip in found[:, 0]}) == 4


def test_a_crop_without_area_is_a_part_of_the_stored_pictures_at_any_position():
    frames = clips(300, size=5, frames=1)
    found = PictureAugment(crop_size=3)(frames, draws(300))
    positions = set()
    for clip, part in zip(frames[:, 0], found[:, 0], strict=True):
        windows = clip.unfold(0, 3, 1).unfold(1, 3, 1).permute(0, 1, 3, 4, 2)
        here = (windows == part).flatten(2).all(2).nonzero().tolist()
        assert len(here) == 1
        positions.add(tuple(here[0]))
    assert positions == {(top, left) for top in range(3) for left in range(3)}


def test_a_resized_crop_is_torchvisions_of_a_part_with_the_area_and_shape_that_were_asked_for():
    draw = draws(2000)
    boxes = np.array([crop_box(100, 0.25, column.tolist()) for column in draw[:4].T])
    top, left, height, width = boxes.T
    assert boxes.min() >= 0
    assert (top + height).max() == (left + width).max() == 100
    area, aspect = height * width / 10_000, width / height
    assert 0.24 < area.min() < 0.27
    assert area.max() > 0.97
    assert 0.73 < aspect.min() < 0.77
    assert 1.3 < aspect.max() < 1.37
    assert abs(np.log(aspect).mean()) < 0.02
    frames = clips(3)
    found = PictureAugment(crop_size=8, crop_min_area=0.25)(frames, draw[:, :3])
    for item in range(3):
        box = crop_box(16, 0.25, draw[:4, item].tolist())
        wanted = pictures.resized_crop(frames[item].movedim(-1, -3), *box, [8, 8], antialias=True)
        assert torch.equal(found[item].movedim(-1, -3), wanted)


def test_colours_change_as_much_as_was_asked_for_and_some_clips_become_grey():
    frames = clips(200, size=4)
    found = PictureAugment(grey_share=0.25)(frames, draws(200))
    grey = (found == found[..., :1]).flatten(1).all(1)
    assert 0.15 < grey.float().mean() < 0.35
    assert torch.equal(found[~grey], frames[~grey])
    changes = []
    for strength in (0.1, 0.8):
        found = PictureAugment(colour_jitter=strength)(frames, draws(200))
        difference = (found.float() - frames.float()).abs().flatten(1).mean(1)
        assert 0.1 < (difference == 0).float().mean() < 0.3  # the fifth that is left as it is
        changes.append(difference.mean())
    assert 3 * changes[0] < changes[1]


def test_gain_is_in_decibels_and_a_shift_goes_around_the_end():
    sounds = torch.randn(50, 20, 4)
    draw = np.random.default_rng(0).random((3, 50))
    gains = SoundAugment(gain_db=6)(sounds, None, draw) - sounds
    torch.testing.assert_close(gains, torch.from_numpy(12 * draw[1] - 6).float()[:, None, None].expand_as(gains))
    found = SoundAugment(time_shift_seconds=0.05)(sounds, None, draw)
    steps = np.rint(10 * draw[2] - 5).astype(int)
    assert set(steps) == set(range(-5, 6))
    for one, whole, step in zip(found, sounds, steps, strict=True):
        np.testing.assert_array_equal(one, np.roll(whole, step, axis=0))
    assert torch.equal(shifted(sounds, torch.full((50,), 20)), sounds)


def test_sounds_are_mixed_by_their_powers():
    sounds, other = -80 * torch.rand(3, 7, 5), -80 * torch.rand(3, 7, 5)
    share = torch.tensor([0.0, 0.3, 0.5])
    found = mixed(sounds, other, share)
    weight = share.double()[:, None, None]
    powers = (1 - weight) * 10 ** (sounds.double() / 10) + weight * 10 ** (other.double() / 10)
    torch.testing.assert_close(found, (10 * torch.log10(powers)).float(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found[0], sounds[0])
    other[1, 2, 3] = torch.nan
    assert mixed(sounds, other, share).isfinite().all()


def test_the_background_is_the_sound_of_another_pair_of_the_global_batch(short_dataset):
    for batch in loader_of(short_dataset, epochs=1, background=True):
        items = background_items(4, seed=5, epoch=batch.epoch, step=batch.step)
        assert (items != np.arange(4)).all()
        assert torch.equal(batch.background, batch.audio[torch.from_numpy(items)])
    seen = np.stack([background_items(4, seed=0, epoch=0, step=step) for step in range(300)])
    for item in range(4):
        counts = np.bincount(seen[:, item], minlength=4)
        assert counts[item] == 0
        assert np.delete(counts, item).min() > 70
    without = next(iter(loader_of(short_dataset)))
    assert without.background is None
    with pytest.raises(ValueError, match="background=True"):
        Augment(Dataset(short_dataset), sounds=SoundAugment(sound_mixup=0.1))(without)


def test_settings_of_a_run_that_ask_for_nothing_change_nothing(data):
    augment = Augment.of(Dataset(data), PretrainConfig())
    assert (augment.pictures, augment.sounds, augment.spec_augment) == (None, None, None)
    augment = Augment.of(Dataset(data), PretrainConfig(**EVERYTHING))
    assert augment.pictures == PictureAugment(crop_size=24, crop_min_area=0.3, colour_jitter=0.5, grey_share=0.2)
    assert augment.sounds == SoundAugment(sound_mixup=0.4, gain_db=6, time_shift_seconds=0.1)


def test_what_is_measured_is_the_middle_of_the_pictures():
    normalise = Normalise(np.zeros(3), np.ones(3), crop_size=4)
    frames = clips(2, size=9)
    assert torch.equal(normalise.video(frames), normalise.video(frames[:, :, 2:6, 2:6]))
    assert normalise.video(frames[:, :, :4, :4]).shape == (2, 3, 3, 4, 4)


def test_a_run_on_crops_is_validated_and_measured_on_pictures_of_their_size(data, tmp_path, monkeypatch):
    (tmp_path / "my_sized_model.py").write_text(SIZED)
    monkeypatch.syspath_prepend(tmp_path)
    settings = SETTINGS | EVERYTHING | {"video_model": "my_sized_model:sized", "val_share": 0.3}
    run = tmp_path / "run"
    pretrain(data, run, PretrainConfig(**settings), quiet=True)
    assert run_folder.read_validation(run)
    assert 0 <= retrieve(data, run)["recall_at_1"] <= 1
    for size, fits in ((24, True), (28, False)):
        other = forge_dataset(tmp_path / f"of{size}", [Forged("a", "test")] * 2, frame_size=size, mel_bands=32)
        done = CliRunner().invoke(
            main, ["evaluate", str(other), "--run", str(run), "--protocol=retrieval", f"--out={tmp_path / str(size)}"]
        )
        assert done.exit_code == (0 if fits else 2), done.output
        assert fits or "frame_size: 32 -> 28" in done.output


SIZED = """
from torch import nn
def sized():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 24 * 24, 4))
"""


def test_a_sound_that_is_not_finite_is_reported_with_its_own_clip_alone(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged("ab"[n % 2]) for n in range(24)], frame_size=32, mel_bands=32)
    damage(folder, "c13")
    settings = PretrainConfig(**(SETTINGS | {"sound_mixup": 0.5, "batch_size": 12}))
    with pytest.raises(FloatingPointError, match=r"media of c13 are not finite \(1"):
        pretrain(folder, tmp_path / "run", settings, quiet=True)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("--crop-size=48", "--crop-size 48 is larger than the 32 px of the pictures in"),
        ("--crop-size=3", "crop_size must be 8 px or more, or 0 for the whole picture, not 3."),
        ("--crop-min-area=0", "crop_min_area must be above 0 and at most 1"),
        ("--colour-jitter=2", "colour_jitter must be 0 to 1, not 2.0."),
        ("--grey-share=-1", "grey_share must be 0 to 1"),
        ("--gain-db=nan", "gain_db must be 0 to 60, not nan."),
        ("--time-shift-seconds=-1", "time_shift_seconds must be 0 to 60"),
        ("--sound-mixup=0.6", "sound_mixup must be 0 to 0.5, so that a sound stays the louder one"),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(data, tmp_path, wrong, sentence):
    command = ["pretrain", str(data), "--run", str(tmp_path / "run"), "--model-size=tiny", "--batch-size=4", wrong]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert sentence in done.output
    assert len(done.output.splitlines()) == 1


@pytest.mark.slow
def test_a_run_with_everything_on_that_is_killed_ends_with_the_same_bits(data, tmp_path):
    """Every augmentation, a batch in chunks, and a moving average."""
    more = [*OPTIONS, "--chunk-size=3", "--ema=0.9"]
    (killed,) = on_one_process(data, tmp_path, [signal.SIGKILL], seed=1, more=more)
    assert killed.equal
    assert killed.code in (-signal.SIGKILL, 0)
    meta = json.loads(max((tmp_path / "whole").glob("step_*/meta.json")).read_text())
    assert {name: meta["config"][name] for name in EVERYTHING} == EVERYTHING
