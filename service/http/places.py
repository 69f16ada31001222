"""How much may be under way at once, of all clients and of one of them.

upload -> [places] -> admission
"""

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Scope

from service.errors import ServiceBusy

CLIENT = "nanocxr.client"  # in the scope: who may be counted as one client


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


def client_of(scope: Scope) -> str:
    """Who counts as one client: the owner of a key; without keys an address.

    Of IPv6 the network of 64 bits, all of whose addresses one computer may have.
    """
    if CLIENT in scope:
        return str(scope[CLIENT])
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a Unix socket, or what a proxy made up
        return str(host)
    if address.version == 4 or address.ipv4_mapped:
        return str(getattr(address, "ipv4_mapped", None) or address)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))
