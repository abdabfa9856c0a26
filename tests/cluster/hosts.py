"""Hosts on this machine: each with a network, a name and processes of its own, joined by a cable that can be pulled.

All of it lives in namespaces below a user namespace, so that it needs no root and is gone with the processes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("unshare", "nsenter", "ip")
APART = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
TRIAL = "mount -t tmpfs none /run && ip netns add trial && ip link add one type veth peer name two"
# What a kernel says that has no namespaces or cables of this kind, or allows this user none.
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.ENOSPC, errno.EOPNOTSUPP)
UNKNOWN = "Unknown device type"
START_SECONDS = 20
NAMES = ("host0", "host1")
CABLE = """
set -e
mount -t tmpfs none /run
for name in host0 host1; do ip netns add $name; ip -n $name link set lo up; done
ip link add eth0 netns host0 type veth peer name eth0 netns host1
for number in 0 1; do
    ip -n host$number address add 10.0.0.$((number + 1))/24 dev eth0
    ip -n host$number link set eth0 up
done
"""
# A host begins: its name and those of all, then a command as the first of its processes, with which all others end.
BEGIN = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'


@dataclass(frozen=True)
class Hosts:
    """host0 and host1 and the cable between them."""

    inside: list[str]
    """the words before a command that runs where both hosts can be reached from without"""
    names: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, number: int, command: list[str], environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Switch host `number` on, to run a command; killing what is returned switches it off."""
        own = ["ip", "netns", "exec", NAMES[number]]
        own += ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        own += ["sh", "-c", BEGIN, "begin", NAMES[number], str(self.names)]
        with open(log, "ab") as file:
            self.started.append(subprocess.Popen([*self.inside, *own, *command], env=environ, stdout=file, stderr=file))
        return self.started[-1]

    def cable(self, number: int, state: str) -> None:
        """Pull the cable out of a host ('down') or put it in again ('up')."""
        subprocess.run([*self.inside, "ip", "-n", NAMES[number], "link", "set", "eth0", state], check=True)


def lacking() -> str:
    """Why this machine can have no such hosts; empty where it can. Errors: RuntimeError where it is not clear."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    environ = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run([*APART, "sh", "-c", TRIAL], env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    known = (*map(os.strerror, REFUSALS), UNKNOWN)
    if not any(words.lower() in done.stderr.lower() for words in known):
        raise RuntimeError(done.stderr)
    return done.stderr.strip()


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts]:
    """Two hosts, switched off. Errors: RuntimeError where they cannot be had, of which lacking() may know why."""
    names = folder / "hosts"
    names.write_text("127.0.0.1 localhost\n10.0.0.1 host0\n10.0.0.2 host1\n")
    with subprocess.Popen([*APART, "sleep", "infinity"], stderr=subprocess.PIPE, text=True) as holder:
        try:
            limit = time.monotonic() + START_SECONDS
            while Path(f"/proc/{holder.pid}/comm").read_text() != "sleep\n":
                if holder.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError(
                        holder.communicate()[1] if holder.poll() is not None else "unshare does not answer"
                    )
                time.sleep(0.01)
            inside = ["nsenter", f"--target={holder.pid}", "--user", "--net", "--mount", "--preserve-credentials"]
            done = subprocess.run([*inside, "sh", "-c", CABLE], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
            hosts = Hosts(inside, names)
            try:
                yield hosts
            finally:
                for process in hosts.started:
                    process.kill()
                    process.wait()
        finally:
            holder.kill()
