"""The whole way: a sender, the node, the service, the archive."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from clients import ChestXrayClient
from tests.clients.dicom.node.peers import Archive, Node, node, to_archive, until
from tests.clients.dicom.tools import tool
from tests.e2e.conftest import Server, sample

pytestmark = pytest.mark.e2e

RG1 = "RG1_J2KI.dcm"


@pytest.fixture(scope="module")
def running(
    service: Server, orthanc: Archive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    with node(tmp_path_factory.mktemp("node"), service.url, to_archive(orthanc)) as made:
        yield made


class TestFilm:
    def test_report_comes_into_its_study_with_the_services_probability(
        self, running: Node, orthanc: Archive, service: Server, tmp_path: Path
    ) -> None:
        path = tmp_path / RG1
        path.write_bytes(sample(RG1))
        study = str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)
        done = subprocess.run(
            [
                tool("storescu"),
                "-xw",
                "-R",
                "-aec",
                "NANOCXR",
                "127.0.0.1",
                str(running.port),
                path,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        until(lambda: Comprehensive3DSRStorage in orthanc.classes(study), running)
        assert SecondaryCaptureImageStorage in orthanc.classes(study)
        with ChestXrayClient(service.url) as client:
            probability = client.predict(path).probability
        report = next(
            orthanc.fetch(one)
            for one in orthanc.instances(study)
            if one["00080016"]["Value"] == [Comprehensive3DSRStorage]
        )
        numbers = [float(item.MeasuredValueSequence[0].NumericValue) for item in measured(report)]
        assert numbers == [pytest.approx(100 * probability, abs=0.01)]
