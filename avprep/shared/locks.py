"""Locks on files that die with their process, on every file system that has some; a warning on those that have none.

Lustre without `-o flock`, some NFS and some FUSE refuse flock. Locks of open file descriptions are the second try: like
flock's they are the handle's, so that closing another handle of the file does not free them.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
from pathlib import Path

TAKEN = (errno.EWOULDBLOCK, errno.EACCES)
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
WHOLE_FILE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock of 64-bit Linux

_warned: set[int] = set()  # devices

log = logging.getLogger(__name__)


class TakenError(Exception):
    """Another process, or another handle of this one, has the lock."""


def lock(handle: int, path: Path, wait: bool = False) -> bool:
    """Lock the file of an open handle until it is closed; False where its file system has no locks.

    `path` is for the warning. Errors: TakenError, unless `wait`; OSError.
    """
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            fcntl.fcntl(handle, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, WHOLE_FILE)
    except OSError as error:
        if error.errno in TAKEN:
            raise TakenError from None
        if error.errno not in NO_LOCKS:
            raise
        device = os.fstat(handle).st_dev
        if device not in _warned:
            _warned.add(device)
            log.warning(
                "%s is on a file system without file locks (%s): run one command at a time there",
                path.parent,
                error.strerror,
            )
        return False
    return True
