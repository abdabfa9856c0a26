"""Settings of the stages between two runs: labels cleaned or propagated, neighbours, clusters."""

from __future__ import annotations

from dataclasses import dataclass

from avprep.shared.configs import check
from avtrain.config.choices import CHECKPOINTS, METHODS, NEAR_BY, VOTERS, WEIGHTS

MOST_SEGMENTS = 64


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Which features of a run's encoders a stage goes by."""

    by: str = "audio"
    """`audio`, `video` or `both`; `log-mel`: sounds without a run, by mean, deviation and maximum of each mel band"""
    checkpoint: str = "newest"
    """`newest`, or `best` in validation"""
    weights: str = "auto"
    """`raw`, `ema` (their moving average) or `auto` (the average where there is one)"""
    windows_per_clip: int = 4
    """evenly spread windows of each clip whose mean features are taken"""
    projection: bool = False
    """features in the common space, in place of the encoders' own"""
    segments: int = 0
    """of `by="log-mel"`: parts of the sounding stretch of a clip, in each the mean of 32 bands; 0: mean, deviation and
    maximum of each mel band of the whole clip"""
    per_group: bool = False
    """standardise features over the clips of a group (a speaker, a site), in place of all clips, so that what a group
    has in common counts less"""

    def __post_init__(self) -> None:
        sides = self._sides()
        check(self.by in sides, f"by must be one of {', '.join(sides)}, not {self.by!r}.")
        check(self.checkpoint in CHECKPOINTS, f"checkpoint must be newest or best, not {self.checkpoint!r}.")
        check(self.weights in WEIGHTS, f"weights must be one of {', '.join(WEIGHTS)}, not {self.weights!r}.")
        check(self.windows_per_clip >= 1, f"windows_per_clip must be 1 or more, not {self.windows_per_clip}.")
        check(0 <= self.segments <= MOST_SEGMENTS, f"segments are 0 to {MOST_SEGMENTS}, not {self.segments}.")
        check(not self.segments or self.by == "log-mel", f"segments are of by log-mel, not of by {self.by}.")
        check(not (self.per_group and self.projection), "per_group and projection exclude each other.")

    @staticmethod
    def _sides() -> tuple[str, ...]:
        return NEAR_BY


@dataclass(frozen=True, kw_only=True)
class CleanConfig(StageConfig):
    """How given labels are held against a run's features.

    `by` is also `log-mel`, which needs no run (mean, deviation and maximum of each mel band), and `cross`: the sound
    and the picture judge apart and must agree. `both` takes the smaller of the two similarities for a neighbour, and
    the features of both for the classifier.
    """

    labels: str = ""
    """label column to go by; empty: the one that the run was trained with, without a run `label`"""
    method: str = "vote"
    """`vote` of the nearest other clips, or `confident`: a classifier's out-of-sample probabilities"""
    neighbours: int = 15
    """clips that vote"""
    take: float = 0.7
    """least share of the votes, or probability, with which a clip gets another label than its own"""
    temperature: float = 0.0
    """a neighbour votes with weight exp(cosine / temperature); 0: all alike"""
    balance: bool = False
    """divide each vote by how many clips have its label, so that frequent labels do not outvote rare ones"""
    folds: int = 5
    """of `confident`: parts of the clips, each judged by a classifier that was fitted on the others"""
    inverse_penalty: float = 1.0
    """of `confident`: scikit-learn's C of the logistic regression; more, a weaker penalty, where labels are right"""
    seed: int = 0
    """of these folds"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.method in METHODS, f"method must be vote or confident, not {self.method!r}.")
        check(self.neighbours >= 1, f"neighbours must be 1 or more, not {self.neighbours}.")
        check(0 < self.take <= 1, f"take is a share above 0, to 1, not {self.take}.")
        check(0 <= self.temperature < float("inf"), f"temperature must be 0 or more, not {self.temperature}.")
        check(0 < self.inverse_penalty < float("inf"), f"inverse_penalty must be above 0, not {self.inverse_penalty}.")
        check(self.folds >= 2, f"folds must be 2 or more, not {self.folds}.")
        check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")

    @staticmethod
    def _sides() -> tuple[str, ...]:
        return VOTERS


@dataclass(frozen=True, kw_only=True)
class PropagateConfig(CleanConfig):
    """How clips without a label get one: as CleanConfig, with other defaults."""

    by: str = "cross"
    """`audio`, `video`, `both` or `cross`: sound and picture judge apart and must agree"""
    neighbours: int = 5
    """labelled clips that vote"""


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig(StageConfig):
    """Which other clips a clip is paired with, and how often.

    `both` goes by the smaller of the two similarities, so that neighbours are near in sound and in picture (Morgado et
    al. 2021, AVID-CMA).
    """

    by: str = "both"
    """`audio`, `video` or `both`; `log-mel`: without a run, by mean, deviation and maximum of each mel band"""
    neighbours: int = 5
    """other clips for each clip"""
    temperature: float = 0.07
    """weights of a clip's pairs are in proportion to exp(similarity / temperature); 0: all alike"""
    exact_share: float = 0.0
    """weight of each clip's own picture among its pairs, 0 to below 1"""
    mutual: bool = False
    """only pairs in which each clip is among the other's `neighbours` nearest"""
    other_groups: bool = False
    """only clips of other groups (speakers, recordings, sites) are neighbours"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.neighbours >= 1, f"neighbours must be 1 or more, not {self.neighbours}.")
        check(0 <= self.temperature < float("inf"), f"temperature must be 0 or more, not {self.temperature}.")
        check(0 <= self.exact_share < 1, f"exact_share must be 0 or more and below 1, not {self.exact_share}.")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(StageConfig):
    """Clusters of a run's features by k-means; `both` takes the features of both sides, one after the other.

    `by` is also `log-mel`, which needs no run.
    """

    clusters: int = 100
    """how many"""
    seed: int = 0
    """of k-means"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.clusters >= 2, f"clusters must be 2 or more, not {self.clusters}.")
        check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
