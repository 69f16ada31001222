"""Connections to DICOMweb services, and results that go out by STOW-RS."""

from collections.abc import Sequence
from pathlib import Path

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from clients.dicom.node.config import Tls, secret
from clients.dicom.node.deliver import PASSING, STORED, Later, NotTaken

SECONDS = (10.0, 60.0)  # to connect, and for each answer
WHOLE = 1 << 31  # bytes: a body is sent with its length, which every server takes
DEFINITE = frozenset((400, 406, 409, 413, 415, 422))


def connect(url: str, key_file: Path | None, tls: Tls | None) -> DICOMwebClient:
    """Open a session.

    Raises
    ------
    ConfigError
        If the key file cannot be read.
    """
    session = requests.Session()
    session.trust_env = False  # films go where the file says, through no proxy of the environment
    if tls is not None and tls.ca is not None:
        session.verify = str(tls.ca)
    if tls is not None and tls.certificate is not None:
        session.cert = (str(tls.certificate), str(tls.key))
    key = secret(key_file)
    client = DICOMwebClient(
        url,
        session=session,
        headers={"Authorization": f"Bearer {key}"} if key else None,
        chunk_size=WHOLE,
        timeout=SECONDS,
    )
    client.set_http_retry_params(retry=False)
    return client


def store(client: DICOMwebClient, files: Sequence[Path]) -> None:
    """Send all results of one film by STOW-RS; errors as of ``deliver.store``."""
    try:
        answer = client.store_instances([dcmread(path) for path in files])
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        failed = _failed(error.response)
        if status in DEFINITE and not failed & PASSING:
            raise NotTaken(f"http_{status}") from error
        raise Later(f"http_{status}") from error
    except (requests.RequestException, OSError) as error:
        raise Later("unreachable") from error
    _check({item.get("FailureReason", 0x0110) for item in answer.get("FailedSOPSequence") or ()})


def _failed(response: requests.Response | None) -> set[int]:
    """Reasons in the body of an answer; none where it has no such body."""
    try:
        answer = Dataset.from_json({} if response is None else response.json())
        return {int(item.FailureReason) for item in answer.FailedSOPSequence}
    except (ValueError, TypeError, AttributeError, KeyError):
        return set()


def _check(reasons: set[int]) -> None:
    for reason in sorted(reasons - STORED):
        raise (Later if reason in PASSING else NotTaken)(f"status_{reason:04x}")
