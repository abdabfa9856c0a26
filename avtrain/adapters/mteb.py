"""Encoders of sounds, of pictures and of both by the interface of mteb, registered under a name of their own.

    import mteb
    from avtrain.adapters.mteb import register
    model = mteb.get_model(register("runs/soft", side="both"))

The interface: https://embeddings-benchmark.github.io/mteb/, EncoderProtocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_implementations import MODEL_REGISTRY

from avprep.audio_features import log_mel_of
from avprep.config import VideoSpec
from avprep.media.arrays import stored_pictures
from avprep.shared.errors import UserError
from avtrain.adapters.inputs import log_mels, long_enough, weights_sha256
from avtrain.inference import AudioEncoder, VideoEncoder, load_encoder, load_video_encoder

__all__ = ["MEDIA", "MediaEncoder", "meta_of", "register"]

MEDIA = {"audio": ("audio",), "video": ("video",), "both": ("audio", "video")}
"""what each side takes, as mteb names its modalities"""
PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class Pair:
    """The encoders of a side; None for the one that it does not have."""

    audio: AudioEncoder | None
    video: VideoEncoder | None

    @property
    def all(self) -> list[AudioEncoder | VideoEncoder]:
        """Those that there are."""
        return [one for one in (self.audio, self.video) if one is not None]


def load_pair(run: Path | str, side: str, device: str, weights: str, projection: bool | None) -> Pair:
    """The encoders of a run, a checkpoint or an export for a side of MEDIA; both always with their projection.

    Errors: UserError, also where the run has no such encoder.
    """
    if side not in MEDIA:
        raise UserError(f"There is no side {side!r}; choose from {', '.join(MEDIA)}.")
    projection = True if side == "both" else projection
    return Pair(
        load_encoder(run, device, weights, projection=projection) if "audio" in MEDIA[side] else None,
        load_video_encoder(run, device, weights, projection=projection) if "video" in MEDIA[side] else None,
    )


class MediaEncoder(AbsEncoder):
    """Rows with sound, pictures or both -> vectors; a row with both gets the unit mean of its two unit vectors.

    Sound comes as samples at its own rate, as a decoder or as a path; pictures as a decoder. Both become what the
    encoder was trained on: the sound bit for bit (of two channels to rounding), pictures at its rate and size.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        *,
        device: str | None = None,
        run: str,
        side: str = "audio",
        weights: str = "auto",
        projection: bool | None = None,
        **_further: Any,
    ) -> None:
        self.model_name, self.revision, self.side = model_name, revision, side
        self.encoders = load_pair(run, side, device or "cpu", weights, projection)

    def encode(self, inputs: Any, **_about: Any) -> np.ndarray:
        """Vectors float32 [N, D] of the rows of a data loader, in order."""
        inputs.collate_fn = list
        return np.concatenate([self.vectors(rows) for rows in inputs])

    def vectors(self, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        """Vectors float32 [N, D] of rows with `audio` or `video`, or both. Errors: UserError of a row with neither."""
        sums: list[Any] = [0.0] * len(rows)
        for name, of_media in (("audio", self._of_sounds), ("video", self._of_videos)):
            has = [number for number, row in enumerate(rows) if name in MEDIA[self.side] and row.get(name) is not None]
            for number, vector in zip(has, of_media([rows[number][name] for number in has]), strict=True):
                sums[number] = sums[number] + vector
        if any(isinstance(one, float) for one in sums):
            raise UserError(
                f"A row has no {' and no '.join(MEDIA[self.side])}; choose a task that has, or another --side."
            )
        out = np.stack(sums).astype(np.float32)
        return out / np.linalg.norm(out, axis=1, keepdims=True) if self.side == "both" else out

    def _of_sounds(self, sounds: list[Any]) -> Iterable[np.ndarray]:
        encoder = self.encoders.audio
        assert encoder is not None or not sounds
        if encoder is None:
            return []
        logmels = [long_enough(_log_mel(encoder, sound)[None]) for sound in sounds]
        out: list[np.ndarray | None] = [None] * len(sounds)
        for length in {one.shape[1] for one in logmels}:  # of equal length together: no padding changes a vector
            alike = [number for number, one in enumerate(logmels) if one.shape[1] == length]
            features = encoder.encode(np.concatenate([logmels[number] for number in alike]))
            for number, vector in zip(alike, features, strict=True):
                out[number] = vector
        return [one for one in out if one is not None]

    def _of_videos(self, videos: list[Any]) -> Iterable[np.ndarray]:
        encoder = self.encoders.video
        return [encoder.encode(pictures_of(video, encoder)[None])[0] for video in videos] if encoder else []


def _log_mel(encoder: AudioEncoder, sound: Any) -> np.ndarray:
    """Log-mel [F, M] of a row's sound: a path, or `array` and `sampling_rate`."""
    if isinstance(sound, dict) and sound.get("array") is None:
        if not sound.get("path"):
            raise UserError("A row's sound has neither samples nor a path; cast the column to Audio.")
        return log_mel_of(sound["path"], encoder.description.audio)
    samples, rate_hz = np.asarray(sound["array"]), int(sound["sampling_rate"])
    return log_mels(encoder.description, samples[None], rate_hz)[0]


def pictures_of(video: Any, encoder: VideoEncoder) -> np.ndarray:
    """Pictures uint8 [T, size, size, 3] of a torchcodec decoder, at the encoder's rate: what is shown at each tick."""
    spec = VideoSpec(**encoder.description.video)
    begin, end = float(video.metadata.begin_stream_seconds), float(video.metadata.end_stream_seconds)
    ticks = begin + np.arange(max(int((end - begin) * spec.frame_rate_hz), 1)) / spec.frame_rate_hz
    pieces = []
    for some in np.array_split(ticks, -(-len(ticks) // PICTURES_AT_ONCE)):
        shown = video.get_frames_played_at(some.tolist()).data
        pieces.append(stored_pictures(shown.permute(0, 2, 3, 1).numpy(), spec))
    return np.concatenate(pieces)


def meta_of(
    run: Path | str, side: str = "audio", *, weights: str = "auto", projection: bool | None = None, name: str = ""
) -> ModelMeta:
    """What mteb records of a run, a checkpoint or an export, and how it loads it.

    `name` default: avtrain/RUN-stepN-SIDE. The revision is the start of the weights' digest. Errors: UserError.
    """
    pair = load_pair(run, side, "cpu", weights, projection)
    description = pair.all[0].description
    training = description.training
    own = re.sub(r"[^\w.-]+", "-", f"{training['run']}-step{training['step']}-{side}")
    own += "-projection" if side != "both" and description.projection else ""
    parameters = sum(tensor.numel() for one in pair.all for tensor in one.parameters())
    return ModelMeta(
        loader=MediaEncoder,
        loader_kwargs={"run": str(run), "side": side, "weights": weights, "projection": projection},
        name=name or f"avtrain/{own}",
        revision=weights_sha256(pair.all)[:12],
        release_date=None,
        languages=None,
        n_parameters=parameters,
        n_embedding_parameters=0,
        memory_usage_mb=round(4 * parameters / 2**20, 1),
        max_tokens=None,
        embed_dim=pair.all[0].num_features,
        license=None,
        open_weights=False,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name="cosine",
        use_instructions=False,
        training_datasets=None,
        modalities=list(MEDIA[side]),
    )


def register(run: Path | str, side: str = "audio", **options: Any) -> str:
    """The name under which `mteb.get_model` loads the encoder from now on in this process; options as of `meta_of`."""
    meta = meta_of(run, side, **options)
    assert meta.name is not None
    MODEL_REGISTRY[meta.name] = meta
    return meta.name
