"""What BentoML's supervisor does not do by itself.

It says why it cannot listen, logs how processes end, starts on a full disk and obeys signals only.

bentoml serve -> [check_address, prepare] -> circus -> the process that serves
"""

import errno
import ipaddress
import logging
import os
import signal
import socket
import tempfile
from typing import Any

import circus.arbiter
import circus.controller
import circus.watcher

CAUSES = {
    signal.SIGKILL: "most likely the kernel ended it for want of memory",
    signal.SIGBUS: "a file in its memory could not be read or written; is a disk full?",
    signal.SIGSEGV: "a defect of native code",
    signal.SIGABRT: "native code gave up",
}
ORDERLY = {0, -signal.SIGTERM}  # where the supervisor has told it to end
LAST_PORT = 65_535
REMEDIES = {
    errno.EADDRINUSE: "something listens there already. End it, or choose another port",
    errno.EADDRNOTAVAIL: "this computer has no such address. Choose one of its own, 127.0.0.1 for "
    "itself alone or 0.0.0.0 for all",
    errno.EACCES: "this port needs privileges. Choose one above 1023, with a proxy in front of it",
    errno.EAFNOSUPPORT: "this computer has no IPv6. Choose an IPv4 address, such as 127.0.0.1",
}

logger = logging.getLogger("nanocxr.supervisor")


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


def prepare(*, reloads: bool = False) -> None:
    """Call it in the process of the supervisor, before BentoML makes circus' watchers.

    Parameters
    ----------
    reloads
        Whether the service is started anew where its code changes, by a process that commands it.

    Raises
    ------
    ValueError
        If no temporary folder can be made, which BentoML needs to start.
    """
    circus.watcher.Watcher = LoggingWatcher  # BentoML imports it when it makes one
    if not reloads:
        circus.arbiter.Controller = SignalledController
    _choose_temporary_folder()


class SignalledController(circus.controller.Controller):  # type: ignore[misc]
    """Obeys signals, and nobody at its port.

    circus takes commands at a port of 127.0.0.1 from any user of the computer, to start programs
    among them, and asks for no name.
    """

    def handle_message(self, raw_msg: object) -> None:
        """Take no command; whoever waits for an answer gets none."""


class LoggingWatcher(circus.watcher.Watcher):  # type: ignore[misc]
    """Logs how processes end, and what takes their place; circus only publishes it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        hooks = {"after_reap": (self._log_end, True), "after_spawn": (self._log_start, True)}
        super().__init__(*arguments, hooks=hooks, **options)
        self._ended: int | None = None

    def _log_end(self, *, process_pid: int, exit_code: int, **_: object) -> None:
        # Ctrl-C reaches every process of a terminal, perhaps before the supervisor has told any.
        if exit_code == -signal.SIGINT or (self.is_stopping() and exit_code in ORDERLY):
            return
        self._ended = process_pid
        outlook = "Another takes its place." if self.respawn else "The service ends."
        logger.error("Serving process %d %s. %s", process_pid, how(exit_code), outlook)

    def _log_start(self, *, pid: int, **_: object) -> bool:
        if self._ended is not None:
            logger.info("Serving process %d takes the place of %d.", pid, self._ended)
            self._ended = None
        return True


def how(exit_code: int) -> str:
    """How a process ended, in words; the code is negative where a signal ended it."""
    if exit_code >= 0:
        return f"ended with status {exit_code}; its last lines may say why"
    try:
        number = signal.Signals(-exit_code)
    except ValueError:  # real-time signals have no names
        return f"ended by signal {-exit_code}"
    cause = CAUSES.get(number)
    return f"ended by {number.name}" + (f": {cause}" if cause else "")


def _choose_temporary_folder() -> None:
    """Let BentoML make its temporary folder on a full disk.

    Python takes no folder in which it cannot write a file. BentoML's holds none here, and a folder
    alone needs no space on a tmpfs.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ.get("TMPDIR", "/tmp")  # noqa: S108  Python's own default
    try:
        with tempfile.TemporaryDirectory():
            pass
    except OSError as error:
        raise ValueError(
            f"No temporary folder can be made in {tempfile.tempdir} ({error.strerror}): free space "
            "there, or set TMPDIR to a folder that can be written."
        ) from error
