"""uvicorn's connection, with bounds on how long a client may keep one open and do nothing for it.

uvicorn waits for ever for the head of a request, for the rest of a body that nobody reads, and for
a client to take an answer. Bodies that are read have bounds of their own, in :mod:`upload`.
"""

import asyncio
import logging
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.http.upload import UPLOAD_SECONDS

HEAD_SECONDS = 10.0
ANSWER_SECONDS = 120.0

logger = logging.getLogger("nanocxr")


class BoundedConnection(H11Protocol):
    """One connection of HTTP/1.1; what uvicorn runs in place of its own class.

    Between requests nothing changes: uvicorn's time-out for idle connections is in force.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head from now on."""
        super().connection_made(transport)
        # uvicorn learns of every byte that is not taken, and sends no more until all are.
        transport.set_write_buffer_limits(high=0)
        self._request = _Deadline(self.loop, transport.close)
        self._answer = _Deadline(self.loop, self._give_up)
        self._request.begin(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, or of a body whose request is answered already."""
        super().data_received(data)
        if self._is_answering():
            self._request.end()
        else:
            unread = self.conn.their_state is h11.SEND_BODY
            self._request.begin(UPLOAD_SECONDS if unread else HEAD_SECONDS)

    def on_response_complete(self) -> None:
        """Wait no longer, unless the client has not taken all of it."""
        super().on_response_complete()
        if not self.flow.write_paused:
            self._answer.end()

    def pause_writing(self) -> None:
        """Wait for the client to take the answer."""
        super().pause_writing()
        self._answer.begin(ANSWER_SECONDS)

    def resume_writing(self) -> None:
        """Wait no longer, unless there is more of the answer."""
        super().resume_writing()
        if not self._is_answering():
            self._answer.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._request.end()
        self._answer.end()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _give_up(self) -> None:
        logger.warning("A client did not take its answer within %.0f s", ANSWER_SECONDS)
        self.transport.abort()  # close would wait for it


class _Deadline:
    """Something that has to come to its end in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, give_up: Callable[[], None]) -> None:
        self._loop = loop
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> None:
        """Give up after this time, or after that which runs already."""
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._give_up)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
