"""Shapes, sizes and habits of the encoders."""

from __future__ import annotations

import pytest
import torch

from avtrain.models.audio import AudioCNN, tiny_audio
from avtrain.models.two_tower import audio_encoder, two_tower
from avtrain.models.video import R2Plus1D18, TinyVideo


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def convolutions(model):
    return [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d)]


@pytest.mark.parametrize(("encoder", "features"), [(AudioCNN(), 512), (tiny_audio(), 64)])
@pytest.mark.parametrize("length", [1, 37, 100, 431])
def test_sound_of_any_length_has_features(encoder, features, length):
    with torch.no_grad():
        assert encoder.eval()(torch.randn(2, 1, length, 128)).shape == (2, features) == (2, encoder.num_features)


def test_the_audio_encoder_is_the_papers():
    encoder = AudioCNN()
    assert [(layer.out_channels, layer.kernel_size[0], layer.stride[0]) for layer in convolutions(encoder)] == [
        (64, 7, 2), (64, 3, 1), (64, 3, 1), (128, 3, 2), (128, 3, 1),
        (256, 3, 2), (256, 3, 1), (512, 3, 1), (512, 3, 1),
    ]  # fmt: skip
    assert round(parameters(encoder) / 1e6, 1) == 4.7


def test_the_audio_encoder_takes_the_maximum_over_time():
    encoder = tiny_audio().eval()
    burst = torch.zeros(1, 1, 400, 32)
    burst[0, 0, 180:220] = 3.0
    then_silence = torch.cat([burst, torch.zeros_like(burst)], dim=2)
    with torch.no_grad():
        torch.testing.assert_close(encoder(then_silence), encoder(burst))


def test_weights_begin_as_the_docstring_says():
    torch.manual_seed(0)
    for model in (AudioCNN(), TinyVideo()):
        for layer in convolutions(model):
            fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
            assert abs(layer.weight.std().item() / (2 / fan_out) ** 0.5 - 1) < 0.1
            assert layer.bias is None
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                assert (layer.weight == 1).all()
                assert (layer.bias == 0).all()


def test_r2plus1d_18_of_eight_pictures():
    encoder = R2Plus1D18().eval()
    assert round(parameters(encoder) / 1e6, 1) == 31.3
    with torch.no_grad():
        assert encoder(torch.randn(2, 3, 8, 112, 112)).shape == (2, 512) == (2, encoder.num_features)


@pytest.mark.parametrize("size", [32, 48, 64])
@pytest.mark.parametrize("length", [1, 8])
def test_the_tiny_video_encoder_of_several_sizes(size, length):
    encoder = TinyVideo().eval()
    with torch.no_grad():
        assert encoder(torch.randn(3, 3, length, size, size)).shape == (3, 64) == (3, encoder.num_features)


def test_the_tiny_video_encoder_mixes_pictures_of_a_clip_and_not_clips():
    torch.manual_seed(0)
    encoder = TinyVideo().eval()
    clips = torch.randn(3, 3, 8, 48, 48)
    with torch.no_grad():
        together = encoder(clips)
        for number in range(3):
            torch.testing.assert_close(together[number : number + 1], encoder(clips[number : number + 1]))
        assert (encoder(clips.flip(2)) - together).abs().max() > 1e-3  # the order of pictures matters


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_a_pair_embeds_both_sides_as_unit_vectors(size):
    model = two_tower(size).eval()
    pixels, length = (48, 8) if size == "tiny" else (32, 4)
    with torch.no_grad():
        video, audio = model(torch.randn(2, 3, length, pixels, pixels), torch.randn(2, 1, 100, 128))
    for embedding in (video, audio):
        assert embedding.shape == (2, 128)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_the_audio_encoder_of_a_size_is_that_of_the_pair(size):
    assert parameters(audio_encoder(size)) == parameters(two_tower(size).audio)
    assert audio_encoder(size).load_state_dict(two_tower(size).audio.state_dict())


def test_the_audio_encoder_takes_the_maximum_over_time_and_bands():
    encoder = AudioCNN(stem_stride=4, widths=(16, 16, 32, 64, 64)).eval()
    sound = torch.randn(2, 1, 150, 64)
    with torch.no_grad():
        expected = encoder.layers(sound).flatten(2).max(dim=2).values
        assert torch.equal(encoder(sound), expected)


def test_the_tiny_video_encoder_sees_the_order_of_pictures():
    encoder = TinyVideo().eval()
    video = torch.randn(2, 3, 8, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(encoder(video), encoder(video.flip(2)), atol=1e-4)
