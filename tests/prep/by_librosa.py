"""librosa as tests compare with it: loaded without compiling those of its functions that no test calls.

numba compiles them as librosa is loaded, for half a minute where no cache of an earlier time is at hand. They stay the
same functions in Python; what tests call, spectra, filters and decibels, is numpy.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import pytest

MODULES = ("core.audio", "core.convert", "core.spectrum", "feature.spectral", "filters", "util.utils")
COMPILED = ("guvectorize", "vectorize")
"""of numba: what compiles as soon as it decorates a function"""


@functools.cache
def librosa() -> ModuleType:
    """The module, with what is loaded late otherwise."""
    import numba

    with pytest.MonkeyPatch.context() as patch:
        for name in COMPILED:
            patch.setattr(numba, name, lambda *_words, **_options: lambda function: function)
        for name in MODULES:
            importlib.import_module(f"librosa.{name}")
        return importlib.import_module("librosa")
