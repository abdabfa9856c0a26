"""Models of the user's own by package:function; names and pools that there are not."""

from __future__ import annotations

import pytest
import torch

from avprep.shared.errors import UserError
from avtrain.models.audio import build_audio
from avtrain.models.two_tower import build_two_tower
from avtrain.models.video import build_video

OWN = """
import torch
from torch import nn
class Mean(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer, self.norm = nn.Linear(3, width), nn.BatchNorm1d(width)
    def forward(self, video):
        return self.norm(self.layer(video.mean(dim=(2, 3, 4))))
class Shape(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer
    def forward(self, media):
        return self.answer(media)
def good(): return Mean(7).train()
def sound(): return Shape(lambda media: media.mean(dim=2)[:, 0])
def needs_size(size): return Mean(size)
def a_string(): return "network"
def flat(): return Shape(lambda media: media.mean())
def shorter(): return Shape(lambda media: torch.zeros(1, 5))
def whole(): return Shape(lambda media: torch.zeros(len(media), 5, dtype=torch.int64))
def by_length(): return Shape(lambda media: media.flatten(1))
def pair(): return Shape(lambda media: (media, media))
def broken(): return Shape(lambda media: media @ torch.zeros(3, 3))
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_own_models.py").write_text(OWN)
    (tmp_path / "my_broken_models.py").write_text("def net(:\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own")
def test_the_users_own_models_are_tried_and_left_as_they_were():
    video = build_video("my_own_models:good")
    assert video.num_features == 7
    assert video.training
    assert video.network.training
    assert video.network.norm.num_batches_tracked == 0  # the trial has left no trace
    assert video(torch.randn(3, 3, 8, 32, 32)).shape == (3, 7)
    assert build_two_tower("tiny", video_model="my_own_models:good").video_head.in_features == 7
    assert build_audio("my_own_models:sound").num_features == 128


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no_such_package_of_ours:net", "cannot be imported .ModuleNotFoundError.*PYTHONPATH"),
        ("my_broken_models:net", "cannot be imported .SyntaxError"),
        ("my_own_models:none", "my_own_models has no function 'none'"),
        ("my_own_models:number", "my_own_models has no function 'number'"),
        (":net", "cannot be imported"),
        ("my_own_models:needs_size", "failed when called without arguments .TypeError.*size"),
        ("my_own_models:a_string", "returned a str; it must return a torch.nn.Module"),
        ("my_own_models:flat", r"gives \[\] for \[2, 3, 8, 112, 112\]; an encoder gives floats \[2, features\]"),
        ("my_own_models:shorter", r"gives \[1, 5\] for"),
        ("my_own_models:whole", r"gives \[2, 5\] for .* an encoder gives floats"),
        ("my_own_models:pair", "gives tuple for"),
        ("my_own_models:broken", r"cannot encode \[2, 3, 8, 112, 112\] .RuntimeError"),
    ],
)
def test_a_model_of_the_users_that_does_not_fit_is_refused_in_a_sentence(name, sentence):
    with pytest.raises(UserError, match=sentence):
        build_video(name)


@pytest.mark.usefixtures("own")
def test_other_names_and_pools_are_refused_with_the_choice():
    with pytest.raises(
        UserError, match=r"no video model 'resnet'; choose one of r2plus1d_18, .*tiny or package:function"
    ):
        build_video("resnet")
    with pytest.raises(UserError, match="no audio model 'cnn'; choose one of cnn9, tiny or"):
        build_audio("cnn")
    with pytest.raises(UserError, match="no pool 'median'; choose one of auto, average, max"):
        build_video("tiny", "median")
    with pytest.raises(UserError, match="pools by itself"):
        build_video("my_own_models:good", "max")
    with pytest.raises(UserError, match=r"gives .* features for inputs of different length"):
        build_audio("my_own_models:by_length")
