"""What a service does with files that mean harm, or were damaged.

    python -m benchmarks.hostile [--inputs 20000] [--at-once 8] [--seed 1]
    python -m benchmarks.hostile --films 50 [--seed 1]

Starts `bentoml serve` and sends, several at once: honest files of every format and transfer
syntax, and pydicom's own, damaged (cut, bits flipped, lengths that lie, pieces dropped, repeated or
of another file); data sets, chunks and segments made up by Hypothesis; bombs of 1 and 16 MiB
(tests/bombs.py lists them). Every 50th request asks for the heatmap instead of the reading.
With --films no service is started: one film is written in every encoding, then damaged, and what is
read otherwise is counted (benchmarks/films.py).

Prints how often each code was answered, the slowest answers, and what all processes of the service
hold after the first half of the files, and at the end: a decoder keeps up to 128 MiB that it once
needed. Exit status 1 where an answer was neither a reading
nor a documented problem, or took longer than the limit; where a worker was replaced; or where
processes, open files, temporary files or memory have grown.
"""

import argparse
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import films
from service.model.shipped import default_model
from tests.attack import Answered, Footprint, Target, target
from tests.hostile import inputs

SETTLE_SECONDS = 5.0
LONGEST_SECONDS = 60.0  # decoding has 20 of its own; the rest is waiting for others
GROWTH = 1.2
SPARE_FILES = 16  # connections that are not closed yet


def run(service: Target, count: int, at_once: int, number: int) -> list[str]:
    """Attack, print what was found, and return what is wrong."""
    files = inputs(count, number)
    start = time.perf_counter()
    answers = list(service.attack(islice(files, count // 2), at_once))
    time.sleep(SETTLE_SECONDS)
    before = service.footprint()
    answers += service.attack(files, at_once)
    seconds = time.perf_counter() - start
    time.sleep(SETTLE_SECONDS)
    after = service.footprint()
    report(answers, seconds)
    for when, found in (("before", before), ("after", after)):
        print(
            f"{when}: {found.mebibytes:.0f} MiB, {found.processes} processes, "
            f"{found.open_files} open files, {found.temporary_files} temporary files"
        )
    return faults(answers, before, after)


def report(answers: list[Answered], seconds: float) -> None:
    """Print codes and times."""
    print(f"{len(answers):,} files in {seconds:.0f} s")
    for (status, code), number in Counter((a.status, a.code) for a in answers).most_common():
        print(f"{number:8,}  {status} {code}")
    times = sorted(answer.seconds for answer in answers)
    print(f"median {times[len(times) // 2]:.3f} s, 99 % {times[len(times) * 99 // 100]:.3f} s")
    for answer in sorted(answers, key=lambda a: -a.seconds)[:5]:
        print(f"{answer.seconds:8.2f} s  {answer.code}: {answer.name}")


def faults(answers: list[Answered], before: Footprint, after: Footprint) -> list[str]:
    """What may not be."""
    found = [
        f"{a.name}: {a.status} {a.code} after {a.seconds:.1f} s"
        for a in answers
        if not a.documented or a.seconds > LONGEST_SECONDS
    ]
    if after.workers != before.workers:
        found.append("a worker was replaced")
    if after.processes != before.processes:
        found.append("the number of processes changed")
    if after.open_files > before.open_files + SPARE_FILES:
        found.append("files were left open")
    if after.temporary_files > before.temporary_files:
        found.append("temporary files were left")
    if after.mebibytes > GROWTH * before.mebibytes:
        found.append(f"memory grew by more than {GROWTH}")
    return found


def main() -> None:
    """Attack the service of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--films",
        type=int,
        metavar="COUNT",
        help="attack no service: write and damage films, COUNT times each kind",
    )
    parser.add_argument("--model", type=Path, default=default_model())
    arguments = parser.parse_args()
    if arguments.films:
        wrong = films.run(arguments.films, arguments.seed)
    else:
        with (
            TemporaryDirectory() as folder,
            target(arguments.model.resolve(), Path(folder)) as service,
        ):
            wrong = run(service, arguments.inputs, arguments.at_once, arguments.seed)
    if wrong:
        raise SystemExit("\n".join(["WRONG:", *wrong[:50]]))


if __name__ == "__main__":
    main()
