"""Near duplicates: planted among random hashes and in rendered clips; groups, table, page, and what is surplus."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import avprep
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.quality import near
from avprep.quality.duplicates import COLUMNS, DuplicatesConfig, pairs_of
from avprep.quality.measures import COLUMNS as MEASURES
from avprep.quality.near import Candidates, Hashes, candidates, distances
from avprep.quality.table import write_quality
from tests.bench.duplicates import random_hashes, scores
from tests.bench.planted import render_planted
from tests.pages import Page
from tests.train.forge import Forged, forge_dataset


def hashes(*clips: list[int]) -> Hashes:
    counts = [len(clip) for clip in clips]
    return Hashes(
        np.append(0, np.cumsum(counts, dtype=np.int64)), np.array([one for clip in clips for one in clip], np.uint64)
    )


def test_planted_pairs_are_reported_and_no_others():
    made, planted = random_hashes(2000, 40, 60, seed=7)
    pairs, compared = pairs_of({"picture": made}, DuplicatesConfig(by="pictures"))
    reported = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(reported & planted) >= 0.95 * len(planted)
    assert len(reported & planted) >= 0.95 * len(reported)
    assert set(pairs.offset.tolist()) == {-2, 2}  # a copy begins two hashes later than its original
    assert (compared["picture"] <= 0.32).all()


def test_bits_are_counted_without_numpys_own_function(monkeypatch):
    values = np.random.default_rng(0).integers(0, 2**63, 1000).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    wanted = [int(value).bit_count() for value in values]
    assert near.bits(values).tolist() == wanted
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert near.bits(values).tolist() == wanted
    assert near.bits(np.array([0, 2**64 - 1], np.uint64)).tolist() == [0, 64]


@pytest.mark.parametrize(("offset", "distance"), [(0, 0.0), (1, 1.0), (2, 0.0), (-2, 0.0), (7, np.nan), (-12, np.nan)])
def test_distances_are_shares_of_the_bits_of_common_moments(offset, distance):
    """Every other moment is alike; seven of twelve moments apart, the clips have less than two thirds in common."""
    clip = [0b1111 << (4 * (n % 2)) for n in range(12)]
    (value,) = distances(hashes(clip, clip), Candidates(*(np.array([n]) for n in (0, 1, offset))))
    np.testing.assert_equal(float(value), distance)


def test_short_clips_must_be_more_alike():
    one, other = [0xFF] * 4, [0x7F] * 4
    (value,) = distances(hashes(one, other), Candidates(*(np.array([n]) for n in (0, 1, 0))))
    assert value == pytest.approx(1 / 8 * 2)
    (value,) = distances(hashes(one * 4, other * 4), Candidates(*(np.array([n]) for n in (0, 1, 0))))
    assert value == pytest.approx(1 / 8)


def test_hashes_without_bits_are_alike_to_nothing():
    nothing = hashes([0] * 20, [0] * 20, [1] * 20)
    assert len(candidates(nothing, 0.5).first) == 0
    assert np.isnan(distances(nothing, Candidates(*(np.array([n]) for n in (0, 1, 0)))))


def test_no_clips_and_one_have_no_duplicates():
    for made in (hashes(), hashes([1, 2, 3])):
        assert len(candidates(made, 0.5).first) == 0
        assert len(pairs_of({"sound": made}, DuplicatesConfig(by="sounds"))[0].first) == 0


def sequence(seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(1, 2**63, 16).tolist()


@pytest.fixture
def folder(tmp_path):
    """Alike: c0, c5 and c9, of two splits; c1 and c3 in pictures alone; c2 and c4; c6 and c7, which is sound only."""
    splits = ["train"] * 8 + ["test"] * 4
    clips = [Forged("a", split, pictures=row != 7) for row, split in enumerate(splits)]
    data = forge_dataset(tmp_path / "data", clips)
    path = write_quality(data)
    table = pq.read_table(path)
    pictures = {f"c{row}": sequence(row) for row in range(12)} | {"c7": None}
    sounds = {f"c{row}": sequence(100 + row) for row in range(12)}
    for made in (pictures, sounds):
        made["c5"] = made["c9"] = made["c0"]
        made["c4"] = made["c2"]
    pictures["c3"], sounds["c7"] = pictures["c1"], sounds["c6"]
    ids = table.column("clip_id").to_pylist()
    for name, made in (("picture_hashes", pictures), ("sound_hashes", sounds)):
        column = pa.array([made[clip_id] for clip_id in ids], pa.list_(pa.uint64()))
        table = table.set_column(table.schema.get_field_index(name), MEASURES.field(name), column)
    pq.write_table(table, path)
    return data


def pairs(table):
    return {(row["clip_id"], row["other_clip_id"]) for row in table.to_pylist()}


def test_groups_across_splits_come_first(folder):
    result = avprep.duplicates(folder)
    rows = result.table().to_pylist()
    assert result.table().column_names == list(COLUMNS)
    assert pairs(result.table()) == {("c0", "c5"), ("c0", "c9"), ("c5", "c9"), ("c2", "c4"), ("c6", "c7")} or pairs(
        result.table()
    ) == {("c9", "c0"), ("c9", "c5"), ("c0", "c5"), ("c2", "c4"), ("c6", "c7")}
    assert [row["group"] for row in rows] == [0, 0, 0, 1, 2]
    assert [row["across_splits"] for row in rows] == [True] * 3 + [False] * 2
    assert (result.groups, result.groups_across) == (3, 1)
    assert rows[-1]["picture_distance"] is None
    assert rows[-1]["sound_distance"] == 0
    ids = result.dataset.clip_ids
    assert [ids[row] for row in result.surplus()] == [name for name in ids if name in ("c0", "c5", "c4", "c7")]


def test_pictures_and_sounds_alone(folder):
    assert ("c1", "c3") in pairs(avprep.duplicates(folder, by="pictures").table())
    assert ("c6", "c7") not in pairs(avprep.duplicates(folder, by="pictures").table())
    assert ("c6", "c7") in pairs(avprep.duplicates(folder, by="sounds").table())
    assert ("c1", "c3") not in pairs(avprep.duplicates(folder, by="sounds").table())


def run(*words):
    return CliRunner().invoke(main, ["duplicates", *map(str, words)])


def test_the_command_writes_table_page_and_list(folder, tmp_path):
    done = run(folder, "--out", tmp_path / "d.csv", "--page", tmp_path / "d.html", "--surplus", tmp_path / "s.txt")
    assert done.exit_code == 0, done.output
    assert "d.csv: 5 pairs in 3 groups of 7 clips; 1 groups across splits" in done.output
    assert len(pyarrow.csv.read_csv(tmp_path / "d.csv")) == 5
    page = Page(tmp_path / "d.html")
    assert [len(group.all("figure", "clip")) for group in page.all("details", "class")] == [3, 2, 2]
    assert run(folder, "--out", tmp_path / "d.csv", "--page", tmp_path / "d.html").exit_code == 0  # its own files
    words = ["exclude", str(folder), "--ids", str(tmp_path / "s.txt"), "--reason", "duplicate"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    write_quality(folder)  # of the forged arrays: none of them are alike
    done = run(folder, "--out", tmp_path / "d.parquet", "--page", tmp_path / "d.html")
    assert "0 pairs in 0 groups of 0 clips" in done.output
    assert pq.read_table(tmp_path / "d.parquet").num_rows == 0
    assert "There are no near duplicates." in (tmp_path / "d.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "d.xlsx"], "must end in .csv or .parquet"),
        (["--out", "d.csv", "--sound-distance", "1"], "1.0 is not in the range 0<=x<1"),
        (["--out", "mine.csv"], "mine.csv is there, and this command did not write it"),
        (["--out", "d.csv", "--surplus", "mine.txt"], "mine.txt is there, and this command did not write it"),
    ],
)
def test_what_duplicates_refuses(folder, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.csv", "mine.txt"):
        (tmp_path / name).write_text("group,clip_id\n1,a\n")
    done = run(folder, *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.output


def test_a_distance_out_of_range_is_refused_from_python(folder):
    with pytest.raises(UserError, match="by must be one of both, pictures, sounds"):
        avprep.duplicates(folder, by="looks")
    with pytest.raises(UserError, match="picture_distance must be 0 or more"):
        avprep.duplicates(folder, picture_distance=1.5)


@pytest.mark.slow
def test_copies_planted_in_rendered_clips_are_reported(tmp_path):
    """Re-encoded, rescaled, shifted by 0.2 s, cut: `python -m tests.bench.duplicates` measures more of them."""
    manifest, planted = render_planted(tmp_path / "clips", 9, seed=3)
    build_shards(manifest, tmp_path / "data", BuildConfig(), Limits(), workers=2, quality=True)
    recall, precision, _ = scores(Dataset(tmp_path / "data"), planted, DuplicatesConfig())
    assert recall >= 0.95
    assert precision >= 0.95
