"""Speed of `avprep verify` against bare hashing: the same bytes, the same threads, nothing else done with them.

    python tests/bench/verify.py DIR [THREADS]

Both run in turn, in this process, on a dataset in the page cache; 5 rounds after one to warm up, medians.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from avprep.verify.dataset import verify
from avprep.verify.tar import BLOCK_BYTES


def hash_file(path: Path) -> str:
    """sha256 of a file, read into one buffer of the size that verify uses."""
    digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def hash_all(folder: Path, threads: int) -> None:
    """Hash all shards."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(hash_file, sorted(folder.glob("shards/*/*/*.tar"))))


def check(folder: Path, threads: int) -> None:
    """Verify, which must find nothing."""
    found = verify(folder, threads, quiet=True)
    if found.problems:
        raise SystemExit("\n".join(found.problems))


def seconds(work: Callable[[Path, int], None], folder: Path, threads: int) -> float:
    begin = time.perf_counter()
    work(folder, threads)
    return time.perf_counter() - begin


if __name__ == "__main__":
    folder, threads = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2
    size = sum(path.stat().st_size for path in folder.glob("shards/*/*/*.tar"))
    rounds = [(seconds(hash_all, folder, threads), seconds(check, folder, threads)) for _ in range(6)][1:]
    bare, whole = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(
        f"{size / 1e9:.2f} GB, {threads} threads: hashing {size / bare / 1e9:.2f} GB/s, "
        f"verify {size / whole / 1e9:.2f} GB/s, {bare / whole:.2f} of it"
    )
