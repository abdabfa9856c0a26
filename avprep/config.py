"""What a build is made of: VideoSpec, AudioSpec, ShardSpec, BuildConfig, Limits. Frozen, validated, units in names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from avprep.schema import FIRST_DOWNMIX, named_downmix
from avprep.shared.configs import check, to_dict


@dataclass(frozen=True, kw_only=True)
class VideoSpec:
    """How frames are sampled and stored; paper: 16 fps, 112 x 112, stretched."""

    frame_size: int = 112
    """height and width of stored frames, in pixels"""
    frame_rate_hz: int = 16
    """frames a second of clip time"""
    resize: str = "stretch"
    """`stretch` ignores the aspect ratio, as the paper does; `crop` fits the shorter side and takes the middle"""
    resize_filter: str = "area"
    """swscale's antialiased filter: `area`, `bicubic` (twice the time) or `lanczos`"""
    frame_codec: str = "raw"
    """`raw`: uint8 arrays; `jpeg`: about 8 times smaller, and slower to read from memory"""
    jpeg_quality: int = 90
    """1 to 100, for `jpeg` alone"""

    def __post_init__(self) -> None:
        check(8 <= self.frame_size <= 1024, f"frame_size must be 8 to 1024 pixels, not {self.frame_size}.")
        check(1 <= self.frame_rate_hz <= 120, f"frame_rate_hz must be 1 to 120, not {self.frame_rate_hz}.")
        check(self.resize in ("stretch", "crop"), f"resize must be stretch or crop, not {self.resize!r}.")
        check(
            self.resize_filter in ("bicubic", "area", "lanczos"),
            f"resize_filter must be bicubic, area or lanczos, not {self.resize_filter!r}.",
        )
        check(self.frame_codec in ("raw", "jpeg"), f"frame_codec must be raw or jpeg, not {self.frame_codec!r}.")
        check(1 <= self.jpeg_quality <= 100, f"jpeg_quality must be 1 to 100, not {self.jpeg_quality}.")


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """How sound becomes log-mel: magnitude spectrogram, Slaney bands, dB (ref 1); defaults are the paper's task."""

    sample_rate_hz: int = 48_000
    """rate that the mono track is resampled to"""
    window_samples: int = 2048
    """length of the Fourier transform and of its Hann window"""
    hop_samples: int = 480
    """samples between two log-mel frames; the rate over the hop must be 100 frames a second"""
    num_mel_bands: int = 128
    """Slaney mel bands from 0 Hz to half the rate"""
    amplitude_floor: float = 1e-5
    """magnitudes below this count as this (-100 dB)"""
    decibels: str = "amplitude"
    """`amplitude`: 20 log10 of the magnitude; `power`: 10 log10 of it, half of true dB, as the released code has it"""
    resample: bool = True
    """False: the file's own samples are taken as if they came at sample_rate_hz, as the released code does; then a
    second of clip has as many log-mel frames as its own rate over hop_samples"""
    top_db: float = 100.0
    """range below a clip's loudest bin that is kept, in dB"""
    downmix: str = "mean"
    """`mean`: mono is the mean of all channels, as librosa's `to_mono` has it (equal channels keep their level, LFE
    counts as any other); `swresample`: FFmpeg's weights, by which equal stereo channels gain 3 dB, as all datasets
    before this setting have it"""

    def __post_init__(self) -> None:
        check(
            8_000 <= self.sample_rate_hz <= 192_000,
            f"sample_rate_hz must be 8000 to 192000, not {self.sample_rate_hz}.",
        )
        check(
            self.hop_samples * 100 == self.sample_rate_hz,
            f"hop_samples must give 100 frames a second, {self.sample_rate_hz / 100:g} here, not {self.hop_samples}.",
        )
        check(
            self.hop_samples <= self.window_samples <= 1 << 17,
            f"window_samples must be hop_samples to {1 << 17}, not {self.window_samples}.",
        )
        check(1 <= self.num_mel_bands <= 512, f"num_mel_bands must be 1 to 512, not {self.num_mel_bands}.")
        check(self.decibels in ("amplitude", "power"), f"decibels must be amplitude or power, not {self.decibels!r}.")
        check(self.downmix in ("mean", "swresample"), f"downmix must be mean or swresample, not {self.downmix!r}.")
        check(self.amplitude_floor > 0 and self.top_db > 0, "amplitude_floor and top_db must be above 0.")


LOGMEL_PRESETS = {
    "paper": AudioSpec(),
    "text-16k": AudioSpec(sample_rate_hz=16_000, window_samples=512, hop_samples=160),
    "released-code": AudioSpec(
        sample_rate_hz=16_000,
        window_samples=512,
        hop_samples=160,
        amplitude_floor=1e-10,
        top_db=80.0,
        decibels="power",
        resample=False,
    ),
}
"""Log-mel as in the paper's task; at the 16 kHz of its text; and as its released code in fact computes it (top_db is
per clip here, per window there)."""


@dataclass(frozen=True, kw_only=True)
class ShardSpec:
    """How clips are grouped into tars."""

    clips_per_shard: int = 64
    """at most this many clips of one class a shard: the unit of work, retry and resume"""

    def __post_init__(self) -> None:
        check(self.clips_per_shard >= 1, f"clips_per_shard must be 1 or more, not {self.clips_per_shard}.")


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Everything that decides a shard's bytes; its digest is in every done-marker."""

    video: VideoSpec = field(default_factory=VideoSpec)
    audio: AudioSpec = field(default_factory=AudioSpec)
    shards: ShardSpec = field(default_factory=ShardSpec)
    decoder: str = "pyav"
    """`pyav`, `decord`, `ffmpeg`, or `auto`: pyav, then ffmpeg for what pyav cannot read"""

    def __post_init__(self) -> None:
        check(
            self.decoder in ("pyav", "decord", "ffmpeg", "auto"),
            f"decoder must be pyav, decord, ffmpeg or auto, not {self.decoder!r}.",
        )


def build_config(*, logmel_preset: str = "paper", **settings: Any) -> BuildConfig:
    """The BuildConfig of settings by their own names, such as `frame_size=64, clips_per_shard=32`.

    Settings of the log-mel that are None or not given are those of the preset. Errors: UserError for values out of
    range; TypeError for a name that no config has.
    """
    check(logmel_preset in LOGMEL_PRESETS, f"logmel_preset must be one of {', '.join(LOGMEL_PRESETS)}.")

    def taken(kind: Any) -> dict[str, Any]:
        names = [one.name for one in fields(kind) if one.name in settings]
        values = {name: settings.pop(name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    return BuildConfig(
        video=VideoSpec(**taken(VideoSpec)),
        audio=replace(LOGMEL_PRESETS[logmel_preset], **taken(AudioSpec)),
        shards=ShardSpec(**taken(ShardSpec)),
        **settings,
    )


def stored_config(config: BuildConfig) -> dict[str, Any]:
    """A BuildConfig as JSON values, as plan/build.json has it.

    A `downmix` of swresample is left out: so the digest is that of a dataset from before the setting.
    """
    values = to_dict(config)
    if config.audio.downmix == FIRST_DOWNMIX:
        del values["audio"]["downmix"]
    return values


def config_of(stored: Mapping[str, Any]) -> BuildConfig:
    """The BuildConfig of `stored_config`'s values, or of an older dataset's."""
    return BuildConfig(
        video=VideoSpec(**stored["video"]),
        audio=AudioSpec(**named_downmix(stored["audio"])),
        shards=ShardSpec(**stored["shards"]),
        decoder=stored["decoder"],
    )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one clip may cost before it is given up.

    Not part of a build's digest: a re-run with --retry-failed may raise them.
    """

    deadline_seconds: float = 120.0
    """wall-clock time for one clip"""
    memory_bytes: int = 1_500_000_000
    """address space of a decoding process above what the calling script's own imports map (decoders map 0.5 GB)"""
    max_pixels: int = 4096 * 2304
    """pixels of one source picture"""
    max_clip_seconds: float = 300.0
    """duration of a clip after cutting; a longer one needs more memory_bytes at 112 px"""
    max_file_bytes: int = 4_000_000_000
    """size of a source file"""

    def __post_init__(self) -> None:
        check(self.deadline_seconds > 0, "deadline_seconds must be above 0.")
        check(self.memory_bytes >= 1_000_000_000, "memory_bytes must be 1000000000 or more: the decoders map 0.5 GB.")
