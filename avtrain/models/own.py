"""An encoder that the user wrote, named as `package:function` and tried out before a run begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from avprep.shared.errors import UserError
from avprep.shared.own_code import import_own
from avtrain.models.encoder import Encoder


def own_encoder(name: str, input_shapes: Sequence[tuple[int, ...]]) -> Encoder:
    """The module that `package:function`, called without arguments, returns; weights as that function left them.

    It is run on zeros of each of `input_shapes` (evaluation mode, no gradient) and must give [B, N] floats, the same N
    for all. Errors: UserError where it does not import, is not callable, fails, returns no module or other shapes.
    """
    network = _call(name, import_own(name, "an encoder"))
    training = network.training
    network.eval()
    widths = {_width(name, network, shape) for shape in input_shapes}
    if len(widths) > 1:
        raise UserError(
            f"{name} gives {sorted(widths)} features for inputs of different length; it must give one number."
        )
    network.train(training)
    return Encoder(network, widths.pop())


def _call(name: str, function: Callable[[], object]) -> nn.Module:
    try:
        network = function()
    except Exception as error:
        raise UserError(f"{name} failed when called without arguments ({type(error).__name__}: {error}).") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} returned a {type(network).__name__}; it must return a torch.nn.Module.")
    return network


def _width(name: str, network: nn.Module, shape: tuple[int, ...]) -> int:
    """Features that a network gives for zeros of a shape."""
    try:
        with torch.no_grad():
            features = network(torch.zeros(shape))
    except Exception as error:
        raise UserError(f"{name} cannot encode {list(shape)} ({type(error).__name__}: {error}).") from error
    given = list(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    if not isinstance(given, list) or len(given) != 2 or given[0] != shape[0] or not features.is_floating_point():
        raise UserError(f"{name} gives {given} for {list(shape)}; an encoder gives floats [{shape[0]}, features].")
    return given[1]
