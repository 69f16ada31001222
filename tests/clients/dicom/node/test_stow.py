"""STOW-RS at the node: what is taken, answered and refused; and who may ask."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dicomweb_client import DICOMwebClient
from pydicom.uid import CTImageStorage

from clients.dicom.node import stow
from clients.dicom.node.config import Config, Destination, Http, Limits
from clients.dicom.node.receive import CLASS_NOT_SUPPORTED, NOT_UNDERSTOOD, OUT_OF_RESOURCES, Inbox
from clients.dicom.node.spool import Spool
from clients.dicom.node.web import Web
from clients.dicom.objects.common import encoded
from tests.clients.dicom.node.peers import film
from tests.ports import free_port
from tests.sockets import read_to_end

TYPE = 'multipart/related; type="application/dicom"; boundary=film'
JSON = "application/dicom+json"


def body(*parts: bytes, end: bytes = b"--film--\r\n") -> bytes:
    head = b"--film\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + part + b"\r\n" for part in parts) + end


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


@pytest.fixture
def listen(spool: Spool) -> Iterator[Callable[..., str]]:
    """Start the server with these settings; its address."""
    running: list[Web] = []

    def start(*, free_mib: int = 0, well: bool = True, **keys: Any) -> str:
        http = Http(port=free_port(), **{"stow": True} | keys)
        config = Config(
            spool=spool.folder,
            destination=(Destination(name="no", url="http://127.0.0.1/"),),
            http=http,
            limits=Limits(film_mib=1, free_mib=free_mib, silent_seconds=1),
        )
        inbox = Inbox(spool, config.limits, for_processing=False)
        running.append(Web(config, inbox, lambda: {"worker": well}))
        return f"http://127.0.0.1:{http.port}"

    yield start
    for one in running:
        one.stop()


def post(url: str, content: bytes, kind: str = TYPE, path: str = "/studies") -> httpx.Response:
    return httpx.post(url + path, content=content, headers={"content-type": kind}, timeout=60)


def reasons(answer: httpx.Response, sequence: str) -> list[int]:
    assert answer.headers["content-type"] == JSON
    return [item["00081197"]["Value"][0] for item in answer.json()[sequence]["Value"]]


FAILED, OTHER = "00081198", "0008119A"


class TestStore:
    def test_films_are_kept_and_named(self, listen: Callable[..., str], spool: Spool) -> None:
        films = [film(number) for number in range(3)]
        answer = DICOMwebClient(listen()).store_instances(films)
        stored = [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence]
        assert stored == [one.SOPInstanceUID for one in films]
        assert {kept.calling for kept in spool.due_films(9)} == {"STOW-RS"}
        kept = [one.path.read_bytes() for one in spool.due_films(9)]
        assert sorted(kept) == sorted(encoded(one) for one in films)

    def test_some_are_refused(self, listen: Callable[..., str], spool: Spool) -> None:
        ct = film(1, SOPClassUID=CTImageStorage)
        answer = post(listen(), body(encoded(film()), encoded(ct), b"no film"))
        assert answer.status_code == 202
        assert reasons(answer, FAILED) == [CLASS_NOT_SUPPORTED]
        assert reasons(answer, OTHER) == [NOT_UNDERSTOOD]
        assert len(spool.due_films(9)) == 1

    def test_all_are_refused(self, listen: Callable[..., str]) -> None:
        answer = post(listen(), body(b"no film"))
        assert answer.status_code == 409
        assert reasons(answer, OTHER) == [NOT_UNDERSTOOD]

    def test_no_room(self, listen: Callable[..., str]) -> None:
        answer = post(listen(free_mib=1 << 40), body(encoded(film())))
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert reasons(answer, FAILED) == [OUT_OF_RESOURCES]

    def test_film_must_be_of_the_study_in_the_address(self, listen: Callable[..., str]) -> None:
        url, one = listen(), film()
        assert post(url, body(encoded(one)), path="/studies/2.25.7").status_code == 409
        own = f"/studies/{one.StudyInstanceUID}"
        assert post(url, body(encoded(one)), path=own).status_code == 200


class TestMalformed:
    @pytest.mark.parametrize(
        ("content", "kind", "status"),
        [
            (body(b"x"), "application/dicom", 415),
            (body(b"x"), "multipart/related; boundary=film", 415),
            (body(b"x"), 'multipart/related; type="application/dicom"', 400),
            (b"no multipart", TYPE, 400),
            (body(b"x", end=b""), TYPE, 400),
            (body(bytes(2 << 20)), TYPE, 413),
        ],
    )
    def test_is_refused(
        self, listen: Callable[..., str], content: bytes, kind: str, status: int
    ) -> None:
        assert post(listen(), content, kind).status_code == status

    def test_too_many_parts_end_the_request(
        self, listen: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stow, "MOST_PARTS", 3)
        url = listen()
        assert post(url, body(*[b"no film"] * 3)).status_code == 409
        assert post(url, body(*[b"no film"] * 4)).status_code == 413

    def test_body_that_does_not_arrive(self, listen: Callable[..., str]) -> None:
        port = int(listen().rpartition(":")[2])
        head = f"POST /studies HTTP/1.1\r\nHost: n\r\nContent-Type: {TYPE}\r\nContent-Length: 9999"
        with socket.create_connection(("127.0.0.1", port), 120) as connection:
            connection.sendall(f"{head}\r\n\r\n".encode() + body(b"x", end=b""))
            assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")


class TestWho:
    @pytest.fixture
    def key(self, tmp_path: Path) -> Path:
        path = tmp_path / "key"
        path.write_text("secret\n")
        return path

    @pytest.mark.parametrize("path", ["/metrics", "/studies"])
    def test_has_the_key_where_there_is_one(
        self, listen: Callable[..., str], key: Path, path: str
    ) -> None:
        url = listen(key_file=key)
        method = "GET" if path == "/metrics" else "POST"
        for given in ({}, {"authorization": "Bearer other"}):
            assert httpx.request(method, url + path, headers=given, timeout=60).status_code == 401
        given = {"authorization": "Bearer secret"}
        assert httpx.request(method, url + path, headers=given, timeout=60).status_code != 401

    def test_stow_is_off_unless_it_is_wanted(self, listen: Callable[..., str]) -> None:
        assert post(listen(stow=False), body(encoded(film()))).status_code == 404

    @pytest.mark.parametrize(("well", "status"), [(True, 200), (False, 503)])
    def test_probes_need_no_key(
        self, listen: Callable[..., str], key: Path, well: bool, status: int
    ) -> None:
        url = listen(key_file=key, well=well)
        assert httpx.get(f"{url}/livez", timeout=60).status_code == 200
        ready = httpx.get(f"{url}/readyz", timeout=60)
        assert (ready.status_code, ready.json()) == (status, {"worker": well})
