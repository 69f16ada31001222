"""Ask a running service for readings.

Research software, not a medical device.

    with ChestXrayClient("http://localhost:3000") as client:
        print(client.predict("chest.dcm").probability)

    async with AsyncChestXrayClient("http://localhost:3000") as client:
        print((await client.predict("chest.dcm")).probability)

Both raise what is in :mod:`clients.sdk.errors`. Retried are 429, 503 and failed connections, with
exponential backoff and jitter, or as long as ``Retry-After`` asks for. Nothing else is sent twice.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from itertools import count
from typing import Any, Self, TypeVar, overload

import httpx

from clients.sdk import calls
from clients.sdk.calls import BatchResult, Call, Explanation, PictureFormat
from clients.sdk.pictures import Image
from clients.sdk.retry import RetryPolicy
from service.schemas import HeatmapForm, ModelInfo, Prediction, PredictionWithHeatmap

CONNECT_SECONDS = 5.0
T = TypeVar("T")


class ChestXrayClient:
    """A connection to one service; safe to share between threads.

    Parameters
    ----------
    url
        Address of the service, e.g. ``http://localhost:3000``.
    timeout
        Seconds to wait for each answer; connecting has 5 of its own.
    retries
        How often a busy or unreachable service is asked again.
    api_key
        Sent with every request; by default what the environment variable ``CXR_API_KEY`` holds.

    Raises
    ------
    ValueError
        If ``retries`` is negative.
    """

    def __init__(
        self, url: str, *, timeout: float = 60.0, retries: int = 3, api_key: str | None = None
    ) -> None:
        self._policy = RetryPolicy(retries)
        self._http = httpx.Client(**_options(url, timeout, api_key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @overload
    def predict(self, image: Image, *, heatmap: None = None) -> Prediction: ...

    @overload
    def predict(self, image: Image, *, heatmap: HeatmapForm) -> PredictionWithHeatmap: ...

    def predict(
        self, image: Image, *, heatmap: HeatmapForm | None = None
    ) -> Prediction | PredictionWithHeatmap:
        """Read one radiograph, and say where the evidence lies if that is asked for.

        Parameters
        ----------
        image
            Bytes of a DICOM, PNG or JPEG file, the path of one, a numpy array or a Pillow image,
            as :func:`clients.sdk.pictures.content_of` says.
        heatmap
            ``"array"`` for the network's own grid; ``"png"`` or ``"jpeg"`` also for the picture
            that :meth:`explain` gives. The reading then has a ``heatmap``.

        Raises
        ------
        ChestXrayError
            One of those in the tree of :mod:`clients.sdk.errors`.
        OSError, ValueError
            If there is no such file, or the array or image is of a kind that cannot be sent.
        """
        if heatmap is None:
            return self._send(calls.predict(image))
        return self._send(calls.predict_with_heatmap(image, heatmap))

    def predict_batch(self, images: Sequence[Image]) -> list[BatchResult]:
        """Read several radiographs in one request; entry i is a reading or the problem of image i.

        Raises
        ------
        ChestXrayError
            If the whole request failed, e.g. for more images than the service takes at once.
        """
        return self._send(calls.predict_batch(images)) if images else []

    def explain(
        self, image: Image, *, bare: bool = False, form: PictureFormat = "png"
    ) -> Explanation:
        """Draw where the evidence lies; ``bare`` leaves the radiograph out of the picture.

        JPEG, with a tenth of the bytes, is for looking at; PNG is exact.
        """
        return self._send(calls.explain(image, bare=bare, form=form))

    def model(self) -> ModelInfo:
        """Ask which model is served: its manifest and its card."""
        return self._send(calls.model())

    def ready(self) -> bool:
        """Whether the service is up and has its model; asks once, never raises."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.HTTPError:
            return False

    def _send(self, call: Call[T]) -> T:
        for attempt in count():
            outcome = self._attempt(call)
            wait = self._policy.wait(attempt, outcome)
            if wait is None:
                break
            time.sleep(wait)
        return call.result(outcome, self._http.base_url)

    def _attempt(self, call: Call[T]) -> httpx.Response | httpx.HTTPError:
        try:
            return self._http.request(call.method, call.path, **call.content)
        except httpx.HTTPError as error:
            return error


class AsyncChestXrayClient:
    """A :class:`ChestXrayClient` for asyncio: the same parameters, methods and errors."""

    def __init__(
        self, url: str, *, timeout: float = 60.0, retries: int = 3, api_key: str | None = None
    ) -> None:
        self._policy = RetryPolicy(retries)
        self._http = httpx.AsyncClient(**_options(url, timeout, api_key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @overload
    async def predict(self, image: Image, *, heatmap: None = None) -> Prediction: ...

    @overload
    async def predict(self, image: Image, *, heatmap: HeatmapForm) -> PredictionWithHeatmap: ...

    async def predict(
        self, image: Image, *, heatmap: HeatmapForm | None = None
    ) -> Prediction | PredictionWithHeatmap:
        """Do as :meth:`ChestXrayClient.predict`."""
        # A file is read in a thread: its disk may be slow.
        if heatmap is None:
            return await self._send(await asyncio.to_thread(calls.predict, image))
        call = await asyncio.to_thread(calls.predict_with_heatmap, image, heatmap)
        return await self._send(call)

    async def predict_batch(self, images: Sequence[Image]) -> list[BatchResult]:
        """Do as :meth:`ChestXrayClient.predict_batch`."""
        if not images:
            return []
        return await self._send(await asyncio.to_thread(calls.predict_batch, images))

    async def explain(
        self, image: Image, *, bare: bool = False, form: PictureFormat = "png"
    ) -> Explanation:
        """Do as :meth:`ChestXrayClient.explain`."""
        call = await asyncio.to_thread(calls.explain, image, bare=bare, form=form)
        return await self._send(call)

    async def model(self) -> ModelInfo:
        """Do as :meth:`ChestXrayClient.model`."""
        return await self._send(calls.model())

    async def ready(self) -> bool:
        """Do as :meth:`ChestXrayClient.ready`."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.HTTPError:
            return False

    async def _send(self, call: Call[T]) -> T:
        for attempt in count():
            outcome = await self._attempt(call)
            wait = self._policy.wait(attempt, outcome)
            if wait is None:
                break
            await asyncio.sleep(wait)
        return call.result(outcome, self._http.base_url)

    async def _attempt(self, call: Call[T]) -> httpx.Response | httpx.HTTPError:
        try:
            return await self._http.request(call.method, call.path, **call.content)
        except httpx.HTTPError as error:
            return error


def _options(url: str, timeout: float, api_key: str | None) -> dict[str, Any]:
    """What both kinds of ``httpx`` client are made with."""
    key = os.environ.get("CXR_API_KEY", "") if api_key is None else api_key
    return {
        "base_url": url,
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        "headers": {"Accept": "application/json, application/problem+json, image/png"}
        | ({"Authorization": f"Bearer {key}"} if key else {}),
    }
