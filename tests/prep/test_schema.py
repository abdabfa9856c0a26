"""Names and bytes of the dataset format."""

from __future__ import annotations

import io
import tarfile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from avprep import schema


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=4), st.sampled_from(["u1", "<f2"]))
def test_npy_header_is_numpys_own(shape, dtype):
    header = schema.npy_header(np.dtype(dtype), tuple(shape))
    assert len(header) % 64 == 0
    read = np.lib.format.read_magic(stream := io.BytesIO(header))
    assert read == (1, 0)
    assert np.lib.format.read_array_header_1_0(stream) == (tuple(shape), False, np.dtype(dtype))


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
