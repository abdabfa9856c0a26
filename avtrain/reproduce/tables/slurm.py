"""One SLURM job a step: a script that submits them all, those of docker/slurm for shards and training."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from avtrain.config import PretrainConfig
from avtrain.reproduce.tables.matrix import Matrix, Step, options_of

RECIPE_SETTINGS = ("strategy", "batch_size", "epochs")  # that docker/slurm/train.sh has variables for
HEAD = """#!/usr/bin/env bash
# {table}: one job a step, each after those that it needs; to be run on a login node. To repeat what has failed, let
# `avtrain reproduce {table} ... --emit slurm` write it anew, without what is done. What is below is all there is to
# set; a variable of the environment wins.
set -euo pipefail

RECIPES=${{RECIPES:?Set RECIPES to the folder docker of the sources, which has slurm/prep.sh and slurm/train.sh.}}
ENVIRONMENT=${{ENVIRONMENT:-$HOME/av/bin}} # folder of the commands avprep and avtrain
LOGS=${{LOGS:-$PWD/logs}}
PARTITIONS=${{PARTITIONS:-8}}              # jobs that share a build
NODES=${{NODES:-1}}                        # of a pretraining job
GPUS=${{GPUS:-4}}                          # of such a node
HOURS=${{HOURS:-24}}                       # of any job
SUBMIT_OPTIONS=${{SUBMIT_OPTIONS:-}}       # of every job, such as: --account=mine
GPU_OPTIONS=${{GPU_OPTIONS:---gpus=1}}     # of jobs on one GPU

export RECIPES ENVIRONMENT LOGS PARTITIONS NODES GPUS HOURS SUBMIT_OPTIONS
PATH=$ENVIRONMENT:$PATH
mkdir -p "$LOGS"

after() {{ # after ID... : the option that waits for these jobs, none where there are none
    local IFS=:
    [[ $# == 0 ]] || echo "--dependency=afterok:$*"
}}

job() {{ # job NAME NEEDS OPTIONS COMMAND : its id
    local options
    read -ra options <<<"$SUBMIT_OPTIONS $2 $3"
    sbatch --parsable --kill-on-invalid-dep=yes --requeue --open-mode=append --job-name="$1" --ntasks=1 \\
        --cpus-per-task=8 --mem=32G --time="$HOURS:00:00" --output="$LOGS/$1-%j.log" "${{options[@]}}" \\
        --wrap="exec $4" | cut -d';' -f1
}}

recipe() {{ # recipe SCRIPT JOB NEEDS : the id that docker/slurm/SCRIPT prints for JOB
    SUBMIT_OPTIONS="$SUBMIT_OPTIONS $3" "$RECIPES/slurm/$1" | tee /dev/stderr | sed -nE "s/.*$2 ([0-9]+).*/\\\\1/p"
}}
"""


def files(whole: Matrix, collect: Sequence[str]) -> dict[str, str]:
    """submit.sh, by name."""
    todo = [step for step in whole.steps if not step.is_done]
    names = {step.digest: variable(step) for step in todo}
    parts = [HEAD.format(table=whole.settings.table)]
    parts += [_submission(step, _after(step.needs, names)) for step in todo]
    everything = _after((step for step in todo if step.kind == "evaluate"), names)
    command = _job("table", everything, "", collect)
    parts.append(f'{command}\necho "submitted: {len(todo)} steps and the table, job $table"')
    return {"submit.sh": "\n".join(parts) + "\n"}


def variable(step: Step) -> str:
    """The shell variable that holds the id of a step's job."""
    return re.sub(r"\W", "_", step.name)


def _after(needs: Iterable[Step], names: dict[str, str]) -> str:
    ids = [f'"${names[step.digest]}"' for step in needs if step.digest in names]
    return f'"$(after {" ".join(ids)})"' if ids else '""'


def _submission(step: Step, after: str) -> str:
    """The lines that submit a step."""
    name = variable(step)
    if step.kind == "build":
        manifest, folder = step.needs[0].ends_with, step.folder
        options = " ".join(step.command[5:])
        values = {"MANIFEST": str(manifest), "DATASET": str(folder), "BUILD_OPTIONS": options}
        return f"{name}=$({_environment(values)} \\\n    recipe prep.sh avfinalize {after})"
    if step.kind == "pretrain":
        return f"{name}=$({_environment(training(step))} \\\n    recipe train.sh avtrain {after})"
    on_gpu = step.kind in ("evaluate", "pseudo-label") and "cpu" not in step.means
    return _job(name, after, "$GPU_OPTIONS" if on_gpu else "", (*step.command, *step.means))


def training(step: Step) -> dict[str, str]:
    """The variables of docker/slurm/train.sh for a pretraining step."""
    values = {"DATASET": step.command[2], "RUN": str(step.folder)}
    values |= {name.upper(): str(step.settings[name]) for name in RECIPE_SETTINGS}
    device = step.means[1]
    values |= {} if device == "auto" else {"DEVICE": device}
    return values | {"TRAIN_OPTIONS": " ".join(other_options(step))}


def other_options(step: Step) -> tuple[str, ...]:
    """Options of a pretraining step but those that the recipe has variables for."""
    usual = PretrainConfig()
    taken = {name: getattr(usual, name) for name in RECIPE_SETTINGS}
    return options_of(PretrainConfig(**{**step.settings, **taken}), usual)


def _environment(values: dict[str, str]) -> str:
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())


def _job(name: str, after: str, options: str, command: Sequence[str]) -> str:
    return f'{name}=$(job {name} {after} "{options}" \\\n    {shlex.quote(shlex.join(command))})'
