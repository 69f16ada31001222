"""``cxr demo``: the service and its page with example films, for a first look."""

import os
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import httpx

import service
from clients.cli.terminal import NOTICE

HOST = "127.0.0.1"
LOOK_SECONDS = 0.2
ROOT = Path(service.__file__).resolve().parent.parent  # BentoML looks for the service there


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=3000, show_default=True,
    help="Where the service listens, on this computer alone.",
)  # fmt: skip
def demo(port: int) -> None:
    """Start the service and open its page in the browser, with two films of a phantom.

    The service reads with the model of nanocxr, or that of CXR_MODEL, until Ctrl-C ends it. The
    films are synthetic and come with nanocxr. Where no browser opens, open the printed address.

    Exit status: 0 ended by Ctrl-C; 1 the service did not start, or ended by itself; 2 wrong usage.

    Example:

    \b
        cxr demo
        cxr demo --port 8080
    """
    click.echo(NOTICE, err=True)
    _check(port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    page = f"http://{HOST}:{port}/ui/#examples"
    try:
        with _service(port) as process:
            _wait_until_ready(process, port)
            click.echo(f"{page}\nCtrl-C ends the service.")
            webbrowser.open(page)
            process.wait()
    except KeyboardInterrupt:
        return
    raise click.ClickException("The service has ended; its last lines say why.")


def _check(port: int) -> None:
    """Raise ClickException where something listens there: it would be taken for the service."""
    # Only here is BentoML's supervisor needed.
    from service.supervisor import check_address

    try:
        check_address(HOST, port)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _service(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `bentoml serve`, and end it in the end."""
    serve = (sys.executable, "-m", "bentoml", "serve", "service.app:ChestXray")
    where = ("--working-dir", str(ROOT), "--host", HOST, "--port", str(port))
    # Lines for people and no report to BentoML's makers, unless somebody has said otherwise.
    defaults = {"BENTOML_DO_NOT_TRACK": "True", "CXR_LOG": "text"}
    process = subprocess.Popen([*serve, *where], env=defaults | os.environ)  # noqa: S603  fixed words and a number
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Return when the page is served; raises ClickException where the service ends before.

    The page itself says if there is no model.
    """
    with httpx.Client(trust_env=False) as client:  # no proxy leads to this computer
        while process.poll() is None:
            with suppress(httpx.TransportError):
                client.get(f"http://{HOST}:{port}/livez")
                return
            time.sleep(LOOK_SECONDS)
    raise click.ClickException("The service did not start; its last lines say why.")
