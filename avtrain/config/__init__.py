"""Settings of pretraining and of evaluation: frozen, validated, every field documented; defaults are the paper's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from avprep.shared.configs import check
from avtrain.config.rules import LOSSES as LOSS_RULES
from avtrain.config.rules import is_loss, loss_usages

MODEL_SIZES = {"full": ("r2plus1d_18", "cnn9"), "tiny": ("tiny", "tiny")}
"""video and audio encoder of each size"""
MODEL_SETTINGS = ("model_size", "video_model", "video_pool", "video_weights", "audio_model")
"""fields of PretrainConfig that choose the encoders"""
PROJECTIONS = ("linear", "mlp")
HEAD_SETTINGS = ("projection", "projection_hidden", "embedding_dim")
"""fields of PretrainConfig that choose the layers into the common space"""
MOST_WIDTH = 65_536
OPTIMIZERS = ("adam", "adamw")
PROTOCOLS = ("linear", "finetune", "supervised", "knn")
PROBES = ("standard", "released")
SPLITS = ("auto", "group", "released")
SIDES = ("audio", "video", "both")
SOUNDS_ALONE = "audio-supcon"
LOSSES = tuple(LOSS_RULES)
"""losses that have a name"""
FREEZES = ("none", "video", "audio")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16")
CHECKPOINTS = ("newest", "best")
WEIGHTS = ("auto", "raw", "ema")
NORMS = ("dataset", "encoder")
BALANCES = ("none", "weights", "sampling")
CACHE_BYTES = 100 << 30
READ_THREADS = 2
MOST_WINDOW_FRAMES = 1000


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """What a pretraining run is made of."""

    strategy: str = "random"
    """which sound meets which picture: `random`, `easy-negative`, `hard-negative`, `class-balanced`,
    `pairs:FILE[:weights=loss]`, `soft-positive[:p=P,labelled=SHARE,rare=R]` or `package:Class[:key=value,...]`"""
    labels: str = "label"
    """label column that strategy, loss and validation use: `label`, or NAME of labels/NAME.parquet, with one label a
    clip or several (a multi-label column)"""
    label_confidence: bool = False
    """weight a pair of two clips in the loss by the product of their labels' `probability` in that column"""
    window_frames: int = 0
    """pictures of a window; 0: the paper's, those of half a second"""
    frame_stride: int = 1
    """every n-th stored picture is in a window"""
    audio_seconds: float = 0.0
    """sound of a window, in hundredths, around the middle of its pictures; 0: the paper's, 1 s"""
    model_size: str = "full"
    """`full`: R(2+1)D-18 and the 9-layer CNN; `tiny`: for CPUs"""
    video_model: str = ""
    """video encoder by name (models/video.py) or `package:function`; empty: the one of model_size"""
    video_pool: str = "auto"
    """pool over time and space: `average`, `max`; `auto`: as the model was published"""
    video_weights: str = ""
    """weights that a video encoder of torchvision's begins with: the name of published ones, such as KINETICS400_V1, or
    a file of them; pictures are normalised as they were for these; empty: random ones"""
    audio_model: str = ""
    """audio encoder by name (models/audio.py) or `package:function`; empty: the one of model_size"""
    projection: str = "linear"
    """of features into the common space: `linear`: one layer; `mlp`: two, with a ReLU between them"""
    projection_hidden: int = 0
    """width between the two layers of `mlp`; 0: that of the encoder's features"""
    embedding_dim: int = 128
    """width of the common space"""
    init_from: str = ""
    """run or checkpoint folder whose weights are the first ones; empty: random ones"""
    freeze: str = "none"
    """encoder that keeps its first weights, in eval mode: `none`, `video` or `audio`"""
    frozen_windows: int = 0
    """evenly spread windows of each clip among which those of a batch are drawn; the features of the frozen encoder are
    computed once for them and kept in the run's folder, without flips or augmentation; 0: any window, encoded anew"""
    loss: str = "info-nce"
    """`info-nce`; `mask`: pairs of the same label are no negatives; `supcon`: they are positives; `suppress`: those
    much alike are no negatives, without labels; `audio-supcon`: sounds of the same label are positives; no picture is
    needed, and nothing is validated; `targets:FILE`: shares of a Parquet file; or `package:function`"""
    batch_size: int = 309
    """pairs in a global batch"""
    accumulate: int = 1
    """batches of an epoch, each with negatives of its own, of whose gradients an update takes the mean; an epoch's last
    update has those that are left"""
    chunk_size: int = 0
    """pairs of a batch that a process encodes at once, with the negatives of the whole batch, in less memory and more
    time; batch norm sees a chunk; 0: all"""
    epochs: int = 100
    """passes over the train split"""
    val_every: int = 1
    """epochs between measurements on the val split or on `val_share`, and one at the end; 0: none"""
    val_share: float = 0.0
    """where the dataset has no val split: share of each label's training clips, in whole groups, that is measured on
    and not trained on"""
    max_steps: int = 0
    """stop after this many updates, 0: no such limit"""
    optimizer: str = "adam"
    """`adam`: weight decay is part of the gradient; `adamw`: it shrinks the weights apart from it"""
    learning_rate: float = 1e-4
    """of the optimiser"""
    weight_decay: float = 1e-5
    """of the optimiser"""
    decay_norms: bool = True
    """weight decay on norms and biases too; never on the temperature"""
    warmup_steps: int = 0
    """updates over which the learning rate rises to its value"""
    schedule: str = "constant"
    """of the learning rate after that: `constant`, or `cosine`, down to 0 after the last update"""
    grad_clip_norm: float = 0.0
    """longest gradient of an update, made shorter where it is longer; 0: no limit"""
    ema: float = 0.0
    """decay of an exponential moving average of the weights, which is validated and saved beside them; 0: none"""
    precision: str = "fp32"
    """of the encoders: `fp32`, or `bf16` by autocast; the loss is always fp32"""
    compile: bool = False
    """train a model that torch.compile has made faster"""
    temperature: float = 0.07
    """that similarities are divided by"""
    learn_temperature: bool = False
    """train it too, from that value, within 0.01 to 1"""
    spec_augment: bool = False
    """mask a band of frequencies and a stretch of time of each sound"""
    crop_size: int = 0
    """side in px of the part of each stored picture that is encoded: in training at a random position, else the middle;
    0: the whole picture"""
    crop_min_area: float = 1.0
    """below 1, that part has a random share of the picture's area, at least this, and is resized; 1: it is crop_size px
    as stored"""
    colour_jitter: float = 0.0
    """strength, 0 to 1, of random changes of brightness, contrast, saturation and hue, the same in all pictures of a
    clip"""
    grey_share: float = 0.0
    """share of clips whose pictures are grey"""
    gain_db: float = 0.0
    """each sound is made louder or softer by up to this"""
    time_shift_seconds: float = 0.0
    """each sound is shifted in its window by up to this; what leaves at one end comes back at the other"""
    sound_mixup: float = 0.0
    """largest share, to 0.5, that the sound of another pair of the batch has in each sound; the loss stays the same"""
    seed: int = 0
    """of weights, plans, windows, augmentation and the clips of val_share"""
    log_every: int = 1
    """updates of a line of metrics.jsonl, which has their mean loss and gradient norm"""
    checkpoint_every_steps: int = 500
    """updates between checkpoints; there is always one at the end"""
    keep_checkpoints: int = 2
    """checkpoints that stay, beside the best in validation"""

    def __post_init__(self) -> None:
        check(self.model_size in MODEL_SIZES, f"model_size must be full or tiny, not {self.model_size!r}.")
        check(self.batch_size >= 2, f"batch_size must be 2 or more, not {self.batch_size}.")
        check(self.epochs >= 1 and self.max_steps >= 0, "epochs must be 1 or more and max_steps 0 or more.")
        check(self.val_every >= 0, f"val_every must be 0 or more, not {self.val_every}.")
        check(self.val_every > 0 or self.val_share == 0, "val_share holds clips back that val_every 0 never looks at.")
        _check_batches(self)
        check_windows(self)
        check(
            0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf,
            "learning_rate must be above 0, weight_decay not below, and both finite.",
        )
        check(0 < self.temperature < math.inf, f"temperature must be above 0 and finite, not {self.temperature}.")
        check(is_loss(self.loss), f"loss must be one of {', '.join(loss_usages())}, not {self.loss!r}.")
        check(
            self.loss == "info-nce" or self.loss not in LOSSES or self.strategy != "hard-negative",
            f"Batches of hard-negative are of one label, from which loss {self.loss} learns nothing; use info-nce.",
        )
        check(
            self.val_share == 0 or self.loss != SOUNDS_ALONE,
            f"Loss {SOUNDS_ALONE} trains no picture encoder, so that retrieval of pictures cannot validate it; leave "
            "--val-share out.",
        )
        check(self.schedule in SCHEDULES, f"schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}.")
        check(
            self.precision in PRECISIONS, f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}."
        )
        check(self.warmup_steps >= 0 and self.grad_clip_norm >= 0, "warmup_steps and grad_clip_norm must be 0 or more.")
        _check_augmentation(self)
        _check_projection(self)
        check(
            self.optimizer in OPTIMIZERS, f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}."
        )
        check(0 <= self.ema < 1, f"ema must be 0 or more and below 1, such as 0.999, not {self.ema}.")
        check(
            self.chunk_size == 0 or self.chunk_size >= 2,
            f"chunk_size must be 2 or more, or 0 to encode a whole batch at once, not {self.chunk_size}.",
        )
        _check_frozen(self)
        check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
        check(self.checkpoint_every_steps >= 1 and self.keep_checkpoints >= 1, "checkpoint settings must be 1 or more.")
        check(self.log_every >= 1, f"log_every must be 1 or more, not {self.log_every}.")


def _check_augmentation(config: PretrainConfig) -> None:
    """UserError where a setting of the augmentation is out of range."""
    check(
        config.crop_size == 0 or config.crop_size >= 8,
        f"crop_size must be 8 px or more, or 0 for the whole picture, not {config.crop_size}.",
    )
    check(
        0 < config.crop_min_area <= 1,
        f"crop_min_area must be above 0 and at most 1, the whole picture, not {config.crop_min_area}.",
    )
    check(0 <= config.colour_jitter <= 1, f"colour_jitter must be 0 to 1, not {config.colour_jitter}.")
    check(0 <= config.grey_share <= 1, f"grey_share must be 0 to 1, not {config.grey_share}.")
    check(0 <= config.gain_db <= 60, f"gain_db must be 0 to 60, not {config.gain_db}.")
    check(0 <= config.time_shift_seconds <= 60, f"time_shift_seconds must be 0 to 60, not {config.time_shift_seconds}.")
    check(
        0 <= config.sound_mixup <= 0.5,
        f"sound_mixup must be 0 to 0.5, so that a sound stays the louder one, not {config.sound_mixup}.",
    )


def _check_frozen(config: PretrainConfig) -> None:
    """UserError where an encoder would be frozen with random weights."""
    check(config.freeze in FREEZES, f"freeze must be one of {', '.join(FREEZES)}, not {config.freeze!r}.")
    own = {"video": config.video_weights or ":" in config.video_model, "audio": ":" in config.audio_model}
    published = "--video-weights" if config.freeze == "video" else "--audio-model package:function that loads some"
    check(
        config.freeze == "none" or bool(config.init_from or own[config.freeze]),
        f"A frozen {config.freeze} encoder with random weights learns nothing; give --init-from or {published}.",
    )
    check(
        config.freeze == "none" or config.loss != SOUNDS_ALONE,
        f"Loss {SOUNDS_ALONE} trains the audio encoder alone; leave --freeze out.",
    )
    check(
        0 <= config.frozen_windows <= 1000 and (config.frozen_windows == 0 or config.freeze != "none"),
        f"frozen_windows must be 0, or up to 1000 with --freeze video or --freeze audio, not {config.frozen_windows}.",
    )
    random = {
        "video": config.crop_min_area < 1 or config.colour_jitter > 0 or config.grey_share > 0,
        "audio": max(config.gain_db, config.time_shift_seconds, config.sound_mixup) > 0 or config.spec_augment,
    }
    check(
        config.frozen_windows == 0 or not random[config.freeze],
        f"Features that are computed once know no augmentation; leave that of the {config.freeze} out, or "
        "--frozen-windows.",
    )


def _check_batches(config: PretrainConfig | PlanConfig) -> None:
    """UserError where accumulate or val_share cannot be."""
    check(config.accumulate >= 1, f"accumulate must be 1 or more, not {config.accumulate}.")
    check(0 <= config.val_share < 1, f"val_share must be 0 or more and below 1, not {config.val_share}.")
    check(
        config.val_share == 0 or not config.strategy.startswith("pairs:"),
        "A file of pairs names the clips to train on; val_share cannot hold some back. Use a val split.",
    )


def _check_projection(config: PretrainConfig) -> None:
    """UserError where the layers into the common space cannot be."""
    check(
        config.projection in PROJECTIONS,
        f"projection must be one of {', '.join(PROJECTIONS)}, not {config.projection!r}.",
    )
    check(
        config.projection == "mlp" or config.projection_hidden == 0,
        "projection_hidden is the width inside an mlp; choose --projection mlp too, or leave it out.",
    )
    for name, least in (("projection_hidden", 0), ("embedding_dim", 1)):
        width = getattr(config, name)
        check(least <= width <= MOST_WIDTH, f"{name} must be {least} to {MOST_WIDTH:,}, not {width}.")


class WindowSettings(Protocol):
    """Settings that choose the sizes of windows, fields of several configs."""

    @property
    def window_frames(self) -> int: ...
    @property
    def frame_stride(self) -> int: ...
    @property
    def audio_seconds(self) -> float: ...


def check_windows(config: WindowSettings) -> None:
    """UserError where sizes of windows cannot be."""
    check(
        0 <= config.window_frames <= MOST_WINDOW_FRAMES,
        f"window_frames must be 0, for the paper's, to {MOST_WINDOW_FRAMES}, not {config.window_frames}.",
    )
    check(
        1 <= config.frame_stride <= MOST_WINDOW_FRAMES,
        f"frame_stride must be 1 to {MOST_WINDOW_FRAMES}, not {config.frame_stride}.",
    )
    check(
        config.audio_seconds == 0 or 0.1 <= config.audio_seconds <= 60,
        f"audio_seconds must be 0, for the paper's, or 0.1 to 60, not {config.audio_seconds}.",
    )


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What `avtrain plan` shall look at: the settings of a pretraining run that decide its batches."""

    strategy: str = PretrainConfig.strategy
    """as in PretrainConfig"""
    labels: str = PretrainConfig.labels
    """as in PretrainConfig"""
    label_confidence: bool = PretrainConfig.label_confidence
    """as in PretrainConfig"""
    split: str = "train"
    """split whose clips are paired"""
    batch_size: int = PretrainConfig.batch_size
    """pairs in a global batch"""
    window_frames: int = PretrainConfig.window_frames
    """as in PretrainConfig"""
    frame_stride: int = PretrainConfig.frame_stride
    """as in PretrainConfig"""
    audio_seconds: float = PretrainConfig.audio_seconds
    """as in PretrainConfig"""
    accumulate: int = PretrainConfig.accumulate
    """batches of an update"""
    epochs: int = PretrainConfig.epochs
    """passes over the split"""
    val_share: float = PretrainConfig.val_share
    """as in PretrainConfig"""
    seed: int = PretrainConfig.seed
    """of plans, windows and the clips of val_share"""
    world_size: int = 1
    """ranks that share a batch"""

    def __post_init__(self) -> None:
        check(self.batch_size >= 2, f"batch_size must be 2 or more, not {self.batch_size}.")
        check(self.epochs >= 1 and self.world_size >= 1, "epochs and world_size must be 1 or more.")
        _check_batches(self)
        check_windows(self)
        check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")


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
    labels: str = "label"
    """label column that is fitted and measured: `label`, or NAME of labels/NAME.parquet; clips with -1 are not used. Of
    a multi-label column each label is a yes or no (sigmoids), and mean average precision the score"""
    balance: str = "none"
    """of unequal classes among the clips to fit on (linear, finetune, supervised): `none`; `weights`: rare classes
    weigh more in the loss; `sampling`: clips are drawn so that each class comes as often as another"""
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
        check(self.split in SPLITS, f"split must be one of {', '.join(SPLITS)}, not {self.split!r}.")
        check(0 <= self.dropout < 1, f"dropout must be 0 or more and below 1, not {self.dropout}.")
        check(0 < self.label_fraction <= 1, f"label_fraction must be above 0 and at most 1, not {self.label_fraction}.")
        check(0 < self.validation_share < 1, f"validation_share must be between 0 and 1, not {self.validation_share}.")
        check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
