"""root.py, which stands for Docker: it knows every step of the Dockerfiles, and which stages a target takes."""

from __future__ import annotations

import pytest

from tests.docker.dockerfile import binds, copied, stages, wanted
from tests.docker.recipes import DOCKER

pytestmark = pytest.mark.slow


def test_prep_is_made_of_its_stages_and_ends_as_the_image_does():
    every = stages(DOCKER / "prep.Dockerfile")
    assert [stage.name for stage in every] == ["wheel", "packages", "ray", "prep"]
    assert [stage.name for stage in wanted(every, "prep")] == ["wheel", "packages", "prep"]
    last = every[-1]
    assert (last.base, last.user, last.entrypoint, last.command) == ("packages", "1000:1000", ["avprep"], ["doctor"])
    assert binds(last) == [("wheel", "/wheel", "/wheel")]
    assert every[0].base.startswith("python:")


def test_every_step_of_train_is_known():
    every = wanted(stages(DOCKER / "train.Dockerfile"), "")
    assert [word for word, _ in every[-1].steps] == ["RUN", "COPY", "RUN", "RUN", "COPY", "ENV", "WORKDIR"]
    programs = copied(every[-1].steps[4][1])
    assert programs == (["docker/exit-as-told", "docker/train-node"], "/usr/local/bin/", "755")


def test_a_step_that_is_not_known_is_refused(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\nVOLUME /data\n")
    with pytest.raises(ValueError, match="VOLUME"):
        stages(tmp_path / "Dockerfile")
