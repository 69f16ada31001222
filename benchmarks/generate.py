"""Where the time of generating phantom radiographs goes.

    python benchmarks/generate.py [--pairs 40] [--size 256]

One process, one thread. Shares of the time are what carries over to another computer; images per
second are for information.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from training.generate.phantom.acquisition import acquire, draw_acquisition
from training.generate.phantom.anatomy import simulate
from training.generate.store import encode_png

Result = TypeVar("Result")


class Stopwatch:
    """Seconds spent in each named stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def measure(self, stage: str, work: Callable[[], Result]) -> Result:
        """Do ``work`` and add its time to ``stage``."""
        start = time.perf_counter()
        result = work()
        self.seconds[stage] += time.perf_counter() - start
        return result


def draw(seed: int, size: int, folder: Path, watch: Stopwatch) -> None:
    """Draw and write one pair as the data set's writer does, stage by stage."""
    rng = np.random.default_rng(seed)
    case = watch.measure("anatomy and lesion", lambda: simulate(rng))
    age_band, view = str(case.facts["age_band"]), str(case.facts["view"])
    for projection in (case.healthy, case.pneumonia):
        film = watch.measure(
            "acquisition",
            lambda half=projection: acquire(  # type: ignore[misc]
                half, draw_acquisition(rng, half.lungs, age_band, view), size
            ),
        )
        watch.measure(
            "PNG writing",
            lambda image=film.pixels: Path(folder, "image.png").write_bytes(encode_png(image)),  # type: ignore[misc]
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    watch = Stopwatch()
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        draw(0, options.size, Path(folder), Stopwatch())  # noise fields are made once a process
        for seed in range(1, options.pairs + 1):
            draw(seed, options.size, Path(folder), watch)
    total = sum(watch.seconds.values())
    images = 2 * options.pairs
    for stage, seconds in watch.seconds.items():
        print(f"{stage:<20}{seconds / total:>6.0%}{1e3 * seconds / images:>9.1f} ms an image")
    print(f"{'together':<20}{'100%':>6}{images / total:>9.1f} images/s a core at {options.size} px")


if __name__ == "__main__":
    main()
