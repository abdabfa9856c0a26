"""The supervised row made 420 updates where finetuned rows make 600 + 420; rows of small batches saw fewer pairs."""

from __future__ import annotations

import json

import pytest
import torch

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.config import EvaluateConfig
from avtrain.data.augment import Normalise
from avtrain.data.reader import Reader
from avtrain.data.splits import split_rows
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.features import Source
from avtrain.evaluation.finetune import Fitting, fit_encoder
from avtrain.reproduce.av_digits.rows import ROWS
from avtrain.reproduce.av_digits.settings import DigitsSettings
from avtrain.reproduce.av_digits.statistics import log_mel_statistics_32
from avtrain.reproduce.benchmark import cells
from avtrain.reproduce.benchmark.cells import Cell, run_cell
from tests.train.forge import Forged, forge_dataset

SETTINGS = DigitsSettings(clips_per_class=4, batch_size=8, epochs=4, finetune_epochs=3, longer_epochs=30)
BY_NAME = {(row.name, row.link): row for row in ROWS}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [
        Forged("ab"[row % 2], split, seconds=1.2, level=6.0 * (row % 2))
        for split, count in (("train", 100), ("val", 8), ("test", 8))
        for row in range(count)
    ]
    return forge_dataset(tmp_path_factory.mktemp("equal") / "data", clips, mel_bands=16)


def cell_of(folder, data, name):
    row = BY_NAME[name, "envelope"]
    return Cell(
        row=row,
        run=0,
        seed=0,
        dataset=data,
        labels=row.labels,
        frozen=data.parent / "frozen.parquet",
        folder=folder / row.slug,
        amounts=SETTINGS.amounts_of(row),
    )


def test_supervised_makes_the_updates_of_pretraining_and_finetuning(data, tmp_path, monkeypatch):
    made, steps = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, *rest: made.append(1) or steps(self, *rest))
    found = run_cell(cell_of(tmp_path, data, "supervised"))
    batches = 2  # of 64 windows, of 100 clips
    assert SETTINGS.updates == 4 * 5
    assert len(made) == 3 * batches + SETTINGS.updates
    assert set(found["scores"]) == {"finetune", "finetune windows"}


@pytest.mark.slow
def test_the_longer_row_goes_on_until_the_validation_loss_no_longer_falls(data, tmp_path):
    run_cell(cell_of(tmp_path, data, "supervised, longer"))
    config = json.loads((tmp_path / "envelope-supervised-longer/eval/supervised/config.json").read_text())["config"]
    assert (config["epochs"], config["patience"]) == (30, 100)


def test_patience_ends_a_fit_that_no_longer_gets_better(data):
    dataset = Dataset(data)
    torch.manual_seed(0)

    class Level(torch.nn.Module):
        def forward(self, logmel):
            return logmel.mean(dim=(2, 3))

    with Reader(dataset) as reader:
        raw = Normalise(dataset.logmel_mean, dataset.logmel_std)
        source = Source(dataset, reader, raw, "cpu")
        fitting = Fitting(epochs=200, patience=3, learning_rate=1.0, windows_per_clip=1)
        chosen, _ = fit_encoder(Level(), source, split_rows(dataset), fitting, "finetune")
    assert chosen["epochs_trained"] == chosen["epoch"] + 1 + 3 < 200


def test_rows_of_equal_pairs_come_with_those_of_equal_updates():
    settings = DigitsSettings()
    usual = settings.updates * settings.batch_size
    for row in ROWS:
        batch = settings.batch_of(row)
        if row.equal == "pairs":
            assert usual - batch < settings.updates_of(row) * batch <= usual
            assert BY_NAME[row.name.removesuffix(", equal pairs"), row.link].batch == row.batch
        else:
            assert settings.updates_of(row) == settings.updates
    small = {row.name for row in ROWS if row.batch != "usual" and row.equal == "updates"}
    assert {name + ", equal pairs" for name in small} == {row.name for row in ROWS if row.equal == "pairs"}


def test_statistics_have_as_many_features_as_the_encoder():
    logmel = torch.randn(2, 1, 30, 128)
    found = log_mel_statistics_32()(logmel)
    assert found.shape == (2, 64)
    first = logmel[:, 0, :, :4].mean(dim=2)
    torch.testing.assert_close(found[:, 0], first.mean(dim=1))
    torch.testing.assert_close(found[:, 32], first.std(dim=1, unbiased=False))


def test_a_cell_of_another_row_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "_scores", lambda *_, **__: {"linear": 0.5})
    cell = cell_of(tmp_path, data, "untrained")
    kept = run_cell(cell)
    assert run_cell(cell) == kept
    store.write_json(cell.folder / "cell.json", {**kept, "row": {**configs.to_dict(cell.row), "loss": "mask"}})
    with pytest.raises(UserError, match="loss: 'mask' -> 'info-nce'"):
        run_cell(cell)


def test_a_measurement_by_other_settings_is_refused(data, tmp_path):
    """As is left of a cell that an earlier version had begun."""
    cell = cell_of(tmp_path, data, "log-mel statistics, 64 features")
    kept = cell.folder / "eval" / "linear" / "result.json"
    store.write_json(kept, {"config": configs.to_dict(EvaluateConfig(seed=3)), "accuracy": 1.0})
    with pytest.raises(UserError, match="seed: 3 -> 0"):
        run_cell(cell)


def test_evaluate_takes_patience(data):
    config = EvaluateConfig(protocol="supervised", model_size="tiny", epochs=2, patience=1, learning_rate=1e-3)
    assert evaluate(data, config)["epochs_trained"] <= 2
    with pytest.raises(UserError, match="patience must be 0 or more"):
        EvaluateConfig(patience=-1)
