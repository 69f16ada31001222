import asyncio
import gc
from pathlib import Path

import httpx

from tests.serving import asgi_app, serving

REQUESTS = 20


def test_nothing_keeps_a_request_that_was_answered(tiny_model: Path) -> None:
    """BentoML's own time-out would: a timer for each, until the time is over."""

    async def ask() -> int:
        transport = httpx.ASGITransport(asgi_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for _ in range(REQUESTS):
                assert (await client.get("/livez")).status_code == 200
        loop = asyncio.get_running_loop()
        timers = (o for o in gc.get_objects() if isinstance(o, asyncio.TimerHandle))
        return sum(not timer.cancelled() and timer.when() > loop.time() for timer in timers)

    with serving(tiny_model):
        assert asyncio.run(ask()) < REQUESTS
