"""Nothing that is not finite is written, or learnt from, without being named: samples, statistics, labels, scores."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avprep import schema
from avprep.build.exclude import exclude
from avprep.build.finalize import finalize
from avprep.build.run import build_shards
from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.dataset import Dataset
from avprep.errors import ClipError, UserError
from avprep.labels.columns import LabelColumn, write_labels
from avprep.media.long import write_log_mel
from avprep.preview.content import write_preview
from avprep.shared import store
from avprep.verify.dataset import verify
from avtrain.data.augment import Augment, Normalise
from avtrain.data.reader import Reader
from avtrain.evaluation.features import Source, clip_features, window_features
from avtrain.runs.folder import Metrics
from avtrain.sampling.pairs import Pairs
from tests.train.forge import Forged, forge_dataset

ROOT = Path(__file__).parents[2]
RATE_HZ = 48_000
WRONG = {"nan": np.nan, "inf": np.inf, "minus-inf": -np.inf, "huge": 1e30}


def wav(path: Path, wrong: float | None) -> Path:
    """Half a second of a tone in float32 samples, one of them `wrong`."""
    samples = (0.3 * np.sin(np.arange(RATE_HZ // 2) / 10)).astype("<f4")
    if wrong is not None:
        samples[1000] = wrong
    data = samples.tobytes()
    form = np.array([3, 1], "<u2").tobytes() + np.array([RATE_HZ, 4 * RATE_HZ], "<u4").tobytes()
    form += np.array([4, 32], "<u2").tobytes()
    body = b"WAVEfmt " + len(form).to_bytes(4, "little") + form + b"data" + len(data).to_bytes(4, "little") + data
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The dataset of two good clips, and of four with one wrong sample each."""
    folder = tmp_path_factory.mktemp("built")
    ids = ["a", *WRONG, "b"]
    rows = [{"clip_id": one, "audio_path": f"{one}.wav", "label": "x", "split": "train"} for one in ids]
    for row in rows:
        wav(folder / row["audio_path"], WRONG.get(row["clip_id"]))
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_shards(folder / "clips.jsonl", folder / "data", BuildConfig(video=VideoSpec(frame_size=16)), Limits())
    return folder / "data"


@pytest.fixture
def old(built, tmp_path) -> Path:
    """The dataset as a version left it that stored a NaN in clip `a`, and so in the statistics."""
    folder = Path(shutil.copytree(built, tmp_path / "old"))
    [marker_path] = folder.glob("shards/*/*/*.json")
    marker, info = (json.loads(path.read_text()) for path in (marker_path, folder / schema.DATASET))
    tar = folder / marker["shard"]
    overwrite(tar, marker["clips"][0]["logmel_offset"])
    marker["sha256"] = info["shards"][marker["shard"]]["sha256"] = store.sha256(tar)
    for name in ("sum", "sum_of_squares"):
        marker["logmel"][name][0] = math.nan
    info["logmel"]["mean"][0] = info["logmel"]["std"][0] = math.nan
    for path, value in ((marker_path, marker), (folder / schema.DATASET, info)):
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    return folder


def overwrite(tar: Path, offset: int) -> None:
    """Put NaN in place of one float16."""
    with open(tar, "r+b") as file:
        file.seek(offset)
        file.write(np.array(np.nan, "<f2").tobytes())


@pytest.mark.slow
def test_such_a_clip_fails_and_spoils_nothing(built):
    failures = [json.loads(line) for line in (built / schema.FAILURES).read_text().splitlines()]
    assert {one["clip_id"]: one["reason"] for one in failures} == dict.fromkeys(WRONG, "not-finite")
    dataset = Dataset(built)
    assert dataset.clip_ids == ["a", "b"]
    assert np.isfinite([dataset.logmel_mean, dataset.logmel_std]).all()
    assert all(np.isfinite(dataset.read_clip(row).logmel).all() for row in range(2))
    assert verify(built, 1).problems == []


@pytest.mark.parametrize("wrong", WRONG)
def test_nor_is_it_decoded_by_way_of_the_disk(tmp_path, wrong):
    with pytest.raises(ClipError, match="not-finite") as caught:
        write_log_mel(wav(tmp_path / "a.wav", WRONG[wrong]), None, None, AudioSpec(), Limits(), tmp_path / "a.npy")
    assert "about 0.0 s" in caught.value.detail


def test_verify_names_the_clip_of_an_old_dataset_and_what_to_do(old):
    problems = verify(old, 1).problems
    assert len(problems) == 1
    assert "not finite, of a; take them out with 'avprep exclude'" in problems[0]


def test_its_statistics_are_refused_by_name(old):
    for use in (lambda: Dataset(old).logmel_std, lambda: Augment(Dataset(old))):
        with pytest.raises(UserError, match=r"statistics that are not finite.*avprep verify"):
            use()
    with pytest.raises(UserError, match=r"log-mel of 'a' is not finite.*avprep verify"):
        write_preview(old, old / "p.html")
    with pytest.raises(UserError, match="not finite, of a; take them out"):
        finalize(old)


def test_excluding_the_clip_mends_it(old, built):
    exclude(old, ["a"], "NaN", "2026-01-01")
    assert verify(old, 1).problems == []
    mean = Dataset(built).read_clip(1).logmel.astype(np.float64).mean(axis=0)
    assert np.allclose(Dataset(old).logmel_mean, mean, atol=1e-9)


def test_preview_and_scores_name_a_clip_that_the_statistics_do_not_show(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged("x", split) for split in ("train", "train", "test", "test")])
    dataset = Dataset(folder)
    overwrite(folder / dataset.shards[dataset.shard[3]], int(dataset.logmel_offset[3]))
    with pytest.raises(UserError, match=f"{dataset.clip_ids[3]}.*not finite"):
        write_preview(folder, tmp_path / "p.html")
    normalise = Normalise(dataset.logmel_mean, dataset.logmel_std)
    with Reader(dataset) as reader:
        source = Source(dataset, reader, normalise, "cpu")
        with pytest.raises(UserError, match=f"1 clips of .*, {dataset.clip_ids[3]};"):
            clip_features(Loudness(), source, np.arange(4))
        with pytest.raises(UserError, match=f"1 clips of .*, {dataset.clip_ids[3]};"):
            window_features(Loudness(), source, np.arange(4), 2)


class Loudness(torch.nn.Module):
    """Mean log-mel [B, M] as features."""

    def forward(self, logmel: torch.Tensor) -> torch.Tensor:
        return logmel.mean(dim=(1, 2))


def test_a_number_of_a_label_column_is_finite(built):
    dataset = Dataset(built)
    column = LabelColumn(np.zeros(2, np.int32), ["x"])
    with pytest.raises(UserError, match="probability of 'b' is not finite"):
        write_labels(dataset, "p", column, {}, probability=np.array([0.5, np.nan]))
    assert not (built / schema.labels_path("p")).exists()


def test_weights_of_pairs_are_finite():
    rows = np.arange(2)
    for weight in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            Pairs(rows, rows, np.array([1.0, weight]))


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "result.json"
    with pytest.raises(UserError, match=r"^scores.1.accuracy is nan, which is not finite"):
        store.write_json(path, {"scores": [{"accuracy": 0.5}, {"accuracy": math.nan}]})
    with pytest.raises(UserError, match="loss is inf"):
        store.json_line({"loss": math.inf})
    metrics = Metrics(tmp_path, 0)
    with pytest.raises(UserError, match="loss is nan"):
        metrics.write(step=0, loss=math.nan)
    metrics.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_all_json_is_written_by_one_function():
    """Keys of comparisons within avtrain/report are not written."""
    writers = {
        path.relative_to(ROOT).as_posix()
        for package in ("avprep", "avtrain")
        for path in (ROOT / package).rglob("*.py")
        if "json.dump" in path.read_text(encoding="utf-8").replace("json.dumps.", "")
    }
    assert {path for path in writers if not path.startswith("avtrain/report/")} == {"avprep/shared/store.py"}
