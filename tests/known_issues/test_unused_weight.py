"""On several ranks: an own encoder with a weight that has no part ended the run; so did an upload that lasted long."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial

import pytest
import torch

from avtrain.config import PretrainConfig
from avtrain.distributed import Ranks, by_first, one_value
from avtrain.runs import folder as run_folder
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset
from tests.train.test_distributed import launch

pytestmark = pytest.mark.slow

OWN = """
import torch
from torch import nn
class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer, self.unused = nn.Linear(16, 5), nn.Linear(7, 7)
    def forward(self, sounds):
        return self.layer(sounds.mean(dim=(1, 2)))
def sound(): return Sound()
"""


def train_and_wait(package, folder, runs, ranks):
    """Two updates of a run with an unused weight and a learnt temperature; then a wait longer than a collective's."""
    sys.path.insert(0, str(package))
    config = PretrainConfig(
        audio_model="my_unused:sound", model_size="tiny", batch_size=6, epochs=1, max_steps=2, learn_temperature=True
    )
    pretrain(folder, runs / "several", config, ranks=ranks, quiet=True)


def waits(ranks):
    torch.distributed.distributed_c10d._set_pg_timeout(torch.distributed.distributed_c10d.timedelta(seconds=2))
    begin = time.monotonic()
    by_first(lambda: time.sleep(5), ranks)
    return time.monotonic() - begin, one_value(1, ranks)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unused")
    (folder / "my_unused.py").write_text(OWN)
    clips = [Forged("ab"[row % 2]) for row in range(12)]
    data = forge_dataset(folder / "data", clips, frame_size=16, mel_bands=16)
    return folder, data, launch(waits, 2, afterwards=partial(_afterwards, folder, data), deadline_seconds=120)


def _afterwards(folder, data, ranks):
    os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1)
    train_and_wait(folder, data, folder, ranks)


@pytest.mark.slow
def test_the_others_wait_for_an_upload_as_long_as_it_takes(several):
    _, _, (answers, _) = several
    assert all(seconds > 4.5 and same for seconds, same in answers.values())


def test_an_unused_weight_is_left_alone_on_several_ranks_as_on_one(several, monkeypatch):
    folder, data, (_, codes) = several
    assert codes == [0, 0]
    monkeypatch.syspath_prepend(folder)
    train_and_wait(folder, data, folder / "alone", Ranks())
    runs = [folder / "several", folder / "alone" / "several"]
    one, other = ([line["temperature"] for line in run_folder.read_metrics(run)] for run in runs)
    assert other == pytest.approx(one, rel=1e-5)
    assert one[0] != one[1]
    assert json.loads((runs[0] / "exit.json").read_text())["code"] == 0
