"""Strategies and losses of the user's own: named, tried, blamed for what they do wrong, part of what a run is."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import sys
from itertools import chain

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avprep.shared.own_code import code_of
from avtrain.cli import main
from avtrain.config import LOSS_NAMES, PlanConfig, PretrainConfig
from avtrain.config.rules import LOSS_RULES, STRATEGY_RULES
from avtrain.data import Loader, PlannedBatches, Recipe, strategy_of, training_table
from avtrain.data.own_strategy import OwnStrategy
from avtrain.data.plan_survey import survey
from avtrain.data.survey_text import printed
from avtrain.runs import folder as run_folder
from avtrain.sampling import STRATEGIES, ClipTable, Random, Strategy, digest
from avtrain.sampling.settings import settings_of
from avtrain.training import losses
from avtrain.training.chosen_loss import loss_of
from tests.train.forge import Forged, forge_dataset

HEAD = """
import itertools
from dataclasses import dataclass, field
import numpy as np
import torch
from avtrain.sampling import *
from avtrain.training.losses import similarities, weighted_cross_entropy
CALLS = itertools.count()
"""
SHIFTED = """
@dataclass(frozen=True)
class Shifted(Strategy):
    shift: int = 1
    twice: bool = False
    column: str = ""
    share: float | None = None
    def steps(self, table, batch_size):
        return whole_batches(len(table), batch_size)
    def plan(self, table, *, batch_size, seed, epoch, first_step=0):
        for anchors in permuted_batches(len(table), batch_size, seed, epoch, first_step):
            partners = (anchors + self.shift * (1 + self.twice)) % len(table)
            yield np.stack([table.rows[anchors], table.rows[partners]], axis=1)
    def weights(self, table, plan, *, seed, epoch, step):
        return 1.0 + (plan[:, 0] % 3)
def plain(video, audio, pairs, temperature):
    return weighted_cross_entropy(similarities(video, audio, temperature), None, pairs.weights)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that writes the module my_rules, which no test has seen before, and returns its path."""
    numbers = iter(range(9))
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        sys.modules.pop("my_rules", None)
        importlib.invalidate_caches()
        path = tmp_path / "my_rules.py"
        path.write_text(f"{HEAD}{text}\nVERSION = {next(numbers)}{' ' * next(numbers)}\n")
        return path

    yield write
    sys.modules.pop("my_rules", None)


@pytest.fixture
def folder(tmp_path):
    """24 training clips of three classes, small enough to train on in a second."""
    clips = [Forged("abc"[row % 3]) for row in range(24)]
    return forge_dataset(tmp_path / "data", clips, 8, frame_size=16, mel_bands=16)


SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": 2, "checkpoint_every_steps": 3, "val_every": 0}


def trained(folder, run, **settings):
    import avtrain

    change = settings.pop("change", False)
    avtrain.pretrain(folder, run, device="cpu", quiet=True, change=change, **SETTINGS | settings)
    return [line["loss"] for line in run_folder.read_metrics(run)]


def refused(folder, text):
    """The sentence with which a strategy of the user's own is refused for a dataset, from its class to its plans."""
    dataset = Dataset(folder)
    table = training_table(dataset)
    with pytest.raises(UserError) as error:
        Recipe(dataset=dataset, table=table, strategy=strategy_of(text, dataset, table), batch_size=6)
    return str(error.value)


# names


def test_rules_and_code_have_the_same_names():
    assert {*STRATEGIES, "pairs"} == set(STRATEGY_RULES)
    assert set(losses.LOSSES) == set(LOSS_RULES) == set(LOSS_NAMES)


def test_help_lists_every_name():
    for command, rules in (("plan", STRATEGY_RULES), ("pretrain", STRATEGY_RULES), ("pretrain", LOSS_RULES)):
        text = "".join(CliRunner().invoke(main, [command, "--help"]).output.split())
        assert all("".join(rule.usage.split()) in text for rule in rules.values())
        assert "package:Class[:key=value,...]" in text


# settings


def test_settings_keep_the_types_of_their_fields(own):
    own(SHIFTED)
    from my_rules import Shifted

    values = settings_of(Shifted, "x", "shift=-2,twice=true,column=a=b,share=0.5")
    assert values == {"shift": -2, "twice": True, "column": "a=b", "share": 0.5}
    assert [type(value) for value in values.values()] == [int, bool, str, float]
    assert settings_of(Shifted, "x", "") == {}
    assert [settings_of(Shifted, "x", f"twice={text}")["twice"] for text in ("False", "0", "1")] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shift=1.5", "Setting shift of strategy my_rules:Shifted is a whole number, not '1.5'"),
        ("twice=maybe", "Setting twice .* is true or false, not 'maybe'"),
        ("share=much", "Setting share .* is a number, not 'much'"),
        ("other=1", "has no setting 'other'; it has column, share, shift, twice"),
        ("shift=1,shift=2", "Setting shift .* is given twice"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, own, text, sentence):
    own(SHIFTED)
    dataset = Dataset(folder)
    with pytest.raises(UserError, match=sentence):
        strategy_of(f"my_rules:Shifted:{text}", dataset, training_table(dataset))


# strategies


def test_plan_survey_loader_and_dataloader_take_a_strategy_of_ones_own(folder, own):
    own(SHIFTED)
    dataset = Dataset(folder)
    table = training_table(dataset)
    strategy = strategy_of("my_rules:Shifted:shift=3", dataset, table)
    found = survey(dataset, PlanConfig(strategy="my_rules:Shifted:shift=3", batch_size=6, epochs=2))
    assert found["pair_shares"]["soft"] == 1.0
    assert (found["pair_weights"]["smallest"], found["pair_weights"]["largest"]) == (1.0, 3.0)
    assert found["pair_weights"]["effective_share"] == pytest.approx(12 / 14, rel=0.01)
    assert "weights     1 to 3 a pair in the loss, as if 86 % of the pairs counted alike" in printed(found)
    loader = Loader(dataset, table, strategy, batch_size=6, epochs=1)
    batches = [(batch.plan.copy(), batch.weights.clone()) for batch in loader]
    for plan, weights in batches:
        assert ((plan[:, 0] + 3) % 24 == plan[:, 1]).all()
        assert weights.dtype == torch.float32
        assert weights.tolist() == (1.0 + plan[:, 0] % 3).tolist()
    items = PlannedBatches(pickle.loads(pickle.dumps(loader.recipe)))
    read = torch.utils.data.DataLoader(items, batch_size=None, num_workers=1, multiprocessing_context="fork")
    for (plan, weights), batch in zip(batches, read, strict=True):
        np.testing.assert_array_equal(batch.plan, plan)
        assert batch.weights.tolist() == weights.tolist()
    from my_rules import Shifted

    raw = Loader(dataset, table, Shifted(3), batch_size=6, epochs=1)  # an instance is guarded as well
    assert isinstance(raw.recipe.strategy, OwnStrategy)
    assert digest(raw.recipe.strategy, table) == digest(Random(), table)


def test_ranks_have_slices_of_the_weights_of_the_whole_batch(folder, own):
    own(SHIFTED)
    dataset = Dataset(folder)
    table = training_table(dataset)
    strategy = strategy_of("my_rules:Shifted", dataset, table)

    def weights(rank, world_size):
        options = {"batch_size": 7, "epochs": 1, "rank": rank, "world_size": world_size}
        return [batch.weights.tolist() for batch in Loader(dataset, table, strategy, **options)]

    for world_size in (2, 3):
        parts = zip(*(weights(rank, world_size) for rank in range(world_size)), strict=True)
        assert [list(chain.from_iterable(part)) for part in parts] == weights(0, 1)


IMPURE = {
    "of numpy's global state": ("rows[np.random.permutation(len(rows))[:6]]", "is not pure: asked twice for batch 0"),
    "of a counter": ("rows[(np.arange(6) + next(CALLS)) % len(rows)]", "is not pure: asked twice"),
    "of the first step": ("rows[(np.arange(6) + first_step) % len(rows)]", "does not begin with batch 1 of the whole"),
    "of positions": ("np.arange(6) + 1000", "gave row 1000, which is not in the table; .*, not positions"),
    "of int32": ("rows[:6].astype(np.int32)", "plan gave int32 .6, 2., not int64"),
    "of one column": ("rows[:6][:, None][:, 0]", None),
    "too small": ("rows[:5]", "plan gave a batch of 5 pairs, not 6"),
    "of a lookup": ("rows[{}['missing']]", "failed in plan, at batch 0 of epoch 0 .KeyError: 'missing', line"),
    "of a table that it shuffles": ("shuffled(rows, seed)[:6]", "changes the table|is not pure"),
}
RULE = """
def shuffled(rows, seed):
    rows[:] = np.roll(rows, 1)
    return rows
@dataclass(frozen=True)
class Rule(Strategy):
    def steps(self, table, batch_size):
        return 4
    def plan(self, table, *, batch_size, seed, epoch, first_step=0):
        rows = table.rows
        for step in range(first_step, 4):
            chosen = {chosen}
            yield {made}
"""


@pytest.mark.parametrize("case", IMPURE)
def test_a_strategy_that_breaks_the_rules_is_refused_in_a_sentence(folder, own, case):
    chosen, sentence = IMPURE[case]
    made = "chosen" if sentence is None else "np.stack([chosen, chosen], axis=1)"
    own(RULE.format(chosen=chosen, made=made).replace("{{}}", "{}"))
    said = refused(folder, "my_rules:Rule")
    assert "my_rules:Rule" in said
    assert re.search(sentence or r"plan gave int64 \[6\], not int64 \[batch, 2\]", said), said


EXACT = RULE.format(chosen="rows[:6]", made="np.stack([chosen, chosen], axis=1)")
WRONG = [
    ("class Rule: pass", "is no strategy; write a frozen dataclass below avtrain.sampling.Strategy"),
    ("@dataclass\nclass Rule(Strategy): pass", "is no strategy|cannot inherit|cannot be imported"),
    ("@dataclass(frozen=True)\nclass Rule(Strategy): pass", "failed when made with no settings .TypeError.*abstract"),
    ("Rule = 3", "my_rules has no class 'Rule'"),
    ("1 / 0", "my_rules:Rule cannot be imported .ZeroDivisionError.*; name it package:Class and"),
    (EXACT.replace("return 4", "return 5"), "plan ends after 4 batches of an epoch, steps announced 5"),
    (EXACT.replace("return 4", "return 3"), "plan goes on after the 3 batches"),
    (EXACT.replace("return 4", "return 'four'"), "steps gave 'four'"),
    (EXACT.replace("return 4", "return whole_batches(3, batch_size)"), "my_rules:Rule: A batch of 6 cannot be drawn"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_a_class_that_is_no_strategy_or_miscounts_is_refused(folder, own, text, sentence):
    own(text)
    said = refused(folder, "my_rules:Rule")
    assert re.search(sentence, said), said


def test_code_of_pythons_own_library_is_never_run(folder):
    assert "is of Python's own library; name a class of your own" in refused(folder, "subprocess:Popen")
    assert "There is no strategy 'soft'" in refused(folder, "soft:p=1")


def test_the_command_ends_with_the_sentence_and_exit_code_2(folder, tmp_path, own):
    own(RULE.format(chosen="rows[np.random.permutation(6)]", made="np.stack([chosen, chosen], axis=1)"))
    for command in (["plan", folder], ["pretrain", folder, "--run", tmp_path / "run", "--model-size=tiny"]):
        words = [*command, "--strategy=my_rules:Rule", "--batch-size=6"]
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 2
        assert "error: Strategy my_rules:Rule breaks the rules of a strategy: it is not pure" in done.output
        assert "Traceback" not in done.output
    assert not list((tmp_path / "run").glob("step_*"))


def test_a_strategy_that_fails_while_it_trains_is_the_users_fault(folder, tmp_path, own):
    late = "rows[:6] if epoch < 2 or step < 1 else rows[None:None:{}]"
    own(RULE.format(chosen=late, made="np.stack([chosen, chosen], axis=1)"))
    with pytest.raises(UserError, match=r"Rule failed in plan, at batch 1 of epoch 2 \(TypeError: .*, line \d+"):
        trained(folder, tmp_path / "run", strategy="my_rules:Rule", epochs=3)


# losses


def loss_of_text(folder, own, body, name="loss"):
    own(f"def loss(video, audio, pairs, temperature):\n    {body}\nclass Loss: pass\n")
    dataset = Dataset(folder)
    return loss_of(f"my_rules:{name}", dataset, training_table(dataset))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return 1.0", "my_rules:loss gave float; a loss gives one float"),
        ("return (video * audio).sum(dim=1)", r"my_rules:loss gave torch.float32 \[6\]; a loss gives one"),
        ("return video.detach().sum()", "gives the embeddings no gradient"),
        ("return video.sum() * float('nan')", "gave nan or gradients that are not finite"),
        ("return video @ pairs.nothing", "my_rules:loss failed as a loss .AttributeError.*, line"),
        ("return (video @ audio.T).log().sum()", "not finite"),
    ],
)
def test_a_loss_that_cannot_train_is_refused_in_a_sentence(folder, own, body, sentence):
    with pytest.raises(UserError, match=sentence):
        loss_of_text(folder, own, body)


def test_what_is_no_function_is_no_loss(folder, own):
    with pytest.raises(UserError, match="my_rules:Loss is a class; a loss is a function"):
        loss_of_text(folder, own, "return video.sum()", "Loss")
    with pytest.raises(UserError, match="my_rules has no function 'other'"):
        loss_of_text(folder, own, "return video.sum()", "other")
    with pytest.raises(UserError, match=r"loss must be one of info-nce, .*, targets:FILE, package:function, not 'nce'"):
        PretrainConfig(loss="nce")


def test_trying_a_loss_draws_nothing_from_torch(folder, own):
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    loss_of_text(folder, own, "return (video * torch.rand(1) * audio).sum()")
    assert torch.rand(1) == wanted


def test_a_loss_of_ones_own_trains_as_the_named_one_of_its_formula(folder, tmp_path, own):
    own(SHIFTED)
    wanted = trained(folder, tmp_path / "named")
    assert trained(folder, tmp_path / "own", loss="my_rules:plain") == wanted
    settings = {"strategy": "my_rules:Shifted", "learn_temperature": True}
    weighted = trained(folder, tmp_path / "weighted", **settings)
    assert weighted != trained(folder, tmp_path / "shifted", learn_temperature=True)
    assert trained(folder, tmp_path / "both", loss="my_rules:plain", **settings) == weighted


# runs


def test_a_run_knows_its_code_and_goes_on_with_other_code_only_on_purpose(folder, tmp_path, own):
    path = own(SHIFTED)
    from my_rules import plain

    run, names = tmp_path / "run", {"strategy": "my_rules:Shifted", "loss": "my_rules:plain"}
    whole = trained(folder, tmp_path / "whole", **names)
    trained(folder, run, max_steps=3, **names)
    saved = json.loads((run / "config.json").read_text())
    assert saved["strategy_code"] == saved["loss_code"] == code_of("x", plain).digest
    meta = json.loads((run / "step_00000003" / "meta.json").read_text())
    assert meta["strategy_code"] == saved["strategy_code"]
    assert "strategy_code" not in json.loads((tmp_path / "whole" / "config.json").read_text())["config"]
    assert trained(folder, run, **names) == whole  # the same code goes on, to the same end
    weights = [(end / "step_00000008" / "model.safetensors").read_bytes() for end in (run, tmp_path / "whole")]
    assert weights[0] == weights[1]
    path.write_text(path.read_text() + "\n# another line\n")
    with pytest.raises(UserError, match="another version of the code of the strategy and the code of the loss"):
        trained(folder, run, **names)
    trained(folder, run, change=True, epochs=3, **names)
    (change,) = json.loads((run / "changes.json").read_text())[1:]
    assert set(change["changed"]) == {"strategy_code", "loss_code", "epochs"}
    assert json.loads((run / "config.json").read_text())["strategy_code"] != saved["strategy_code"]


SALTED = """
SALT = 0
@dataclass(frozen=True)
class Salted(Strategy):
    def steps(self, table, batch_size):
        return whole_batches(len(table), batch_size)
    def plan(self, table, *, batch_size, seed, epoch, first_step=0):
        yield from Random().plan(table, batch_size=batch_size, seed=seed + SALT, epoch=epoch, first_step=first_step)
"""


def test_a_strategy_that_differs_from_process_to_process_is_refused(folder, tmp_path, own, monkeypatch):
    """As one that goes by the order of a set of texts, or by a file."""
    own(SALTED)
    import my_rules

    trained(folder, tmp_path / "run", strategy="my_rules:Salted", max_steps=2)
    trained(folder, tmp_path / "run", strategy="my_rules:Salted", max_steps=3)
    trained(folder, tmp_path / "run", strategy="my_rules:Salted", change=True, max_steps=4, batch_size=8)
    my_rules.SALT = 1
    with pytest.raises(UserError, match="my_rules:Salted is not pure: with the code and settings of"):
        trained(folder, tmp_path / "run", strategy="my_rules:Salted", max_steps=5, batch_size=8)
    monkeypatch.setattr("avtrain.training.pretrain.one_value", lambda number, ranks: number == 0)
    with pytest.raises(UserError, match="is not pure: it gives the processes different plans"):
        trained(folder, tmp_path / "other", strategy="my_rules:Salted")
    trained(folder, tmp_path / "named", max_steps=1)


def test_a_strategy_is_a_strategy_by_its_base_class_alone():
    class Elsewhere(Random):
        pass

    assert isinstance(Elsewhere(), Strategy)
    assert len(ClipTable(np.arange(3), np.zeros(3, np.int32)).take(np.array([True, False, True]))) == 2
