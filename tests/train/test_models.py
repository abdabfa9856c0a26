"""Shapes, sizes and habits of the encoders."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from avtrain.models.audio import AUDIO_MODELS, AudioCNN, build_audio, tiny_audio
from avtrain.models.two_tower import audio_encoder, build_two_tower
from avtrain.models.video import TORCHVISION_NAMES, VIDEO_NAMES, TinyVideo, build_video


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


def test_weights_begin_as_in_the_docstring():
    torch.manual_seed(0)
    for model in (AudioCNN(), TinyVideo(), build_video("r2plus1d_18_released")):
        for layer in convolutions(model):
            fan_out = layer.out_channels * math.prod(layer.kernel_size)
            assert abs(layer.weight.std().item() / (2 / fan_out) ** 0.5 - 1) < 0.1
            assert layer.bias is None
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                assert (layer.weight == 1).all()
                assert (layer.bias == 0).all()


def sizes(build, *shape):
    """Features, millions of parameters, GFLOP a clip: counted on shapes alone, so that nothing is computed."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        encoder = build()
        features = encoder(torch.empty(2, *shape))
    assert features.shape == (2, encoder.num_features)
    return encoder.num_features, parameters(encoder) / 1e6, counter.get_total_flops() / 2e9


VIDEO_SIZES = {
    "r2plus1d_18": (512, 31.3, 40.5),
    "r2plus1d_18_released": (512, 15.4, 20.0),
    "r3d_18": (512, 33.2, 40.7),
    "mc3_18": (512, 11.5, 43.3),
    "s3d": (1024, 7.9, 4.5),
    "swin3d_t": (768, 27.9, 10.3),
    "swin3d_s": (768, 49.5, 19.3),
    "swin3d_b": (1024, 87.6, 33.5),
    "tiny": (64, 0.0, 0.1),
}


@pytest.mark.parametrize("name", VIDEO_NAMES)
def test_video_models_have_the_sizes_of_the_docstring(name):
    features, millions, gflop = sizes(lambda: build_video(name), 3, 8, 112, 112)
    assert (features, round(millions, 1), round(gflop, 1)) == VIDEO_SIZES[name]


@pytest.mark.parametrize(
    ("build", "shape", "expected"),
    [
        (TinyVideo, (3, 8, 48, 48), (64, 0.04, 0.02)),
        (AudioCNN, (1, 100, 128), (512, 4.73, 2.69)),
        (tiny_audio, (1, 100, 128), (64, 0.15, 0.03)),
    ],
)
def test_our_own_models_have_the_sizes_of_their_docstrings(build, shape, expected):
    features, millions, gflop = sizes(build, *shape)
    assert (features, round(millions, 2), round(gflop, 2)) == expected


@pytest.mark.parametrize("name", ["r2plus1d_18_released", "s3d", "tiny"])
def test_the_pool_is_the_one_asked_for(name):
    """Features of the mean of the last map, and of its maximum, computed from the map itself."""
    encoders = {pool: build_video(name, pool).eval() for pool in ("average", "max")}
    encoders["max"].load_state_dict(encoders["average"].state_dict())
    seen = []
    where = {"tiny": "layers.2", "r2plus1d_18_released": "pool"}.get(name, "network.avgpool")
    layer = encoders["max"].get_submodule(where)
    if name == "tiny":
        layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    else:
        layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        video = torch.randn(1, 3, 8, 64, 64)
        average, maximum = (encoders[pool](video) for pool in ("average", "max"))
        places = seen[0].transpose(0, 1).reshape(seen[0].shape[1], -1)
    torch.testing.assert_close(average[0], places.mean(dim=1), rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(maximum[0], places.max(dim=1).values, rtol=1e-4, atol=1e-12)
    assert (average - maximum).abs().max() > 0.01 * maximum.max()


def test_the_released_model_pools_by_the_maximum_and_all_others_by_the_average():
    with torch.device("meta"):
        found = {name: build_video(name).network.avgpool for name in TORCHVISION_NAMES}
        found["r2plus1d_18_released"] = build_video("r2plus1d_18_released").pool
    maximum = {name for name, pool in found.items() if isinstance(pool, torch.nn.AdaptiveMaxPool3d)}
    assert maximum == {"r2plus1d_18_released"}
    assert TinyVideo().pool == "average"


def test_the_released_models_blocks_keep_their_width():
    with torch.device("meta"):
        network = build_video("r2plus1d_18_released")
    stem = network.stem[0]
    assert (stem.out_channels, stem.kernel_size, stem.stride) == (64, (3, 7, 7), (1, 2, 2))
    blocks = [layer for layer in convolutions(network) if layer is not stem and layer.kernel_size != (1, 1, 1)]
    assert [layer.kernel_size for layer in blocks] == [(1, 3, 3), (3, 1, 1)] * 16
    assert [layer.out_channels for layer in blocks] == [64] * 8 + [128] * 8 + [256] * 8 + [512] * 8
    for space, time in zip(blocks[::2], blocks[1::2], strict=True):
        assert space.out_channels == time.in_channels == time.out_channels
    weights = sum(layer.weight.numel() for layer in convolutions(network))
    norms = 64 + 8 * (64 + 128 + 256 + 512)  # stem, one after each convolution; the short cut has none of its own
    assert parameters(network) == weights + 2 * norms


def test_the_pair_of_full_size_is_the_papers_unless_another_video_model_is_named():
    with torch.device("meta"):
        full, other = build_two_tower("full"), build_two_tower("full", video_model="s3d", video_pool="max")
    assert round(parameters(full.video) / 1e6, 1) == 31.3
    assert isinstance(full.video.network.avgpool, torch.nn.AdaptiveAvgPool3d)
    assert isinstance(other.video.network.avgpool, torch.nn.AdaptiveMaxPool3d)
    assert other.video_head.in_features == 1024
    assert parameters(full.audio) == parameters(other.audio)


def test_half_precision_is_made_of_length_one_in_float32():
    model = build_two_tower("tiny").eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rows = model.embed_audio(torch.randn(4, 1, 50, 128))
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4), rtol=1e-6, atol=0)
    assert model.double().embed_audio(torch.randn(2, 1, 50, 128).double()).dtype == torch.float64


def test_audio_models_by_name():
    assert {name: round(parameters(build_audio(name)) / 1e6, 1) for name in AUDIO_MODELS} == {"cnn9": 4.7, "tiny": 0.1}


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
    model = build_two_tower(size).eval()
    pixels, length = (48, 8) if size == "tiny" else (32, 4)
    with torch.no_grad():
        video, audio = model(torch.randn(2, 3, length, pixels, pixels), torch.randn(2, 1, 100, 128))
    for embedding in (video, audio):
        assert embedding.shape == (2, 128)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_the_audio_encoder_of_a_size_is_that_of_the_pair(size):
    with torch.device("meta"):
        encoder, pair = audio_encoder(size), build_two_tower(size)
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (encoder, pair.audio)]
    assert shapes[0] == shapes[1]


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
