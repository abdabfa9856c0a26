"""JPEGs of a batch that stay encoded until the batch moves to its device, where torchvision decodes them (nvJPEG).

`--jpeg-decoder device` alone. nvJPEG repeats each sample of the colours, which JPEGs store at half size, where
libjpeg-turbo interpolates between them: pictures are alike, and not equal.
"""

from __future__ import annotations

import numpy as np
import torch

from avprep.dataset import Dataset, repair
from avprep.shared.errors import UserError, first_line

DECODES_ON = ("cuda",)
"""kinds of devices that `--jpeg-decoder device` is for; tests have it on a CPU"""
SHORTEST_BYTES = 4


def check_decoder(decoder: str, dataset: Dataset, device: str) -> None:
    """Raise UserError where JPEGs of `dataset` cannot be decoded by the `decoder` that is chosen."""
    if decoder == "cpu":
        return
    if dataset.frame_codec != "jpeg":
        raise UserError(f"--jpeg-decoder device decodes JPEGs, and {dataset.folder} has raw pictures; leave it out.")
    if torch.device(device).type not in DECODES_ON:
        raise UserError(
            f"--jpeg-decoder device decodes on a GPU, and this is to run on {device}; leave it out, or choose a GPU "
            "with --device."
        )
    import simplejpeg

    grey = simplejpeg.encode_jpeg(np.full((8, 8, 3), 128, np.uint8), 85, "RGB", "420")
    try:
        _decoded([torch.frombuffer(bytearray(grey), dtype=torch.uint8)], torch.device(device))
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"--jpeg-decoder device cannot be used here: {first_line(error)}. Leave it out, or install torchvision "
            "0.20 or later for CUDA."
        ) from None


def damaged(dataset: Dataset, row: int, why: object) -> UserError:
    """The error of a picture that cannot be decoded."""
    shard = dataset.shard_path(row)
    return UserError(f"{shard} holds a damaged picture of clip {dataset.clip_ids[row]} ({why}); {repair(shard)}.")


class EncodedPictures:
    """JPEGs of a batch of windows of `num_frames` pictures, in memory that is used again: those read last.

    A window longer than its clip is padded as by the Reader.
    """

    def __init__(self, dataset: Dataset, num_frames: int) -> None:
        self._dataset, self.num_frames = dataset, num_frames
        self._bytes = np.empty(0, np.uint8)
        self._sizes = np.zeros(0, np.int64)
        """bytes of each JPEG that was read, in order"""
        self._wanted = np.zeros(0, np.int64)
        """which of them are pictures of the windows"""
        self._rows = np.zeros(0, np.int64)
        """of the dataset, one for each of these"""
        self._sources = np.zeros((0, num_frames), np.int64)
        """which of these each picture [B, T] is; -1: none"""

    def room(self, num_bytes: int) -> np.ndarray:
        """Memory for so many bytes, uint8, to read JPEGs into."""
        if num_bytes > len(self._bytes):
            self._bytes = np.empty(int(num_bytes * 1.25), np.uint8)
        return self._bytes

    def set(self, rows: np.ndarray, have: np.ndarray, sizes: list[np.ndarray], stride: int) -> None:
        """Take over what has been read: JPEGs of `sizes` for each of `rows`, every `stride`-th of them a picture.

        `have` [B] is how many pictures that are, for each.

        Errors: UserError naming shard and clip of one that does not begin and end as a JPEG does.
        """
        firsts = np.cumsum([0, *(len(each) for each in sizes)])[:-1]
        self._sizes = np.concatenate([np.zeros(0, np.int64), *sizes])
        chosen = [first + np.arange(0, len(each), stride) for first, each in zip(firsts, sizes, strict=True)]
        self._wanted = np.concatenate([np.zeros(0, np.int64), *chosen])
        self._rows = np.repeat(rows, have)
        own = np.minimum(np.arange(self.num_frames), have[:, None] - 1)
        self._sources = np.where(own >= 0, (np.cumsum(have) - have)[:, None] + own, -1)
        self.check_ends()

    def check_ends(self) -> None:
        """Raise UserError for a JPEG that is cut: a decoder may fill the rest of it with grey, without a word."""
        ends = np.cumsum(self._sizes)[self._wanted]
        sizes = self._sizes[self._wanted]
        whole = sizes >= SHORTEST_BYTES
        begins = np.where(whole, ends - sizes, 0)
        for position, marker in ((begins, (0xFF, 0xD8)), (np.where(whole, ends - 2, 0), (0xFF, 0xD9))):
            for offset, value in enumerate(marker):
                whole &= self._bytes[position + offset] == value
        if not whole.all():
            row = int(self._rows[np.argmin(whole)])
            raise damaged(self._dataset, row, "it does not begin and end as a JPEG does")

    def jpegs(self) -> list[torch.Tensor]:
        """Each JPEG that the windows have, uint8 [bytes]: views of the memory that was read into."""
        every = torch.from_numpy(self._bytes[: self._sizes.sum()]).split(self._sizes.tolist())
        return [every[number] for number in self._wanted.tolist()]

    def decoded(self, device: torch.device) -> torch.Tensor:
        """Pictures uint8 [B, T, H, W, 3] on the device. The bytes may be overwritten afterwards.

        Errors: UserError naming shard and clip of a picture that is damaged or of another size.
        """
        size = self._dataset.frame_size
        blank = torch.zeros((3, size, size), dtype=torch.uint8, device=device)
        pictures = [*self._pictures(device), blank]  # -1: the last one
        for picture, row in zip(pictures, self._rows, strict=False):
            if picture.shape != blank.shape:
                _, height, width = picture.shape
                raise damaged(self._dataset, int(row), f"a picture of {width}x{height} pixels where {size} are due")
        if not len(self._sources):
            return blank.new_empty((0, self.num_frames, size, size, 3))
        stacked = torch.stack([pictures[source] for source in self._sources.ravel().tolist()])
        return stacked.unflatten(0, self._sources.shape).permute(0, 1, 3, 4, 2).contiguous()

    def _pictures(self, device: torch.device) -> list[torch.Tensor]:
        """Each JPEG that the windows have, uint8 [3, H, W] on the device."""
        if not len(self._wanted):
            return []
        wanted = self.jpegs()
        if device.type == "cuda":
            # the decoder has a stream of its own, which waits for nothing: memory that it gets must be out of use
            torch.cuda.current_stream(device).synchronize()
        try:
            return _decoded(wanted, device)
        except RuntimeError:
            for data, row in zip(wanted, self._rows.tolist(), strict=True):
                try:
                    _decoded([data], device)
                except RuntimeError as own:
                    raise damaged(self._dataset, row, first_line(own)) from None
            raise


def _decoded(jpegs: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Pictures uint8 [3, H, W] of JPEGs on the device. Errors: RuntimeError where one cannot be decoded."""
    from torchvision.io import ImageReadMode, decode_jpeg

    return decode_jpeg(jpegs, ImageReadMode.RGB, device)
