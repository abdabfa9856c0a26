"""Comparisons of rows that were written down before the rows were run, family by family."""

from __future__ import annotations

from avtrain.reproduce.benchmark.comparisons import Comparison

RANDOM, SOFT = "random, SpecAugment", "soft-positive, SpecAugment"
COMPARISONS = (
    Comparison("right labels", SOFT, "soft-positive"),
    Comparison("right labels", SOFT, RANDOM),
    Comparison("few labels", "soft-positive, 50 % labelled, others skipped, SpecAugment", SOFT, alike=True),
    Comparison("few labels", "soft-positive, 50 % labelled, others skipped, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, others skipped, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 10 % labelled, others skipped, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, others negatives, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, others exact, SpecAugment", RANDOM),
    Comparison("wrong labels", "soft-positive, 30 % label noise, SpecAugment", SOFT),
    Comparison("wrong labels", "soft-positive, 30 % label noise, SpecAugment", RANDOM),
    Comparison("controls", "soft-positive, shuffled labels, SpecAugment", RANDOM),
    Comparison("controls", RANDOM, "random"),
)
