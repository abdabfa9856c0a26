"""`verify --decode` decodes with the decoder that decoded the clip, whichever the build had."""

from __future__ import annotations

import json
import tarfile

import pytest
from click.testing import CliRunner

from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import AudioSpec, BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.manifest.read_write import Clip, write_manifest


def verified(folder, root) -> str:
    done = CliRunner().invoke(
        main, ["verify", str(folder), "--decode", "--root", str(root), "--decode-per-shard", "4", "--workers", "1"]
    )
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["ffmpeg", "decord", "auto"])
def test_a_fresh_build_decodes_to_its_own_bytes(videos, tmp_path, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    rows = [Clip(name, "x", video_path=f"{name}.mp4") for name in ("bbb_h264_aac", "bbb_rot90")]
    write_manifest(tmp_path / "clips.jsonl", rows)
    config = BuildConfig(video=VideoSpec(frame_size=32), decoder=decoder, shards=ShardSpec(clips_per_shard=1))
    build_shards(tmp_path / "clips.jsonl", tmp_path / "out", config, Limits(), root=videos)
    used = {"ffmpeg": "ffmpeg", "decord": "decord", "auto": "pyav"}[decoder]
    for shard in sorted((tmp_path / "out" / "shards").rglob("*.tar")):
        with tarfile.open(shard) as tar:
            assert json.load(tar.extractfile(tar.getnames()[-1]))["decoder"] == used
    assert "2 clips decoded again" in verified(tmp_path / "out", videos)


@pytest.mark.slow
def test_the_options_of_the_build_are_used(videos, tmp_path):
    write_manifest(tmp_path / "clips.jsonl", [Clip("a", "x", video_path="bbb_h264_aac.mp4")])
    audio = AudioSpec(downmix="swresample", num_mel_bands=64, top_db=60.0)
    config = BuildConfig(video=VideoSpec(frame_size=32, resize="crop", frame_codec="jpeg"), audio=audio)
    build_shards(tmp_path / "clips.jsonl", tmp_path / "out", config, Limits(), root=videos)
    assert "1 clips decoded again" in verified(tmp_path / "out", videos)
