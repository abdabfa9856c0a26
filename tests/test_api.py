"""The public names: declared, importable, documented, not hidden by a submodule, and light until they are used."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys

import pytest

import avprep
import avtrain
from tests.boundaries import PUBLIC
from tests.conftest import REPOSITORY
from tests.docs.pages import DOCS

LAZY = [
    "avprep",
    "avtrain",
    "avtrain.data",
    "avtrain.models",
    "avtrain.training",
    "avtrain.evaluation",
    "avtrain.inference",
]


@pytest.mark.parametrize("module", PUBLIC)
def test_declared_names_are_there_and_documented(module):
    loaded = importlib.import_module(module)
    assert len(set(loaded.__all__)) == len(loaded.__all__)
    for name in loaded.__all__:
        thing = getattr(loaded, name)
        assert thing.__doc__, f"{module}.{name}"


@pytest.mark.parametrize("module", PUBLIC)
def test_no_public_name_is_that_of_a_submodule(module):
    loaded = importlib.import_module(module)
    below = {found.name for found in pkgutil.iter_modules(getattr(loaded, "__path__", ()))}
    assert not below & set(loaded.__all__)


def test_the_reference_lists_every_function_of_both_packages():
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^        - (\w+)$", page, re.MULTILINE)
    functions = [
        name for package in (avprep, avtrain) for name in package.__all__ if name.islower() and "__" not in name
    ]
    assert listed == functions


@pytest.mark.parametrize("module", LAZY)
def test_importing_it_loads_no_other_library(module):
    loaded = f"before = set(sys.modules); import {module}; loaded = list(set(sys.modules) - before)"
    whole = f"import json, sys; sys.path.insert(0, {str(REPOSITORY)!r}); {loaded}; print(json.dumps(loaded))"
    done = subprocess.run([sys.executable, "-I", "-c", whole], capture_output=True, text=True, check=True)
    foreign = {name.split(".")[0] for name in json.loads(done.stdout)} - set(sys.stdlib_module_names)
    assert foreign <= {"avprep", "avtrain"}


def test_an_unknown_setting_or_name_is_an_error(tmp_path):
    with pytest.raises(TypeError, match="frame_sise"):
        avprep.build_shards(tmp_path / "m.csv", tmp_path / "data", frame_sise=64)
    with pytest.raises(TypeError, match="not both"):
        avprep.build_shards(tmp_path / "m.csv", tmp_path / "data", config=avprep.BuildConfig(), frame_size=64)
    with pytest.raises(TypeError, match="batchsize"):
        avtrain.pretrain(tmp_path / "data", tmp_path / "run", batchsize=64)
    with pytest.raises(AttributeError, match="no attribute 'verify_all'"):
        _ = avprep.verify_all
    assert not list(tmp_path.iterdir())


def test_both_packages_are_marked_as_typed():
    for package in ("avprep", "avtrain"):
        assert (REPOSITORY / package / "py.typed").exists()
        assert re.search(rf"^{package} =[^=]*py\.typed$", (REPOSITORY / "setup.cfg").read_text(), re.MULTILINE)


def test_settings_of_a_build_by_name_are_those_of_its_configs():
    from avprep.config import LOGMEL_PRESETS, BuildConfig, ShardSpec, VideoSpec, build_config

    assert build_config() == BuildConfig()
    assert build_config(frame_size=64, clips_per_shard=8, decoder="auto", num_mel_bands=None) == BuildConfig(
        video=VideoSpec(frame_size=64), shards=ShardSpec(clips_per_shard=8), decoder="auto"
    )
    assert build_config(logmel_preset="text-16k").audio == LOGMEL_PRESETS["text-16k"]
    with pytest.raises(avprep.UserError, match="logmel_preset"):
        build_config(logmel_preset="other")
