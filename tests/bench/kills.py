"""Twenty kill -9 of one build, resumed each time; then one worker, Ray and three partitions: all byte-identical?

python -m tests.bench.kills GRID.csv    (any manifest of a few hundred short clips)
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.prep.killing import campaign, repeated
from tests.prep.test_build import start, tree


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = repeated(arguments.manifest, folder / "clips.csv", arguments.repeat)
        whole = _built(manifest, folder / "whole")
        for options in (["--workers", "1"], ["--executor", "ray"]):
            same = _built(manifest, folder / "other", *options) == whole
            print(f"{' '.join(options)}: {'byte-identical' if same else 'OTHER BYTES'}", flush=True)
            subprocess.run(["rm", "-r", str(folder / "other")], check=True)
        for part in (2, 0, 1):
            _built(manifest, folder / "parts", "--partition", f"{part}/3")
        subprocess.run([sys.executable, "-c", FINALIZE, "finalize", str(folder / "parts")], check=True)
        print(f"3 partitions: {'byte-identical' if tree(folder / 'parts') == whole else 'OTHER BYTES'}", flush=True)
        begin = time.monotonic()
        hits = campaign(manifest, folder / "killed", arguments.kills, arguments.seed, [])
        same = tree(folder / "killed") == whole
        print(f"{dict(hits)} in {time.monotonic() - begin:.0f} s: {'byte-identical' if same else 'OTHER BYTES'}")


FINALIZE = "from avprep.cli import main; main()"


def _built(manifest: Path, out: Path, *options: str) -> dict[str, bytes]:
    process = start(manifest, out, *options)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(errors)
    return tree(out)


if __name__ == "__main__":
    main()
