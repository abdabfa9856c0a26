"""A campaign of kill -9 against one build: the parent or a single decoder, at random moments, resumed each time.

The moments are a few shards apart, whatever the machine's speed.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from avprep.dataset import Dataset
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avprep.verify.dataset import verify
from tests.prep.test_build import shards_done, start, wait_for_markers
from tests.processes import DECODER, processes_below

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
            below = processes_below(process.pid, DECODER)
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


def append_campaign(old: Path, manifest: Path, folder: Path, kills: int, seed: int) -> Counter[str]:
    """Append `manifest` to a copy of the dataset `old` in `folder` through `kills` kills; what they left, by name.

    The moments are spread over one append that nothing disturbs, and what earlier kills leave in DIR/append shortens
    the next. Errors: AssertionError where a kill leaves neither the old dataset nor the new one, or verify a problem.
    """
    script = "from avprep.cli import main; main()"
    command = [sys.executable, "-c", script, "append", str(folder), str(manifest), "--workers", "1"]

    def begun() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def afresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)

    afresh()
    begin = time.monotonic()
    whole = begun()
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors
    seconds, draw, left = time.monotonic() - begin, random.Random(seed), Counter[str]()
    states = {Dataset(old).digest: "old", Dataset(folder).digest: "new"}
    assert len(states) == 2
    afresh()
    while left.total() < kills:
        process = begun()
        time.sleep(draw.uniform(0, seconds))
        if process.poll() is not None:  # over before its kill
            afresh()
            continue
        process.kill()
        process.communicate()
        problems = verify(folder, 1, quiet=True).problems
        assert not problems, problems
        left[states[Dataset(folder).digest]] += 1
        if left["new"] and states[Dataset(folder).digest] == "new":
            afresh()
    process = begun()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert states[Dataset(folder).digest] == "new"
    return left
