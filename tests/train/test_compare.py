"""avtrain compare: what it says of two runs, of many, of groups of seeds; and what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from statsmodels.stats.multitest import multipletests

from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.evaluation.compare import compare, p_text, points, predictions_path, short_names
from avtrain.evaluation.metrics import accuracy_interval, group_interval
from avtrain.evaluation.significance import group_flips, mcnemar_of, paired_bootstrap, paired_t
from tests.train.test_predictions import written

ONE = np.repeat([True, True, False, False], [30, 4, 15, 11])
TWO = np.repeat([True, False, True, False], [30, 4, 15, 11])


def test_two_runs_are_compared_clip_by_clip_in_any_order(tmp_path):
    first = np.repeat([True, True, False, False], [30, 4, 15, 11])
    second = np.repeat([True, False, True, False], [30, 4, 15, 11])
    order = np.random.default_rng(0).permutation(60)
    paths = written(tmp_path / "a", first), written(tmp_path / "b", second, order)
    found = compare(*paths)
    assert found["clips"] == 60
    assert found["first"] == list(accuracy_interval(first))
    assert found["second"] == list(accuracy_interval(second))
    assert (found["difference"], *found["difference_95"]) == paired_bootstrap(first, second)
    assert found["mcnemar"]["exact"] == mcnemar_of(4, 15).exact
    assert (found["mcnemar"]["first_only"], found["mcnemar"]["second_only"]) == (4, 15)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"order": [0, 1]}, "different test clips"),
        ({"order": [0, 1, 1]}, "different test clips"),
        ({"label": [0, 1, 1]}, "other labels"),
        ({"names": ["cat", "dog", "ant"]}, "other labels"),
    ],
)
def test_runs_on_different_clips_are_not_compared(tmp_path, change, sentence):
    first, second = written(tmp_path / "a", [1, 1, 0]), written(tmp_path / "b", [1, 1, 0], **change)
    for pair in ((first, second), (second, first)):
        with pytest.raises(UserError, match=sentence):
            compare(*pair)


def test_a_clip_that_is_there_twice_is_not_compared(tmp_path):
    twice = written(tmp_path / "b", [1, 1, 0], order=[0, 1, 1])
    with pytest.raises(UserError, match="different test clips"):
        compare(written(tmp_path / "a", [1, 1]), twice)


def test_clips_of_one_group_are_compared_by_group(tmp_path):
    groups = np.arange(60) // 5
    paths = (
        written(tmp_path / "a", ONE, groups=groups),
        written(tmp_path / "b", TWO, np.arange(60)[::-1], groups=groups),
    )
    found = compare(*paths)
    assert (found["clips"], found["clusters"], found["unit"]) == (60, 12, "clusters")
    assert found["first"] == list(group_interval(ONE, groups))
    assert (found["difference"], *found["difference_95"]) == paired_bootstrap(ONE, TWO, groups)
    assert found["p"] == group_flips(ONE, TWO, groups) != mcnemar_of(4, 15).exact
    assert "sign flips" in told(*paths)
    assert "over 12 clusters" in told(*paths)


def run_of(folder, right, **others):
    """A run folder with evaluations of these names."""
    others = others or {"data-linear-s0": right}
    for name, outcome in others.items():
        (folder / "eval" / name).mkdir(parents=True)
        written(folder / "eval" / name / "predictions.parquet", outcome)
    return folder


def called(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def told(*arguments):
    done = called(*arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_text_has_the_figures_of_the_json(tmp_path):
    runs = run_of(tmp_path / "a", ONE), run_of(tmp_path / "b", TWO)
    text, (row,) = told(*runs), json.loads(told(*runs, "--json"))["comparisons"]
    assert text.startswith("b against a, 60 test clips\n")
    assert f"b           {100 * 45 / 60:.1f} %" in text
    low, high = row["difference_95"]
    assert f"+18.3 points (95 % interval {points(low)} to {points(high)}; paired bootstrap over clips)" in text
    assert f"p {p_text(mcnemar_of(4, 15).exact)}, exact; right in one alone: 4 a, 15 b" in text
    assert row["first"] == list(accuracy_interval(ONE))
    assert row["p"] == row["p_holm"] == mcnemar_of(4, 15).exact
    assert told(tmp_path / "a/eval/data-linear-s0", tmp_path / "b/eval/data-linear-s0/predictions.parquet", "--json")


def test_many_runs_are_held_against_the_first_and_corrected(tmp_path):
    draw = np.random.default_rng(0)
    outcomes = [draw.random(200) < share for share in (0.5, 0.6, 0.52, 0.75)]
    runs = [run_of(tmp_path / name, right) for name, right in zip("abcd", outcomes, strict=True)]
    rows = json.loads(told(*runs, "--json"))["comparisons"]
    assert [(row["first_run"], row["second_run"]) for row in rows] == [("a", "b"), ("a", "c"), ("a", "d")]
    wanted = multipletests([row["p"] for row in rows], method="holm")[1]
    assert [row["p_holm"] for row in rows] == pytest.approx(wanted)
    assert told(*runs).count("for 3 comparisons") == 3


def test_groups_of_seeds_are_compared_seed_by_seed(tmp_path):
    draw = np.random.default_rng(1)
    shares = {f"{kind}{seed}": share for kind, share in (("a", 0.5), ("b", 0.8), ("c", 0.55)) for seed in range(3)}
    outcomes = {name: draw.random(80) < share for name, share in shares.items()}
    runs = {name: run_of(tmp_path / name, right) for name, right in outcomes.items()}
    of = {kind: [runs[f"{kind}{seed}"] for seed in range(3)] for kind in "abc"}
    arguments = ("--a", *of["a"], "--b", *of["b"], "--b", *of["c"])
    rows = json.loads(told(*arguments, "--json"))["comparisons"]
    assert [row["second_runs"] for row in rows] == [["b0", "b1", "b2"], ["c0", "c1", "c2"]]
    for row, kind in zip(rows, "bc", strict=True):
        scores = [np.array([outcomes[f"{k}{seed}"].mean() for seed in range(3)]) for k in ("a", kind)]
        wanted = paired_t(*scores)
        assert (row["difference"], *row["difference_95"], row["p"]) == (wanted.mean, wanted.low, wanted.high, wanted.p)
    wanted = multipletests([row["p"] for row in rows], method="holm")[1]
    assert [row["p_holm"] for row in rows] == pytest.approx(wanted)
    assert re.search(r"paired t +p [\d.< ]+, 3 pairs", told(*arguments))


def test_groups_whose_differences_are_all_the_same_are_not_tested(tmp_path):
    better = ONE | (np.arange(60) > 53)
    runs = [run_of(tmp_path / name, right) for name, right in zip("abcd", (ONE, ONE, better, better), strict=True)]
    arguments = ("--a", *runs[:2], "--b", *runs[2:])
    (row,) = json.loads(told(*arguments, "--json"), parse_constant=pytest.fail)["comparisons"]
    assert row["difference"] == pytest.approx(0.1)
    assert (row["difference_95"], row["p"], row["p_holm"]) == ([None, None], None, None)
    assert re.search(r"difference +\+10.0 points\n", told(*arguments))
    assert re.search(r"paired t +no test possible, all differences are the same", told(*arguments))


def test_a_run_with_several_evaluations_needs_a_word(tmp_path):
    run = run_of(tmp_path / "a", None, **{"data-linear-s0": ONE, "data-knn-s0": TWO})
    other = run_of(tmp_path / "b", None, **{"data-linear-s0": ONE, "data-knn-s0": TWO})
    done = called(run, other)
    assert done.exit_code == 2
    assert "has evaluations data-knn-s0, data-linear-s0; choose one by --evaluation" in done.output
    (row,) = json.loads(told(run, other, "--evaluation", "data-knn-s0", "--json"))["comparisons"]
    assert row["first"] == list(accuracy_interval(TWO))
    assert called(run, other, "--evaluation", "none").exit_code == 2


def test_what_cannot_be_compared_is_one_sentence(tmp_path):
    a, b, short = (run_of(tmp_path / name, right) for name, right in (("a", ONE), ("b", TWO), ("s", ONE[:50])))
    (tmp_path / "bare").mkdir()
    for arguments, sentence in [
        ((a,), "needs two runs or more"),
        ((a, tmp_path / "none"), "none does not exist"),
        ((a, tmp_path / "bare"), "holds no predictions; 'avtrain evaluate DIR --run"),
        ((a, short), "have different test clips"),
        (("--a", a, b, "--b", a), "--a has 2 and --b 1 runs"),
        (("--a", a, "--b", b), "2 or more"),
        (("--a", a, b), "one of the two lists is missing"),
        ((a, b, "--b", a, b), "not both"),
        (("--a", a, b, "--b", b, short), "have different test clips"),
    ]:
        done = called(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert sentence in done.output
        assert done.output.count("\n") == 1


def test_figures_are_written_as_they_are():
    assert [p_text(p) for p in (0.00001, 0.0123, 0.5, float("nan"))] == ["< 0.0001", "0.0123", "0.50", "-"]
    assert [points(share) for share in (0.123, -0.1, 0.0, -0.0001)] == ["+12.3", "-10.0", "0.0", "0.0"]


def test_names_are_as_short_as_sets_them_apart(tmp_path):
    assert short_names([tmp_path / "x" / "run", tmp_path / "y" / "run"]) == ["x/run", "y/run"]
    assert short_names([tmp_path / "x", tmp_path / "y"]) == ["x", "y"]
    assert predictions_path(written(tmp_path / "p.parquet", ONE)) == tmp_path / "p.parquet"
