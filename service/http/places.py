"""How much may be under way at once, of all clients and of one of them.

upload -> [places] -> admission
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import ServiceBusy


class Places:
    """A number of places, of which each client may take a share.

    Parameters
    ----------
    most
        How many there are.
    most_of_one
        How many one client may take; all by default.
    """

    def __init__(self, most: int, most_of_one: int | None = None) -> None:
        self._most = most
        self._most_of_one = most if most_of_one is None else most_of_one
        self._taken: Counter[str] = Counter()

    def check(self, client: str) -> None:
        """Raise ServiceBusy where there is no place for this client."""
        if self._taken.total() >= self._most:
            raise ServiceBusy("Too many requests at once. Send the request again later.")
        if self._taken[client] >= self._most_of_one:
            raise ServiceBusy(
                "Too many uploads of one client at once. Send the request again later."
            )

    @contextmanager
    def take(self, client: str) -> Iterator[None]:
        """Hold a place; raises as :meth:`check` does."""
        self.check(client)
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            self._taken = +self._taken  # whoever is gone leaves no trace
