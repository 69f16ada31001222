"""Refuse new connections while the last requests are answered.

BentoML's supervisor keeps the listening socket open until the serving process has ended. Clients
that come while it drains would connect, wait, and have their connection reset in the end.
"""

import asyncio
import os
import signal
import socket
import threading
from types import FrameType

import psutil

# The server leaves its accept loop within a tenth of this; until then it would take the closed
# socket for an error.
SECONDS = 1.0


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
