"""How soon the page at /ui can be used, and how much it loads.

    python -m benchmarks.page [--model models/default/1] [--rounds 10]

A real Chromium on loopback, with an empty cache each time: seconds from the address being asked for
until the button for films works and the page says which model serves it, then from a click on
"Examples" until both films have their reading. Bytes are those of the bodies as they are sent.
Where `tests/e2e` finds no browser, this finds none either.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.serving import running
from service.model.shipped import default_model
from tests.e2e.browser import chromium, screen


@dataclass(frozen=True)
class Visit:
    """One opening of the page: seconds until it can be used and until two films are read."""

    usable: float
    read: float
    requests: int
    sent: int  # bytes of all bodies until it could be used


def visit(browser: Browser, url: str) -> Visit:
    """Open the page with a fresh profile and read its examples."""
    start = time.perf_counter()
    with screen(browser, url) as shown:
        shown.page.locator("#examples").click(trial=True)  # waits until a click would do something
        usable = time.perf_counter() - start
        responses = list(shown.responses)
        sent = sum(response.request.sizes()["responseBodySize"] for response in responses)
        start = time.perf_counter()
        shown.open_examples()
        return Visit(usable, time.perf_counter() - start, len(responses), sent)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    with running(arguments.model) as (url, _), chromium() as browser:
        visits = [visit(browser, url) for _ in range(arguments.rounds)]
    for name, seconds in (
        ("usable", [one.usable for one in visits]),
        ("both examples read", [one.read for one in visits]),
    ):
        print(f"{name}: {statistics.median(seconds):.2f} s (slowest {max(seconds):.2f} s)")
    print(f"{visits[0].requests} answers of {visits[0].sent / 1000:.0f} kB")


if __name__ == "__main__":
    main()
