"""Score by asking a running service, with a few requests always under way."""

import time
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor

from clients.datasets.demographics import sex_and_age_band
from clients.datasets.items import Item
from clients.scoring.decoding import UNREADABLE_FILE
from clients.scoring.flow import in_flight
from clients.scoring.score import Score, ScoringError
from clients.sdk.client import ChestXrayClient
from clients.sdk.errors import ImageRefused, ServiceFailed
from service.files import sha256

CONCURRENCY = 4  # requests under way
RETRIES = 9  # of a busy or restarting service: two minutes, give or take what is random


class RestEngine:
    """An engine of :mod:`clients.scoring.score`.

    An image that is refused, or that the service fails on with status 500, is a row with its
    code; a service that stays busy, is gone or is replaced by another model stops the run.
    """

    embedding_size: int | None = None  # a service sends none
    read_by = "a service"

    def __init__(self, client: ChestXrayClient) -> None:
        self._client = client
        served = client.model()
        self.model = served.manifest.identity
        self.operating_point = served.manifest.default_operating_point
        self.calibration = served.calibration.sha256 if served.calibration else None

    def score(self, items: Iterable[Item]) -> Generator[tuple[Item, Score], None, None]:
        """Score in the order in which answers come."""
        pool = ThreadPoolExecutor(CONCURRENCY)
        try:
            # Twice as many are submitted, so that a thread that is done finds the next at once.
            for item, future in in_flight(pool, self._one, items, 2 * CONCURRENCY):
                yield item, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _one(self, item: Item) -> Score:
        try:
            content = item.file.read_bytes()
        except OSError:
            return Score(error=UNREADABLE_FILE)
        digest = sha256(content)
        start = time.perf_counter()
        try:
            reading = self._client.predict(content)
        except ImageRefused as refusal:
            return Score(sha256=digest, error=refusal.code)
        except ServiceFailed as failure:
            if failure.status != 500:
                raise
            return Score(sha256=digest, error=failure.code)
        milliseconds = (time.perf_counter() - start) * 1000
        if reading.model.sha256 != self.model.sha256:
            raise ScoringError("the service changed its model during the run; start a new --out")
        if (reading.calibration.sha256 if reading.calibration else None) != self.calibration:
            raise ScoringError(
                "the service changed its calibration during the run; start a new --out"
            )
        sex, age_band = sex_and_age_band(content)
        return Score(
            sha256=digest,
            probability=reading.probability,
            familiarity=reading.familiarity,
            call=reading.call,
            width=reading.input.columns,
            height=reading.input.rows,
            view=reading.input.view,
            patient_sex=sex,
            age_band=age_band,
            milliseconds=milliseconds,
        )
