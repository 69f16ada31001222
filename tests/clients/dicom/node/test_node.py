"""The whole way: senders, the node, the service, the archive."""

import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from clients import ChestXrayClient
from clients.dicom.node.classes import SENT
from tests.clients.dicom.node.peers import (
    CXR_NODE,
    Archive,
    Node,
    archive,
    film,
    kill_worker,
    node,
    send,
    send_until_stored,
    to_archive,
    until,
)
from tests.clients.dicom.tools import tool
from tests.e2e.conftest import Server, sample
from tests.e2e.marked import NAME, NEEDLES, marked
from tests.ports import free_port
from tests.processes import wait_until_gone

pytestmark = pytest.mark.e2e

RG1 = "RG1_J2KI.dcm"
RESULTS = sorted(
    (
        SecondaryCaptureImageStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        Comprehensive3DSRStorage,
    )
)
PROBABILITY = "122157"


@pytest.fixture(scope="module")
def running(
    service: Server, orthanc: Archive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    with node(tmp_path_factory.mktemp("node"), service.url, to_archive(orthanc)) as made:
        yield made


def probabilities(report: Dataset) -> list[float]:
    """Every probability in a report, in per cent."""
    found = []
    for item in report.get("ContentSequence", ()):
        names = [name.CodeValue for name in item.get("ConceptNameCodeSequence", ())]
        if names == [PROBABILITY]:
            found.append(float(item.MeasuredValueSequence[0].NumericValue))
        found += probabilities(item)
    return found


def report_of(archive: Archive, study: str) -> Dataset:
    (only,) = [
        one
        for one in archive.instances(study)
        if one["00080016"]["Value"] == [Comprehensive3DSRStorage]
    ]
    return archive.fetch(only)


class TestFilm:
    def test_results_come_into_its_study_with_the_services_probability(
        self, running: Node, orthanc: Archive, service: Server, tmp_path: Path
    ) -> None:
        path = tmp_path / RG1
        path.write_bytes(sample(RG1))
        study = str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)
        options = ["-xw", "-R", "-aec", "NANOCXR"]
        done = subprocess.run(
            [tool("storescu"), *options, "127.0.0.1", str(running.port), path],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        until(lambda: orthanc.classes(study) == RESULTS, running)
        with ChestXrayClient(service.url) as client:
            probability = client.predict(path).probability
        for one in orthanc.instances(study):
            made = orthanc.fetch(one)
            assert made.file_meta.TransferSyntaxUID == SENT[made.SOPClassUID]
        found = probabilities(report_of(orthanc, study))
        assert found == [pytest.approx(100 * probability, abs=0.01)]

    def test_refused_film_gets_a_report_without_a_probability(
        self, running: Node, orthanc: Archive
    ) -> None:
        hand = film(100, BodyPartExamined="HAND")
        assert send(running.port, hand) == [0]
        until(lambda: bool(orthanc.classes(hand.StudyInstanceUID)), running)
        assert orthanc.classes(hand.StudyInstanceUID) == [Comprehensive3DSRStorage]
        assert probabilities(report_of(orthanc, hand.StudyInstanceUID)) == []

    def test_film_by_stow_is_read_and_nothing_is_left_of_it(
        self, running: Node, orthanc: Archive
    ) -> None:
        one = film(101)
        answer = DICOMwebClient(running.url).store_instances([one])
        (stored,) = answer.ReferencedSOPSequence
        assert stored.ReferencedSOPInstanceUID == one.SOPInstanceUID
        until(lambda: orthanc.classes(one.StudyInstanceUID) == RESULTS, running)
        until(lambda: not list(running.spool.glob("*/*.dcm")), running)
        until(lambda: not list(running.spool.glob("outbox/*")), running)

    def test_state_is_told(self, running: Node) -> None:
        assert send(running.port, film(102)) == [0]
        until(lambda: running.metric("nanocxr_node_films", state="done") > 0, running)
        assert running.metric("nanocxr_node_received_total", outcome="new") > 0
        assert running.metric("nanocxr_node_free_bytes") > 0
        done = running.command("status")
        assert done.exit_code == 0, done.output
        assert "film             done" in done.output

    def test_second_node_does_not_start_in_the_same_spool(self, running: Node) -> None:
        second = Node(running.folder, running.service, running.destination, port=free_port())
        second.write()
        done = subprocess.run(
            [*CXR_NODE, str(second.config)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        running.write()
        assert done.returncode == 1
        assert "another node works in" in done.stderr.splitlines()[-1]


class TestKilled:
    """kill -9 of the node or its worker, while films come and results go."""

    FILMS, KILLS = 40, 6

    def test_none_is_lost_and_none_is_there_twice(self, service: Server, tmp_path: Path) -> None:
        films = [film(200 + number) for number in range(self.FILMS)]
        choice = random.Random(1)
        orphans: list[psutil.Process] = []
        with (
            archive(tmp_path / "orthanc") as pacs,
            node(tmp_path / "node", service.url, to_archive(pacs)) as running,
            ThreadPoolExecutor(2) as senders,
        ):
            sent = [senders.submit(send_until_stored, running, one) for one in films]
            for kill in range(self.KILLS):
                enough = kill * len(RESULTS) * self.FILMS // self.KILLS
                until(partial(pacs.has, enough), running)
                if choice.random() < 0.5:
                    orphans += running.workers()
                    running.kill()
                    running.start()
                else:
                    kill_worker(running)
            for answer in sent:
                answer.result()
            everything = len(RESULTS) * self.FILMS
            until(partial(pacs.has, everything), running)
            until(lambda: running.metric("nanocxr_node_films", state="done") == len(films), running)
            for one in films:
                assert pacs.classes(one.StudyInstanceUID) == RESULTS
            assert pacs.count() == everything
            wait_until_gone(orphans)


class TestArchive:
    def test_results_wait_for_an_archive_that_is_down(
        self, service: Server, tmp_path: Path
    ) -> None:
        films = [film(300 + number) for number in range(4)]
        pacs = Archive(tmp_path / "orthanc")
        with node(tmp_path / "node", service.url, to_archive(pacs)) as running:
            assert send(running.port, *films) == [0] * len(films)
            until(lambda: running.metric("nanocxr_node_films", state="read") == len(films), running)
            assert "pacs waiting" in running.command("status").output
            assert running.stop() == 0
            running.start()
            pacs.start()
            try:
                until(lambda: pacs.count() == len(films) * len(RESULTS), running)
            finally:
                pacs.stop()

    def test_definite_refusal_is_a_dead_letter_until_somebody_asks(
        self, running: Node, orthanc: Archive, service: Server, tmp_path: Path
    ) -> None:
        """The node itself is an archive that refuses: it takes no result, its own least of all."""
        refusing = (
            f'[[destination]]\nname = "pacs"\nae_title = "NANOCXR"\n'
            f'address = "127.0.0.1"\nport = {running.port}'
        )
        one = film(310)
        with node(tmp_path / "node", service.url, refusing) as made:
            assert send(made.port, one) == [0]
            until(lambda: made.metric("nanocxr_node_films", state="dead") == 1, made)
            done = made.command("status")
            assert done.exit_code == 3
            assert "pacs dead 1" in done.output
            assert made.stop() == 0
            made.destination = to_archive(orthanc)
            made.write()
            assert made.command("retry").output == "1 tried again\n"
            made.start()
            until(lambda: orthanc.classes(one.StudyInstanceUID) == RESULTS, made)

    def test_films_are_fetched_from_one_that_sends_none_and_results_go_by_stow(
        self, service: Server, tmp_path: Path
    ) -> None:
        films = [film(320 + number) for number in range(3)]
        with archive(tmp_path / "orthanc") as pacs:
            DICOMwebClient(pacs.url).store_instances(films)
            web = f'[[destination]]\nname = "web"\nurl = "{pacs.url}"'
            poll = f'[poll]\nurl = "{pacs.url}"\nseconds = 1\nquery = {{Modality = "CR"}}'
            with node(tmp_path / "node", service.url, web, poll) as running:
                everything = len(films) * (1 + len(RESULTS))
                until(lambda: pacs.count() == everything, running)
                until(lambda: running.metric("nanocxr_node_films", state="done") == 3, running)
                assert running.metric("nanocxr_node_received_total", outcome="new") == 3


class TestPatient:
    def test_nobodys_name_leaves_the_spool_but_for_the_archive(
        self, service: Server, orthanc: Archive, tmp_path: Path
    ) -> None:
        patient = dcmread(BytesIO(marked()))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(patient, keyword, f"2.25.18530217.{film(400).SOPInstanceUID[5:25]}")
        names: set[str] = set()
        with (
            recording(service.url) as (url, bodies),
            node(tmp_path / "node", url, to_archive(orthanc)) as running,
        ):
            assert send(running.port, patient) == [0]

            def there() -> bool:
                names.update(str(path) for path in running.spool.rglob("*"))
                return orthanc.classes(patient.StudyInstanceUID) == RESULTS

            until(there, running)
            told = [
                running.log,
                httpx.get(f"{running.url}/metrics").text,
                httpx.get(f"{running.url}/readyz").text,
                running.command("status").output,
                *names,
            ]
        assert NAME in str(report_of(orthanc, patient.StudyInstanceUID).PatientName)
        assert len(bodies) == 3
        for text in [*(one.encode() for one in told), *bodies]:
            for needle in NEEDLES:
                assert needle not in text.lower()


@contextmanager
def recording(service: str) -> Iterator[tuple[str, list[bytes]]]:
    """Pass requests on to the service and keep their bodies and heads."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            bodies.append(self.path.encode() + bytes(self.headers) + body)
            kind = {"content-type": self.headers["content-type"]}
            answer = httpx.post(service + self.path, content=body, headers=kind, timeout=60)
            self.send_response(answer.status_code)
            for name in ("content-type", "x-probability"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()
