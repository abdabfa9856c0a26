"""Shards mapped over threads; nothing here knows what a shard is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_local(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Results of function(item) as they come, `threads` at a time; the first error ends it after the running ones."""
    waiting = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="shard") as pool:
        running = {pool.submit(function, item) for _, item in zip(range(threads), waiting, strict=False)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                running.update(pool.submit(function, item) for _, item in zip(range(1), waiting, strict=False))
