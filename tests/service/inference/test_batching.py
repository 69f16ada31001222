import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

import pytest

from service.imaging.prepare import Prepared, prepare
from service.inference.batching import Batches
from service.model.reader import Outcome, Reader, Reading
from tests.factories import png_bytes
from tests.processes import PATIENCE

REQUEST: ContextVar[str] = ContextVar("request", default="none")


class Inference:
    """A real one, which waits until it may go on; ``sizes`` are those of its batches."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.go_on = asyncio.Event()
        self.sizes: list[int] = []
        self.requests: list[str] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, batch: Sequence[Prepared]) -> list[Outcome]:
        self.sizes.append(len(batch))
        self.requests.append(REQUEST.get())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.go_on.wait()
        self.at_once -= 1
        return self._reader.infer(batch)


@pytest.fixture(scope="module")
def reader(tiny_model: Path) -> Reader:
    return Reader.open(tiny_model)


@pytest.fixture(scope="module")
def prepared(reader: Reader) -> Prepared:
    return prepare(png_bytes(), reader.limits, reader.manifest.input)


class TestBatches:
    def test_whoever_waits_goes_together_in_one_inference_at_a_time(
        self, reader: Reader, prepared: Prepared
    ) -> None:
        async def run() -> tuple[Inference, list[Reading]]:
            inference = Inference(reader)
            batches = Batches(inference, most=3)
            asked = [asyncio.create_task(batches.infer(prepared)) for _ in range(6)]
            async with asyncio.timeout(PATIENCE):
                while not (inference.sizes == [3] and len(batches._waiting) == 3):
                    await asyncio.sleep(0)
            inference.go_on.set()
            return inference, await asyncio.gather(*asked)

        inference, readings = asyncio.run(run())
        assert inference.sizes == [3, 3]
        assert inference.most_at_once == 1
        (probability,) = {round(reading.probability, 5) for reading in readings}
        assert 0 <= probability <= 1

    def test_inference_is_in_the_context_of_no_request(
        self, reader: Reader, prepared: Prepared
    ) -> None:
        async def run() -> list[str]:
            inference = Inference(reader)
            inference.go_on.set()
            REQUEST.set("of a patient")
            await Batches(inference, most=3).infer(prepared)
            return inference.requests

        assert asyncio.run(run()) == ["none"]

    def test_failure_is_told_to_all_of_its_batch_and_to_no_other(
        self, reader: Reader, prepared: Prepared
    ) -> None:
        async def run() -> list[Reading | BaseException]:
            failures = [ZeroDivisionError()]

            async def infer(batch: Sequence[Prepared]) -> list[Outcome]:
                if failures:
                    raise failures.pop()
                return reader.infer(batch)

            batches = Batches(infer, most=2)
            asked = [batches.infer(prepared) for _ in range(3)]
            return await asyncio.gather(*asked, return_exceptions=True)

        first, second, third = asyncio.run(run())
        assert isinstance(first, ZeroDivisionError)
        assert isinstance(second, ZeroDivisionError)
        assert isinstance(third, Reading)
