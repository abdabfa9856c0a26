"""Names and bytes of the dataset format."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avprep import schema


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=4), st.sampled_from(["u1", "<f2"]))
def test_npy_header_is_numpys_own(shape, dtype):
    header = schema.npy_header(np.dtype(dtype), tuple(shape))
    assert len(header) % 64 == 0
    assert schema.parse_npy_header(header + b"data") == (np.dtype(dtype), tuple(shape), len(header))
    read = np.lib.format.read_magic(stream := io.BytesIO(header))
    assert read == (1, 0)
    assert np.lib.format.read_array_header_1_0(stream) == (tuple(shape), False, np.dtype(dtype))


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\xff\xff{}", b"PK" * 50])
def test_a_broken_npy_header_is_refused(data):
    with pytest.raises(ValueError, match="npy"):
        schema.parse_npy_header(data)


def test_an_array_of_objects_is_refused():
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects"):
        schema.parse_npy_header(stream.getvalue())


@given(st.text(max_size=200))
def test_every_clip_id_has_a_legal_key(clip_id):
    assert schema.KEY_PATTERN.fullmatch(schema.clip_key(clip_id))


def test_keys_differ_where_ids_do():
    ids = ["a/b", "a-b", "a b", "A/b", "ä/b", "a/b.mp4", "x" * 81, "x" * 82]
    assert len({schema.clip_key(clip_id) for clip_id in ids}) == len(ids)
    assert schema.clip_key("a-b_C9") == "a-b_C9"


def test_labels_with_commas_dots_and_unicode_make_paths():
    path = schema.shard_path("train", 7, "people, whispering. (Ça)", 3)
    assert path == "shards/train/0007-people-whispering-a/000003.tar"
    assert schema.marker_path(path) == "shards/train/0007-people-whispering-a/000003.json"
    assert schema.shard_path("test", 0, "音", 0) == "shards/test/0000-x/000000.tar"


def test_tar_pieces_make_a_tar():
    body = schema.tar_header("a.txt", 5) + b"hello" + schema.tar_padding(5)
    body += schema.tar_ending(len(body))
    assert len(body) % schema.TAR_RECORD_BYTES == 0
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        member = tar.getmember("a.txt")
        assert (member.size, member.mtime, member.uid, member.uname) == (5, 0, 0, "")
        assert tar.extractfile(member).read() == b"hello"
