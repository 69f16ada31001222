import signal
import socket
from pathlib import Path

import pytest

from service.supervisor import check_address, how

WITH_IPV6 = pytest.mark.skipif(
    not Path("/proc/net/if_inet6").is_file(), reason="this computer has no IPv6"
)


def listening(host: str) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind((host, 0))
    taken.listen()
    return taken


class TestCheckAddress:
    def test_free_port_is_free_afterwards(self) -> None:
        with listening("127.0.0.1") as taken:
            port = taken.getsockname()[1]
        check_address("127.0.0.1", port)
        check_address("127.0.0.1", port)

    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
    def test_port_in_use(self, host: str) -> None:
        with listening("127.0.0.1") as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ValueError, match=f"--host {host} --port {port}: something listens"):
                check_address(host, port)

    @pytest.mark.parametrize(
        "host",
        ["192.0.2.7", pytest.param("2001:db8::7", marks=WITH_IPV6)],  # RFC 5737, RFC 3849
    )
    def test_address_of_another_computer(self, host: str) -> None:
        with pytest.raises(ValueError, match=f"--host {host} --port 3000: this computer has no"):
            check_address(host, 3000)

    @pytest.mark.parametrize("host", ["localhost", "pacs.example", "127.0.0.1:3000", ""])
    def test_name_is_no_address(self, host: str) -> None:
        with pytest.raises(ValueError, match=r"is not an IP address.* 127\.0\.0\.1"):
            check_address(host, 3000)

    @pytest.mark.parametrize("port", [-1, 0, 65_536, 70_000])
    def test_number_that_is_no_port(self, port: int) -> None:
        with pytest.raises(ValueError, match=f"--port {port} is no port from 1 to 65535"):
            check_address("127.0.0.1", port)

    @WITH_IPV6
    def test_any_other_failure_is_told_in_the_words_of_the_system(self) -> None:
        with pytest.raises(ValueError, match=r"--port 3000: .*[a-z]\. Choose another address"):
            check_address("fe80::7", 3000)  # link-local, without its interface


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with status 0; its last lines may say why"),
        (3, "ended with status 3; its last lines may say why"),
        (-signal.SIGKILL, "ended by SIGKILL: most likely the kernel ended it for want of memory"),
        (-signal.SIGTERM, "ended by SIGTERM"),
        (-signal.SIGRTMIN - 1, f"ended by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert how(code) == words
