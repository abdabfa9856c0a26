"""Ports for servers that a test starts later."""

from __future__ import annotations

import random
import socket

PORTS = range(20_000, 32_768)
"""below those that Linux gives to clients, any of which might take one before its server does; above those of Ray"""


def free_port() -> int:
    """A port on which nothing listens."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("100 ports are all in use")
