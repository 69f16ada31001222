"""Where the service listens: say why it cannot, and refuse connections that come too late.

BentoML's supervisor binds the address itself, and ends with a traceback where that fails. It keeps
the listening socket open until the serving process has ended: clients that come while it drains
would connect, wait, and have their connection reset in the end.
"""

import asyncio
import errno
import ipaddress
import os
import signal
import socket
import threading
from types import FrameType

import psutil

# The server leaves its accept loop within a tenth of this; until then it would take the closed
# socket for an error.
SECONDS = 1.0

LAST_PORT = 65_535
REMEDIES = {
    errno.EADDRINUSE: "something listens there already. End it, or choose another port",
    errno.EADDRNOTAVAIL: "this computer has no such address. Choose one of its own, 127.0.0.1 for "
    "itself alone or 0.0.0.0 for all",
    errno.EACCES: "this port needs privileges. Choose one above 1023, with a proxy in front of it",
    errno.EAFNOSUPPORT: "this computer has no IPv6. Choose an IPv4 address, such as 127.0.0.1",
}


def check_address(host: str, port: int) -> None:
    """Find out whether host and port can be listened on, by binding them for a moment.

    Somebody else may still come first until the server binds them itself.

    Raises
    ------
    ValueError
        If they cannot: one sentence with both, the reason and what to do.
    """
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        raise ValueError(
            f"--host {host!r} is not an IP address, which the server needs. Set --host "
            "(BENTOML_HOST) to 127.0.0.1 for this computer alone, or to 0.0.0.0 for all addresses."
        ) from None
    if not 1 <= port <= LAST_PORT:  # the server would take the rest of a division by 65,536
        raise ValueError(
            f"--port {port} is no port from 1 to {LAST_PORT}. Correct --port (BENTOML_PORT)."
        )
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((host, port))
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, f"{error.strerror}. Choose another address")
        raise ValueError(
            f"Cannot listen on --host {host} --port {port}: {remedy} (BENTOML_HOST, BENTOML_PORT; "
            "PORT of make serve)."
        ) from None


def refuse_when_told_to_end() -> None:
    """On SIGTERM let the server drain as it does, and have the kernel refuse who comes later.

    Call it in the event loop, when the server has set its own handler. A server in a thread gets no
    signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    drain = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()
    listening = [
        socket.socket(fileno=os.dup(connection.fd))  # the server closes its own
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]

    def refuse() -> None:
        for one in listening:
            one.shutdown(socket.SHUT_RDWR)  # for every process that holds it

    def end(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(loop.call_later, SECONDS, refuse)
        if callable(drain):
            drain(number, frame)

    signal.signal(signal.SIGTERM, end)
