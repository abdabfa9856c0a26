"""A campaign of kill -9 against one build: the parent or a single decoder, at random moments, resumed each time.

The moments are a few shards apart, whatever the machine's speed.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from pathlib import Path

import psutil

from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from tests.prep.test_build import decoders, shards_done, start, wait_for_markers

MOST_SHARDS, LONGEST_SECONDS = 3, 0.1


def repeated(manifest: Path, out: Path, times: int) -> Path:
    """A manifest of the same clips `times` over, so that a build lasts long enough to be killed often."""
    clips = [
        Clip(f"{clip.clip_id}-{number}", clip.label, clip.split, str(manifest.parent / clip.video_path))
        for number in range(times)
        for clip in read_manifest(manifest)
    ]
    write_manifest(out, clips)
    return out


def campaign(manifest: Path, out: Path, kills: int, seed: int, options: list[str]) -> Counter[str]:
    """Build `manifest` into `out` through `kills` kills; how many hit the parent and how many a decoder.

    Errors: AssertionError where a process stays behind, the build ends in an error, or it is over too soon.
    """
    draw = random.Random(seed)
    hits: Counter[str] = Counter()
    while hits.total() < kills:
        process = start(manifest, out, *options)
        while hits.total() < kills:
            wait_for_markers(out, shards_done(out) + draw.randint(1, MOST_SHARDS), process)
            time.sleep(draw.uniform(0, LONGEST_SECONDS))
            assert process.poll() is None, f"over after {hits.total()} kills: {process.communicate()[1]}"
            below = decoders(process)
            if below and draw.random() < 0.5:
                with contextlib.suppress(psutil.NoSuchProcess):
                    draw.choice(below).kill()
                    hits["decoder"] += 1
                continue
            process.kill()
            process.communicate()
            hits["parent"] += 1
            _, alive = psutil.wait_procs(below, timeout=20)
            assert not alive, "a decoder outlived its parent"
            break
        else:
            break  # the last kill was a decoder's: this run goes on to the end
    else:
        process = start(manifest, out, *options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return hits
