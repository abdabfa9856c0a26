"""Numbers that come with data are held against the size of what they speak of before memory is taken by their word."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avprep import schema
from avprep.dataset import Dataset
from avprep.preview.content import _meta
from avprep.shared.errors import UserError
from avtrain.evaluation.predictions import predictions_of, read_predictions, write_predictions
from tests.known_issues.hostile import NUMBERS, Stage
from tests.train.forge import Forged, forge_dataset


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Stage(tmp_path_factory.mktemp("numbers")) as found:
        yield found


@pytest.mark.parametrize("case", NUMBERS, ids=lambda case: case.name)
def test_a_hostile_number_ends_in_a_sentence(stage, case):
    found = stage.play(case)
    assert found.refused, found


def test_numbers_that_a_build_writes_are_believed(tmp_path):
    """The last clip of a shard ends where its padding begins; sound alone has no picture's offset."""
    clips = [Forged("a"), Forged("a", pictures=False), Forged("b", seconds=0.3)]
    for codec in ("raw", "jpeg"):
        dataset = Dataset(forge_dataset(tmp_path / codec, clips, codec=codec))
        assert [dataset.read_clip(row).logmel.shape[0] for row in range(3)] == [201, 201, 31]
        assert dataset.read_clip(1).frames is None


def test_the_facts_of_a_clip_are_read_if_they_are_few_and_no_link(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged("a")])
    dataset = Dataset(folder)
    assert _meta(dataset, 0) == {"clip_id": "c0", "label": "a"}
    shard = folder / dataset.shards[0]
    end = int(dataset.logmel_offset[0]) + int(dataset.num_mel_frames[0]) * dataset.num_mel_bands * 2
    at = end + len(schema.tar_padding(end))
    sound = shard.read_bytes()
    for size, kind in ((2**40, tarfile.REGTYPE), (0, tarfile.SYMTYPE), (8, tarfile.REGTYPE)):
        member = tarfile.TarInfo("c0.json")
        member.size, member.type, member.linkname = size, kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
        header = member.tobuf(tarfile.GNU_FORMAT)[: schema.TAR_BLOCK_BYTES]
        shard.write_bytes(sound[:at] + header + b"[[[[[[[[" + bytes(504) + sound[at + 1024 :])
        assert _meta(dataset, 0) == {}


def test_frame_sizes_take_no_memory_by_their_header(tmp_path, monkeypatch):
    """A header of 2^60 sizes in a file of the right length: numpy would ask for 4 EiB, or get 100 GB of them."""
    folder = forge_dataset(tmp_path / "data", [Forged("a")], codec="jpeg")
    dataset = Dataset(folder)
    path = folder / schema.sizes_path(dataset.shards[0])
    stream = io.BytesIO()
    np.save(stream, np.zeros(3, np.uint32))
    path.write_bytes(stream.getvalue())
    with pytest.raises(UserError, match="shorter than in its index"):
        dataset.frame_sizes(0)
    info = json.loads((folder / schema.DATASET).read_text())
    for facts in info["shards"].values():
        facts["sizes_bytes"] = len(stream.getvalue())
    (folder / schema.DATASET).write_text(json.dumps(info))
    with pytest.raises(UserError, match="sizes_position"):
        _ = Dataset(folder).sizes_position


@pytest.mark.parametrize("number", [2**31 - 1, -1, 2])
@pytest.mark.parametrize("name", ["label", "predicted"])
def test_predictions_of_a_class_without_a_name_are_none(tmp_path, name, number):
    path = tmp_path / "predictions.parquet"
    write_predictions(path, predictions_of(["a", "b"], np.array([0, 1]), np.eye(2), ["x", "y"]))
    assert read_predictions(path).right.all()
    table = pq.read_table(path)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array([0, number], pa.int32())), path)
    with pytest.raises(UserError, match="holds no predictions"):
        read_predictions(path)
