"""docker/README.md: its command lines are the programs' own; files, services, targets and settings in them exist."""

from __future__ import annotations

import json
import re
import shlex

import yaml

from tests.conftest import REPOSITORY
from tests.docker.dockerfile import stages
from tests.docker.recipes import DOCKER, of_ours, parsed

FENCES = re.findall(r"^```sh\n(.*?)^```", (DOCKER / "README.md").read_text(), re.MULTILINE | re.DOTALL)
EMITTED = (REPOSITORY / "avtrain" / "reproduce" / "tables" / "slurm.py").read_text()
SETTING = re.compile(r"([A-Z_]+)=(.*)")


def services():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def settings():
    """The variables of the example of docker/.env."""
    (env,) = (text for text in FENCES if text.startswith("CLIPS="))
    return dict(line.split("=", 1) for line in env.splitlines())


def after(words, option):
    return words[words.index(option) + 1]


def docker_is_right(words):
    if words[1] == "build":
        targets = [stage.name for stage in stages(REPOSITORY / after(words, "-f"))]
        return "--target" not in words or after(words, "--target") in targets
    if words[1] == "run":
        return words[-1] in ("avprep", "avtrain") and {"--read-only", "--tmpfs"} <= set(words)
    service = words.index("--rm") + 1
    rest = words[service + 1 :]
    parsed(["avprep", *rest] if words[service] == "prep" and rest else rest or ["avtrain", "doctor"])
    return words[service] in services()


def kubectl_is_right(words):
    """The names are those of the base's objects, or of the RayJob or the Secret."""
    if "--kustomize" in words:
        return (REPOSITORY / after(words, "--kustomize") / "kustomization.yaml").exists()
    if "--patch" in words:
        json.loads(after(words, "--patch"))
    jobs = [word.removeprefix("job/") for word in words if word.startswith(("job/", "avfinalize", "avtrain"))]
    there = re.findall(r"^  name: (\w+)", "".join(path.read_text() for path in (DOCKER / "k8s").glob("*/*.yaml")), re.M)
    return all(job in there for job in jobs) and (words[3:4] != ["wait"] or len(jobs) == 1)


def script_is_right(words, names):
    """A script of slurm/, or the one that --emit slurm writes, has these variables."""
    path = words[0]
    text = EMITTED if path == "table1-slurm/submit.sh" else (REPOSITORY / path).read_text()
    return all(re.search(rf"^{name}=\$", text, re.MULTILINE) for name in names)


def test_command_lines_exist_and_parse():
    seen = set()
    for words in (shlex.split(line.split(" #")[0]) for text in FENCES for line in text.splitlines()):
        names = [SETTING.fullmatch(word)[1] for word in words if SETTING.fullmatch(word)]
        rest = words[len(names) :]
        if not rest:
            assert set(names) <= set(settings())
            continue
        seen.add(rest[0])
        if rest[0] == "docker":
            assert docker_is_right(rest), words
        elif rest[0] == "kubectl":
            assert kubectl_is_right(rest), words
        elif rest[0].endswith(".sh"):
            assert script_is_right(rest, names), words
        elif of_ours(rest):
            parsed(of_ours(rest))
        else:
            assert rest[0] in ("python3.11", "~/av/bin/pip"), words
    wanted = {"docker", "kubectl", "docker/slurm/prep.sh", "docker/slurm/train.sh", "table1-slurm/submit.sh"}
    assert seen >= wanted
