"""What a node loses: films while it is killed, and service while it is attacked.

    python -m benchmarks.node [--films 500] [--kills 20] [--hostile 2000] [--seed 1]

Starts the service, Orthanc and a node. Films are sent until each is acknowledged; meanwhile the
node, or its worker, is killed with -9 at random. Then every study must have each result once. Then
damaged streams of protocol units are sent, four at once, and the node must answer C-ECHO and take a
film as before, with no more memory, threads or open files.

Prints films a second and memory. Exit status 1 where a result is missing or there twice, or the
node has lost its health. Needs the Debian packages orthanc and orthanc-dicomweb.
"""

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from pydicom import Dataset

from tests.clients.dicom.node.peers import (
    Archive,
    Node,
    archive,
    echo,
    film,
    kill_worker,
    node,
    send,
    send_until_stored,
    to_archive,
    until,
)
from tests.clients.dicom.node.streams import damaged, request_unit, sent, store_units
from tests.e2e.conftest import running
from tests.tiny_model import write_model

RESULTS = 3  # report, capture, presentation state
SENDERS, ATTACKERS = 4, 4
GROWTH = 1.2
SPARE = 8  # files and threads of connections that are being closed
SETTLE_SECONDS = 5.0


def survive(made: Node, pacs: Archive, films: list[Dataset], kills: int, seed: int) -> list[str]:
    """Send films while the node is killed; return what is wrong then."""
    choice = random.Random(seed)
    start = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as senders:
        answers = [senders.submit(send_until_stored, made, one) for one in films]
        for kill in range(kills):
            enough = kill * RESULTS * len(films) // kills
            until(partial(pacs.has, enough), made)
            if choice.random() < 0.6:
                made.kill()
                made.start()
            else:
                kill_worker(made)
        for answer in answers:
            answer.result()
    until(lambda: made.metric("nanocxr_node_films", state="done") == len(films), made)
    seconds = time.perf_counter() - start
    print(f"{len(films)} films, {kills} kills: {len(films) / seconds:.1f} films/s")
    wrong = [
        one.StudyInstanceUID for one in films if len(pacs.classes(one.StudyInstanceUID)) != RESULTS
    ]
    print(f"{len(wrong)} studies without each result once, {pacs.count()} results")
    return [f"study {study}" for study in wrong]


def footprint(made: Node) -> tuple[float, int, int]:
    """MiB, open files and threads of the node, its worker left out."""
    assert made.process is not None
    process = psutil.Process(made.process.pid)
    return process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()


def endure(made: Node, count: int, seed: int) -> list[str]:
    """Attack the node; return what is wrong then."""
    choice = random.Random(seed)
    whole = request_unit() + b"".join(store_units(film(9_999)))
    halves = []
    start = time.perf_counter()
    for _ in range(2):
        streams = [damaged(whole, choice) for _ in range(count // 2)]
        with ThreadPoolExecutor(ATTACKERS) as attackers:
            list(attackers.map(lambda stream: sent(made.port, stream), streams))
        time.sleep(SETTLE_SECONDS)
        halves.append(footprint(made))
    print(f"{count} damaged streams in {time.perf_counter() - start:.0f} s")
    for memory, files, threads in halves:
        print(f"{memory:.0f} MiB, {files} open files, {threads} threads")
    (before, files, threads), (after, more_files, more_threads) = halves
    wrong = []
    if after > GROWTH * before:
        wrong.append("memory grew")
    if more_files > files + SPARE or more_threads > threads + SPARE:
        wrong.append("files or threads were left")
    if not echo(made.port) or send(made.port, film(9_998)) != [0]:
        wrong.append("the node does not answer")
    return wrong


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--hostile", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    films = [film(number) for number in range(arguments.films)]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "service").mkdir()
        model = root / "tiny" / "1"
        write_model(model)  # what is measured is the node
        with (
            running(root / "service", CXR_MODEL=str(model)) as service,
            archive(root / "orthanc") as pacs,
            node(root / "node", service.url, to_archive(pacs)) as made,
        ):
            wrong = survive(made, pacs, films, arguments.kills, arguments.seed)
            wrong += endure(made, arguments.hostile, arguments.seed)
    if wrong:
        raise SystemExit("\n".join(["WRONG:", *wrong[:50]]))


if __name__ == "__main__":
    main()
