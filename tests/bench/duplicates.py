"""Near duplicates that were planted in rendered clips, how many are reported, and how fast 200,000 rows are compared.

    python -m tests.bench.duplicates [--seed 2] [--originals 64] [--grid DIR] [--rows 200000]

Renders clips of 6 to 10 s (tests/bench/planted.py), every second one twice: re-encoded at a lower bitrate, rescaled,
shifted by 0.2 s or cut to a part. Prints recall and precision over pairs. The default limits were chosen on seed 1;
measure on another. With --grid, clips of GRID (one speaker at one desk: alike in look) get copies as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
from avprep.manifest.clips import Clip
from avprep.manifest.read_write import write_manifest
from avprep.quality.duplicates import KINDS, DuplicatesConfig, near_duplicates, pairs_of
from avprep.quality.near import Hashes
from tests.bench.planted import WAYS, render_copy, render_planted

GRID_SECONDS = 3.0
HASHES_OF_CLIP = 80  # of 10 s


def scores(dataset: Dataset, planted: set[frozenset[str]], config: DuplicatesConfig) -> tuple[float, float, int]:
    """(recall, precision, pairs reported)."""
    result = near_duplicates(dataset, config)
    ids = dataset.clip_ids
    reported = {frozenset((ids[a], ids[b])) for a, b in zip(result.first, result.second, strict=True)}
    both = len(reported & planted)
    return both / len(planted), both / max(1, len(reported)), len(reported)


def grid_copies(grid: Path, folder: Path, clips: int) -> tuple[Path, set[frozenset[str]]]:
    """(manifest, planted pairs) of clips of GRID, each fifth of them there once more."""
    rows, pairs = [], set()
    for number, path in enumerate(sorted(grid.rglob("*.mp4"))[:clips]):
        rows.append(Clip(f"g{number}", path.parent.name, "train", video_path=str(path.resolve()), group=f"g{number}"))
        if number % 5 == 0:
            way = WAYS[number // 5 % len(WAYS)]
            copy = folder / f"g{number}-{way}.mp4"
            render_copy(path, copy, way, GRID_SECONDS, np.random.default_rng(number))
            rows.append(Clip(copy.stem, path.parent.name, "train", video_path=copy.name, group=copy.stem))
            pairs.add(frozenset((f"g{number}", copy.stem)))
    write_manifest(folder / "grid.csv", rows)
    return folder / "grid.csv", pairs


def random_hashes(clips: int, of_clip: int, copies: int, seed: int) -> tuple[Hashes, set[tuple[int, int]]]:
    """(hashes of clips whose bits change slowly, pairs of which one is a copy, shifted and with wrong bits)."""
    draw = np.random.default_rng(seed)
    values = np.empty((clips, of_clip), np.uint64)
    values[:, 0] = _random_bits(draw, clips)
    for position in range(1, of_clip):  # a sixteenth of the bits is drawn anew
        renewed = _random_bits(draw, clips) & _random_bits(draw, clips) & _random_bits(draw, clips)
        renewed &= _random_bits(draw, clips)
        values[:, position] = (values[:, position - 1] & ~renewed) | (_random_bits(draw, clips) & renewed)
    chosen = draw.permutation(clips)[: 2 * copies]
    wrong = np.full((copies, of_clip), np.iinfo(np.uint64).max, np.uint64)
    for _ in range(3):  # an eighth of the bits
        wrong &= _random_bits(draw, copies * of_clip).reshape(copies, of_clip)
    values[chosen[copies:]] = np.roll(values[chosen[:copies]], -2, axis=1) ^ wrong
    pairs = {tuple(sorted(pair)) for pair in zip(chosen[:copies].tolist(), chosen[copies:].tolist(), strict=True)}
    return Hashes(np.arange(clips + 1) * of_clip, values.ravel()), pairs


def _random_bits(draw: np.random.Generator, count: int) -> np.ndarray:
    return draw.integers(0, np.iinfo(np.uint64).max, count, np.uint64, endpoint=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--originals", type=int, default=64)
    parser.add_argument("--grid", type=Path, default=None)
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {"rendered": render_planted(folder / "rendered", arguments.originals, arguments.seed)}
        if arguments.grid is not None:
            (folder / "grid").mkdir()
            sets["GRID"] = grid_copies(arguments.grid, folder / "grid", 150)
        for title, (manifest, planted) in sets.items():
            out = folder / f"{title}-data"
            build_shards(manifest, out, BuildConfig(), Limits(), workers=2, quality=True)
            dataset = Dataset(out)
            for by in KINDS:
                recall, precision, reported = scores(dataset, planted, DuplicatesConfig(by=by))
                print(
                    f"{title}, {len(dataset)} clips, {len(planted)} planted pairs, by {by}: "
                    f"recall {recall:.3f}, precision {precision:.3f} of {reported} reported"
                )
    hashes, planted_rows = random_hashes(arguments.rows, HASHES_OF_CLIP, arguments.rows // 100, arguments.seed)
    begin, wall = time.process_time(), time.perf_counter()
    pairs, _ = pairs_of({"picture": hashes}, DuplicatesConfig(by="pictures"))
    spent, elapsed = time.process_time() - begin, time.perf_counter() - wall
    reported_rows = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    right = len(reported_rows & planted_rows)
    print(
        f"{arguments.rows} rows of {HASHES_OF_CLIP} hashes: {spent:.1f} s of one core, {elapsed:.1f} s elapsed; recall "
        f"{right / len(planted_rows):.3f}, precision {right / max(1, len(reported_rows)):.3f}"
    )


if __name__ == "__main__":
    main()
