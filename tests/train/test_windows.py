"""Where windows lie: on the grid, aligned, inside their clips, uniform, independent where clips differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avtrain.sampling.windows import Windows, WindowSpec, aligned_windows, draw_windows

SPEC = WindowSpec()  # 8 pictures at 16 Hz in the middle of 100 log-mel frames
DRAWN = {"seed": 3, "epoch": 1, "step": 4}


def exact(rows):
    return np.stack([rows, rows], axis=1)


def many(num_frames, count=20_000, pair=(0, 0)):
    """`count` draws of windows of clips of `num_frames` [rows] for one (audio, video) pair."""
    return draw_windows(np.tile(np.array(pair), (count, 1)), np.array(num_frames), SPEC, **DRAWN)


def test_sound_starts_a_quarter_second_before_the_picture():
    rows = np.arange(2000)
    windows = draw_windows(exact(rows), 16 + rows, SPEC, **DRAWN)
    assert windows.frame.dtype == windows.mel_frame.dtype == np.int64
    for start, mel in zip(windows.frame.tolist(), windows.mel_frame.tolist(), strict=True):
        assert mel == round(100 * (start / 16 - 0.25))


@settings(deadline=None)
@given(
    centiseconds=st.lists(st.integers(100, 60_000), min_size=1, max_size=20),
    seed=st.integers(0, 2**32),
    shuffle=st.randoms(use_true_random=False),
)
def test_both_windows_lie_inside_every_clip_of_a_second_or_more(centiseconds, seed, shuffle):
    """A clip of D seconds has floor(16 D) pictures and 1 + floor(100 D) log-mel frames."""
    num_frames = np.array([16 * value // 100 for value in centiseconds])
    num_mel_frames = 1 + np.array(centiseconds)
    audio = np.arange(len(num_frames))
    video = np.array(shuffle.sample(range(len(audio)), len(audio)))
    windows = draw_windows(np.stack([audio, video], axis=1), num_frames, SPEC, seed=seed, epoch=0, step=0)
    assert (windows.frame >= 4).all()
    assert (windows.frame + 8 <= num_frames[video]).all()
    assert (windows.mel_frame >= 0).all()
    assert (windows.mel_frame + 100 <= num_mel_frames[audio]).all()


@pytest.mark.parametrize(("num_frames", "starts"), [(16, [4]), (17, [4, 5]), (26, list(range(4, 15)))])
def test_every_start_at_which_the_sound_fits_is_equally_likely(num_frames, starts):
    found, counts = np.unique(many([num_frames]).frame, return_counts=True)
    assert found.tolist() == starts
    expected = 20_000 / len(starts)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize(("num_frames", "frame"), [(15, 4), (12, 4), (11, 3), (9, 1), (8, 0), (7, 0), (1, 0), (0, 0)])
def test_clips_shorter_than_the_sound_start_early_and_always_alike(num_frames, frame):
    windows = many([num_frames], count=100)
    assert (windows.frame == frame).all()
    assert (windows.mel_frame == 0).all()


def test_windows_of_different_clips_are_independent():
    apart = many([200, 200], pair=(0, 1))
    of_audio = apart.mel_frame / 6.25 + 4
    assert abs(np.corrcoef(apart.frame, of_audio)[0, 1]) < 0.04
    assert len(np.unique(apart.frame)) == len(np.unique(apart.mel_frame)) == 200 - 16 + 1


def test_each_item_of_a_batch_has_its_own_window():
    frame = many([500], count=1000).frame
    assert abs(np.corrcoef(frame[1:], frame[:-1])[0, 1]) < 0.15


def test_half_of_the_items_are_flipped_wherever_their_windows_lie():
    windows = many([200])
    assert windows.flip.dtype == bool
    assert abs(windows.flip.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(windows.flip, windows.frame)[0, 1]) < 0.04


def test_windows_and_flips_are_a_function_of_seed_epoch_and_step():
    plan, num_frames = exact(np.arange(64)), np.full(64, 300)
    first, again = (draw_windows(plan, num_frames, SPEC, seed=1, epoch=2, step=3) for _ in range(2))
    for name in ("frame", "mel_frame", "flip"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    for changed in ({"seed": 2}, {"epoch": 1}, {"step": 4}):
        other = draw_windows(plan, num_frames, SPEC, **{"seed": 1, "epoch": 2, "step": 3, **changed})
        assert (other.frame != first.frame).any()
        assert (other.flip != first.flip).any()


def test_the_windows_of_some_items():
    windows = many([200], count=10)
    some = windows.take(np.array([7, 2]))
    assert isinstance(some, Windows)
    for name in ("frame", "mel_frame", "flip"):
        assert getattr(some, name).tolist() == getattr(windows, name)[[7, 2]].tolist()


def test_aligned_windows_go_from_the_first_to_the_last_start():
    num_frames = np.array([100, 100, 100, 16, 9])
    windows = aligned_windows(num_frames, np.array([0.0, 0.5, 1 - 1e-12, 0.99, 0.99]), SPEC)
    assert windows.frame.tolist() == [4, 4 + 42, 100 - 12, 4, 1]
    assert windows.mel_frame.tolist() == [0, round(100 * (46 / 16 - 0.25)), 525, 0, 0]
    assert not windows.flip.any()


def test_sound_of_another_rate_starts_at_the_same_time():
    """Clips whose log-mel is not resampled have frames of their own length; the quarter of a second stays one."""
    plan = np.array([[0, 0], [1, 1], [1, 0]])
    num_frames, rates_hz = np.array([160, 160]), np.array([100.0, 275.625])
    usual = draw_windows(plan, num_frames, SPEC, **DRAWN)
    other = draw_windows(plan, num_frames, SPEC, **DRAWN, mel_rates_hz=rates_hz)
    assert np.array_equal(other.frame, usual.frame)
    assert other.mel_frame[0] == usual.mel_frame[0]
    assert np.abs(other.mel_frame[1:] / 275.625 - usual.mel_frame[1:] / 100).max() < 0.01
    assert np.array_equal(
        aligned_windows(num_frames, np.full(2, 0.5), SPEC, rates_hz).mel_frame,
        [round(100 * (72 / 16)), round(275.625 * (72 / 16))],
    )
