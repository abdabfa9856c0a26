"""avtrain bench: figures of either codec, local and over HTTP, as text and as JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from avtrain.cli import main
from tests.train.forge import Forged, forge_dataset
from tests.train.servers import serving

OPTIONS = ("--batch-size", 4, "--batches", 3, "--rounds", 1)


def bench(*arguments):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def folder(request, tmp_path_factory):
    clips = [Forged(label) for label in "ab" for _ in range(6)]
    return forge_dataset(tmp_path_factory.mktemp("bench") / request.param, clips, 3, request.param)


def test_every_figure_of_each_strategy_as_json_and_some_as_text(folder):
    done = bench(folder, *OPTIONS, "--strategy", "random", "--strategy", "soft-positive:p=0.5", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["codec"], found["batch_size"], found["threads"]) == (folder.name, 4, 2)
    assert list(found["strategies"]) == ["random", "soft-positive:p=0.5"]
    ways = {"loader", "first", "bare_preadv", "bare_preadv_one_thread", "memcpy"}
    ways |= {"bare_decode"} if folder.name == "jpeg" else set()
    for figures in found["strategies"].values():
        assert {name.removesuffix("_pairs_per_second") for name in figures if name.endswith("pairs_per_second")} == ways
        assert all(value > 0 for value in figures.values())
        assert figures["feeds_steps_per_second"] == pytest.approx(figures["loader_pairs_per_second"] / 4)
        assert folder.name == "jpeg" or figures["bytes_per_pair"] == 8 * 8 * 8 * 3 + 100 * 6 * 2
    text = bench(folder, *OPTIONS).stdout
    assert "soft-positive: " in text
    assert "pairs/s" in text
    assert ("bare decoding" in text) == (folder.name == "jpeg")


def test_several_datasets_together(folder, tmp_path):
    clips = [Forged(label) for label in "bc" for _ in range(4)]
    other = forge_dataset(tmp_path / "other", clips, 2, folder.name)
    done = bench(folder, f"{other}:0.5", *OPTIONS, "--batch-size", 14, "--strategy", "random", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["dataset"] == f"{folder} + {other}"
    assert found["strategies"]["random"]["bare_preadv_pairs_per_second"] > 0
    with serving(folder) as server:
        done = bench(server.url, other, *OPTIONS, "--json")
    assert "bare_preadv_pairs_per_second" not in json.loads(done.stdout)["strategies"]["random"]
    refused = bench(folder, f"{other}:0.5", *OPTIONS, "--batch-size", 17)
    assert "cannot be drawn from 16 clips" in refused.output


def test_over_http_with_a_cache(folder, tmp_path):
    with serving(folder) as server:
        done = bench(server.url, *OPTIONS, "--cache", tmp_path, "--json")
    figures = json.loads(done.stdout)["strategies"]["random"]
    assert figures["loader_pairs_per_second"] > 0
    assert "bare_preadv_pairs_per_second" not in figures


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--batch-size", "400"], "cannot be drawn from 12 clips"),
        (["--strategy", "x"], "There is no strategy 'x'"),
        (["--cache", "kept"], "--cache is for datasets at a URL"),
    ],
)
def test_mistakes_are_one_sentence(folder, options, told):
    done = bench(folder, *options)
    assert done.exit_code == 2
    assert told in done.stderr
