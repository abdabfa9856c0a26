"""compose.yaml: commands that exist, on folders that are mounted, with what README.md says is set."""

from __future__ import annotations

import re

import yaml

from tests.docker.recipes import DOCKER, lint, of_ours, parsed
from tests.docker.test_readme import settings

DEFAULT = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}")


def services(values):
    """Services with each ${NAME:-default} replaced."""
    text = (DOCKER / "compose.yaml").read_text()
    return yaml.safe_load(DEFAULT.sub(lambda found: values.get(found[1], found[2] or ""), text))["services"]


def test_yaml_is_clean():
    assert lint("yamllint", "--strict", "-c", DOCKER / ".yamllint", DOCKER) == ""


def test_the_readme_sets_all_that_compose_asks_for():
    assert {name for name, _ in DEFAULT.findall((DOCKER / "compose.yaml").read_text())} == set(settings())


def test_commands_are_those_of_the_programs_and_agree():
    found = {}
    for name, service in services({"DATASET": "d", "RUN": "r", "BATCH_SIZE": "12"}).items():
        words = service["command"]
        words = ["avprep", *words] if service["image"] == "avprep" else of_ours(words)
        found[name] = parsed(words)
        mounted = [volume.split(":")[1] for volume in service["volumes"]]
        if isinstance(found[name].get("dataset"), tuple):
            (found[name]["dataset"],) = found[name]["dataset"]
        paths = [str(found[name][key]) for key in ("manifest_file", "out", "dataset", "run") if found[name].get(key)]
        assert all(path.startswith(tuple(f"{folder}/" for folder in mounted)) for path in paths)
    assert set(found) == {"prep", "plan", "train", "evaluate"}
    assert str(found["prep"]["out"]) == str(found["train"]["dataset"]) == str(found["evaluate"]["dataset"])
    assert found["train"]["run"] == found["evaluate"]["run"]
    shared = found["plan"].keys() & found["train"].keys()
    assert {"dataset", "strategy", "batch_size", "epochs"} <= shared
    assert {key: found["plan"][key] for key in shared} == {key: found["train"][key] for key in shared}


def test_training_names_one_run_and_number_of_processes_throughout():
    every = services({"RUN": "r", "GPUS": "3"})
    name, nodes, processes, _, run, *rest = every["train"]["command"]
    assert (name, nodes, processes, run) == ("train-node", "1", "3", "/runs/r")
    assert parsed(rest)["run"].as_posix() == run
    assert parsed(every["plan"]["command"])["world_size"] == 3


def test_containers_are_guarded_and_may_write_to_tmp():
    for service in services({}).values():
        assert service["read_only"]
        assert service["init"]
        assert service["cap_drop"] == ["ALL"]
        (tmp,) = service["tmpfs"]
        assert tmp.startswith("/tmp:")
        assert service["image"] == "avprep" or "exec" in tmp
