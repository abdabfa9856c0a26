"""`add-labels DIR DIR/labels/NAME.parquet --name NAME --replace` rewrote the file that it was reading."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from avprep.cli import main
from tests.train.forge import Forged, forge_dataset


@pytest.mark.parametrize("multi", [[], ["--multi"]])
def test_a_column_is_not_made_of_itself(tmp_path, multi):
    folder = forge_dataset(tmp_path / "data", [Forged(label) for label in "abab"])
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps({"clip_id": f"c{n}", "label": "x"}) for n in range(4)))
    line = ["add-labels", str(folder), "--name", "mine", *multi]
    assert CliRunner().invoke(main, [*line, str(tmp_path / "mine.jsonl")]).exit_code == 0
    column = folder / "labels" / "mine.parquet"
    before = column.read_bytes()
    done = CliRunner().invoke(main, [*line, str(column), "--replace"])
    assert done.exit_code == 2
    assert f"{column} is the column 'mine' itself" in done.output
    assert column.read_bytes() == before
