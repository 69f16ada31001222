"""Ports for the servers that tests start."""

import os
import random
import socket

# Below those that Linux gives to clients (from 32768) and above Ray's: between its choice and its
# use nothing but another test could take a port.
FIRST, EACH = 20_000, 1_000


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on; each worker of pytest-xdist has its own range.

    Raises
    ------
    RuntimeError
        If all of them are taken.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    first = FIRST + worker * EACH
    for port in random.sample(range(first, first + EACH), EACH):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port from {first} to {first + EACH - 1} is free")
