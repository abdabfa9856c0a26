"""Table 2 was fitted on all of VGGSound in domain; the paper's section 3.3 says the balanced subset."""

from __future__ import annotations

import dataclasses

from avtrain.reproduce.tables.matrix import matrix_of
from avtrain.reproduce.tables.page import notes_of
from avtrain.reproduce.tables.settings import BALANCED, TABLES
from tests.train.tablemaking import SITE


def evaluations(settings):
    """(steps that measure on VGGSound, all others that measure, all steps by name)."""
    steps = matrix_of(settings, SITE).steps
    measured = [step for step in steps if step.kind == "evaluate"]
    own = [step for step in measured if step.dataset == "vggsound"]
    return own, [step for step in measured if step not in own], {step.name: step for step in steps}


def test_columns_in_domain_are_fitted_on_the_balanced_subset():
    own, others, steps = evaluations(TABLES["table2"])
    column = steps["fitted-vggsound"]
    subset, whole = steps["manifest-vggsound-fitted"], steps["manifest-vggsound"]
    assert "vggsound_balanced_38007.csv" in subset.command
    assert "vggsound_balanced_38007.csv" not in whole.command
    assert column.command[:2] == ("avprep", "add-labels")
    assert column.needs == (steps["build-vggsound"], subset)
    name = column.ends_with.stem
    assert len(own) == 3 * len(TABLES["table2"].rows) + 1
    for step in own:
        assert step.command[step.command.index("--labels") + 1] == name
        assert column in step.needs
    assert not any("--labels" in step.command for step in others)
    assert not any(step.kind == "pretrain" and column in step.needs for step in steps.values())
    assert TABLES["table1"].vggsound.fitted_on == ()


def test_it_is_a_setting_that_the_page_names():
    settings = TABLES["table2"]
    everything = dataclasses.replace(settings, vggsound=dataclasses.replace(settings.vggsound, fitted_on=()))
    own, _, steps = evaluations(everything)
    assert "fitted-vggsound" not in steps
    assert not any("--labels" in step.command for step in own)
    found = {"seeds": [0], "steps": {"done": 0, "all": 1}, "datasets": {}, "left_out": []}
    for one, said in ((settings, "vggsound_balanced_38007.csv"), (everything, "all of its clips")):
        (note,) = [note for note in notes_of(found, matrix_of(one, SITE)) if "fitted_on" in note]
        assert said in note
        assert "31.9" in note
    assert settings.vggsound.fitted_on == BALANCED
