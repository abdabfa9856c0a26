"""The exported encoder: ONNX and safetensors that give the run's own features, described within, or nothing at all."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.inference.encoder import load_encoder
from avtrain.inference.export import check, export
from tests.conftest import REPOSITORY
from tests.train.test_encoder import save_run

pytestmark = pytest.mark.slow

OWN = """
import torch
from torch import nn
class Own(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(128, 5)
    def forward(self, logmel):
        rows = self.layer(logmel.mean(dim=2)[:, 0])
        if self.kind == "other" and torch.compiler.is_compiling():
            return 1.01 * rows
        if self.kind == "branch" and bool((rows > 0).all()):
            return -rows
        return rows
def good(): return Own("good")
def other(): return Own("other")
def branch(): return Own("branch")
"""


@pytest.fixture(scope="module")
def run(exported_encoder):
    return exported_encoder / "soft"


@pytest.fixture(scope="module")
def exported(exported_encoder):
    return exported_encoder / "encoder"


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (1, 101), (4, 57), (2, 1001)])
def test_onnx_gives_the_runs_features_for_any_number_and_length(run, exported, shape):
    logmel = np.random.default_rng(0).uniform(-80, 0, (*shape, 128)).astype(np.float32)
    wanted = load_encoder(run).encode(logmel)
    session = onnxruntime.InferenceSession(str(exported / "audio_encoder.onnx"))
    (found,) = session.run(["embedding"], {"logmel": logmel})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    np.testing.assert_array_equal(load_encoder(exported).encode(logmel), wanted)


def test_both_files_hold_what_encoder_json_holds(run, exported):
    about = json.loads((exported / "encoder.json").read_text())
    checked, files = about.pop("onnx"), about.pop("files")
    assert files.keys() == {"audio_encoder.onnx", "audio_encoder.safetensors"}
    assert len(about.pop("sha256")) == 64
    assert about["audio"] == Dataset(run.parent / "pets").info["audio"]
    assert about["training"]["dataset"]["class_names"] == ["cat", "dog"]
    assert about["training"]["config"]["strategy"] == "random"
    graph = onnx.load(exported / "audio_encoder.onnx")
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", checked["opset"])] == [("", 18)]
    assert json.loads({prop.key: prop.value for prop in graph.metadata_props}["avtrain"]) == about
    with safe_open(exported / "audio_encoder.safetensors", "pt") as weights:
        assert json.loads(weights.metadata()["avtrain"]) == about
    assert set(checked["differences"]) == {"1 s", "10 s", "3 of 2.4 s"}
    assert max(checked["differences"].values()) <= checked["tolerance"] == 1e-4


def test_nothing_of_this_machine_is_in_it(run, exported):
    files = {path.name: path.read_bytes() for path in exported.iterdir()}
    assert set(files) == {"README.md", "encoder.json", "audio_encoder.onnx", "audio_encoder.safetensors"}
    for content in files.values():
        assert str(REPOSITORY).encode() not in content
        assert str(run.parent).encode() not in content


def test_the_card_gives_what_it_learnt_from_and_what_it_is_worth(exported):
    card = (exported / "README.md").read_text()
    for words in (
        "# Audio encoder of soft",
        "`pets`, 2 training clips of 2 classes (cat, dog)",
        "strategy `random`",
        "7 updates",
        '"sample_rate_hz": 48000',
        "| pets-linear-s0 | 62.5 | 50.0 to 75.0 | 40 | not known |",
        "opset 18",
        "Licence: unknown",
    ):
        assert words in card
    assert "retrieval" not in card
    text = card.split("---\n", 2)[2]
    assert "{" not in text.replace('{\n "', "")


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of the exported folder without its card and without digests, as earlier versions wrote it."""
    for name in ("encoder.json", "audio_encoder.onnx", "audio_encoder.safetensors"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    about = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps({**about, "files": {}, "sha256": None}))
    return tmp_path


def test_a_graph_that_differs_from_the_weights_is_reported(copied):
    assert check(copied)["num_features"] == 64
    graph = onnx.load(copied / "audio_encoder.onnx")
    last = [one for one in graph.graph.initializer if one.dims == [64]][-1]
    last.raw_data = (onnx.numpy_helper.to_array(last) + np.float32(0.01)).tobytes()
    onnx.save(graph, copied / "audio_encoder.onnx")
    with pytest.raises(UserError, match=r"ONNX and torch differ by .* on 1 s of sound"):
        check(copied)


def test_weights_that_are_no_numbers_are_refused(copied):
    weights = load_file(copied / "audio_encoder.safetensors")
    save_file(
        {name: torch.full_like(value, torch.nan) if value.dim() == 4 else value for name, value in weights.items()},
        copied / "audio_encoder.safetensors",
    )
    with pytest.raises(UserError, match="gives no finite features of 1 s of sounds; choose an earlier checkpoint"):
        check(copied)


@pytest.mark.slow
def test_ones_own_encoder_works_or_is_refused_and_nothing_is_left(run, tmp_path, monkeypatch):
    (tmp_path / "my_exported.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("good", "other", "branch"):
        save_run(tmp_path / name, Dataset(run.parent / "pets"), f"my_exported:{name}")
    assert export(tmp_path / "good", tmp_path / "out" / "good")["num_features"] == 5
    with pytest.raises(UserError, match=r"differ by .* of the largest feature on 1 s of sounds .*nothing was written"):
        export(tmp_path / "other", tmp_path / "out" / "other")
    with pytest.raises(UserError, match="my_exported:branch cannot be exported for sounds of any number and length"):
        export(tmp_path / "branch", tmp_path / "out" / "branch")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good"]


def test_a_folder_that_is_there_stays_as_it_is(run, exported):
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    with pytest.raises(UserError, match="is there already; choose another folder"):
        export(run, exported)
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before


def test_missing_packages_are_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"Export needs onnxscript: pip install 'avprep-avtrain\[export\]'"):
        export(run, tmp_path / "out")
