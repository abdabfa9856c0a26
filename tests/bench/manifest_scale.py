"""Seconds and peak memory of each step of a build whose clips are all done, each step in a process of its own.

    python -m tests.bench.manifest_scale [ROWS] [csv|jsonl|parquet]

Tars are sparse files of the size that 10 s clips of 112 px have; markers hold what real ones hold. The bounds of
200,000 rows are 20 s on two cores and 500 MB, for the whole command. "nothing" is the cost of the interpreter
and our imports; the last figure of a line is what a clip adds to that. For verify all tars are cut short: it reads
all it would read but them, and finds each of them wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from avprep import schema
from avprep.build.run import Prepared, prepare
from avprep.build.shards import write_plan
from avprep.config import BuildConfig
from avprep.manifest.read_write import Clip, write_manifest, write_parquet

CLASSES, FRAMES, FRAME_BYTES, MEL_FRAMES, MEL_BANDS = 309, 160, 112 * 112 * 3, 1001, 128

BEGIN = """
import atexit, pathlib, sys, time
def tell(begin=time.perf_counter()):
    line = next(x for x in pathlib.Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    print(time.perf_counter() - begin, time.process_time(), line.split()[1])
atexit.register(tell)
import avprep.build.run, avprep.verify.dataset
from avprep.build.run import *
from avprep.build.run import _write_plan
manifest, out = map(pathlib.Path, sys.argv.pop().split(":"))
"""
COMMAND = "from avprep.cli import main; main()"
RECHECK = """
prepared = prepare(manifest, BuildConfig())
assert all(is_done(out, shard, prepared.digest_of(shard)) for shard in prepared.planned)
"""
EXAMINE = """
clips = read_manifest(manifest)
found = examine(clips, np.ones(len(clips), bool), manifest.parent)
assert found.lines(), "no file is there"
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
    write_plan(out / schema.PLAN_BUILD, prepared.plan, prepared.planned)
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
        marker = {
            "format": schema.FORMAT,
            "config_digest": prepared.digest_of(shard),
            "shard": shard.path,
            "bytes": end,
        }
        marker |= {"sha256": "0" * 64, "clips": clips, "failures": []}
        marker["logmel"] = {"frames": MEL_FRAMES * len(clips)} | sums
        path = out / schema.marker_path(shard.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(marker, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        with open(out / shard.path, "wb") as tar:
            tar.truncate(end)


def peak_bytes(script: str, manifest: Path, out: Path, *arguments: str, code: int = 0) -> tuple[int, float, float]:
    """(peak memory, seconds, those of them computing) of a process that runs `script`, or an avprep command."""
    command = [sys.executable, "-c", BEGIN + script, *arguments, f"{manifest}:{out}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == code, done.stdout
    seconds, computing, peak = done.stdout.splitlines()[-1].split()
    return int(peak) * 1024, float(seconds), float(computing)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    suffix = sys.argv[2] if len(sys.argv) > 2 else "csv"
    with tempfile.TemporaryDirectory() as folder:
        manifest, out, other = Path(folder) / f"m.{suffix}", Path(folder) / "out", Path(folder) / "other"
        forge_manifest(manifest, rows)
        prepared = prepare(manifest, BuildConfig())
        print(f"{rows} rows of {suffix}, {len(prepared.planned)} shards")
        forge_shards(out, prepared)
        base, _, _ = peak_bytes("", manifest, out)

        def tell(name: str, script: str, *arguments: str, code: int = 0) -> None:
            peak, seconds, computing = peak_bytes(script, manifest, out, *arguments, code=code)
            print(
                f"{name:34} {seconds:6.1f} s, {computing:6.1f} s of them computing, {peak / 1e6:5.0f} MB, "
                f"{(peak - base) / rows:4.0f} bytes a clip",
                flush=True,
            )

        build = ["build-shards", str(manifest), "--out"]
        tell("nothing", "")
        tell("manifest read and checked", "read_manifest(manifest)")
        tell("prepared: read, planned, digest", "prepare(manifest, BuildConfig())")
        tell("prepared, all shards looked at", RECHECK)
        tell("looking for all files, in vain", EXAMINE)
        tell("plan written", "_write_plan(Path(sys.argv[1]), prepare(manifest, BuildConfig()))", str(other))
        tell("build-shards, nothing to build", COMMAND, *build, str(out))
        tell("build-shards of partition 1/4", COMMAND, *build, str(out), "--partition", "1/4")
        tell("finalize", COMMAND, "finalize", str(out))
        for shard in prepared.planned:
            os.truncate(out / shard.path, 10_240)
        tell("verify", COMMAND, "verify", str(out), code=1)


if __name__ == "__main__":
    main()
