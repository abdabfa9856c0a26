"""An image without Docker: a Dockerfile's own steps on a Debian of debootstrap's, and then its program on real clips.

    apt-get install debootstrap
    python -m tests.docker.root FOLDER prep CLIPS       # as root; CLIPS: a folder with a folder of clips a class
    python -m tests.docker.root FOLDER ray CLIPS        # prep.Dockerfile's other target
    python -m tests.docker.root FOLDER train CLIPS      # needs 9 GB

FOLDER takes the roots, 0.3 GB to begin with, which are used again if they are there. The base image is Debian's, with
its own Python of the same minor version in a virtual environment at /usr/local, where the image has Python; layers are
overlays. The program runs as the image's user, the first of its processes, without capabilities and network, on a
read-only root with /tmp as Docker's --tmpfs makes it. PIP_CERT, where it is set, is what pip trusts in there too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import REPOSITORY
from tests.docker.dockerfile import BIND, Stage, copied, stages, wanted
from tests.docker.recipes import DOCKER

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
APART = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
DEADLINE_SECONDS = 300
DEVICES = ("null", "zero", "full", "random", "urandom")


def call(*words: object) -> None:
    """Run a command. Errors: CalledProcessError."""
    subprocess.run([*map(str, words)], check=True)


def debian(folder: Path, image: str) -> Path:
    """The root that stands for python:X.Y-slim-SUITE, made where it is not there."""
    version, suite = re.fullmatch(r"python:([\d.]+)-slim-(\w+)", image).groups()
    assert suite == SUITE, f"{image} is no {SUITE}"
    root = folder / suite
    if not (root / "usr" / "local" / "bin" / "pip").exists():
        shutil.rmtree(root, ignore_errors=True)
        call("debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, root)
        call("chroot", root, "python3", "-m", "venv", "/usr/local")
    assert (root / "usr" / "bin" / f"python{version}").exists(), f"Debian {suite} has another Python than {version}"
    return root


@dataclass
class Image:
    """What a stage comes to: its root, and what its steps have said of the environment."""

    layers: list[Path]
    root: Path
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    folder: str = "/"

    def overlay(self, upper: Path) -> Image:
        """This image with a layer of its own on top, mounted."""
        root, work = upper.with_name(f"{upper.name}-root"), upper.with_name(f"{upper.name}-work")
        for path in (upper, root, work):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        lower = ":".join(map(str, self.layers))
        call("mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", root)
        return Image([upper, *self.layers], root, dict(self.environ), self.folder)

    def inside(self, *words: object) -> list[str]:
        """A command in this root, with its environment and nothing else's."""
        names = [f"{name}={value}" for name, value in self.environ.items()]
        return ["chroot", str(self.root), "env", "-i", "-C", self.folder, *names, *map(str, words)]

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def made(stage: Stage, base: Image, known: dict[str, Image], folder: Path) -> Image:
    """The image of a stage."""
    image = base.overlay(folder / (stage.name or "last"))
    for place in ("proc", "dev"):
        call("mount", "--rbind", f"/{place}", image.at(place))
    shutil.copy("/etc/resolv.conf", image.at("etc/resolv.conf"))
    for word, text in stage.steps:
        print(f"[{stage.name or stage.base}] {word} {' '.join(text.split())}", flush=True)
        if word == "ENV":
            image.environ |= dict(pair.split("=", 1) for pair in shlex.split(text))
        elif word == "WORKDIR":
            image.folder = text
            image.at(text).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            copy(image, *copied(text))
        else:
            install(image, text, known)
    for place in ("proc", "dev"):
        call("umount", "--recursive", "--lazy", image.at(place))
    return image


def copy(image: Image, sources: Sequence[str], destination: str, mode: str) -> None:
    """COPY from the context, of which .dockerignore leaves what it names after '!'."""
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    target = image.at(os.path.join(image.folder, destination))
    for source in allowed if sources == ["."] else sources:
        assert source in allowed, f"{source} is not in the build's context"
        path = target / (source if sources == ["."] else Path(source).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / source).is_dir():
            shutil.copytree(REPOSITORY / source, path, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / source, path)
            path.chmod(int(mode, 8) if mode else 0o644)


def install(image: Image, text: str, known: dict[str, Image]) -> None:
    """RUN, with what it mounts from other stages."""
    mounts = [(known[stage].at(source), image.at(target)) for stage, source, target in BIND.findall(text)]
    trusted = image.at("run/certificates")
    shell = ["sh", "-c", BIND.sub("", text)]
    if certificates := os.environ.get("PIP_CERT"):
        trusted.touch()
        mounts.append((Path(certificates), trusted))
        shell = ["env", "PIP_CERT=/run/certificates", *shell]
    for source, target in mounts:
        if source.is_dir():
            target.mkdir()
        call("mount", "--bind", source, target)
    call(*image.inside(*shell))
    for source, target in mounts:
        call("umount", target)
        target.rmdir() if source.is_dir() else target.unlink()


@dataclass
class Container:
    """The last stage's image as `docker run --read-only --tmpfs /tmp` has it, with volumes."""

    image: Image
    stage: Stage
    volumes: dict[str, tuple[Path, str]]
    tmpfs: str = "nosuid,nodev,noexec,mode=1777,size=1g"

    def command(self, *words: object) -> list[str]:
        """The words before and of a command in it; without words, the image's own."""
        root, user, group = self.image.root, *self.stage.user.split(":")
        lines = ["ip link set lo up", f"mount --bind {root} {root}"]
        for place, options in (("tmp", self.tmpfs), ("dev", "mode=755"), ("dev/shm", "mode=1777,size=64m")):
            lines += [f"mkdir -p {root}/{place}; mount -t tmpfs -o {options} none {root}/{place}"]
            if place == "dev":
                lines += [f"touch {root}/dev/{name}; mount --bind /dev/{name} {root}/dev/{name}" for name in DEVICES]
        lines.append(f"mount -t proc none {root}/proc")
        for target, (source, mode) in self.volumes.items():
            lines.append(f"mount --bind -o {mode} {source} {root}{target}; mount -o remount,bind,{mode} {root}{target}")
        lines.append(f"mount -o remount,bind,ro {root}")
        drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        drop += ["--bounding-set=-all", "--inh-caps=-all"]
        own = [*self.stage.entrypoint, *(words or self.stage.command)]
        lines.append("exec " + shlex.join(self.image.inside(*drop, *own)))
        return [*APART, "sh", "-ec", "\n".join(lines)]

    def run(self, *words: object, code: int = 0) -> float:
        """Run a command, which must end with this code; seconds that it took."""
        print(f"$ {shlex.join([*self.stage.entrypoint, *map(str, words)])}", flush=True)
        begin = time.monotonic()
        done = subprocess.run(self.command(*words), check=False, timeout=DEADLINE_SECONDS)
        assert done.returncode == code, f"exit code {done.returncode}, not {code}"
        return time.monotonic() - begin


def prepare(container: Container, datasets: Path) -> None:
    """avprep from clips to a verified dataset, stopped once on the way."""
    container.run()
    container.run("manifest", "folder", "--root", "/clips", "--out", "/datasets/clips.csv")
    build = ["build-shards", "/datasets/clips.csv", "--root", "/clips", "--out", "/datasets/data", "--partition=0/1"]
    with subprocess.Popen(container.command(*build, "--clips-per-shard=10", "--workers=2")) as process:
        while not list(datasets.glob("data/shards/*/*/*.json")):
            assert process.poll() is None, "the build ended before it could be stopped"
            time.sleep(0.05)
        (first,) = psutil.Process(process.pid).children()
        first.terminate()
        assert process.wait(60) == 75, f"stopped, it ended with {process.returncode}"
    print("stopped by SIGTERM: 75", flush=True)
    container.run(*build, "--clips-per-shard=10", "--workers=2")
    container.run("finalize", "/datasets/data")
    container.run("verify", "/datasets/data", "--decode", "--root", "/clips")
    container.run("build-shards", "/none.csv", "--out", "/datasets/other", code=2)


def train(container: Container, datasets: Path) -> None:
    """avprep's and avtrain's commands as the recipes call them, on a CPU: two ranks, an evaluation, a page."""
    container.tmpfs = "nosuid,nodev,exec,mode=1777,size=2g"
    container.run()
    container.run("avprep", "manifest", "folder", "--root", "/clips", "--out", "/datasets/clips.csv")
    container.run("avprep", "build-shards", "/datasets/clips.csv", "--root=/clips", "--out=/datasets/data")
    container.run("avtrain", "plan", "/datasets/data", "--batch-size=40", "--epochs=2", "--world-size=2")
    run = ["avtrain", "pretrain", "/datasets/data", "--run=/datasets/run", "--device=cpu", "--model-size=tiny"]
    node = ["train-node", 1, 2, "localhost:29400", "/datasets/run"]
    container.run(*node, *run, "--batch-size=40", "--epochs=2", "--threads=1")
    container.run(*node, *run, "--batch-size=50", "--epochs=2", "--threads=1", code=2)
    container.run("avtrain", "evaluate", "/datasets/data", "--run=/datasets/run", "--protocol=knn", "--device=cpu")
    container.run("avtrain", "report", "/datasets/run", "--out", "/datasets/report.html")


def build_on_ray(container: Container, datasets: Path) -> None:
    """A Ray head as KubeRay starts it, and the RayJob's entrypoint as a job there; the dataset is verified."""
    container.tmpfs = "nosuid,nodev,exec,mode=1777,size=4g"
    start = "ray start --head --num-cpus=2 --object-store-memory=200000000 --dashboard-host=127.0.0.1"
    submit = "ray job submit --address http://127.0.0.1:8265 -- avprep build-shards /datasets/manifest.csv"
    build = "--root /clips --out /datasets/data --executor ray --address auto"
    container.run("avprep", "doctor")
    container.run("avprep", "manifest", "folder", "--root", "/clips", "--out", "/datasets/manifest.csv")
    container.run("sh", "-ec", f"{start} && {submit} {build} && ray stop")
    container.run("avprep", "verify", "/datasets/data", "--decode", "--root", "/clips")


PROGRAMS = {"prep": prepare, "ray": build_on_ray, "train": train}


def main(folder: Path, target: str, clips: Path) -> None:
    """Make the image in `folder` and run its program."""
    begin = time.monotonic()
    file = DOCKER / f"{'train' if target == 'train' else 'prep'}.Dockerfile"
    every = wanted(stages(file), "" if target == "train" else target)
    known: dict[str, Image] = {}
    for stage in every:
        if stage.base not in known:
            root = debian(folder, stage.base)
            known[stage.base] = Image([root], root)
        known[stage.name] = made(stage, known[stage.base], known, folder)
    image, datasets = known[every[-1].name], folder / "datasets"
    layers = [f"{int(subprocess.check_output(['du', '-sm', path]).split()[0])} MB" for path in image.layers]
    print(f"made in {time.monotonic() - begin:.0f} s; layers, the last first: {', '.join(layers)}", flush=True)
    shutil.rmtree(datasets, ignore_errors=True)
    datasets.mkdir()
    os.chown(datasets, *map(int, every[-1].user.split(":")))
    for place in ("clips", "datasets"):
        image.at(place).mkdir(exist_ok=True)
    image.at("etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")  # as Docker writes one
    container = Container(image, every[-1], {"/clips": (clips, "ro"), "/datasets": (datasets, "rw")})
    PROGRAMS[target](container, datasets)
    print(f"all well after {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    if os.environ.get("AV_APART") != "yes":  # mounts are gone with the process
        command = ["unshare", "--mount", sys.executable, "-m", "tests.docker.root", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env={**os.environ, "AV_APART": "yes"}, check=False).returncode)
    main(Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3]).resolve())
