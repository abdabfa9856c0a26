"""The campaign itself: a real trial goes its whole way, and a broken promise is told as one."""

from __future__ import annotations

import tempfile

import pytest

from tests.faults.__main__ import FAULTS, main
from tests.faults.campaign import Ending, Fault, MissedError, campaign
from tests.faults.running import HungError
from tests.faults.untouched import Untouched

pytestmark = pytest.mark.slow


def test_a_trial_of_a_corrupted_shard_goes_its_whole_way(demo_clips, demo_dataset, tmp_path):
    told = []
    fault = next(fault for fault in FAULTS if fault.name == "shard-corrupted")
    (tally,) = campaign([fault], 1, 0, Untouched(tmp_path, demo_clips, demo_dataset), told.append)
    assert (tally.trials, tally.held) == (1, 1), told
    assert tally.line().startswith(f"| shard-corrupted | {fault.promise} | 1 | 1 | 0 | 0 | 0 | ")


def test_a_broken_promise_is_reported_as_one_and_ends_with_1(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fault(name, ending, lacking=""):
        def trial(_draw, _place, _untouched):
            if isinstance(ending, Exception):
                raise ending
            return ending

        return Fault(name=name, promise="nothing", trial=trial, lacks=lambda: lacking)

    faults = [
        fault("sound", Ending(moment="now", recovery_seconds=2.0)),
        fault("loses", Ending(moment="now", lost_clips=1)),
        fault("alters", Ending(moment="now", wrong_bytes=3)),
        fault("hangs", HungError("for ever")),
        fault("fails", AssertionError("exit code 1")),
        fault("crashes", KeyError("index.parquet")),
        fault("never", MissedError()),
        fault("lacks", AssertionError("not to be run"), lacking="no disk"),
    ]
    main(["sound", "lacks", "--trials=2"], faults)
    assert "| lacks | nothing | not run: no disk |" in capsys.readouterr().out
    with pytest.raises(SystemExit) as error:
        main(["--trials=2"], faults)
    assert error.value.code == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| sound | nothing | 2 | 2 | 0 | 0 | 0 | 2.0 |",
        "| loses | nothing | 2 | 0 | 2 | 0 | 0 | 0.0 |",
        "| alters | nothing | 2 | 0 | 0 | 6 | 0 | 0.0 |",
        "| hangs | nothing | 2 | 0 | 0 | 0 | 2 |  |",
        "| fails | nothing | 2 | 0 | 0 | 0 | 0 |  |",
        "| crashes | nothing | 2 | 0 | 0 | 0 | 0 |  |",
        "| never | nothing | 2 | 0 | 0 | 0 | 0 |  |",
        "| lacks | nothing | not run: no disk | | | | | |",
    ]
    for name in ("loses", "alters", "hangs", "fails", "crashes", "never"):
        with pytest.raises(SystemExit):
            main([name, "--trials=1"], faults)
