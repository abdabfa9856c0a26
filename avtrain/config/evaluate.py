"""Settings of evaluation; defaults are the paper's where it has them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from avprep.shared.configs import check
from avtrain.config.choices import (
    BALANCES,
    CHECKPOINTS,
    MODEL_SIZES,
    NORMS,
    PROBES,
    PROTOCOLS,
    SIDES,
    SPLITS,
    WEIGHTS,
)
from avtrain.config.shared import check_folds


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How the encoders of a run are measured."""

    protocol: str = "linear"
    """`linear`: frozen encoder, one linear layer; `finetune`: both trained; `supervised`: both from scratch; `knn`:
    frozen encoder, nearest neighbours, nothing trained"""
    side: str = "audio"
    """whose features: of sounds (`audio`), of pictures (`video`), or of `both`, one after the other"""
    probe: str = "standard"
    """of linear: `standard`: encoder in eval mode, features cached; `released`: in train mode and with dropout 0.5, as
    the authors' code does"""
    model_size: str = "full"
    """of an encoder that comes from no run"""
    audio_model: str = ""
    """of an encoder that comes from no run, as in PretrainConfig"""
    checkpoint: str = "newest"
    """of the run: `newest`, or `best`, which its validation chose"""
    weights: str = "auto"
    """of the checkpoint: the `raw` ones, or `ema`, their moving average; `auto`: the average where there is one, which
    is what validation measured"""
    norm: str = "dataset"
    """by whose statistics log-mel is normalised: those of the `dataset`'s train split, or the `encoder`'s own"""
    epochs: int = 100
    """passes over the training windows"""
    patience: int = 0
    """passes without a lower validation loss after which finetune and supervised end; 0: they make all epochs"""
    batch_size: int = 64
    """windows in a batch"""
    learning_rate: float = 1e-4
    """of Adam, for finetune, supervised and the released probe; a linear head chooses among three of its own"""
    dropout: float = 0.5
    """before the head, for finetune and supervised"""
    weight_decay: float = 1e-4
    """of Adam"""
    window_seconds: float = 1.0
    """length of the windows of sound that are fitted on and chosen by; a test clip is used in full, and see
    test_windows; windows of pictures are those of training"""
    test_windows: int = 8
    """evenly spread windows as fitted on of each test clip, whose mean features are tested beside the whole clip,
    which is longer than what was fitted on; 0: none"""
    windows_per_clip: int = 4
    """such windows, evenly spread, of each clip to fit on (a frozen encoder) and to choose by"""
    split: str = "auto"
    """what chooses epoch and rate: `auto`: the dataset's val split, else `group`: a share of the train split by group;
    `released`: a fifth of its clips, as in the authors' code"""
    fold_column: str = ""
    """label column whose classes are folds, which replace the splits of the manifest; empty: none"""
    fold: str = ""
    """the fold that is tested; the others are fitted and chosen by"""
    labels: str = "label"
    """label column that is fitted and measured: `label`, or NAME of labels/NAME.parquet; clips with -1 are not used. Of
    a multi-label column each label is a yes or no (sigmoids), and mean average precision the score"""
    balance: str = "none"
    """of unequal classes among the clips to fit on (linear, finetune, supervised): `none`; `weights`: rare classes
    weigh more in the loss; `sampling`: clips are drawn so that each class comes as often as another"""
    spec_augment: bool = False
    """mask bands and times of the sounds, as in pretraining (finetune, supervised)"""
    label_fraction: float = 1.0
    """share of the clips to fit on, of each class, that are used"""
    validation_share: float = 0.2
    """share of each class kept for choosing epoch and rate, where they are split by group"""
    audible: str = ""
    """multi-label column of what is audible in each test clip; empty: none, and no scores by it"""
    ids: str = ""
    """of retrieval: file with the ids of the clips to search among, one a line or a table with clip_id; empty: the
    test split"""
    per_class: int = 0
    """of retrieval: clips of each class to search among, chosen by hashes of seed and id; 0: all"""
    seed: int = 0
    """of the split, the head and the order"""

    def __post_init__(self) -> None:
        check(self.protocol in PROTOCOLS, f"protocol must be one of {', '.join(PROTOCOLS)}, not {self.protocol!r}.")
        check(self.model_size in MODEL_SIZES, f"model_size must be full or tiny, not {self.model_size!r}.")
        check(self.epochs >= 1 and self.batch_size >= 2, "epochs must be 1 or more and batch_size 2 or more.")
        check(
            0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf,
            "learning_rate must be above 0, weight_decay not below, and both finite.",
        )
        check(self.side in SIDES, f"side must be one of {', '.join(SIDES)}, not {self.side!r}.")
        check(self.per_class >= 0, f"per_class must be 0 or more, not {self.per_class}.")
        check(self.windows_per_clip >= 1, f"windows_per_clip must be 1 or more, not {self.windows_per_clip}.")
        check(self.patience >= 0, f"patience must be 0 or more, not {self.patience}.")
        check(0 <= self.test_windows <= 1000, f"test_windows must be 0 to 1000, not {self.test_windows}.")
        check(0.1 <= self.window_seconds <= 60, f"window_seconds must be 0.1 to 60, not {self.window_seconds}.")
        check(
            self.checkpoint in CHECKPOINTS,
            f"checkpoint must be one of {', '.join(CHECKPOINTS)}, not {self.checkpoint!r}.",
        )
        check(self.weights in WEIGHTS, f"weights must be one of {', '.join(WEIGHTS)}, not {self.weights!r}.")
        check(self.norm in NORMS, f"norm must be one of {', '.join(NORMS)}, not {self.norm!r}.")
        check(self.probe in PROBES, f"probe must be one of {', '.join(PROBES)}, not {self.probe!r}.")
        check(self.balance in BALANCES, f"balance must be one of {', '.join(BALANCES)}, not {self.balance!r}.")
        check(
            self.balance == "none" or self.protocol != "knn",
            "Protocol knn fits nothing that balance could change; leave --balance out.",
        )
        check(
            not self.spec_augment or (self.protocol in ("finetune", "supervised") and self.side == "audio"),
            "spec_augment masks sounds that an encoder is trained on; it needs protocol finetune or supervised, side "
            "audio.",
        )
        check(self.split in SPLITS, f"split must be one of {', '.join(SPLITS)}, not {self.split!r}.")
        check(0 <= self.dropout < 1, f"dropout must be 0 or more and below 1, not {self.dropout}.")
        check(0 < self.label_fraction <= 1, f"label_fraction must be above 0 and at most 1, not {self.label_fraction}.")
        check(0 < self.validation_share < 1, f"validation_share must be between 0 and 1, not {self.validation_share}.")
        check_folds(self)
        check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
