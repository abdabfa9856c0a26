"""JPEGs decoded by the device (nvJPEG on a card) and by simplejpeg on threads: how alike they are, and how fast.

nvJPEG takes the nearest sample of colours that are stored at half size. simplejpeg does so too if asked; avtrain asks
it to interpolate. A CPU has torchvision's own decoder in the place of nvJPEG.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.data.device_copies import copies_to
from avtrain.data.encoded import EncodedPictures
from avtrain.data.loader import Loader
from avtrain.data.plans import training_table
from avtrain.data.reader import Reader
from avtrain.sampling import Random
from tests.gpu.bench import Bench
from tests.gpu.rows import FAIL, PASS, Row, holds, measured

MOST_LEVELS = 2.0
CLIPS, FRAMES = 4, 8


def jpegs(bench: Bench) -> Iterator[Row]:
    """How far pictures are apart; whether damage is seen; pairs a second of a loader by either decoder."""
    dataset = Dataset(bench.jpeg)
    rows = np.arange(min(CLIPS, len(dataset)))
    encoded, starts = EncodedPictures(dataset, FRAMES), np.zeros(len(rows), np.int64)
    interpolated = np.empty((len(rows), FRAMES, dataset.frame_size, dataset.frame_size, 3), np.uint8)
    with Reader(dataset) as reader:
        reader.read_frames(rows, starts, interpolated)
        reader.read_frames(rows, starts, encoded)
    yield _apart(bench, encoded, interpolated)
    yield _cut(encoded, dataset.clip_ids[0])
    yield _corrupt(bench, encoded)
    for name, on_device in (("simplejpeg", False), ("the device", True)):
        yield _rate(bench, dataset, name, on_device)


def _apart(bench: Bench, encoded: EncodedPictures, interpolated: np.ndarray) -> Row:
    """Mean levels between the device's pictures and simplejpeg's, by either way with colours; the nearer counts."""
    import simplejpeg

    found = encoded.decoded(torch.device(bench.device)).cpu().numpy().astype(int)
    data = [jpeg.numpy().tobytes() for jpeg in encoded.jpegs()]
    nearest = np.stack([simplejpeg.decode_jpeg(each, "RGB", fastupsample=True) for each in data]).reshape(found.shape)
    mean = {
        name: float(np.abs(found - wanted).mean())
        for name, wanted in (("interpolated", interpolated), ("nearest", nearest))
    }
    state = PASS if min(mean.values()) <= MOST_LEVELS else FAIL
    value = ", ".join(f"{levels:.2f} levels from {name} colours" for name, levels in mean.items())
    return Row("pictures decoded on the device, of noise", state, value, f"one <= {MOST_LEVELS:g}", mean)


def _cut(encoded: EncodedPictures, clip: str) -> Row:
    """A JPEG without its end, amid others that are whole."""
    data = encoded.jpegs()[1]
    kept = data[-2:].clone()
    data[-2:] = 0
    try:
        encoded.check_ends()
        return holds("a cut JPEG is refused", False, "it is not seen")
    except UserError as error:
        named = f"a damaged picture of clip {clip} " in str(error)
        return holds("a cut JPEG is refused", named, "its clip is named" if named else str(error))
    finally:
        data[-2:] = kept


def _corrupt(bench: Bench, encoded: EncodedPictures) -> Row:
    """Whether zeros within a JPEG are seen, which simplejpeg refuses; a decoder may also make a picture of them."""
    data = encoded.jpegs()[1]
    middle = slice(len(data) // 2, len(data) // 2 + 64)
    kept = data[middle].clone()
    data[middle] = 0
    try:
        encoded.decoded(torch.device(bench.device))
        return measured("zeros within a JPEG", "decoded without an error", seen=False)
    except UserError:
        return measured("zeros within a JPEG", "refused", seen=True)
    finally:
        data[middle] = kept


def _rate(bench: Bench, dataset: Dataset, name: str, on_device: bool) -> Row:
    """Pairs a second of a loader whose batches come on the device, and that has nothing else to wait for."""
    count = 5 * bench.size.updates  # many more than are read ahead
    loader = Loader(
        dataset,
        training_table(dataset),
        Random(),
        batch_size=min(bench.batch_size, bench.size.jpeg_clips),
        epochs=bench.size.warm + count,
        threads=bench.threads,
        pinned=bench.cuda,
        copies=copies_to(bench.device),
        encoded=on_device,
    )
    batches = iter(loader)
    for batch in itertools.islice(batches, bench.size.warm):
        batch.to(bench.device)
    with bench.timed() as seconds:
        pairs = sum(len(batch.to(bench.device).video) for batch in itertools.islice(batches, count))
    batches.close()  # type: ignore[attr-defined]
    rate = pairs / seconds[0]
    value = f"{rate:,.0f} pairs/s, {bench.threads} threads{bench.memory()}"
    return measured(f"loader alone, JPEGs decoded by {name}", value, pairs_per_second=rate)
