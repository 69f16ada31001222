"""Ask a running service for readings.

Research software, not a medical device.

    with ChestXrayClient("http://localhost:3000") as client:
        print(client.predict("chest.dcm").probability)

    async with AsyncChestXrayClient("http://localhost:3000") as client:
        print((await client.predict("chest.dcm")).probability)

Both raise what is in :mod:`clients.sdk.errors`. Retried are 429, 503 of a busy service and failed
connections, with exponential backoff and jitter on top of what ``Retry-After`` asks for. Nothing
else is sent twice.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any, ParamSpec, Self, TypeVar, overload

import httpx

from clients.sdk import calls
from clients.sdk.calls import BatchResult, Call, Explanation, Reading
from clients.sdk.errors import handing_over
from clients.sdk.key import key_of
from clients.sdk.pictures import Image
from clients.sdk.retry import RetryPolicy
from service.imaging.picture import PictureFormat, PictureSize
from service.schemas import HeatmapForm, ModelInfo, Prediction, PredictionWithHeatmap

CONNECT_SECONDS = 5.0
BATCH = 8  # images of a request: of the largest, a service may have no memory for more
AT_ONCE = 8  # requests of an AsyncChestXrayClient; a service takes at least 16, of all clients
T = TypeVar("T")
P = ParamSpec("P")
Outcome = httpx.Response | httpx.HTTPError


class ChestXrayClient:
    """A connection to one service; safe to share between threads.

    Parameters
    ----------
    url
        Address of the service, e.g. ``http://localhost:3000``; reached directly, through no proxy
        that the environment names.
    timeout
        Seconds to wait for each answer; connecting has 5 of its own.
    retries
        How often a busy or unreachable service is asked again.
    api_key
        Sent with every request; by default what the environment variable ``CXR_API_KEY`` holds.

    Raises
    ------
    ValueError
        If ``retries`` is negative, or the key holds what is not printable ASCII.
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

    @overload
    def predict(
        self, image: Image, *, heatmap: PictureFormat, size: PictureSize
    ) -> PredictionWithHeatmap: ...

    def predict(
        self, image: Image, *, heatmap: HeatmapForm | None = None, size: PictureSize = "film"
    ) -> Reading:
        """Read one radiograph, and say where the evidence lies if that is asked for.

        Parameters
        ----------
        image
            Bytes of a DICOM, PNG or JPEG file, the path of one, a numpy array or a Pillow image,
            as :func:`clients.sdk.pictures.content_of` says.
        heatmap
            ``"array"`` for the network's own grid; ``"png"`` or ``"jpeg"`` also for the picture
            that :meth:`explain` gives. The reading then has a ``heatmap``.
        size
            Of the picture, as for :meth:`explain`.

        Raises
        ------
        ChestXrayError
            One of those in the tree of :mod:`clients.sdk.errors`.
        OSError, ValueError
            If there is no such file, or the array or image is of a kind that cannot be sent.
        """
        return self._send(calls.predict(image, heatmap, size))

    def predict_batch(self, images: Iterable[Image]) -> list[BatchResult]:
        """Read any number of radiographs; entry i is a reading or the problem of image i.

        They are taken and sent eight at a time, one request after the other.

        Raises
        ------
        ChestXrayError
            If a whole request failed, e.g. since the service is busy. Its ``results`` are those of
            the requests before.
        """
        results: list[BatchResult] = []
        with handing_over(results):
            for some in _batches(images):
                answered = self._send(calls.predict_batch(some))
                results += answered
        return results

    def explain(
        self,
        image: Image,
        *,
        bare: bool = False,
        form: PictureFormat = "png",
        size: PictureSize = "film",
    ) -> Explanation:
        """Draw where the evidence lies; ``bare`` leaves the radiograph out of the picture.

        JPEG, with a tenth of the bytes, is for looking at; PNG is exact. ``size="reduced"`` gives
        a half, a quarter or an eighth of the film's pixels a side, as long as the short side keeps
        640; a film with less than twice as many stays whole. A service of an older release gives
        the whole film all the same.
        """
        return self._send(calls.explain(image, bare=bare, form=form, size=size))

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
            try:
                outcome: Outcome = self._http.request(call.method, call.path, **call.content)
            except httpx.HTTPError as error:
                outcome = error
            wait = self._policy.wait(attempt, outcome)
            if wait is None:
                break
            time.sleep(wait)
        return call.result(outcome, self._http.base_url)


class AsyncChestXrayClient:
    """A :class:`ChestXrayClient` for asyncio: the same parameters, methods and errors.

    However many calls wait, eight are under way; the files of the others are not read yet.
    """

    def __init__(
        self, url: str, *, timeout: float = 60.0, retries: int = 3, api_key: str | None = None
    ) -> None:
        self._policy = RetryPolicy(retries)
        self._http = httpx.AsyncClient(**_options(url, timeout, api_key))
        self._places = asyncio.Semaphore(AT_ONCE)

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

    @overload
    async def predict(
        self, image: Image, *, heatmap: PictureFormat, size: PictureSize
    ) -> PredictionWithHeatmap: ...

    async def predict(
        self, image: Image, *, heatmap: HeatmapForm | None = None, size: PictureSize = "film"
    ) -> Reading:
        """Do as :meth:`ChestXrayClient.predict`."""
        return await self._send(calls.predict, image, heatmap, size)

    async def predict_batch(self, images: Iterable[Image]) -> list[BatchResult]:
        """Do as :meth:`ChestXrayClient.predict_batch`."""
        results: list[BatchResult] = []
        with handing_over(results):
            for some in _batches(images):
                answered = await self._send(calls.predict_batch, some)
                results += answered
        return results

    async def explain(
        self,
        image: Image,
        *,
        bare: bool = False,
        form: PictureFormat = "png",
        size: PictureSize = "film",
    ) -> Explanation:
        """Do as :meth:`ChestXrayClient.explain`."""
        return await self._send(calls.explain, image, bare=bare, form=form, size=size)

    async def model(self) -> ModelInfo:
        """Do as :meth:`ChestXrayClient.model`."""
        return await self._send(calls.model)

    async def ready(self) -> bool:
        """Do as :meth:`ChestXrayClient.ready`."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.HTTPError:
            return False

    async def _send(self, ask: Callable[P, Call[T]], *args: P.args, **options: P.kwargs) -> T:
        async with self._places:
            # A file is read in a thread: its disk may be slow.
            call = await asyncio.to_thread(ask, *args, **options)
            for attempt in count():
                try:
                    outcome: Outcome = await self._http.request(
                        call.method, call.path, **call.content
                    )
                except httpx.HTTPError as error:
                    outcome = error
                wait = self._policy.wait(attempt, outcome)
                if wait is None:
                    break
                await asyncio.sleep(wait)
        return call.result(outcome, self._http.base_url)


def _batches(images: Iterable[Image]) -> Iterator[list[Image]]:
    """Cut images into lists for one request each."""
    left = iter(images)
    while some := list(islice(left, BATCH)):
        yield some


def _options(url: str, timeout: float, api_key: str | None) -> dict[str, Any]:
    """What both kinds of ``httpx`` client are made with."""
    key = key_of(api_key)
    return {
        "base_url": url,
        # Films go where the address says, through no proxy of the environment ...
        "trust_env": False,
        # ... but SSL_CERT_FILE and SSL_CERT_DIR, which httpx would no longer look at, still count.
        "verify": httpx.create_ssl_context(),
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        "headers": {"Accept": "application/json, application/problem+json, image/png"}
        | ({"Authorization": f"Bearer {key}"} if key else {}),
    }
