"""Settings of pretraining; defaults are the paper's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from avprep.shared.configs import check
from avtrain.config.choices import (
    FREEZES,
    JPEG_DECODERS,
    LOSS_NAMES,
    MODEL_SIZES,
    MOST_WIDTH,
    OPTIMIZERS,
    PRECISIONS,
    PROJECTIONS,
    SCHEDULES,
    SOUNDS_ALONE,
)
from avtrain.config.rules import is_loss, loss_usages
from avtrain.config.shared import check_batches, check_folds, check_windows


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """What a pretraining run is made of."""

    strategy: str = "random"
    """which sound meets which picture: `random`, `easy-negative`, `hard-negative`, `class-balanced`,
    `pairs:FILE[:weights=loss]`, `soft-positive[:p=P,labelled=SHARE,others=WHAT,rare=R]` or
    `package:Class[:key=value,...]`"""
    labels: str = "label"
    """label column that strategy, loss and validation use: `label`, or NAME of labels/NAME.parquet, with one label a
    clip or several (a multi-label column)"""
    label_confidence: bool = False
    """weight a pair of two clips in the loss by the product of their labels' `probability` in that column"""
    fold_column: str = ""
    """label column whose classes are folds, which replace the splits of the manifest; empty: none"""
    fold: str = ""
    """the fold that is not trained on; the others are"""
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
    """run or checkpoint folder, or hf://ORG/NAME[@REVISION], whose weights are the first ones; empty: random ones"""
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
    jpeg_decoder: str = "cpu"
    """of the pictures that are trained on, where the dataset has JPEGs: libjpeg-turbo on the `cpu`, or nvJPEG on the
    `device`, a GPU; pictures differ a little, since nvJPEG does not interpolate colours"""
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
        check_batches(self)
        check_folds(self)
        check_windows(self)
        check(
            0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf,
            "learning_rate must be above 0, weight_decay not below, and both finite.",
        )
        check(0 < self.temperature < math.inf, f"temperature must be above 0 and finite, not {self.temperature}.")
        check(is_loss(self.loss), f"loss must be one of {', '.join(loss_usages())}, not {self.loss!r}.")
        check(
            self.loss == "info-nce" or self.loss not in LOSS_NAMES or self.strategy != "hard-negative",
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
        check(
            self.jpeg_decoder in JPEG_DECODERS,
            f"jpeg_decoder must be one of {', '.join(JPEG_DECODERS)}, not {self.jpeg_decoder!r}.",
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
