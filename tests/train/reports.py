"""Run folders without weights for tests of the report, and how its page is read."""

from __future__ import annotations

import re

import numpy as np
from click.testing import CliRunner

from avprep.shared import store
from avtrain.cli import main
from avtrain.evaluation.metrics import classification_scores
from avtrain.evaluation.predictions import predictions_of, write_predictions

EVIL = 'dog, "big" <script>alert(1)</script> & <b>loud</b>'
NAMES = ["Größe 音", EVIL, "<i>rain", "a&amp;b"]
CLIPS = 120
CHANCE = 0.0625


def rows_of(box):
    """The cells of a table, by row; the header first."""
    return [[cell.text for cell in row.inside if cell.tag in ("th", "td")] for row in box.all("tr")]


def shown(page, tag, css):
    (found,) = page.all(tag, css)
    return found


def forest_rows(page, name):
    (found,) = [box for box in page.all("div", "forest") if box.attributes["data-measurement"].startswith(name)]
    return {row.attributes["data-kind"]: row for row in found.all("div", "row")[1:]}


def percent(element, name="left"):
    return float(re.search(rf"(?:^|[ ;]){name}: (-?[\d.]+)%", element.attributes["style"])[1])


def evaluation(folder, rate, seed, protocol="linear", groups=None):
    """An evaluation of CLIPS clips of four classes, right with chance `rate`."""
    draw = np.random.default_rng(int(1000 * rate) + seed)
    label = np.arange(CLIPS) % 4
    guess = np.where(draw.random(CLIPS) < rate, label, draw.integers(0, 4, CLIPS))
    found = predictions_of([f"c{n}" for n in range(CLIPS)], label, np.eye(4)[guess] * 0.7 + 0.075, NAMES, groups)
    result = {
        "protocol": protocol,
        **classification_scores(found.probabilities, found.label, 0, found.clusters),
        "test_clips": CLIPS,
        "step": 60,
        "config": {"protocol": protocol, "epochs": 3, "seed": 0, "model_size": "tiny"},
        "dataset_digest": "d" * 64,
        "class_names": NAMES,
    }
    store.write_json(folder / "result.json", result)
    write_predictions(folder / "predictions.parquet", found)
    return result


def run_folder(folder, strategy, seed, rates=None, status="done", sentence="", **settings):
    """A run's folder without weights: 60 updates over two starts, validation, evaluations by protocol."""
    config = {"strategy": strategy, "labels": "label", "batch_size": 8, "epochs": 4, "seed": seed} | settings
    store.write_json(folder / "config.json", {"config": config, "dataset_digest": "d" * 64, "plan_digest": "p"})
    store.write_json(folder / "env.json", {"torch": "2.4", "cpus": 2 + seed, "git_commit": "<abc>"})
    if status:
        store.write_json(folder / "exit.json", {"status": status, "code": 0, "sentence": sentence})
    draw = np.random.default_rng(seed)
    lines = []
    for step in range(150):
        line = {"step": step, "loss": 4 - step / 50 + draw.normal() / 9, "waited_seconds": 0.125}
        line["seconds"] = 0.5 * (step + 1 if step < 100 else step - 99)  # started again after 100 updates
        lines.append(line)
        if step % 30 == 29:
            scores = {"val_class_recall_at_1": 0.1 + step / 300, "val_other": 0.3, "val_note": "text"}
            scores |= {"val_class_chance_at_1": CHANCE, "val_clips": 40, "val_seconds": 1.5 + step}
            lines.append({"step": step, "epoch": step // 30, **scores})
    store.write_json_lines(folder / "metrics.jsonl", lines)
    for protocol, rate in (rates or {}).items():
        evaluation(folder / "eval" / f"shapes-{protocol}-s0", rate, seed, protocol)
    return folder


def called(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])
