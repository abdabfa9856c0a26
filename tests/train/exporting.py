"""A run and what avtrain export makes of it, for all tests of exported encoders: an export takes seconds."""

from __future__ import annotations

from pathlib import Path

from avprep.dataset import Dataset
from avprep.shared import store
from avtrain.inference.export import export
from tests.train.forge import Forged, forge_dataset
from tests.train.test_encoder import save_run


def make_exported(folder: Path) -> None:
    """`pets` (a dataset), `soft` (a run on it) and `encoder` (its export) in `folder`.

    The encoder has 128 bands and statistics far from 0 and 1, and was measured once.
    """
    clips = [Forged(label, seconds=1.0, level=level) for label, level in (("cat", 0.0), ("dog", -9.0))]
    save_run(folder / "soft", Dataset(forge_dataset(folder / "pets", clips, mel_bands=128)))
    result = {"step": 7, "accuracy": 0.625, "interval_95": [0.5, 0.75], "test_clips": 40}
    store.write_json(folder / "soft" / "eval" / "pets-linear-s0" / "result.json", result)
    store.write_json(folder / "soft" / "eval" / "pets-retrieval-s0" / "result.json", {"recall_at_1": 0.5})
    export(folder / "soft", folder / "encoder")
