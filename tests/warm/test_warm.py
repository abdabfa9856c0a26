"""A command that is forked behaves as one that is started: code, streams, folder, environment, signals, its end."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests import warm

pytestmark = pytest.mark.slow

SHOWS = "import os, sys; print(sys.argv, os.getcwd(), os.environ.get('ONLY'), sys.stdin.read(), __name__)"
WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep(600)
"""


def ready(code, **streams):
    process = subprocess.Popen([*warm.python(), "-c", code], stdout=subprocess.PIPE, text=True, **streams)
    assert process.stdout.readline() == "ready\n"
    return process


def test_words_folder_environment_and_streams_are_the_callers(tmp_path):
    done = subprocess.run(
        [*warm.python(), "-c", SHOWS, "a b", "--c"], cwd=tmp_path, env={"ONLY": "this"},
        input="given", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"['-c', 'a b', '--c'] {tmp_path} this given __main__\n"
    script = tmp_path / "script.py"
    script.write_text("import beside; print(__file__, beside.VALUE)")
    (tmp_path / "beside.py").write_text("VALUE = 3")
    done = subprocess.run([*warm.python(), str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{script} 3\n"


@pytest.mark.parametrize(
    ("code", "wanted", "printed"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('a sentence')", 1, "a sentence"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM, ""),
        ("import atexit, sys; atexit.register(print, 'at the end', file=sys.stderr)", 0, "at the end"),
    ],
)
def test_it_ends_as_the_command_does(code, wanted, printed):
    done = subprocess.run([*warm.python(), "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, printed in done.stderr) == (wanted, True)


def test_signals_reach_the_command_and_ignored_ones_stay_ignored():
    process = ready(WAITS)
    process.terminate()
    assert process.wait(60) == 75
    process.stdout.close()
    code = "import signal; print(signal.getsignal(1) == signal.SIG_IGN, signal.getsignal(15) == signal.SIG_DFL)"
    command = ["bash", "-c", "trap '' HUP; \"$@\"", "bash", *warm.python(), "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True True\n"


def test_what_is_killed_takes_its_command_along():
    code = WAITS.replace("time.sleep(600)", "print(os.getpid(), flush=True)\ntime.sleep(600)")
    with warm.all_gone() as stream:  # which fails where the command goes on
        process = ready("import os" + code, stdin=stream)
        below = int(process.stdout.readline())
        assert os.path.exists(f"/proc/{below}")
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    process.stdout.close()
