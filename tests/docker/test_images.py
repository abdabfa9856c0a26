"""The images: pinned versions that fit setup.cfg, all that avprep imports, a build context of what is needed."""

from __future__ import annotations

import configparser
import re
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.boundaries import inside, read
from tests.conftest import REPOSITORY
from tests.docker.recipes import DOCKER, lint

DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
EXTRAS = ("s3", "gcs", "cluster", "tensorboard", "pseudo")
OF_EXTRAS = ("avprep.labels.pseudo_label", "avprep.shared.hub")
"""Parts of avprep that import what the image for preparing does not have."""
IMAGE = {"python_version": "3.11", "platform_machine": "x86_64", "platform_system": "Linux", "sys_platform": "linux"}


def requirements(text: str) -> dict[str, Requirement]:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


@pytest.fixture(scope="module")
def setup():
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    return config


@pytest.fixture(scope="module")
def pins():
    """Version of each package in constraints.txt."""
    lines = [line for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted({canonicalize_name(name) for name in names})
    return {name: Version(line.partition("==")[2]) for name, line in zip(names, lines, strict=True)}


def test_every_requirement_of_the_images_has_a_pin_within_its_bounds(setup, pins):
    wanted = [requirements(setup["options"]["install_requires"])]
    extras = setup["options.extras_require"]
    wanted += [requirements(extras[name]) for name in EXTRAS]
    for one in (one for group in wanted for one in group.values()):
        assert one.specifier.contains(pins[canonicalize_name(one.name)]), f"{one} is pinned to {pins[one.name]}"


def test_whatever_is_installed_is_pinned():
    for path in DOCKERFILES:
        commands = re.findall(r"pip (?:install|wheel)(?:[^&\n]|\\\n)*", path.read_text())
        assert len(commands) >= 4
        assert all("--constraint" in command or "--no-deps" in command for command in commands), commands
    (extras,) = re.findall(r'\$1\[([\w,]+)\]"', (DOCKER / "train.Dockerfile").read_text())
    assert set(extras.split(",")) <= set(EXTRAS)


def test_pins_agree_with_each_other(pins):
    """Where this very version is installed here: it asks for nothing that is unpinned or pinned to something else."""
    for name, version in pins.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if Version(distribution.version) != version:
            continue
        for asked in map(Requirement, distribution.requires or []):
            if asked.marker is None or asked.marker.evaluate({**IMAGE, "extra": ""}):
                pin = pins.get(canonicalize_name(asked.name))
                assert pin is not None, f"{name} needs {asked}, which has no pin"
                assert asked.specifier.contains(pin, prereleases=True), f"{name} needs {asked}, pinned to {pin}"


@pytest.mark.slow
def test_the_prep_image_has_all_that_avprep_imports_and_no_torch(setup, pins):
    named = requirements((DOCKER / "prep.txt").read_text())
    allowed = requirements(setup["options"]["install_requires"]) | requirements(setup["options.extras_require"]["s3"])
    assert set(named) <= set(allowed)
    assert not any(one.specifier for one in named.values())
    imported = {
        name.split(".")[0]
        for module in read(REPOSITORY).values()
        if inside(module.name, "avprep") and not any(inside(module.name, part) for part in OF_EXTRAS)
        for name in module.imports
    } - {"avprep", "ray", *sys.stdlib_module_names}
    assert imported <= {module for name in named for module in modules_of(name)}
    assert not {"torch", "torchvision", "torchaudio", "webdataset"} & needed_by(set(named))


def modules_of(name):
    """The top-level modules of a package; of one that is not installed, its name."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return {name}
    listed = (distribution.read_text("top_level.txt") or "").split()
    return set(listed) or {file.parts[0].removesuffix(".py") for file in distribution.files}


def needed_by(names):
    """Names of all that packages need, and theirs, as far as they are installed here."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        asked = (one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": ""}))
        waiting |= {canonicalize_name(one.name) for one in asked} - found
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_are_clean_and_end_as_a_user(path):
    assert lint("hadolint", path) == ""
    stages = re.split(r"^FROM ", path.read_text(), flags=re.MULTILINE)[1:]
    users = [re.findall(r"^USER (\S+)", stage, re.MULTILINE) for stage in stages]
    assert users[-1] == ["1000:1000"]


def test_the_context_holds_what_is_built_and_copied():
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    copied = {
        word
        for path in DOCKERFILES
        for line in re.findall(r"^COPY (.+)", path.read_text(), re.MULTILINE)
        for word in [word for word in line.split() if not word.startswith("--")][:-1]
    } - {"."}
    packaging = {"LICENSE", "README.md", "pyproject.toml", "setup.cfg", "avprep", "avtrain", "manifests"}
    assert allowed == copied | packaging
    for path in allowed:
        assert (REPOSITORY / path).exists(), path
