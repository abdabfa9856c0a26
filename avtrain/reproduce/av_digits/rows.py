"""The rows of av-digits: what is trained, with which batches, loss and labels. Data alone, in the table's order.

Those that the benchmark's claims rest on come first, so that a run that is stopped has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ENVELOPE, UNLINKED = "envelope", "none"
CLASSES = 10
FOLDS = 3


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: the strategy and loss of its pretraining, or another `kind` of encoder."""

    name: str
    link: str = ENVELOPE
    """which clips: the digit's brightness follows the sound (`envelope`), or nothing (`none`)"""
    kind: str = "pretrained"
    """`pretrained`; `untrained`: its first weights; `statistics`: no network, mean and deviation of each mel band;
    `supervised`: the audio encoder trained by cross-entropy"""
    bands: int = 128
    """of `statistics`: neighbouring mel bands are averaged to so many; 32 give as many features as the encoder has"""
    longer: bool = False
    """of `supervised`: until the validation loss no longer falls, in place of as many updates as finetuned rows make"""
    strategy: str = "random"
    """as of `avtrain pretrain`; `frozen`: every sound keeps one other picture of its class for good"""
    loss: str = "info-nce"
    labels: str = "label"
    """label column; others than `label`: `shuffled`, `noisy` (30 % wrong), `quarter` and `half` (so many of each label
    are known), `clusters` (of the pictures' features)"""
    batch: str = "usual"
    """pairs in a batch: `usual`, `classes`: as many as classes, `class`: as many as a class has clips"""
    equal: str = "updates"
    """what is as many as in a row of the usual batch: `updates`, or `pairs`, by more updates of a smaller batch"""
    stage: str = ""
    """what comes after the share `first` of the updates and several times after that (benchmark/stages.py): labels or
    partners by the features learnt so far; empty: nothing, one run"""
    begin: str = ""
    """a stage before the first update, by the log-mel; empty: `strategy` begins"""
    first: float = 0.5
    rounds: int = 3
    """how often labels or partners are made, after equal parts of the rest of the updates"""
    finetuned: bool = True
    """whether a pretrained encoder is finetuned as well, which takes half as long as pretraining it"""
    more: dict[str, Any] = field(default_factory=dict)
    """further settings of the pretraining, as fields of PretrainConfig; `spec_augment` is of finetuning and supervised
    training too"""

    @property
    def slug(self) -> str:
        """Its name in paths, such as none-random; without a link the name alone."""
        whole = f"{self.link}-{self.name}" if self.link else self.name
        return whole.replace(" %", "").replace(" + ", "-").replace(", ", "-").replace(" ", "-")


PAPER = (
    Row(name="random"),
    Row(name="soft-positive", strategy="soft-positive"),
    Row(name="soft-positive, shuffled labels", strategy="soft-positive", labels="shuffled"),
    Row(name="random", link=UNLINKED),
    Row(name="frozen partner", link=UNLINKED, strategy="frozen"),
    Row(name="untrained", kind="untrained"),
    Row(name="log-mel statistics", kind="statistics"),
    Row(name="supervised", kind="supervised"),
    Row(name="random, batch 10", batch="classes"),
    Row(name="easy-negative, batch 10", strategy="easy-negative", batch="classes"),
    Row(name="soft-positive, batch 10", strategy="soft-positive", batch="classes"),
    Row(name="random, batch of hard-negative", batch="class"),
    Row(name="hard-negative", strategy="hard-negative", batch="class"),
    Row(name="soft-positive", link=UNLINKED, strategy="soft-positive"),
    Row(name="frozen partner", strategy="frozen"),
    Row(name="soft-positive + mask", strategy="soft-positive", loss="mask"),
    Row(name="random + mask", loss="mask"),
    Row(name="soft-positive + supcon", strategy="soft-positive", loss="supcon"),
    Row(name="random + supcon", loss="supcon"),
    Row(name="audio-only supcon", loss="audio-supcon"),
    Row(name="random + suppress", loss="suppress"),
    Row(name="soft-positive 50 %", strategy="soft-positive:p=0.5"),
    Row(name="PL-soft-positive", strategy="soft-positive", labels="clusters"),
    Row(name="soft-positive, 30 % label noise", strategy="soft-positive", labels="noisy"),
    Row(name="soft-positive, 10 % labelled", strategy="soft-positive:labelled=0.1"),
    Row(name="soft-positive, 25 % labelled", strategy="soft-positive:labelled=0.25"),
    Row(name="soft-positive, 50 % labelled", strategy="soft-positive:labelled=0.5"),
    Row(name="log-mel statistics, 64 features", kind="statistics", bands=32),
    Row(name="supervised, longer", kind="supervised", longer=True),
    Row(name="random, batch 10, equal pairs", batch="classes", equal="pairs"),
    Row(name="easy-negative, batch 10, equal pairs", strategy="easy-negative", batch="classes", equal="pairs"),
    Row(name="soft-positive, batch 10, equal pairs", strategy="soft-positive", batch="classes", equal="pairs"),
    Row(name="random, batch of hard-negative, equal pairs", batch="class", equal="pairs"),
    Row(name="hard-negative, equal pairs", strategy="hard-negative", batch="class", equal="pairs"),
)
QUICK = PAPER[:8]


def _augmented(name: str, *, finetuned: bool = False, more: dict[str, Any] | None = None, **settings: Any) -> Row:
    """The row `name` with SpecAugment on its sounds."""
    more = {"spec_augment": True, **(more or {})}
    return Row(name=f"{name}, SpecAugment", finetuned=finetuned, more=more, **settings)


BEYOND = (
    _augmented("random", finetuned=True),
    _augmented("soft-positive", finetuned=True, strategy="soft-positive"),
    _augmented("soft-positive, temperature 0.2", strategy="soft-positive", more={"temperature": 0.2}),
    _augmented("soft-positive, 50 % labelled, others skipped", strategy="soft-positive:labelled=0.5,others=skip"),
    _augmented("soft-positive, 25 % labelled, others skipped", strategy="soft-positive:labelled=0.25,others=skip"),
    _augmented("soft-positive, 30 % label noise", strategy="soft-positive", labels="noisy"),
    _augmented("soft-positive, 30 % label noise, cleaned", strategy="soft-positive", labels="noisy", stage="clean"),
    _augmented("random, then neighbours", stage="neighbours"),
    _augmented("supervised", finetuned=True, kind="supervised"),
    _augmented(
        "soft-positive, 25 % labelled, propagated",
        strategy="soft-positive:others=skip",
        labels="quarter",
        stage="propagate",
    ),
    _augmented("soft-positive, 25 % labelled, others exact", strategy="soft-positive:labelled=0.25"),
    _augmented(
        "soft-positive, 25 % labelled, others negatives", strategy="soft-positive:labelled=0.25,others=negatives"
    ),
    _augmented(
        "soft-positive, 30 % label noise, cleaned by both sides",
        strategy="soft-positive",
        labels="noisy",
        stage="clean by both",
    ),
    _augmented(
        "soft-positive, 10 % labelled, others negatives", strategy="soft-positive:labelled=0.1,others=negatives"
    ),
    _augmented("soft-positive, shuffled labels", strategy="soft-positive", labels="shuffled"),
    _augmented("soft-positive, 30 % label noise, cleaned from the start", labels="noisy", begin="clean", stage="clean"),
    _augmented("near pairs, no labels", begin="mutual neighbours"),
    _augmented(
        "soft-positive, 50 % labelled, propagated",
        strategy="soft-positive:others=skip",
        labels="half",
        stage="propagate",
    ),
    _augmented("pairs across speakers, no labels", begin="across groups"),
    _augmented("soft-positive, 30 % label noise, cleaned by segments", labels="noisy", begin="clean by segments"),
    _augmented("soft-positive, 50 % labelled, propagated by segments", labels="half", begin="propagate by segments"),
    _augmented("soft-positive, 25 % labelled, propagated by segments", labels="quarter", begin="propagate by segments"),
    _augmented("clusters of sounds, no labels", begin="cluster"),
)
"""rows beyond the paper, each beside its baselines with the same augmentation"""
ROWS = (*PAPER, *BEYOND)
CANDIDATES = (
    _augmented("soft-positive, mlp", strategy="soft-positive", more={"projection": "mlp"}),
    _augmented("soft-positive, average of weights", strategy="soft-positive", more={"ema": 0.99}),
    _augmented("soft-positive, cosine", strategy="soft-positive", more={"schedule": "cosine"}),
    _augmented(
        "soft-positive, gain and shift", strategy="soft-positive", more={"gain_db": 6.0, "time_shift_seconds": 0.1}
    ),
    _augmented(
        "soft-positive, crops",
        strategy="soft-positive",
        more={"crop_size": 40, "crop_min_area": 0.5, "colour_jitter": 0.3},
    ),
    _augmented("soft-positive + supcon", strategy="soft-positive", loss="supcon"),
    _augmented("soft-positive + mask", strategy="soft-positive", loss="mask"),
)
"""what may be added to soft-positive with SpecAugment, beside a temperature of 0.2, which was chosen on validation
speakers (`--choose`) and is among the rows above"""
CHOOSING = (*BEYOND[1:3], *CANDIDATES, BEYOND[-1])
