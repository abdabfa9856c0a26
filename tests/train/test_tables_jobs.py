"""avtrain reproduce --emit: jobs that the schedulers take, each after those it needs, by the recipes of docker/."""

from __future__ import annotations

import base64
import copy
import dataclasses
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from avtrain.reproduce.tables.matrix import matrix_of
from avtrain.reproduce.tables.settings import TABLES
from tests.docker.recipes import DOCKER, expanded, lint, of_ours, parsed
from tests.train.tablemaking import FOLDERS, SITE, refused, reproduce

pytestmark = pytest.mark.slow

STAND_IN = """#!/bin/bash
number=$(($(wc -l < "$CALLS") + 100))
printf '%s\\0' "$@" "ENVIRONMENT" "$(env -0 | base64 -w0)" >> "$CALLS"
printf '\\n' >> "$CALLS"
echo "$number;cluster"
"""


@pytest.fixture
def submitted(tmp_path, monkeypatch) -> Any:
    """A function that emits SLURM's jobs, submits them to a stand-in and gives (words, environment) of each call."""

    def submit(*words: object) -> list[tuple[list[str], dict[str, str]]]:
        monkeypatch.chdir(tmp_path)
        reproduce("table1", *words, "--emit", "slurm")
        script = tmp_path / "table1-slurm" / "submit.sh"
        assert lint("shellcheck", script) == ""
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("sbatch", "avprep", "avtrain"):
            (programs / name).write_text(STAND_IN)
            (programs / name).chmod(0o755)
        (tmp_path / "calls").write_text("")
        environ = {**os.environ, "CALLS": str(tmp_path / "calls"), "ENVIRONMENT": str(programs), "RECIPES": str(DOCKER)}
        environ["SUBMIT_OPTIONS"] = "--account=mine --cpus-per-task=4"
        done = subprocess.run([script], env=environ, cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "job " in done.stdout
        found = []
        for line in (tmp_path / "calls").read_text().splitlines():
            *call, _, packed, _ = line.split("\0")
            pairs = (pair.split("=", 1) for pair in base64.b64decode(packed).decode().split("\0") if "=" in pair)
            found.append((call, dict(pairs)))
        return found

    return submit


def option(words: list[str], name: str) -> str:
    """The last value of an option, as programs take it."""
    return [word.split("=", 1)[1] for word in words if word.startswith(f"{name}=")][-1]


def test_slurm_has_a_job_a_step_after_those_it_needs(submitted, tmp_path):
    roots = ["--vggsound", "/clips/vggsound", "--fsd", "/clips/fsdnoisy18k", "--pseudo-weights", "/clips/b0.pth"]
    calls = submitted(*roots, "--out", tmp_path / "out", "--device", "cuda:0")
    folders = {name: FOLDERS[name] for name in ("vggsound", "fsdnoisy18k")}
    site = dataclasses.replace(SITE, roots=folders, out=tmp_path / "out", device="cuda:0")
    steps = matrix_of(TABLES["table1"], site).steps
    ids: dict[str, str] = {}  # job that ends a step, by the step's name
    left = list(enumerate(calls, start=100))

    def take() -> tuple[str, list[str], dict[str, str]]:
        number, (words, environ) = left.pop(0)
        assert "--account=mine" in words
        return str(number), words, environ

    for step in steps:
        job, words, environ = take()
        wanted = [ids[need.name] for need in step.needs]
        assert not wanted or option(words, "--dependency") == "afterok:" + ":".join(wanted), step.name
        if step.kind == "build":
            assert (environ["MANIFEST"], environ["DATASET"]) == (step.command[2], str(step.folder))
            assert "--array=0-7" in words
            joining, words, _ = take()
            assert option(words, "--dependency") == f"afterok:{job}"
            job = joining
        elif step.kind == "pretrain":
            command = ["avtrain", "pretrain", environ["DATASET"], "--run", environ["RUN"]]
            command += ["--strategy", environ["STRATEGY"], "--batch-size", environ["BATCH_SIZE"]]
            command += ["--epochs", environ["EPOCHS"], "--device", environ["DEVICE"], *environ["TRAIN_OPTIONS"].split()]
            assert parsed(command) == parsed([*step.command, *step.means]), step.name
            assert "--gpus-per-node=4" in words
        else:
            command = shlex.split(option(words, "--wrap").removeprefix("exec "))
            assert command == [*step.command, *step.means], step.name
            assert ("--gpus=1" in words) == (step.kind in ("evaluate", "pseudo-label"))
            assert option(words, "--cpus-per-task") == "4"
        ids[step.name] = job
    _, words, _ = take()
    assert not left
    assert option(words, "--dependency") == "afterok:" + ":".join(
        ids[step.name] for step in steps if step.kind == "evaluate"
    )
    table = parsed(shlex.split(option(words, "--wrap").removeprefix("exec ")))
    assert (table["out"], table["vggsound"], table["tau"]) == (tmp_path / "out", FOLDERS["vggsound"], None)


def test_what_is_done_is_not_submitted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    site = dataclasses.replace(SITE, roots={"vggsound": FOLDERS["vggsound"]}, out=out, pseudo_weights=None)
    for step in matrix_of(TABLES["table1"], site).steps[:2]:
        step.ends_with.parent.mkdir(parents=True)
        step.ends_with.touch()
    reproduce("table1", "--vggsound", "/clips/vggsound", "--out", out, "--device", "cpu", "--emit", "slurm")
    script = (tmp_path / "table1-slurm" / "submit.sh").read_text()
    assert "manifest_vggsound" not in script
    assert "build_vggsound" not in script
    assert "pretrain_random_s0=$(" in script
    assert '"$GPU_OPTIONS"' not in script
    assert lint("shellcheck", tmp_path / "table1-slurm" / "submit.sh") == ""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> Path:
    """The folder that --emit k8s writes for table 1."""
    folder = tmp_path_factory.mktemp("k8s")
    before = Path.cwd()
    os.chdir(folder)
    try:
        roots = ["--vggsound", "/clips/vggsound", "--tau", "/clips/tau2021", "--fsd", "/clips/fsdnoisy18k"]
        reproduce("table1", *roots, "--pseudo-weights", "/clips/b0.pth", "--out", "/runs/table", "--emit", "k8s")
    finally:
        os.chdir(before)
    return folder / "table1-k8s"


def test_kubernetes_takes_every_job(jobs):
    assert lint("yamllint", "--strict", "-c", DOCKER / ".yamllint", jobs) == ""
    assert lint("shellcheck", jobs / "submit.sh") == ""
    for path in jobs.rglob("wave-*/*-*.yaml"):
        one = yaml.safe_load(path.read_text())
        assert one["metadata"]["name"] == path.stem
        assert len(path.stem) <= 63
        kubernetes_validate.validate(one, "1.31", strict=True)


def loaded(jobs: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(jobs.glob("wave-*/*-*.yaml"))}


def test_a_wave_holds_what_the_waves_before_it_allow(jobs):
    script = (jobs / "submit.sh").read_text().replace("\\\n", " ")
    done: set[str] = set()
    every = loaded(jobs)
    for folder, *names in (line.split()[1:] for line in script.splitlines() if line.startswith("wave wave-")):
        listed = yaml.safe_load((jobs / folder / "kustomization.yaml").read_text())
        assert listed["resources"] == [f"{name}.yaml" for name in names]
        assert listed["components"] == ["../cluster"]
        for name in names:
            assert set(every[name]["metadata"]["annotations"]["avtrain/needs"].split()) <= done
        done |= set(names)
    assert done == set(every)


def test_jobs_of_kubernetes_are_the_steps_and_made_as_the_recipes(jobs):
    every = loaded(jobs)
    recipe = next(yaml.safe_load_all((DOCKER / "k8s" / "base" / "prep.yaml").read_text()))
    (trained,) = [
        one for one in yaml.safe_load_all((DOCKER / "k8s" / "base" / "train.yaml").read_text()) if one["kind"] == "Job"
    ]
    names: dict[str, str] = {}
    for step in matrix_of(TABLES["table1"], dataclasses.replace(SITE, out=Path("/runs/table"))).steps:
        name = f"{step.name}-{step.digest[:8]}"
        job = every.pop(name)
        pod = copy.deepcopy(job["spec"]["template"]["spec"])
        (container,) = pod["containers"]
        words = expanded(container["command"], {"JOB_COMPLETION_INDEX": "3"})
        found = parsed(of_ours(words))
        wanted = parsed([*step.command, *step.means])
        differing = {key for key in wanted if found[key] != wanted[key]}
        gpus = container["resources"]["limits"].get("nvidia.com/gpu")
        if step.kind == "build":
            assert differing == {"partition", "workers"}
            assert found["partition"] == f"3/{job['spec']['completions']}"
            assert (
                pod["initContainers"][0]["command"][-1].replace("$PLAN", "$DATASET/plan/build.json")
                == (recipe["spec"]["template"]["spec"]["initContainers"][0]["command"][-1])
            )
            name = f"join-{name}"
            assert every.pop(name)["spec"]["template"]["spec"]["containers"][0]["command"] == [
                "avprep", "finalize", str(step.folder),
            ]  # fmt: skip
        elif step.kind == "pretrain":
            assert differing == {"device"}
            assert (words[:3], words[4], gpus) == (["train-node", "1", gpus], str(step.folder), "4")
        else:
            assert not differing, step.name
            assert gpus == ("1" if step.kind in ("evaluate", "pseudo-label") else None)
        assert container["image"] == ("avtrain" if gpus else "avprep")
        needs = every.get(name, job)["metadata"]["annotations"]["avtrain/needs"].split()
        assert step.kind == "build" or needs == [names[need.name] for need in step.needs]
        names[step.name] = name
        spec = trained["spec"]["template"]["spec"]
        assert job["spec"]["podFailurePolicy"] == trained["spec"]["podFailurePolicy"]
        assert pod["securityContext"] == spec["securityContext"]
        assert container["securityContext"] == spec["containers"][0]["securityContext"]
        claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
        storage = yaml.safe_load_all((DOCKER / "k8s" / "base" / "storage.yaml").read_text())
        assert claims == {one["metadata"]["name"] for one in storage}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    ((name, table),) = every.items()
    assert name.startswith("table1-")
    (container,) = table["spec"]["template"]["spec"]["containers"]
    assert parsed(container["command"])["out"] == Path("/runs/table")


def test_paths_that_no_pod_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--vggsound", "/clips/vggsound", "--out", str(tmp_path / "out"), "--emit", "k8s"]
    assert "is in no volume of the pods" in refused(*words)
    assert not list(tmp_path.iterdir())
