"""JPEGs that are decoded where a batch goes: the pictures, the run and the errors, with a CPU in the place of a GPU."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.config import PretrainConfig
from avtrain.data import Loader, Recipe, encoded, training_table
from avtrain.data.encoded import EncodedPictures, check_decoder
from avtrain.data.frozen_features import FrozenFeatures
from avtrain.data.reader import Reader
from avtrain.runs import folder as run_folder
from avtrain.sampling import Random
from avtrain.sampling.windows import WindowSpec
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
CLIPS = [Forged(label, seconds=seconds) for label in "ab" for seconds in (0.3, 1.1, 1.7, 2.0)]
SETTINGS = {"model_size": "tiny", "batch_size": 4, "epochs": 2, "learning_rate": 1e-3, "val_every": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips of which one is shorter than a window, with JPEGs of unequal bytes."""
    return forge_dataset(tmp_path_factory.mktemp("jpegs") / "data", CLIPS, 4, "jpeg", 32, 32)


@pytest.fixture
def on_a_cpu(monkeypatch):
    monkeypatch.setattr(encoded, "DECODES_ON", ("cuda", "cpu"))


class There:
    """Copies as those to a device: a batch is moved, and decoded, by the thread that reads."""

    def begin(self, batch):
        return dataclasses.replace(batch.to("cpu"), buffers=None)

    def arrived(self, batch):
        assert batch.encoded is None
        return batch


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("stride", [1, 3])
def test_pictures_and_plans_are_those_of_the_other_decoder(folder, ahead, stride):
    dataset = Dataset(folder)
    options = {"batch_size": 4, "epochs": 3, "seed": 1, "window": WindowSpec(frame_stride=stride)}
    plain = Loader(dataset, training_table(dataset), Random(), **options)
    loader = Loader(
        dataset, training_table(dataset), Random(), **options, encoded=True, copies=There() if ahead else None
    )
    count = 0
    for own, wanted in zip(loader, plain, strict=True):
        moved = own.to("cpu")
        assert moved.video.shape == wanted.video.shape
        assert moved.video.dtype == torch.uint8
        assert moved.video.is_contiguous()
        apart = (moved.video.int() - wanted.video.int()).abs()
        assert apart.max() <= 2
        for name in ("audio", "flip"):
            assert torch.equal(getattr(moved, name), getattr(wanted, name))
        np.testing.assert_array_equal(moved.plan, wanted.plan)
        assert loader.state_dict() == plain.state_dict()
        count += 1
    assert count == 6


def test_a_clip_without_picture_gives_zeros_and_no_clips_give_none(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged("a"), Forged("a", pictures=False)], 2, "jpeg")
    dataset = Dataset(folder)
    pictures = EncodedPictures(dataset, 4)
    with Reader(dataset) as reader:
        reader.read_frames(np.array([1, 0]), np.zeros(2, int), pictures)
        decoded = pictures.decoded(torch.device("cpu"))
        assert not decoded[0].any()
        assert decoded[1].any()
        for rows in ([1], []):
            reader.read_frames(np.array(rows, int), np.zeros(len(rows), int), pictures)
            assert pictures.decoded(torch.device("cpu")).shape == (len(rows), 4, 8, 8, 3)


def test_sounds_may_be_features_and_pictures_encoded_or_the_other_way_round(folder):
    dataset = Dataset(folder)
    table = training_table(dataset)
    recipe = Recipe(dataset=dataset, table=table, strategy=Random(), batch_size=4, positions=2, encoded=True)
    (_, plan), *_ = recipe.plans(0, 0)
    for side, shape in (("audio", (4, 8, 32, 32, 3)), ("video", (4, 5))):
        kept = FrozenFeatures(side, table.rows, np.zeros((len(table.rows), 2, 5), np.float32))
        own = dataclasses.replace(recipe, features=kept)
        with Reader(dataset) as reader:
            batch = own.read(reader, own.buffers(), plan, 0, 0)
            assert batch.to("cpu").video.shape == shape
            assert (batch.encoded is not None) == (side == "audio")


def damaged(tmp_path, change):
    """Batches of a dataset whose clip c5 has its third JPEG changed by `change`, of the same length."""
    folder = forge_dataset(tmp_path / "data", CLIPS, 4, "jpeg", 32, 32)
    dataset = Dataset(folder)
    shard = folder / dataset.shards[dataset.shard[5]]
    with Reader(dataset) as reader:
        reader.read_frames(np.array([5]), np.array([0]), pictures := EncodedPictures(dataset, 3))
    jpeg = pictures.jpegs()[2].numpy().tobytes()
    data = shard.read_bytes()
    assert data.count(jpeg) == 1
    shard.write_bytes(data.replace(jpeg, change(jpeg)))
    whole = WindowSpec(32, 100)
    loader = Loader(
        dataset, training_table(dataset), Random(), batch_size=4, epochs=1, window=whole, encoded=True, copies=There()
    )
    return shard, loader


def of_other_size(jpeg):
    """A JPEG of 16 px and as many bytes, filled up in a comment."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    small = stream.getvalue()
    room = len(jpeg) - len(small) - 2
    return small[:2] + b"\xff\xfe" + room.to_bytes(2, "big") + bytes(room - 2) + small[2:]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda jpeg: jpeg[: len(jpeg) // 2] + bytes(len(jpeg) - len(jpeg) // 2), "does not begin and end as a JPEG"),
        (lambda jpeg: b"\0" + jpeg[1:], "does not begin and end as a JPEG"),
        (lambda jpeg: jpeg[:2] + bytes(200) + jpeg[202:], ""),
        (of_other_size, "a picture of 16x16 pixels where 32 are due"),
    ],
)
def test_a_damaged_picture_names_shard_and_clip(tmp_path, change, why):
    shard, loader = damaged(tmp_path, change)
    with pytest.raises(UserError, match=rf"{shard} holds a damaged picture of clip c5 \(.*{why}.*\); 'avprep verify'"):
        list(loader)


def test_what_is_no_damage_is_raised_as_it_is(folder, monkeypatch):
    decode = encoded._decoded

    def full(jpegs, device):
        if len(jpegs) > 1:
            raise torch.OutOfMemoryError("no memory")
        return decode(jpegs, device)

    monkeypatch.setattr(encoded, "_decoded", full)
    dataset = Dataset(folder)
    with pytest.raises(torch.OutOfMemoryError):
        list(Loader(dataset, training_table(dataset), Random(), batch_size=4, epochs=1, encoded=True, copies=There()))


@pytest.mark.usefixtures("on_a_cpu")
def test_a_run_goes_on_as_it_was_and_not_by_the_other_decoder(folder, tmp_path):
    def trained(run, **settings):
        pretrain(folder, tmp_path / run, PretrainConfig(**SETTINGS | settings), quiet=True)
        return [line["loss"] for line in run_folder.read_metrics(tmp_path / run)]

    whole = trained("whole", jpeg_decoder="device")
    assert whole == pytest.approx(trained("cpu"), rel=0.05)
    trained("run", jpeg_decoder="device", max_steps=3)
    assert trained("run", jpeg_decoder="device") == whole
    with pytest.raises(UserError, match="jpeg_decoder"):
        trained("run")


def test_it_is_refused_where_nothing_could_decode(folder, tmp_path, monkeypatch):
    dataset = Dataset(folder)
    check_decoder("cpu", dataset, "cpu")
    config = PretrainConfig(**SETTINGS, jpeg_decoder="device")
    with pytest.raises(UserError, match="this is to run on cpu; leave it out, or choose a GPU with --device"):
        pretrain(folder, tmp_path / "run", config, quiet=True)
    assert not (tmp_path / "run").exists()
    raw = forge_dataset(tmp_path / "raw", [Forged("a")])
    with pytest.raises(UserError, match=f"{raw} has raw pictures; leave it out"):
        check_decoder("device", Dataset(raw), "cuda")
    with pytest.raises(UserError, match="jpeg_decoder must be one of cpu, device, not 'gpu'"):
        PretrainConfig(jpeg_decoder="gpu")

    def without(jpegs, device):
        raise RuntimeError("not compiled with nvJPEG support")

    monkeypatch.setattr(encoded, "_decoded", without)
    with pytest.raises(UserError, match=r"not compiled with nvJPEG support\. Leave it out, or install torchvision"):
        check_decoder("device", dataset, "cuda")
