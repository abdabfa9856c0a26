"""What a user meets: exit codes, one plain sentence for each mistake, --config."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import avprep.cli
import avtrain.cli


def run(package: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"from {package}.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def run_here(*arguments: object, package: str = "avtrain") -> Result:
    """A command in this process, which has torch."""
    main = {"avprep": avprep.cli.main, "avtrain": avtrain.cli.main}[package]
    return CliRunner().invoke(main, list(map(str, arguments)))


def error_here(*arguments: object, package: str = "avtrain") -> str:
    done = run_here(*arguments, package=package)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.stderr
    return done.stderr


def test_version():
    import avprep

    for package in ("avprep", "avtrain"):
        assert avprep.__version__ in run(package, "--version").stdout


def test_manifest_of_a_folder_that_is_not_there(tmp_path):
    assert "is not a folder" in error_of(
        run("avprep", "manifest", "folder", "--root", tmp_path / "no", "--out", tmp_path / "m.csv")
    )


def test_manifest_of_an_empty_folder(tmp_path):
    assert "no media files" in error_here(
        "manifest", "folder", "--root", tmp_path, "--out", tmp_path / "m.csv", package="avprep"
    )


def test_build_without_a_manifest(tmp_path):
    assert "does not exist" in error_here("build-shards", tmp_path / "m.csv", "--out", tmp_path / "o", package="avprep")


def test_build_with_a_frame_size_out_of_range(tmp_path):
    command = ["build-shards", tmp_path / "m.csv", "--out", tmp_path / "o", "--frame-size", 4]
    assert "frame_size must be 8 to 1024" in error_here(*command, package="avprep")


def test_build_with_a_partition_that_is_none(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("video_path,label\na.mp4,x\n")
    for text in ("3/3", "x", "1"):
        command = ["build-shards", manifest, "--out", tmp_path / "o", "--partition", text]
        assert "artition" in error_here(*command, package="avprep")


def test_a_hopeless_build_is_stopped_after_as_many_as_the_option_allows(tmp_path):
    rows = "".join(f"{n}.mp4,x\n" for n in range(6))
    (tmp_path / "m.csv").write_text("video_path,label\n" + rows)
    command = ["build-shards", tmp_path / "m.csv", "--out", tmp_path / "o", "--workers", 1, "--clips-per-shard", 1]
    told = error_here(*command, "--max-consecutive-failures", 3, package="avprep")
    assert "Not one of" not in told
    assert len(list((tmp_path / "o").rglob("*.tar"))) < 6


def test_finalize_of_no_build(tmp_path):
    assert "does not exist" in error_of(run("avprep", "finalize", tmp_path))


def test_pretrain_on_no_dataset(tmp_path):
    assert "no finished dataset" in error_here("pretrain", tmp_path, "--run", tmp_path / "run")


def test_pretrain_on_a_device_that_is_not_there(tmp_path):
    told = error_here("pretrain", tmp_path, "--run", tmp_path / "run", "--device", "cuda:99")
    assert "Device 'cuda:99' cannot be used here" in told


@pytest.mark.parametrize("content", ["not json", json.dumps({"config": {"nonsense": 1}})])
def test_config_file_that_does_not_fit(tmp_path, content):
    config = tmp_path / "config.json"
    config.write_text(content)
    error_here("pretrain", tmp_path, "--run", tmp_path / "run", "--config", config)


def test_config_of_a_run_is_repeated_and_options_win(demo_dataset, tmp_path):
    first = run_here(
        "pretrain", demo_dataset, "--run", tmp_path / "a", "--model-size", "tiny", "--batch-size", 8,
        "--max-steps", 2, "--epochs", 1, "--strategy", "soft-positive:p=0.5", "--threads", 1,
    )  # fmt: skip
    assert first.exit_code == 0, first.stderr
    again = run_here(
        "pretrain", demo_dataset, "--run", tmp_path / "b", "--config", tmp_path / "a" / "config.json",
        "--max-steps", 1, "--threads", 1,
    )  # fmt: skip
    assert again.exit_code == 0, again.stderr
    old, new = (json.loads((tmp_path / name / "config.json").read_text())["config"] for name in "ab")
    assert new == old | {"max_steps": 1}
    assert json.loads((tmp_path / "a" / "exit.json").read_text())["status"] == "done"
