"""`python client.py SOCKET WORDS...`: a command that the server forks; its signals and its exit code pass here."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
PARENT = "WARM_PARENT_PID"
"""in the environment of the command: what os.getppid() would have been"""

POOLS = "WARM_POOLS"
"""in the environment of the client: the workers of avprep.shared.processes.map_processes are forked as well"""


def main() -> None:
    address, *words = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(address)
        ignored = [number for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN]
        environ = {**os.environ, PARENT: str(os.getppid())}
        asked = json.dumps({"words": words, "folder": os.getcwd(), "environ": environ, "ignored": ignored}).encode()
        for number in set(PASSED_ON) - set(ignored):
            signal.signal(number, lambda number, _: link.sendall(bytes([number])))
        socket.send_fds(link, [len(asked).to_bytes(8, "big")], [0, 1, 2])
        link.sendall(asked)
        code = int.from_bytes(link.recv(4), "big", signed=True)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
