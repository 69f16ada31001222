"""The whole way: senders, the node, the service, the archive."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
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
from clients.dicom.objects.common import encoded
from tests.clients.dicom.node.peers import (
    CXR_NODE,
    Archive,
    Node,
    film,
    kill_worker,
    node,
    photograph,
    send,
    send_until_stored,
    to_archive,
    until,
)
from tests.clients.dicom.node.taker import Taker
from tests.clients.dicom.tools import tool
from tests.e2e.conftest import Server, sample
from tests.e2e.marked import NAME, NEEDLES, marked
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
POLLED = "POLLED"
REFUSED = 0xC000


@dataclass(frozen=True)
class Hospital:
    """A node between an archive and a service; what the service was sent of each film."""

    node: Node
    archive: Archive
    service: Server
    requests: list[bytes]

    def until_results(self, study: str, *others: str) -> None:
        """Wait until a study has what is made of one film, beside instances of other classes."""
        until(lambda: self.archive.classes(study) == sorted((*RESULTS, *others)), self.node)

    def check(self, one: Dataset) -> None:
        """Every result is encoded as it is said, refers to what is there, and says the same."""
        study = one.StudyInstanceUID
        made = [self.archive.fetch(found) for found in self.archive.instances(study)]
        for result in made:
            if result.SOPInstanceUID != one.SOPInstanceUID:
                assert result.file_meta.TransferSyntaxUID == SENT[result.SOPClassUID]
        (report,) = (one for one in made if one.SOPClassUID == Comprehensive3DSRStorage)
        there = {(study, str(one.SeriesInstanceUID), str(one.SOPInstanceUID)) for one in made}
        assert len(evidence(report)) > 1
        assert evidence(report) <= there | {uids(one)}
        with ChestXrayClient(self.service.url) as client:
            probability = client.predict(encoded(one)).probability
        assert probabilities(report) == [pytest.approx(100 * probability, abs=0.01)]


def uids(one: Dataset) -> tuple[str, str, str]:
    return str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID)


def evidence(report: Dataset) -> set[tuple[str, str, str]]:
    """Study, series and instance of everything that a report rests on."""
    return {
        (
            str(study.StudyInstanceUID),
            str(series.SeriesInstanceUID),
            instance.ReferencedSOPInstanceUID,
        )
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }


def probabilities(report: Dataset) -> list[float]:
    """Every probability in a report, in per cent."""
    found = []
    for item in report.get("ContentSequence", ()):
        names = [name.CodeValue for name in item.get("ConceptNameCodeSequence", ())]
        if names == [PROBABILITY]:
            found.append(float(item.MeasuredValueSequence[0].NumericValue))
        found += probabilities(item)
    return found


@pytest.fixture(scope="module")
def hospital(
    service: Server, orthanc: Archive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hospital]:
    """One node for all ways in and out; polled films go out by STOW-RS, all others by C-STORE."""
    pacs = f"{to_archive(orthanc)}\nwhen = {{calling = ['S*']}}"
    web = f'[[destination]]\nname = "web"\nurl = "{orthanc.url}"\nwhen = {{calling = ["QIDO*"]}}'
    poll = f'[poll]\nurl = "{orthanc.url}"\nseconds = 1\nquery = {{PatientID = "{POLLED}"}}'
    folder = tmp_path_factory.mktemp("node")
    with (
        recording(service.url) as (url, requests),
        node(folder, url, f"{pacs}\n{web}", poll) as made,
    ):
        yield Hospital(made, orthanc, service, requests)


class TestFilm:
    def test_results_come_into_its_study(self, hospital: Hospital, tmp_path: Path) -> None:
        """With the film in the archive, as a modality sends it to both."""
        path = tmp_path / RG1
        path.write_bytes(sample(RG1))
        film = dcmread(path)
        DICOMwebClient(hospital.archive.url).store_instances([film])
        options = ["-xw", "-R", "-aec", "NANOCXR"]
        done = subprocess.run(
            [tool("storescu"), *options, "127.0.0.1", str(hospital.node.port), path],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        hospital.until_results(film.StudyInstanceUID, film.SOPClassUID)
        hospital.check(film)

    def test_by_stow_too_and_nothing_is_left_of_it(self, hospital: Hospital) -> None:
        one = film(101)
        answer = DICOMwebClient(hospital.node.url).store_instances([one])
        (stored,) = answer.ReferencedSOPSequence
        assert stored.ReferencedSOPInstanceUID == one.SOPInstanceUID
        hospital.until_results(one.StudyInstanceUID)
        hospital.check(one)
        until(lambda: not list(hospital.node.spool.glob("*/*.dcm")), hospital.node)
        until(lambda: not list(hospital.node.spool.glob("outbox/*")), hospital.node)

    def test_fetched_from_an_archive_that_sends_none(self, hospital: Hospital) -> None:
        films = [film(120 + number, PatientID=POLLED) for number in range(2)]
        DICOMwebClient(hospital.archive.url).store_instances(films)
        for one in films:
            hospital.until_results(one.StudyInstanceUID, one.SOPClassUID)
            hospital.check(one)

    @pytest.mark.parametrize(
        "unfit",
        [
            film(130, BodyPartExamined="HAND"),
            film(131, ViewPosition="LL"),
            photograph(132),
        ],
        ids=["hand", "lateral", "photograph"],
    )
    def test_refused_one_gets_a_report_without_a_probability(
        self, hospital: Hospital, unfit: Dataset
    ) -> None:
        assert send(hospital.node.port, unfit) == [0]
        study = unfit.StudyInstanceUID
        until(lambda: bool(hospital.archive.classes(study)), hospital.node)
        assert hospital.archive.classes(study) == [Comprehensive3DSRStorage]
        (found,) = hospital.archive.instances(study)
        assert probabilities(hospital.archive.fetch(found)) == []

    def test_state_is_told(self, hospital: Hospital) -> None:
        node = hospital.node
        assert send(node.port, film(102)) == [0]
        until(lambda: node.metric("nanocxr_node_films", state="done") > 0, node)
        assert node.metric("nanocxr_node_received_total", outcome="new") > 0
        assert node.metric("nanocxr_node_free_bytes") > 0
        done = node.command("status")
        assert done.exit_code == 0, done.output
        assert "film             done" in done.output

    def test_nobodys_name_leaves_the_spool_but_for_the_archive(self, hospital: Hospital) -> None:
        node, patient = hospital.node, dcmread(BytesIO(marked()))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(patient, keyword, f"2.25.18530217.{film(400).SOPInstanceUID[5:25]}")
        study, names, before = patient.StudyInstanceUID, set[str](), len(hospital.requests)
        assert send(node.port, patient) == [0]

        def there() -> bool:
            names.update(str(path) for path in node.spool.rglob("*"))
            return hospital.archive.classes(study) == RESULTS

        until(there, node)
        told = [
            node.log,
            httpx.get(f"{node.url}/metrics", timeout=60).text,
            httpx.get(f"{node.url}/readyz", timeout=60).text,
            node.command("status").output,
            *names,
        ]
        for found in hospital.archive.instances(study):
            assert NAME in str(hospital.archive.fetch(found).PatientName)
        assert len(hospital.requests) > before
        for text in [*(one.encode() for one in told), *hospital.requests]:
            for needle in NEEDLES:
                assert needle not in text.lower()

    def test_second_node_does_not_start_in_the_same_spool(self, hospital: Hospital) -> None:
        done = subprocess.run(
            [*CXR_NODE, str(hospital.node.config)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "another node works in" in done.stderr.splitlines()[-1]


class TestKilled:
    """kill -9 of the node or its worker, while films come and results go."""

    FILMS, KILLS = 16, 4

    def test_none_is_lost_and_none_is_there_twice(
        self, service: Server, orthanc: Archive, tmp_path: Path
    ) -> None:
        films = [film(200 + number) for number in range(self.FILMS)]
        orphans: list[psutil.Process] = []
        before = orthanc.count()
        with (
            node(tmp_path / "node", service.url, to_archive(orthanc)) as running,
            ThreadPoolExecutor(2) as senders,
        ):
            sent = [senders.submit(send_until_stored, running, one) for one in films]
            for kill in range(self.KILLS):
                enough = before + kill * len(RESULTS) * self.FILMS // self.KILLS
                until(partial(orthanc.has, enough), running)
                if kill % 2:
                    orphans += running.workers()
                    running.kill()
                    running.start()
                else:
                    kill_worker(running)
            for answer in sent:
                answer.result()
            until(lambda: running.metric("nanocxr_node_films", state="done") == len(films), running)
            for one in films:
                assert orthanc.classes(one.StudyInstanceUID) == RESULTS
            wait_until_gone(orphans)


class TestArchive:
    def test_results_wait_for_one_that_is_down(self, service: Server, tmp_path: Path) -> None:
        films = [film(300 + number) for number in range(3)]
        pacs = Archive(tmp_path / "orthanc")
        with node(tmp_path / "node", service.url, to_archive(pacs)) as running:
            assert send(running.port, *films) == [0] * len(films)
            waiting = partial(running.metric, "nanocxr_node_deliveries", state="waiting")
            until(lambda: waiting(destination="pacs") == len(films), running)
            # Told of one by one only after a first attempt.
            until(lambda: "pacs waiting" in running.command("status").output, running)
            assert running.stop() == 0
            running.start()
            pacs.start()
            try:
                until(lambda: pacs.count() == len(films) * len(RESULTS), running)
            finally:
                pacs.stop()

    def test_definite_refusal_is_a_dead_letter_until_somebody_asks(
        self, service: Server, taker: Callable[..., Taker], tmp_path: Path
    ) -> None:
        pacs = taker(classes=tuple(SENT), statuses=[REFUSED] * len(RESULTS))
        there = f'ae_title = "PACS"\naddress = "127.0.0.1"\nport = {pacs.port}'
        refusing = f'[[destination]]\nname = "pacs"\n{there}'
        with node(tmp_path / "node", service.url, refusing) as made:
            assert send(made.port, film(310)) == [0]
            until(lambda: made.metric("nanocxr_node_films", state="dead") == 1, made)
            done = made.command("status")
            assert done.exit_code == 3
            assert "pacs dead 1 status_c000" in done.output
            assert made.command("retry").output == "1 tried again\n"
            until(lambda: made.metric("nanocxr_node_films", state="done") == 1, made)
        assert sorted(pacs.sop_classes()[-len(RESULTS) :]) == RESULTS


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
