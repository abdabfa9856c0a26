"""Spans, counts and ticks, in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avprep.errors import ClipError
from avprep.media import timing
from avprep.media.timing import Span

SECONDS = st.fractions(min_value=0, max_value=1000, max_denominator=90_000)


def span(start, end):
    return Span(Fraction(start), Fraction(end))


def test_the_shared_span_of_both_tracks():
    assert timing.cut([span(0, 10), span("0.021", "10.03")], None, None) == span("0.021", 10)


def test_the_cut_counts_from_the_earliest_track():
    assert timing.cut([span("1.4", "11.4"), span("1.5", "11.4")], 2.0, 5.0) == span("3.4", "6.4")


def test_decimal_seconds_are_taken_as_written():
    assert timing.cut([span(0, 10)], 0.1, 0.3) == span("0.1", "0.3")


def test_tracks_that_share_less_than_half_are_a_mismatch():
    with pytest.raises(ClipError) as caught:
        timing.cut([span(0, 10), span(0, "4.99")], None, None)
    assert caught.value.reason == "av-mismatch"
    assert timing.cut([span(0, 10), span(0, 5)], None, None) == span(0, 5)


def test_a_short_track_does_not_matter_outside_the_cut():
    assert timing.cut([span(0, 100), span(0, 12)], 0.0, 10.0) == span(0, 10)


def test_a_cut_beyond_the_end():
    with pytest.raises(ClipError) as caught:
        timing.cut([span(0, 10), span(0, 10)], 12.0, 14.0)
    assert caught.value.reason == "too-short"


@given(SECONDS, st.sampled_from([16, 25, 48_000]))
def test_counts_are_floors(duration, rate):
    count = timing.frame_count(duration, rate)
    assert Fraction(count, rate) <= duration < Fraction(count + 1, rate)
    assert timing.sample_count(duration, rate) == count


@given(SECONDS)
def test_mel_frames_of_the_samples_are_those_of_the_duration(duration):
    assert 1 + timing.sample_count(duration, 48_000) // 480 == 1 + int(100 * duration)


@given(st.fractions(min_value=-5, max_value=1000, max_denominator=90_000), st.sampled_from([16, 25]))
def test_the_first_tick_at_or_after(time, rate):
    tick = timing.first_tick_at_or_after(time, rate)
    assert Fraction(tick - 1, rate) < time <= Fraction(tick, rate)


TIMES = st.fractions(min_value=-5, max_value=1000, max_denominator=90_000)


@given(TIMES, TIMES, st.fractions(min_value=Fraction(1, 90_000), max_value=1, max_denominator=90_000))
def test_units_are_exact(time, start, step):
    units = timing.Units.of(time, step)
    whole = units.whole(time)
    assert units.seconds(whole) == time
    assert units.seconds(whole + 3 * units.whole(step)) == time + 3 * step
    assert units.at_or_before(start) <= start * units.per_second <= units.at_or_after(start)
    assert units.at_or_after(start) - units.at_or_before(start) <= 1
    assert timing.ticks_after(start, 16, units)(whole) == timing.first_tick_at_or_after(time - start, 16)
