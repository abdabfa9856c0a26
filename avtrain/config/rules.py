"""The strategies and losses that have a name, with a line on each: help, messages and pages are made from these.

Their code is in sampling/ and training/losses.py, under the same names. Standard library only: `--help` reads this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OWN_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
OWN_STRATEGY, OWN_LOSS = "package:Class[:key=value,...]", "package:function"
TARGETS = "targets:FILE"


@dataclass(frozen=True, kw_only=True)
class StrategyRule:
    """What a strategy's batches and epochs are."""

    usage: str
    """as `--strategy` takes it, settings in brackets"""
    batch: str
    """which sound meets which picture"""
    epoch: str
    """how long it is"""
    variants: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """(batch, epoch) of a usage with a setting"""


@dataclass(frozen=True, kw_only=True)
class LossRule:
    """What counts as positive and as negative for a sound; the same holds from picture to sound."""

    usage: str
    """as `--loss` takes it"""
    positives: str
    negatives: str
    labels: bool
    """whether it goes by labels"""


STRATEGY_RULES = {
    "random": StrategyRule(
        usage="random",
        batch="each sound with its own picture",
        epoch="each clip once; the remainder below one batch is left out",
    ),
    "easy-negative": StrategyRule(
        usage="easy-negative",
        batch="like `random`; all labels of a batch differ",
        epoch="until fewer labels than the batch size have clips left",
    ),
    "hard-negative": StrategyRule(
        usage="hard-negative",
        batch="like `random`; one label only; smaller where a label ends",
        epoch="each clip once; a remainder of one is left out",
    ),
    "soft-positive": StrategyRule(
        usage="soft-positive[:p=P,labelled=SHARE,others=WHAT,rare=R]",
        batch="the picture is of another clip with the same label",
        epoch="like `random`, over the sounds",
        variants={
            "soft-positive:p=0.5": ("with probability p soft, otherwise exact", "like `random`"),
            "soft-positive:labelled=0.1": ("soft among a tenth of each label's clips", "like `random`"),
            "soft-positive:others=skip": ("clips without a label are left out", "clips with a label, each once"),
            "soft-positive:rare=1": ("of several labels a clip, rare ones are shared more often", "like `random`"),
        },
    ),
    "class-balanced": StrategyRule(
        usage="class-balanced",
        batch="each label equally likely, with replacement",
        epoch="as many pairs as labelled clips",
    ),
    "pairs": StrategyRule(
        usage="pairs:FILE[:weights=loss|partner]",
        batch="your own pairs from a Parquet file",
        epoch="each pair once, or drawn by weight",
        variants={
            "pairs:FILE:weights=loss": (
                "your own pairs; its weight multiplies the pair's loss",
                "each pair once",
            ),
            "pairs:FILE:weights=partner": ("each sound with one of its pictures, drawn by weight", "each sound once"),
        },
    ),
}
"""by name; `package:Class` of the user's own comes beside them"""

LOSS_RULES = {
    "info-nce": LossRule(
        usage="info-nce", positives="its partner", negatives="all other pictures of the batch", labels=False
    ),
    "mask": LossRule(usage="mask", positives="its partner", negatives="pictures of other labels", labels=True),
    "supcon": LossRule(
        usage="supcon", positives="all pictures of its label", negatives="pictures of other labels", labels=True
    ),
    "overlap": LossRule(
        usage="overlap",
        positives="all pictures, by the share of labels in common (Jaccard)",
        negatives="pictures without a common label, and the rest of the share",
        labels=True,
    ),
    "suppress": LossRule(
        usage="suppress",
        positives="its partner",
        negatives="all but the tenth of the batch that is most similar to it",
        labels=False,
    ),
    "audio-supcon": LossRule(
        usage="audio-supcon",
        positives="all *sounds* of its label",
        negatives="sounds of other labels",
        labels=True,
    ),
}
"""by name; `targets:FILE` and `package:function` of the user's own come beside them"""


def strategy_usages() -> list[str]:
    """What `--strategy` takes, one entry a strategy."""
    return [*(rule.usage for rule in STRATEGY_RULES.values()), OWN_STRATEGY]


def loss_usages() -> list[str]:
    """What `--loss` takes, one entry a loss."""
    return [*(rule.usage for rule in LOSS_RULES.values()), TARGETS, OWN_LOSS]


def is_own_strategy(text: str) -> bool:
    """Whether `--strategy` names code of the user's own: `package:Class`, maybe with `:` and settings."""
    return _own_part(text) is not None


def own_strategy_parts(text: str) -> tuple[str, str]:
    """(`package:Class`, the settings behind it) of a strategy of the user's own. Errors: ValueError for another."""
    name = _own_part(text)
    if name is None:
        raise ValueError(f"{text!r} is no strategy of one's own.")
    return name, text[len(name) + 1 :]


def is_own_loss(text: str) -> bool:
    """Whether `--loss` names a function of the user's own: `package:function`."""
    return OWN_NAME.fullmatch(text) is not None and text.partition(":")[0] not in (*LOSS_RULES, "targets")


def is_loss(text: str) -> bool:
    """Whether `--loss` can mean this text."""
    return text in LOSS_RULES or is_own_loss(text) or text.startswith("targets:")


def strategy_table() -> str:
    """The strategies as a Markdown table."""
    rows = [
        (usage, *columns)
        for name, rule in STRATEGY_RULES.items()
        for usage, columns in [
            (f"{name}:FILE" if ":FILE" in rule.usage else name, (rule.batch, rule.epoch)),
            *rule.variants.items(),
        ]
    ]
    rows.append((OWN_STRATEGY.split("[")[0], "[a rule of your own](../extend/strategy.md)", "as it has it"))
    return _table(("`--strategy`", "a batch", "an epoch"), [(f"`{usage}`", *columns) for usage, *columns in rows])


def loss_table() -> str:
    """The losses as a Markdown table."""
    rows = [
        (f"`{rule.usage}`", rule.positives, rule.negatives, "yes" if rule.labels else "no")
        for rule in LOSS_RULES.values()
    ]
    rows.append((f"`{TARGETS}`", "by the targets of a Parquet file", "all of the batch", "no"))
    rows.append((f"`{OWN_LOSS}`", "[a loss of your own](../extend/loss.md)", "as it has it", "as it likes"))
    return _table(("`--loss`", "positives of a sound", "negatives of a sound", "labels needed"), rows)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _own_part(text: str) -> str | None:
    """The `package:Class` with which a text begins that names no strategy of ours; None without."""
    match = re.match(rf"{OWN_NAME.pattern}(?=:|$)", text)
    if match is None or text.partition(":")[0] in STRATEGY_RULES:
        return None
    return match[0]
