"""Comparisons of rows that were written down before the rows were run, family by family."""

from __future__ import annotations

from avtrain.reproduce.benchmark.comparisons import Comparison

RANDOM, SOFT = "random, SpecAugment", "soft-positive, SpecAugment"
NOISY, CLEANED = "soft-positive, 30 % label noise, SpecAugment", "soft-positive, 30 % label noise, cleaned, SpecAugment"
BY_BOTH = "soft-positive, 30 % label noise, cleaned by both sides, SpecAugment"
FROM_THE_START = "soft-positive, 30 % label noise, cleaned from the start, SpecAugment"
BY_SEGMENTS = "soft-positive, 30 % label noise, cleaned by segments, SpecAugment"
HALF_SEGMENTS, QUARTER_SEGMENTS = (
    f"soft-positive, {share} % labelled, propagated by segments, SpecAugment" for share in (50, 25)
)
HALF_GROWN = "soft-positive, 50 % labelled, propagated, SpecAugment"
HALF, QUARTER = (f"soft-positive, {share} % labelled, others skipped, SpecAugment" for share in (50, 25))
COMPARISONS = (
    Comparison("right labels", SOFT, "soft-positive"),
    Comparison("right labels", SOFT, RANDOM),
    Comparison("right labels", "soft-positive, temperature 0.2, SpecAugment", SOFT),
    Comparison("few labels", HALF, SOFT, alike=True),
    Comparison("few labels", HALF_GROWN, SOFT, alike=True),
    Comparison("few labels", HALF, RANDOM),
    Comparison("few labels", QUARTER, RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, propagated, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, propagated, SpecAugment", QUARTER),
    Comparison("few labels", "soft-positive, 25 % labelled, others negatives, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, others exact, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 10 % labelled, others negatives, SpecAugment", RANDOM),
    Comparison("wrong labels", NOISY, SOFT),
    Comparison("wrong labels", NOISY, RANDOM),
    Comparison("wrong labels", CLEANED, NOISY),
    Comparison("wrong labels", CLEANED, NOISY, and_=SOFT),
    Comparison("wrong labels", BY_BOTH, NOISY),
    Comparison("wrong labels", BY_BOTH, NOISY, and_=SOFT),
    Comparison("wrong labels", FROM_THE_START, NOISY),
    Comparison("wrong labels", FROM_THE_START, NOISY, and_=SOFT),
    Comparison("no labels", "random, then neighbours, SpecAugment", RANDOM),
    Comparison("no labels", "near pairs, no labels, SpecAugment", RANDOM),
    Comparison("by segments", "pairs across speakers, no labels, SpecAugment", RANDOM),
    Comparison("by segments", BY_SEGMENTS, NOISY),
    Comparison("by segments", BY_SEGMENTS, NOISY, and_=SOFT),
    Comparison("by segments", HALF_SEGMENTS, SOFT, alike=True),
    Comparison("by segments", HALF_SEGMENTS, RANDOM),
    Comparison("by segments", QUARTER_SEGMENTS, RANDOM),
    Comparison("by segments", QUARTER_SEGMENTS, QUARTER),
    Comparison("by segments", "clusters of sounds, no labels, SpecAugment", RANDOM),
    Comparison("controls", "soft-positive, shuffled labels, SpecAugment", RANDOM),
    Comparison("controls", RANDOM, "random"),
)
