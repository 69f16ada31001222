"""The node as a whole: what receives, in this process; what reads and delivers, in another."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clients.dicom.node import upkeep
from clients.dicom.node.config import Config, ConfigError, secret
from clients.dicom.node.disk import only_one
from clients.dicom.node.gate import client_tls
from clients.dicom.node.metrics import REGISTRY, WORKERS, SpoolCollector
from clients.dicom.node.poll import Poller
from clients.dicom.node.receive import Inbox, Receiver
from clients.dicom.node.spool import Spool
from clients.dicom.node.web import Web
from service.observe import logs

logger = logging.getLogger("nanocxr.node")

LOOK_SECONDS = 0.2  # at the worker
EXPIRE_SECONDS = 2.0  # from one removal of what is done to the next
DRAIN_SECONDS = 10.0  # for associations, and then for the worker, to end what they do
FIRST_RESTART_SECONDS, LONGEST_RESTART_SECONDS = 0.5, 30.0


class WorkerProcess:
    """The worker, and another one in its place where it died."""

    def __init__(self, config: Path) -> None:
        self._command = [
            sys.executable, "-m", "clients.dicom.node.worker", str(config), str(os.getpid()),
        ]  # fmt: skip
        self._wait = 0.0
        self._start()

    def _start(self) -> None:
        WORKERS.inc()
        self._started = time.monotonic()
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)  # noqa: S603

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def look_after(self) -> None:
        """Start another one where it died; later and later where each dies at once."""
        if self.alive():
            return
        lived = time.monotonic() - self._started
        if lived > LONGEST_RESTART_SECONDS:
            self._wait = 0.0
        if lived < self._wait:
            return
        self._wait = min(LONGEST_RESTART_SECONDS, max(FIRST_RESTART_SECONDS, 2 * self._wait))
        status = self._process.returncode
        logger.error("the worker ended; another one starts", extra={"facts": {"status": status}})
        self._start()

    def stop(self) -> None:
        """Let it end what it does, or end it."""
        self._process.terminate()
        try:
            self._process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(config: Config, path: Path) -> None:
    """Run until SIGTERM or SIGINT.

    Parameters
    ----------
    path
        The file that ``config`` was read from, for the worker.

    Raises
    ------
    ConfigError, SpoolError
        If it cannot start.
    """
    _check_files(config)
    logs.to_stream(sys.stderr, os.environ)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.umask(0o077)
    spool = Spool(config.spool)
    with only_one(config.spool / "node.lock", wait=False):
        upkeep.sweep_films(spool)
        with _running(config, path, spool) as worker:
            logger.info("the node listens", extra={"facts": {"port": config.receive.port}})
            _look_after(stop, worker, spool, config)
        logger.info("the node ended")
    spool.close()


def _check_files(config: Config) -> None:
    """Find keys and certificates that cannot be read now, and not at the first film."""
    secret(config.service.key_file)
    for destination in config.destination:
        secret(destination.key_file)
    peers = [(one.name, one.tls) for one in config.destination]
    peers += [(one.ae_title, one.tls) for one in config.commitment]
    for name, tls in peers:
        try:
            if tls is not None:
                client_tls(tls)
        except OSError as error:
            raise ConfigError(f"tls of {name}: {error.strerror or error}") from error


@contextmanager
def _running(config: Config, path: Path, spool: Spool) -> Iterator[WorkerProcess]:
    inbox = Inbox(spool, config.limits, for_processing=config.receive.for_processing)
    try:
        receiver = Receiver(config, inbox)
    except OSError as error:
        raise ConfigError(f"receive: {error.strerror or error}") from error
    poller = web = worker = None
    try:
        worker = WorkerProcess(path.resolve())
        poller = None if config.poll is None else Poller(config.poll, inbox, spool)
        parts: dict[str, Callable[[], bool]] = {"receive": receiver.alive, "worker": worker.alive}
        if poller is not None:
            parts["poll"] = poller.alive
        web = Web(config, inbox, lambda: {name: alive() for name, alive in parts.items()})
        REGISTRY.register(SpoolCollector(spool))
        yield worker
    except OSError as error:
        raise ConfigError(f"http: {error.strerror or error}") from error
    finally:
        if poller is not None:
            poller.stop()
        receiver.stop(DRAIN_SECONDS)
        if web is not None:
            web.stop()
        if worker is not None:
            worker.stop()


def _look_after(stop: threading.Event, worker: WorkerProcess, spool: Spool, config: Config) -> None:
    expired = 0.0
    while not stop.wait(LOOK_SECONDS):
        worker.look_after()
        if time.monotonic() - expired > EXPIRE_SECONDS:
            try:
                upkeep.expire(spool, config.retention.film_hours, config.retention.row_days)
            except (OSError, sqlite3.Error):  # the disk is full or fails: films are refused
                logger.exception("what is done could not be removed")
            expired = time.monotonic()
