"""A function over items as tasks of a Ray cluster; nothing here knows what an item is."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from avprep.shared.errors import Interrupted, UserError
from avprep.shared.signals import STOPPING

RAY_POLL_SECONDS = 0.5
RAY_RETRIES = 5  # of a task whose process or node died
REACH_SECONDS = 10
RAY_TASKS_A_CORE = 2  # queued, so that no core or GPU waits for its next task

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ray(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    cores: int,
    address: str | None,
    stopping: Callable[[], bool],
    gpus: int = 0,
) -> Iterator[Result]:
    """Results of function(item) as they come, from tasks of one core and `gpus` on the Ray cluster at `address`.

    Without an address a local Ray of `cores` is started for the call. A task is run again if its process or node
    dies. Errors: what `function` raises; Interrupted once `stopping()`, the running tasks being cancelled; UserError
    where Ray is missing or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--executor ray needs Ray: pip install 'avprep-avtrain[cluster]'.") from None

    with _own_signals():
        if address:
            _check_reachable(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            alone: dict[str, Any] = {"address": "local", "num_cpus": cores, "include_dashboard": False}
            ray.init(**alone, log_to_driver=False, logging_level=logging.ERROR)
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RAY_RETRIES)(_outcome)
    scarce = "GPU" if gpus else "CPU"
    shared = ray.put(function)
    waiting = iter(items)
    running: set[Any] = set()
    try:
        if scarce not in ray.cluster_resources():
            log.warning("the Ray cluster has no %s; the work waits for a node with one", scarce)
        while True:
            room = RAY_TASKS_A_CORE * int(ray.cluster_resources().get(scarce, 1)) - len(running)
            running.update(task.remote(shared, item) for _, item in zip(range(room), waiting, strict=False))
            if not running:
                return
            done, rest = ray.wait(list(running), num_returns=1, timeout=RAY_POLL_SECONDS)
            running = set(rest)
            if stopping():
                raise Interrupted("the shards in work were discarded; the same command resumes the build")
            for result in ray.get(done):
                if isinstance(result, Exception):
                    raise result
                yield result
    finally:
        for reference in running:
            ray.cancel(reference)
        ray.wait(list(running), num_returns=len(running), timeout=30) if running else None
        ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handlers: ray.init replaces that of SIGTERM by one that exits at once."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    """UserError unless something listens at host:port ('auto' is Ray's to find): Ray itself waits for minutes."""
    host, separator, port = address.rpartition(":")
    if not separator:
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(f"No Ray cluster answers at {address} ({error}).") from None


def _outcome(function: Callable[[Any], Any], item: Any) -> Any:
    """On a cluster's node: the result of function(item), or the user error that it raised."""
    try:
        return function(item)
    except UserError as error:
        return error
