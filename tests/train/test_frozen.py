"""Published weights of a video encoder, and an encoder that stays as it is while the rest is trained."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from urllib.error import URLError

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import get_model, get_model_weights

from avprep.dataset import Dataset
from avprep.shared.errors import Interrupted, UserError
from avtrain.cli import main
from avtrain.config import PretrainConfig
from avtrain.data.augment import Augment, Normalise
from avtrain.data.batches import Recipe
from avtrain.data.frozen_features import FrozenFeatures
from avtrain.data.planned_batches import PlannedBatches
from avtrain.data.plans import training_table
from avtrain.models.two_tower import build_two_tower, tower_of
from avtrain.models.video import TinyVideo
from avtrain.runs import folder as run_folder
from avtrain.runs.load import checkpoint_of, load_two_tower
from avtrain.sampling import SoftPositive
from avtrain.sampling.windows import WindowSpec, aligned_windows, draw_windows, window_positions
from avtrain.training.optimizer import optimiser_of
from avtrain.training.pretrain import pretrain
from avtrain.training.video_weights import load_video_weights
from tests.train.forge import Forged, forge_dataset

SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": 2, "learning_rate": 1e-3}
KINETICS = [0.43216, 0.394666, 0.37645], [0.22803, 0.22145, 0.216989]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("abcd"[row % 4], split="train" if row < 18 else "val") for row in range(24)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    """A run to take weights from."""
    run = tmp_path_factory.mktemp("runs") / "source"
    pretrain(data, run, PretrainConfig(**SETTINGS, seed=5, max_steps=2), quiet=True)
    return run


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(a file of torchvision's kind, the network with these weights and without its classifier)."""
    torch.manual_seed(3)
    network = get_model("mc3_18", weights=None)
    file = tmp_path_factory.mktemp("weights") / "mc3_18.pth"
    torch.save(network.state_dict(), file)
    network.fc = nn.Identity()
    return file, network.eval()


def weights_of(run):
    return load_file(max(run.glob("step_*")) / "model.safetensors")


def parts_that_differ(one, other):
    """Names of the parts of two sets of weights, of equal names, in which they differ."""
    return {name.split(".")[0] for name, tensor in one.items() if not torch.equal(tensor, other[name])}


def test_published_weights_give_the_features_that_torchvision_gives(published, tmp_path):
    file, network = published
    model = build_two_tower("tiny", video_model="mc3_18", published=True).eval()
    begun = load_video_weights(str(file), "mc3_18", model, tmp_path)
    assert len(begun["video_weights_digest"]) == 64
    pictures = torch.randint(0, 256, (2, 8, 32, 32, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in KINETICS)
    with torch.no_grad():
        wanted = network((pictures.permute(0, 4, 1, 2, 3) / 255 - mean) / std)
        found = model.video(Normalise([0.0], [1.0]).video(pictures))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    again = tower_of({"model_size": "tiny", "video_model": "mc3_18", "video_weights": str(file)}, 32)
    again.load_state_dict(model.state_dict())
    plain = tower_of({"model_size": "tiny", "video_model": "mc3_18"}, 32)
    assert plain.state_dict().keys() != model.state_dict().keys()


def test_weights_of_a_name_come_from_torchs_cache_or_are_downloaded(published, tmp_path, monkeypatch):
    file, _ = published
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    asked = []

    def refused(url, *_, **__):
        asked.append(url)
        raise URLError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    model = build_two_tower("tiny", video_model="mc3_18", published=True)
    with pytest.raises(
        UserError, match=r"KINETICS400_V1 of mc3_18 cannot be downloaded .*unreachable.* --video-weights"
    ):
        load_video_weights("KINETICS400_V1", "mc3_18", model, tmp_path)
    url = get_model_weights("mc3_18").KINETICS400_V1.url
    assert asked == [url]
    (tmp_path / "hub/checkpoints").mkdir(parents=True, exist_ok=True)
    (tmp_path / "hub/checkpoints" / url.rpartition("/")[2]).symlink_to(file)
    load_video_weights("KINETICS400_V1", "mc3_18", model, tmp_path)
    saved = torch.load(file, weights_only=True)
    assert torch.equal(model.video.network[1].stem[0].weight, saved["stem.0.weight"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "weights.pth does not exist; give a file of weights or a name such as KINETICS400_V1"),
        (b"not a file of torch's", "is no whole file of tensors"),
        ({"epoch": 3}, "holds other things than weights"),
        ({"state_dict": {"stem.0.weight": torch.zeros(3)}}, "does not hold weights of torchvision's mc3_18: stem"),
    ],
)
def test_a_file_of_other_things_is_one_sentence(tmp_path, content, sentence):
    file = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(UserError, match=sentence):
        load_video_weights(str(file), "mc3_18", build_two_tower("tiny", video_model="mc3_18"), tmp_path)


def test_a_frozen_encoder_is_in_eval_mode_and_not_in_the_optimiser():
    model = tower_of({"model_size": "tiny", "freeze": "video"}, 32).train()
    assert model.training
    assert model.audio.training
    assert not any(module.training for module in model.video.modules())
    model.eval().train()
    assert not model.video.training
    optimised = {
        id(weights) for group in optimiser_of(model, PretrainConfig()).param_groups for weights in group["params"]
    }
    names = {name.split(".")[0] for name, weights in model.named_parameters() if id(weights) in optimised}
    assert names == {"audio", "audio_head", "video_head"}


@pytest.mark.parametrize("side", ["video", "audio"])
def test_a_frozen_encoder_keeps_its_weights_and_statistics_through_a_stop(data, source, tmp_path, side):
    settings = SETTINGS | {"freeze": side, "init_from": str(source), "weight_decay": 0.1}
    whole, run = tmp_path / "whole", tmp_path / "run"
    pretrain(data, whole, PretrainConfig(**settings), quiet=True)
    other = {"video": "audio", "audio": "video"}[side]
    assert parts_that_differ(weights_of(source), weights_of(whole)) == {other, "audio_head", "video_head"}
    assert run_folder.read_validation(whole)
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        pretrain(data, run, PretrainConfig(**settings), quiet=True, stopping=lambda: next(asked))
    pretrain(data, run, PretrainConfig(**settings), quiet=True)
    for name in ("model.safetensors", "optim.safetensors"):
        assert (max(run.glob("step_*")) / name).read_bytes() == (max(whole.glob("step_*")) / name).read_bytes()


def test_a_run_on_published_weights_trains_goes_on_without_the_file_and_is_recorded(data, published, tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(torch.load(published[0], weights_only=True), file)
    settings = SETTINGS | {"video_model": "mc3_18", "video_weights": str(file), "freeze": "video", "val_every": 0}
    run = tmp_path / "run"
    pretrain(data, run, PretrainConfig(**settings, max_steps=1), quiet=True)
    saved = torch.load(published[0], weights_only=True)
    assert torch.equal(weights_of(run)["video.network.1.stem.0.weight"], saved["stem.0.weight"])
    file.unlink()
    assert pretrain(data, run, PretrainConfig(**settings, max_steps=2), quiet=True).steps == 2
    assert len(json.loads((run / "config.json").read_text())["video_weights_digest"]) == 64
    with pytest.raises(UserError, match=r"does not fit in part 'video': .* --video-weights"):
        pretrain(data, tmp_path / "next", PretrainConfig(**SETTINGS, video_model="mc3_18", init_from=str(run)))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            ["--freeze=video"],
            "A frozen video encoder with random weights learns nothing; give --init-from or --video-w",
        ),
        (["--freeze=audio"], "give --init-from or --audio-model package:function"),
        (
            ["--frozen-windows=4"],
            "frozen_windows must be 0, or up to 1000 with --freeze video or --freeze audio, not 4.",
        ),
        (["--freeze=video", "--init-from=x", "--loss=audio-supcon"], "trains the audio encoder alone; leave --freeze"),
        (
            ["--freeze=video", "--init-from=x", "--frozen-windows=4", "--grey-share=0.1"],
            "Features that are computed once know no augmentation; leave that of the video out",
        ),
        (
            ["--video-weights=KINETICS400_V1"],
            "for torchvision's models, not for tiny; choose --video-model among r2plus",
        ),
        (
            ["--video-weights=V9", "--video-model=mc3_18"],
            "torchvision has no weights 'V9' of mc3_18; choose one of KIN",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(data, tmp_path, wrong, sentence):
    command = ["pretrain", str(data), "--run", str(tmp_path / "run"), "--model-size=tiny", "--batch-size=4", *wrong]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert sentence in done.output
    assert len(done.output.splitlines()) == 1


def frozen_run(data, source, run, side, **more):
    settings = SETTINGS | {"freeze": side, "init_from": str(source), "frozen_windows": 3} | more
    return pretrain(data, run, PretrainConfig(**settings), quiet=True)


@pytest.mark.parametrize("side", ["video", "audio"])
def test_features_that_are_kept_are_those_of_the_windows_that_are_drawn(data, source, tmp_path, side, monkeypatch):
    frozen_run(data, source, tmp_path / "run", side)
    (file,) = (tmp_path / "run" / "frozen").glob(f"{side}-*.npy")
    dataset = Dataset(data)
    table = training_table(dataset)
    model = load_two_tower(*checkpoint_of(tmp_path / "run"), 32)
    features = FrozenFeatures(side, table.rows, np.load(file))
    recipe = Recipe(dataset=dataset, table=table, strategy=SoftPositive(0.5), batch_size=6, positions=3)
    kept = dataclasses.replace(recipe, features=features)
    augment = Augment(dataset, flip=False)
    positions = set()
    for epoch, batch in itertools.product(range(3), range(3)):
        whole, known = (PlannedBatches(each, epoch)[batch] for each in (recipe, kept))
        media, given = augment(whole), augment(known)
        with torch.no_grad():
            wanted = model.video(media[0]) if side == "video" else model.audio(media[1])
        torch.testing.assert_close(given[side == "audio"], wanted, rtol=1e-4, atol=1e-5)
        assert torch.equal(given[side == "video"], media[side == "video"])
        parts = [PlannedBatches(dataclasses.replace(kept, rank=rank, world_size=3), epoch)[batch] for rank in range(3)]
        assert torch.equal(torch.cat([getattr(part, side) for part in parts]), getattr(known, side))
        positions |= set(window_positions(whole.plan, 3, seed=0, epoch=epoch, step=batch).flatten().tolist())
    assert positions == {0, 1, 2}


def test_features_are_computed_once_and_a_run_that_stops_ends_with_the_same_bits(data, source, tmp_path, monkeypatch):
    whole, run = tmp_path / "whole", tmp_path / "run"
    frozen_run(data, source, whole, "video", val_every=0)
    encoded = []
    forward = TinyVideo.forward
    monkeypatch.setattr(TinyVideo, "forward", lambda self, video: encoded.append(len(video)) or forward(self, video))
    asked = iter([False, True])
    with pytest.raises(Interrupted, match="the features of the frozen encoder are not all computed"):
        pretrain(
            data,
            run,
            PretrainConfig(**SETTINGS, freeze="video", init_from=str(source), frozen_windows=30, val_every=0),
            quiet=True,
            stopping=lambda: next(asked),
        )
    assert not list((run / "frozen").glob("*"))
    shutil.rmtree(run)
    encoded.clear()
    settings = PretrainConfig(**SETTINGS, freeze="video", init_from=str(source), frozen_windows=3, val_every=0)
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="step 2 of 6"):
        pretrain(data, run, settings, quiet=True, stopping=lambda: next(asked))
    assert sum(encoded) == 3 * 18
    pretrain(data, run, settings, quiet=True)
    assert sum(encoded) == 3 * 18
    for name in ("model.safetensors", "optim.safetensors"):
        assert (max(run.glob("step_*")) / name).read_bytes() == (max(whole.glob("step_*")) / name).read_bytes()


def test_exact_pairs_keep_one_middle_at_each_position():
    plan = np.stack([np.arange(40), np.where(np.arange(40) % 2, np.arange(40), 39 - np.arange(40))], axis=1)
    lengths, spec = np.full(40, 160), WindowSpec()
    windows = draw_windows(plan, lengths, spec, seed=0, epoch=0, step=0, positions=5)
    positions = window_positions(plan, 5, seed=0, epoch=0, step=0)
    for side, start in ((0, windows.mel_frame), (1, windows.frame)):
        there = aligned_windows(lengths, (positions[:, side] + 0.5) / 5, spec)
        np.testing.assert_array_equal(start, (there.mel_frame, there.frame)[side])
    same = plan[:, 0] == plan[:, 1]
    assert (positions[same, 0] == positions[same, 1]).all()
    assert (positions[~same, 0] != positions[~same, 1]).any()
