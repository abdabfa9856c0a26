"""Datasets, runs and manifests as somebody who means harm would render them, and what the commands make of them.

    python -m tests.known_issues.hostile

prints a line a case: `refused` where the command ended in one sentence and exit code 2 and the tree around the folders
that it was given is byte for byte what it was; else what came. Around them lie files that the names lead to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

import avprep.cli
import avtrain.cli
from avprep import schema
from tests.train.forge import Forged, forge_dataset, write_labels
from tests.train.servers import Bucket, FileServer, bucket_serving, serving

VICTIM = "victim"
FAR = 2**60
SHARD = "shards/train/0000-a/000000.tar"
TRAIN = ["--model-size=tiny", "--batch-size=4", "--max-steps=1", "--device=cpu", "--threads=1"]
CPU = ["--device=cpu"]


@dataclasses.dataclass(frozen=True)
class World:
    """Where a case plays: `place` and what lies beside it must stay as it is, `free` is for the command to write in."""

    place: Path
    """the spoilt folder, alone in a folder two levels below others"""
    free: Path
    url: str
    """of `place`, where it is served; '' else"""


@dataclasses.dataclass(frozen=True)
class Case:
    """A template (`raw`, `jpeg`, `run`, `encoder`, `nothing`), what is done to a copy of it, the command about it."""

    name: str
    template: str
    spoil: Callable[[World], None]
    command: Callable[[World], list[object]]
    over: str = ""
    """`http` or `s3`: the command is given a URL"""
    writes: bool = False
    """whether the command may write in the spoilt folder itself"""


def values(path: str, change: Callable[[Any], None]) -> Callable[[World], None]:
    """Change the values of a JSON file."""

    def spoil(world: World) -> None:
        found = json.loads((world.place / path).read_text())
        change(found)
        (world.place / path).write_text(json.dumps(found))

    return spoil


def column(name: str, value: Any) -> Callable[[World], None]:
    """Set the last row of a column of the index; the file is otherwise as it was."""

    def spoil(world: World) -> None:
        table = pq.read_table(world.place / schema.INDEX)
        place = table.column_names.index(name)
        old = table.column(name).to_pylist()
        new = pa.array([*old[:-1], value]).cast(table.schema.field(name).type)
        pq.write_table(table.set_column(place, table.schema.field(name), new), world.place / schema.INDEX)

    return spoil


def both(*spoils: Callable[[World], None]) -> Callable[[World], None]:
    """One after the other."""

    def spoil(world: World) -> None:
        for one in spoils:
            one(world)

    return spoil


def shard_called(name: str) -> Callable[[World], None]:
    """Call the last shard of index and dataset.json otherwise."""

    def rename(info: Any) -> None:
        last = sorted(info["shards"])[-1]
        info["shards"][name] = info["shards"].pop(last)

    def spoil(world: World) -> None:
        table = pq.read_table(world.place / schema.INDEX)
        shards = [str(one) for one in table.column("shard").to_pylist()]
        new = pa.array([name if one == max(shards) else one for one in shards]).dictionary_encode()
        place = table.column_names.index("shard")
        pq.write_table(table.set_column(place, "shard", new), world.place / schema.INDEX)

    return both(values(schema.DATASET, rename), spoil)


def fact(name: str, value: Any) -> Callable[[World], None]:
    """Set a fact of every shard in dataset.json."""
    return values(schema.DATASET, lambda info: [facts.update({name: value}) for facts in info["shards"].values()])


def planned(name: str) -> Callable[[World], None]:
    """Call the first planned shard otherwise."""
    return values(schema.PLAN_BUILD, lambda plan: plan["shards"][0].update(path=name))


def of_marker(change: Callable[[Any], None]) -> Callable[[World], None]:
    """Change a done-marker."""
    return values(schema.marker_path(SHARD), change)


def of_meta(**changes: Any) -> Callable[[World], None]:
    """Set values of the checkpoint's meta.json; config and data by their own parts."""

    def change(meta: Any) -> None:
        for name, value in changes.items():
            meta[name] = {**(meta[name] or {}), **value} if isinstance(value, dict) else value

    return values("step_00000001/meta.json", change)


def manifest_of(path: str, name: str = "clips.csv") -> Callable[[World], None]:
    """A manifest that names one file."""

    def spoil(world: World) -> None:
        written = path.replace("VICTIM", str(world.place.parent.parent / f"{VICTIM}.tar"))
        (world.place / name).write_text(f"label,audio_path\na,{written}\n")

    return spoil


def wide_labels(world: World) -> None:
    """A label column whose labels no name has."""
    write_labels(world.place, "wide", {f"c{row}": 2**30 for row in range(12)}, ["a"])


def many_rows(world: World) -> None:
    """An index of 40 million equal rows in a few kB."""
    old = pq.read_table(world.place / schema.INDEX).slice(0, 1)
    count = 40_000_000
    columns = [pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), one.unique()) for one in old.columns[:1]]
    pq.write_table(pa.table(columns, names=old.column_names[:1]), world.place / schema.INDEX, compression="zstd")


def far_sizes(world: World) -> None:
    """Frame sizes whose header promises 2^60 of them, as many bytes as before."""
    path = world.place / schema.sizes_path(SHARD)
    data = path.read_bytes()
    header = schema.npy_header(schema.SIZES_DTYPE, (FAR,))
    path.write_bytes(header + data[len(header) :])


def far_tensors(name: str) -> Callable[[World], None]:
    """A safetensors file whose header speaks of 2^60 bytes."""

    def spoil(world: World) -> None:
        header = json.dumps({"audio.w": {"dtype": "F32", "shape": [FAR], "data_offsets": [0, 4 * FAR]}}).encode()
        (world.place / name).write_bytes(len(header).to_bytes(8, "little") + header)

    return spoil


def link(name: str, target: str) -> Callable[[World], None]:
    """A link in the spoilt folder to a file two levels above."""

    def spoil(world: World) -> None:
        path = world.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(world.place.parent.parent / target)

    return spoil


def nested(world: World) -> None:
    """dataset.json of brackets alone."""
    (world.place / schema.DATASET).write_text("[" * 200_000)


def key(name: str) -> Callable[[World], None]:
    """Nothing on the disk: the runner puts an object of this name below the URL."""

    def spoil(world: World) -> None:
        (world.free / "key").write_text(name)

    return spoil


def plan(world: World) -> list[object]:
    return ["avtrain", "plan", world.url or world.place, "--batch-size=4"]


def pretrain(world: World) -> list[object]:
    return ["avtrain", "pretrain", world.url or world.place, "--run", world.free / "run", *TRAIN]


def cached(world: World) -> list[object]:
    return [*pretrain(world), "--cache", world.free / "cache"]


def resume(world: World) -> list[object]:
    return ["avtrain", "pretrain", world.free / "good", "--run", world.place, *TRAIN]


def evaluate(world: World) -> list[object]:
    return ["avtrain", "evaluate", world.free / "good", "--protocol=knn", "--run", world.url or world.place, *CPU]


def best(world: World) -> list[object]:
    return [*evaluate(world), "--checkpoint=best"]


def embed(world: World) -> list[object]:
    return [
        "avtrain",
        "embed",
        world.url or world.place,
        "--run",
        world.free / "encoder",
        "--out",
        world.free / "e.parquet",
    ]


def embed_with(world: World) -> list[object]:
    return ["avtrain", "embed", world.free / "good", "--run", world.place, "--out", world.free / "e.parquet"]


def finalize(world: World) -> list[object]:
    return ["avprep", "finalize", world.url or world.place]


def inspect(world: World) -> list[object]:
    return ["avprep", "inspect", world.place]


def preview(world: World) -> list[object]:
    return ["avprep", "preview", world.place, "--out", world.free / "page.html"]


def labels(name: str) -> Callable[[World], list[object]]:
    return lambda world: [*plan(world), "--labels", name]


def add_labels(world: World) -> list[object]:
    (world.free / "mine.csv").write_text("clip_id,label\nc0,a\n")
    return ["avprep", "add-labels", world.place, world.free / "mine.csv", "--name", "mine"]


def build(*options: str, name: str = "clips.csv") -> Callable[[World], list[object]]:
    return lambda world: [
        *("avprep", "build-shards", f"{world.url or world.place}/{name}", "--out", world.free / "built", "--workers=1"),
        *(option.replace("FREE", str(world.free)) for option in options),
    ]


def table(world: World) -> list[object]:
    return [
        "avprep",
        "manifest",
        "table",
        f"{world.url}/clips.csv",
        "--out",
        world.free / "clips.csv",
        "--missing=keep",
    ]


UP = f"../../{VICTIM}"
NAMES = (
    # of a dataset
    Case("a digest that leads out of the cache", "raw", fact("sha256", UP), cached, "http"),
    Case("a digest that leads out of the cache, S3", "raw", fact("sha256", UP), cached, "s3"),
    Case("an absolute digest", "raw", fact("sha256", f"/tmp/{VICTIM}"), cached, "http"),
    Case("a shard two folders above", "raw", shard_called(f"{UP}.tar"), pretrain),
    Case("a shard two folders above, HTTP", "raw", shard_called(f"shards/{UP}.tar"), pretrain, "http"),
    Case("an absolute shard", "raw", shard_called(f"/tmp/{VICTIM}.tar"), pretrain),
    Case("a shard by backslashes", "raw", shard_called(f"shards\\..\\..\\{VICTIM}.tar"), pretrain),
    Case("a planned shard two folders above", "raw", planned(f"{UP}.tar"), finalize, writes=True),
    Case("a planned shard two folders above, S3", "raw", both(planned(f"{UP}.tar"), key(f"{UP}.json")), finalize, "s3"),
    Case("a planned shard two folders above, to look at", "raw", planned(f"{UP}.tar"), inspect),
    Case("a marker of another shard", "raw", of_marker(lambda m: m.update(shard=f"{UP}.tar")), finalize, writes=True),
    Case("a label column two folders above", "raw", lambda _: None, labels(UP)),
    Case(
        "a link where a label column is written", "raw", link("labels/.mine.parquet.tmp", f"{VICTIM}.tar"), add_labels
    ),
    Case("a link where a lock is made", "raw", link(".lock", "made"), finalize, writes=True),
    # of runs
    Case("a file above the run's folder", "run", key(f"../../../{VICTIM}"), evaluate, "s3"),
    Case("an absolute file of a run", "run", key(f"//tmp/{VICTIM}"), evaluate, "s3"),
    Case("a model of Python's own", "run", of_meta(config={"audio_model": "os:abort"}), evaluate, writes=True),
    Case("a size of model by a path", "run", of_meta(config={"model_size": UP}), evaluate, writes=True),
    Case("a best checkpoint that is a path", "run", of_meta(best={"step": UP}), best, writes=True),
    Case("an encoder of a path", "encoder", values("encoder.json", lambda e: e.update(model=UP)), embed_with),
    # of manifests
    Case("a manifest of a file of this machine", "nothing", manifest_of("VICTIM"), build(), "http"),
    Case("a manifest of a file of this machine, S3", "nothing", manifest_of("VICTIM"), build(), "s3"),
    Case(
        "a manifest of a file above the root", "nothing", manifest_of("../../etc/passwd"), build("--root=FREE"), "http"
    ),
    Case("a manifest of file://", "nothing", manifest_of("file:///etc/passwd"), build(), "http"),
    Case("a forecast of a file of this machine", "nothing", manifest_of("VICTIM"), build("--dry-run"), "http"),
    Case("a table of a file of this machine", "nothing", manifest_of("VICTIM"), table, "http"),
    Case("a manifest that is called '..'", "nothing", manifest_of("x.wav"), build(name=".."), "http"),
)
NUMBERS = (
    # of a dataset
    Case("more pictures than bytes", "raw", column("num_frames", 2**31 - 1), plan),
    Case("fewer pictures than none", "raw", column("num_frames", -5), pretrain),
    Case("sound far behind the shard's end", "raw", column("logmel_offset", FAR), embed),
    Case("sound before its shard", "raw", column("logmel_offset", -FAR), pretrain),
    Case(
        "sound as long as dataset.json says the shard is",
        "raw",
        both(column("num_mel_frames", 2**31 - 1), fact("bytes", FAR)),
        embed,
    ),
    Case(
        "sound as long as dataset.json says the shard is, HTTP",
        "raw",
        both(column("num_mel_frames", 2**31 - 1), fact("bytes", FAR)),
        embed,
        "http",
    ),
    Case("a class of two thousand million", "raw", column("label", 2**31 - 1), plan),
    Case("a class below none", "raw", column("label", -1), plan),
    Case("a clip as long as NaN", "raw", column("duration_seconds", float("nan")), preview),
    Case("40 million rows in a few kB", "raw", many_rows, plan),
    Case("pictures of 2^40 pixels", "raw", values(schema.DATASET, lambda i: i["video"].update(frame_size=2**40)), plan),
    Case("a shard of fewer bytes than none", "raw", fact("bytes", -1), plan),
    Case("a shard of 2^80 bytes", "raw", fact("bytes", 2**80), plan),
    Case(
        "bands whose mean is NaN",
        "raw",
        values(schema.DATASET, lambda i: i["logmel"].update(mean=[float("nan")] * 6)),
        pretrain,
    ),
    Case("brackets without end", "raw", nested, plan),
    Case(
        "a list in place of a class name",
        "raw",
        values(schema.DATASET, lambda i: i.update(class_names=[["a"], "b"])),
        plan,
    ),
    Case("labels without names", "raw", wide_labels, labels("wide")),
    Case("frame sizes of 2^60", "jpeg", far_sizes, pretrain),
    Case("frame sizes far behind their file", "jpeg", column("sizes_position", FAR), pretrain),
    Case(
        "a marker of 2^60 log-mel frames",
        "raw",
        of_marker(lambda m: m["clips"][0].update(num_mel_frames=FAR)),
        finalize,
        writes=True,
    ),
    Case(
        "a marker of an offset beyond its shard",
        "raw",
        of_marker(lambda m: m["clips"][0].update(logmel_offset=FAR)),
        finalize,
        writes=True,
    ),
    Case(
        "a marker of text in place of numbers",
        "raw",
        of_marker(lambda m: m.update(clips="none", bytes="2")),
        finalize,
        writes=True,
    ),
    # of runs
    Case("2^60 updates made", "run", of_meta(step=FAR), resume, writes=True),
    Case("updates fewer than none", "run", of_meta(loader={"epoch": -1}), resume, writes=True),
    Case("statistics of a million bands", "run", of_meta(data={"logmel_mean": [0.0] * 10**6}), embed_with),
    Case("weights of 2^60 bytes", "run", far_tensors("step_00000001/model.safetensors"), evaluate, writes=True),
    Case("an optimiser of another model", "run", far_tensors("step_00000001/optim.safetensors"), resume, writes=True),
    Case(
        "an encoder of NaN",
        "encoder",
        values("encoder.json", lambda e: e.update(logmel_std=[float("nan")] * 6)),
        embed_with,
    ),
)
CASES = (*NAMES, *NUMBERS)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Exit code, what was printed, and the files around that are not what they were."""

    code: int
    said: str
    changed: list[str]

    @property
    def refused(self) -> bool:
        """One sentence, exit code 2, nothing touched."""
        return self.code == 2 and self.said.count("error: ") == 1 and "Traceback" not in self.said and not self.changed


def tree(folder: Path) -> dict[str, str]:
    """A digest of everything below a folder by name: bytes of files, targets of links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b"folder"
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


class Stage:
    """Templates, servers and a folder for each case; use as a context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        templates = self.root / "templates"
        clips = [Forged(label, split, seconds=1.2) for split in ("train", "test") for label in "ab" for _ in range(3)]
        for codec in ("raw", "jpeg"):
            forge_dataset(templates / codec, clips, codec=codec)
        run = ["avtrain", "pretrain", templates / "raw", "--run", templates / "run", *TRAIN]
        assert called(run)[0] == 0
        (templates / "encoder").mkdir()
        (templates / "nothing").mkdir()
        export(templates / "run", templates / "encoder")
        self.templates = templates
        (self.root / "world").mkdir()
        self.server: FileServer = self._held.enter_context(serving(self.root / "world"))
        self._bucket: Bucket | None = None
        return self

    def __exit__(self, *exc: object) -> None:
        self._held.close()

    @property
    def bucket(self) -> Bucket:
        """The S3 endpoint, made when first needed."""
        if self._bucket is None:
            self._bucket = self._held.enter_context(bucket_serving("bucket"))
        return self._bucket

    def play(self, case: Case) -> Outcome:
        """Run a case in a folder of its own."""
        number = f"{CASES.index(case):02d}"
        world = self._world(case, number)
        case.spoil(world)
        if case.over == "s3":
            self._put(world, f"{number}/a/b/place")
        around = world.place.parents[2]
        free = {path.relative_to(around).as_posix() for path in (world.free, *([world.place] if case.writes else ()))}
        before = tree(around)
        with temporary_files_in(around / "tmp"):
            code, said = called(case.command(world))
        after = tree(around)
        changed = [
            name
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
            and not any(name == own or name.startswith(f"{own}/") for own in free)
        ]
        return Outcome(code, said, changed)

    def _world(self, case: Case, number: str) -> World:
        around = self.root / "world" / number
        place, free = around / "a/b/place", around / "free"
        for folder in (around, around / "a", around / "a/b", free):
            folder.mkdir(exist_ok=True, parents=True)
            for name in (VICTIM, f"{VICTIM}.tar", f"{VICTIM}.json"):
                (folder / name).write_bytes(b"somebody's own")
        (around / "tmp").mkdir()
        shutil.copytree(self.templates / case.template, place)
        for name, template in (("good", "raw"), ("encoder", "encoder")):
            shutil.copytree(self.templates / template, free / name)
        served = f"{self.server.url}/{number}/a/b/place"
        urls = {"http": served, "s3": f"s3://bucket/{number}/a/b/place", "": ""}
        return World(place, free, urls[case.over])

    def _put(self, world: World, below: str) -> None:
        for path in world.place.rglob("*"):
            if path.is_file():
                self.bucket.put(path, f"{below}/{path.relative_to(world.place)}")
        named = world.free / "key"
        if named.exists():
            self.bucket.client.put_object(Bucket="bucket", Key=f"{below}/{named.read_text()}", Body=b"harm")


def export(run: Path, out: Path) -> None:
    """An exported encoder without its graph, as `avtrain export` writes it."""
    from safetensors.torch import save_file

    from avprep.shared import configs, store
    from avtrain.inference.description import DESCRIPTION, FORMAT
    from avtrain.inference.encoder import load_encoder

    encoder = load_encoder(run)
    weights = out / encoder.description.file("safetensors")
    save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, weights)
    store.write_json(out / DESCRIPTION, {"format": FORMAT, **configs.to_dict(encoder.description)})


def called(words: list[object]) -> tuple[int, str]:
    """(exit code, what was printed) of a command in this process."""
    program = {"avprep": avprep.cli, "avtrain": avtrain.cli}[str(words[0])]
    done = CliRunner().invoke(program.main, [str(word) for word in words[1:]])
    broken = (
        "" if done.exception is None or isinstance(done.exception, SystemExit) else f"Traceback: {done.exception!r}"
    )
    return done.exit_code, done.output + broken


@contextlib.contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Have temporary folders made there."""
    before: Mapping[str, Any] = {"TMPDIR": os.environ.get("TMPDIR")}
    tempfile.tempdir, os.environ["TMPDIR"] = str(folder), str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None
        os.environ.pop("TMPDIR")
        if before["TMPDIR"] is not None:
            os.environ["TMPDIR"] = before["TMPDIR"]


def main() -> int:
    """Play all cases; the number that were not refused."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="hostile-") as root, Stage(Path(root)) as stage:
        for case in CASES:
            found = stage.play(case)
            wrong += not found.refused
            verdict = "refused" if found.refused else f"NOT REFUSED: exit code {found.code}, changed {found.changed}"
            line = found.said.strip().splitlines()[-1] if found.said.strip() else ""
            print(f"{verdict:<8} {case.over or 'local':<5} {case.name}: {line.replace(root, '')[:160]}")
    print(f"{len(CASES)} cases, {len(CASES) - wrong} refused")
    return wrong


if __name__ == "__main__":
    sys.exit(main() > 0)
