"""A SLURM of two nodes on this machine: munged, slurmctld and two slurmds, without systemd, cgroups or root's settings.

    apt-get install slurm-wlm munge
    python -m tests.cluster.slurm FOLDER COMMAND...   # with it; FOLDER takes its state and logs

The nodes are called 127.0.0.1 and 127.0.0.2, so that their names lead somewhere without /etc/hosts. Memory is not held
against jobs.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
NODES = ("127.0.0.1", "127.0.0.2")
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 60, 60, 0.3
# A requeued job waits as long as a job step's credential is valid, usually two minutes.
CREDENTIAL_SECONDS = 5
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={expire}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=15
MailProg=/bin/true
NodeName={nodes[0]} NodeAddr={nodes[0]} NodeHostname={host} Port={ports[1]} CPUs=2 RealMemory=1000000
NodeName={nodes[1]} NodeAddr={nodes[1]} NodeHostname={host} Port={ports[2]} CPUs=2 RealMemory=1000000
PartitionName=all Nodes=ALL Default=YES State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster: `environ` leads its commands there."""

    environ: dict[str, str]
    folder: Path

    def call(self, *words: object) -> str:
        """What a command prints. Errors: AssertionError where it fails."""
        done = subprocess.run([*map(str, words)], env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def jobs(self, name: str) -> list[dict[str, str]]:
        """What Slurm says of the jobs of this name, tasks of an array one by one, the oldest first."""
        lines = self.call("scontrol", "--oneliner", "show", "job").splitlines()
        found = [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in lines]
        return sorted((job for job in found if job.get("JobName") == name), key=lambda job: int(job["JobId"]))

    def ended(self, name: str, seconds: float) -> list[dict[str, str]]:
        """The jobs of this name once all have ended. Errors: AssertionError where they do not."""
        limit = time.monotonic() + seconds
        while True:
            jobs = self.jobs(name)
            if all(job["JobState"] in ENDED for job in jobs):
                return jobs
            assert time.monotonic() < limit, jobs
            time.sleep(POLL_SECONDS)


def lacking() -> list[str]:
    """The programs of Slurm and munge that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """A cluster with its state and logs in `folder`, which goes, with its jobs, when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", *NODES):
        (folder / name).mkdir(exist_ok=True)
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    values = {"host": socket.gethostname(), "user": getpass.getuser(), "expire": CREDENTIAL_SECONDS, "nodes": NODES}
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, ports=[free_port() for _ in range(3)], **values))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # of which nothing above makes use
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
    slurm = Slurm(kept | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}, folder)
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    with contextlib.ExitStack() as daemons:
        start = [["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files]]
        start += [["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in NODES)]
        for command in start:
            daemons.enter_context(_daemon(command, slurm))
            if command[0] == "munged":
                _until((folder / "munge.socket").exists, folder)
        _until(lambda: slurm.call("sinfo", "--noheader", "--format=%t%D") == f"idle{len(NODES)}\n", folder)
        try:
            yield slurm
        finally:
            slurm.call("scancel", f"--user={getpass.getuser()}")
            _until(lambda: not slurm.call("squeue", "--noheader"), folder, STOP_SECONDS)


@contextlib.contextmanager
def _daemon(command: list[str], slurm: Slurm) -> Iterator[None]:
    node = command[-1] if command[-1] in NODES else ""
    with open(slurm.folder / f"{command[0]}{node}.log", "w") as file:
        process = subprocess.Popen(command, env=slurm.environ, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(condition, folder: Path, seconds: float = START_SECONDS) -> None:
    limit = time.monotonic() + seconds
    while True:
        with contextlib.suppress(AssertionError):
            if condition():
                return
        if time.monotonic() > limit:
            told = "".join(f"\n{path.name}: {path.read_text()[-1000:]}" for path in sorted(folder.glob("*.log")))
            raise RuntimeError(f"Slurm is not ready after {seconds} s.{told}")
        time.sleep(POLL_SECONDS)


def _path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


if __name__ == "__main__":
    with running(Path(sys.argv[1]).absolute()) as cluster:
        sys.exit(subprocess.run(sys.argv[2:], env=cluster.environ, check=False).returncode)
