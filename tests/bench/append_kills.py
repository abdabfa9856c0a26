"""Twenty kill -9 of one append at random moments: after each, is it the old dataset or the new one, and nothing else?

python -m tests.bench.append_kills GRID.csv    (any manifest of two or more short clips: the second half is appended)
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.dataset import Dataset
from avprep.manifest.read_write import read_manifest, write_manifest
from tests.prep.killing import append_campaign, repeated

CONFIG = BuildConfig(video=VideoSpec(frame_size=48), shards=ShardSpec(clips_per_shard=4))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = read_manifest(repeated(arguments.manifest, folder / "both.csv", 1))
        half = len(clips) // 2
        write_manifest(folder / "old.csv", clips[:half])
        write_manifest(folder / "new.csv", clips[half:])
        build_shards(folder / "old.csv", folder / "old", CONFIG, Limits())
        build_shards(folder / "both.csv", folder / "whole", CONFIG, Limits())
        begin = time.monotonic()
        left = append_campaign(folder / "old", folder / "new.csv", folder / "grown", arguments.kills, arguments.seed)
        seconds = time.monotonic() - begin
        same = _arrays(folder / "grown") == _arrays(folder / "whole")
        print(
            f"{half} clips and {len(clips) - half} more, {left.total()} kills in {seconds:.0f} s left {dict(left)}; "
            f"in the end {'the arrays of one build' if same else 'OTHER ARRAYS'}"
        )


def _arrays(folder: Path) -> dict[str, tuple[bytes, bytes]]:
    dataset = Dataset(folder)
    wholes = ((name, dataset.read_clip(row)) for row, name in enumerate(dataset.clip_ids))
    return {
        name: (b"" if whole.frames is None else whole.frames.tobytes(), whole.logmel.tobytes())
        for name, whole in wholes
    }


if __name__ == "__main__":
    main()
