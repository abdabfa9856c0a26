"""Seconds and peak memory of a build whose 200,000 clips are all done: manifest read, planned, re-checked, finalized.

    python tests/bench/manifest_scale.py [ROWS] [csv|jsonl|parquet]

Tars are sparse files of the size that 10 s clips of 112 px have; markers hold what real ones hold. The bound of the
issue is 20 s on two cores and 500 MB. The build runs as a command of its own; its stages are timed beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avprep import schema
from avprep.build import Prepared, prepare
from avprep.config import BuildConfig
from avprep.finalize import finalize
from avprep.manifest import Clip, read_manifest, write_manifest, write_parquet
from avprep.shards import is_done
from avprep.shared import store

CLASSES, FRAMES, FRAME_BYTES, MEL_FRAMES, MEL_BANDS = 309, 160, 112 * 112 * 3, 1001, 128

COMMAND = """
import atexit, pathlib
from avprep.cli import main
peak = lambda: next(x for x in pathlib.Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
atexit.register(lambda: print(peak()))
main()
"""


def forge_manifest(path: Path, rows: int, seed: int = 0) -> None:
    """A manifest like VGGSound's: unequal classes, 11-letter ids, a twelfth for test."""
    draw = np.random.default_rng(seed)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
    ids = ["".join(row) for row in letters[draw.integers(0, len(letters), (rows, 11))]]
    labels = np.minimum(draw.exponential(CLASSES / 3, rows).astype(int), CLASSES - 1)
    clips = [
        Clip(f"{name}_{row:06d}", f"class {label}, some sound", "test" if row % 12 == 0 else "train",
             f"videos/{name}_{row:06d}.mp4", group=name)
        for row, (name, label) in enumerate(zip(ids, labels, strict=True))
    ]  # fmt: skip
    write_manifest(path, clips)


def forge_shards(out: Path, prepared: Prepared) -> None:
    """Plan, sparse tars and markers of a build in which every clip was good."""
    (out / schema.PLAN_MANIFEST).parent.mkdir(parents=True)
    write_parquet(out / schema.PLAN_MANIFEST, prepared.clips)
    store.write_json(out / schema.PLAN_BUILD, prepared.plan)
    sums = {"sum": [-41.123456789] * MEL_BANDS, "sum_of_squares": [2000.123456789] * MEL_BANDS}
    for shard in prepared.planned:
        clips, end = [], 0
        for row in shard.rows:
            clip_id = prepared.clips[row].clip_id
            record: dict[str, Any] = {"row": row, "clip_id": clip_id, "key": schema.clip_key(clip_id)}
            record |= {"frames_offset": end + 640, "frames_bytes": FRAMES * FRAME_BYTES, "num_frames": FRAMES}
            end += 640 + FRAMES * FRAME_BYTES
            record |= {"logmel_offset": end + 640, "num_mel_frames": MEL_FRAMES, "duration_seconds": 10.005}
            end += 640 + MEL_FRAMES * MEL_BANDS * 2 + 1024
            clips.append(record | {"av_offset_seconds": 0.0123})
        marker = {"format": schema.FORMAT, "config_digest": prepared.digest, "shard": shard.path, "bytes": end}
        marker |= {"sha256": "0" * 64, "clips": clips, "failures": []}
        marker["logmel"] = {"frames": MEL_FRAMES * len(clips)} | sums
        path = out / schema.marker_path(shard.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(marker, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        with open(out / shard.path, "wb") as tar:
            tar.truncate(end)


def _timed(name: str, work: Callable[[], Any]) -> Any:
    begin, used = time.perf_counter(), time.process_time()
    result = work()
    print(f"  {name}: {time.perf_counter() - begin:.2f} s, {time.process_time() - used:.2f} s of them computing")
    return result


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    suffix = sys.argv[2] if len(sys.argv) > 2 else "csv"
    with tempfile.TemporaryDirectory() as folder:
        manifest, out = Path(folder) / f"m.{suffix}", Path(folder) / "out"
        forge_manifest(manifest, rows)
        prepared = prepare(manifest, BuildConfig())
        print(f"{rows} rows of {suffix}, {len(prepared.planned)} shards; stages in this process:")
        forge_shards(out, prepared)
        _timed("read_manifest", lambda: read_manifest(manifest))
        _timed("prepare (read, plan, digest)", lambda: prepare(manifest, BuildConfig()))
        _timed("is_done of all", lambda: [is_done(out, shard, prepared.digest) for shard in prepared.planned])
        _timed("finalize", lambda: finalize(out))
        for turn in ("first", "second"):
            begin, used = time.perf_counter(), os.times()
            command = [sys.executable, "-c", COMMAND, "build-shards", str(manifest), "--out", str(out)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            computing = sum(os.times()[2:4]) - sum(used[2:4])
            print(
                f"build-shards, {turn} time: {time.perf_counter() - begin:.2f} s, {computing:.2f} s of them computing"
            )
            print(f"  {done.stdout.splitlines()[-1]}")


if __name__ == "__main__":
    main()
