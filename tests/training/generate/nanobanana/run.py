"""Short ways to run Nano Banana in tests, and to look at what it left."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from training.generate.nanobanana.run import Outcome, generate
from training.generate.nanobanana.settings import DEFAULT_MODEL, PRICES, NanoBananaSettings

PRICE = PRICES[DEFAULT_MODEL]


def quick(**changes: Any) -> NanoBananaSettings:
    return NanoBananaSettings(**{"backoff": 0.005, "timeout": 5.0, "poll": 0.01} | changes)


def ask(folder: Path, pairs: int = 2, seed: int = 1, **changes: Any) -> Outcome:
    return generate(folder, pairs=pairs, seed=seed, settings=quick(**changes), progress=False)


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]


def table(outcome: Outcome) -> Any:
    assert outcome.manifest is not None
    return pd.read_parquet(outcome.manifest)
