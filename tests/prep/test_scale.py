"""A finished build of 20,000 clips started again: nothing is decoded, the tables come out the same, tampering shows.

tests/bench/manifest_scale.py times the same with 200,000.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from avprep import schema
from avprep.build.finalize import finalize
from avprep.build.run import Prepared, build_shards, prepare
from avprep.build.shards import is_done
from avprep.config import BuildConfig, Limits
from avprep.errors import UserError
from avprep.manifest.read_write import read_manifest
from tests.bench.manifest_scale import (
    FRAME_BYTES,
    FRAMES,
    MEL_BANDS,
    forge_manifest,
    forge_shards,
    peak_bytes,
)

pytestmark = pytest.mark.slow

ROWS = 20_000
CONFIG = BuildConfig()
PLANNING = """
from avprep.manifest.checks import examine
prepared = prepare(manifest, BuildConfig())
assert examine(prepared.clips, prepared.rows_of(prepared.planned), manifest.parent).lines(), "no file is there"
_write_plan(out, prepared)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Prepared]:
    """(manifest, folder, plan) of a build in which every clip is done and that was never finalized."""
    folder = tmp_path_factory.mktemp("scale")
    forge_manifest(folder / "m.parquet", ROWS)
    prepared = prepare(folder / "m.parquet", CONFIG)
    forge_shards(folder / "out", prepared)
    return folder / "m.parquet", folder / "out", prepared


def test_a_finished_build_is_kept_as_it_is(finished):
    manifest, out, prepared = finished
    result = build_shards(manifest, out, CONFIG, Limits())
    assert (result.clips, result.failures, result.shards_built) == (ROWS, {}, 0)
    assert result.shards_kept == len(prepared.planned) == len(list(out.rglob("*.tar")))
    index = pq.read_table(out / schema.INDEX)
    assert index.schema.names == schema.INDEX_SCHEMA.names
    expected = [row for shard in prepared.planned for row in shard.rows]
    clips = read_manifest(manifest)
    assert index.column("clip_id").to_pylist() == [clips[row].clip_id for row in expected]
    names = prepared.plan["class_names"]
    assert [names[label] for label in index.column("label").to_pylist()] == [clips[row].label for row in expected]
    assert index.column("split").to_pylist() == [clips[row].split for row in expected]
    assert index.column("shard").to_pylist() == [s.path for s in prepared.planned for _ in s.rows]
    assert set(index.column("frames_bytes").to_pylist()) == {FRAMES * FRAME_BYTES}
    info = json.loads((out / schema.DATASET).read_text())
    assert sum(info["counts"]["train"].values()) == sum(clip.split == "train" for clip in clips)
    assert len(info["logmel"]["mean"]) == MEL_BANDS
    tables = [(out / name).read_bytes() for name in (schema.INDEX, schema.DATASET, schema.FAILURES)]
    build_shards(manifest, out, CONFIG, Limits())
    assert tables == [(out / name).read_bytes() for name in (schema.INDEX, schema.DATASET, schema.FAILURES)]


def test_the_recheck_finds_each_shard_that_is_not_whole(finished):
    _, out, prepared = finished
    short, gone, unmarked, foreign = (
        prepared.planned[3],
        prepared.planned[50],
        prepared.planned[-1],
        prepared.planned[7],
    )
    kept = {path: path.read_bytes() for shard in (unmarked, foreign) for path in [out / schema.marker_path(shard.path)]}
    sizes = {out / shard.path: (out / shard.path).stat().st_size for shard in (short, gone)}
    with open(out / short.path, "r+b") as tar:
        tar.truncate(sizes[out / short.path] - 512)
    (out / gone.path).unlink()
    (out / schema.marker_path(unmarked.path)).unlink()
    marker = json.loads(kept[out / schema.marker_path(foreign.path)])
    (out / schema.marker_path(foreign.path)).write_text(json.dumps(marker | {"config_digest": "another"}))
    try:
        undone = [shard for shard in prepared.planned if not is_done(out, shard, prepared.digest_of(shard))]
        assert undone == [short, foreign, gone, unmarked]
        with pytest.raises(UserError, match=r"1 of .* planned shards .* are not built yet"):
            finalize(out)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
        for path, size in sizes.items():
            with open(path, "ab") as tar:
                tar.truncate(size)


def test_a_clip_more_costs_less_than_a_kilobyte(tmp_path):
    """Peak memory of planning: read, checked, compared, looked for (and every file told missing), planned, written."""
    peaks = []
    for rows in (10_000, 40_000):
        manifest, out = tmp_path / f"{rows}.csv", tmp_path / str(rows)
        forge_manifest(manifest, rows)
        out.mkdir()
        peaks.append(peak_bytes(PLANNING, manifest, out)[0])
    assert peaks[0] < 150e6, "the imports are the most of it"
    assert (peaks[1] - peaks[0]) / 30_000 < 900
