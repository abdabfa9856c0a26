"""A kill of a run at s3://, at a random moment of its uploads; twenty: tests/bench/upload_kills.py."""

from __future__ import annotations

import pytest

from tests.cluster.upload_kills import SlowBucket, killed
from tests.train.servers import bucket_serving

pytestmark = pytest.mark.slow


def test_a_run_whose_uploads_are_killed_ends_with_the_same_bits(trainable, tmp_path):
    with bucket_serving("bucket", SlowBucket) as bucket:
        trials = list(killed(bucket, trainable, tmp_path, kills=1, seed=0))
    assert all(trial.equal for trial in trials), [str(trial) for trial in trials]
