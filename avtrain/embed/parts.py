"""Embeddings by several processes: each embeds parts of the clips into files of its own, which are read in order."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch
from safetensors.torch import save_file

from avprep.shared import configs, store
from avprep.shared.side_by_side import SideBySide, map_parts, own_device
from avtrain.devices import set_threads, usable_cores
from avtrain.embed.clips import Chosen
from avtrain.embed.rows import Made, made_of, schema_of
from avtrain.inference.description import DESCRIPTION, FORMAT
from avtrain.inference.encoder import AudioEncoder, load_encoder
from avtrain.inference.video_encoder import VideoEncoder, load_video_encoder

PACKAGES = ("numpy", "torch", "torchvision")


@dataclass(frozen=True)
class Work:
    """Embeds some clips wherever it is called, by the encoder in `folder`, where the answer is put as well."""

    folder: Path
    side: str
    device: str
    threads: int | None
    window_seconds: float | None
    frame_level: bool
    workers: int

    def __call__(self, clips: Chosen) -> tuple[Path, list[dict[str, str]]]:
        """(a file with a batch of rows for each clip, those left out); a try that is killed leaves a file of no use.

        Errors: UserError.
        """
        encoder = _encoder(self.folder, self.side, own_device(self.device), self.threads)
        path, failures = self.folder / f"{secrets.token_hex(8)}.arrow", []
        schema = schema_of(encoder, self.frame_level)
        media = clips.clips(encoder.description, self.workers)
        with store.refusals_reported(path), pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as out:
            for made in made_of(encoder, media, self.window_seconds, self.frame_level):
                if isinstance(made, dict):
                    failures.append(made)
                else:
                    out.write_table(made)
        return path, failures


@functools.lru_cache(1)
def _encoder(folder: Path, side: str, device: str, threads: int | None) -> AudioEncoder | VideoEncoder:
    """The encoder of a process that embeds parts."""
    set_threads(threads)
    return load_encoder(folder, device) if side == "audio" else load_video_encoder(folder, device)


def made_by_parts(
    encoder: AudioEncoder | VideoEncoder,
    chosen: Chosen,
    out: Path,
    how: SideBySide,
    *,
    device: str,
    threads: int | None,
    window_seconds: float | None,
    frame_level: bool,
    workers: int | None,
    stopping: Callable[[], bool],
) -> Generator[Made, None, None]:
    """As made_of, but that of each part the clips left out come first; by the processes of `how`, each on `device`.

    Encoder and parts are in a folder beside `out`, gone in the end. One that a killed command has left goes first: only
    who writes `out` is here.
    """
    folder = out.absolute().with_name(f".{out.name}.parts")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with store.refusals_reported(folder):
            folder.mkdir()
            description = encoder.description
            tensors = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
            save_file(tensors, folder / description.file("safetensors"))
            store.write_json(folder / DESCRIPTION, {"format": FORMAT, **configs.to_dict(description)})
        work = Work(
            folder,
            description.side,
            device,
            threads or how.share_of(torch.get_num_threads()),
            window_seconds,
            frame_level,
            how.share_of(workers or usable_cores()),
        )
        parts = [chosen.part(some) for some in how.parts_of(len(chosen))]
        answers = map_parts(work, parts, how, stopping, device=device, packages=PACKAGES)
        with contextlib.closing(answers):
            for path, failures in answers:
                yield from failures
                with pa.OSFile(str(path), "rb") as file:
                    batches = pa.ipc.open_file(file)
                    for number in range(batches.num_record_batches):
                        yield pa.Table.from_batches([batches.get_batch(number)])
                path.unlink()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
