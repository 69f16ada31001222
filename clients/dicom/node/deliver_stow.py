"""Results go out by STOW-RS, all of one film in one request."""

from collections.abc import Sequence
from pathlib import Path

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from clients.dicom.node.associate import Later, NotTaken
from clients.dicom.node.deliver import PASSING, STORED

DEFINITE = frozenset((400, 406, 409, 413, 415, 422))  # the same request will be refused again


def store(client: DICOMwebClient, files: Sequence[Path]) -> None:
    """Send all results of one film by STOW-RS; errors as of ``deliver.store``."""
    try:
        answer = client.store_instances([dcmread(path) for path in files])
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        failed = _failed(error.response)
        if len(failed) == len(files) and STORED.issuperset(failed):
            return  # 409: nothing was stored, since all was there
        if status in DEFINITE and PASSING.isdisjoint(failed):
            raise NotTaken(f"http_{status}") from error
        raise Later(f"http_{status}") from error
    except (requests.RequestException, OSError) as error:
        raise Later("unreachable") from error
    _check({item.get("FailureReason", 0x0110) for item in answer.get("FailedSOPSequence") or ()})


def _failed(response: requests.Response | None) -> list[int]:
    """Reasons in the body of an answer, one an object; none where it has no such body."""
    try:
        answer = Dataset.from_json({} if response is None else response.json())
        return [int(item.FailureReason) for item in answer.FailedSOPSequence]
    except (ValueError, TypeError, AttributeError, KeyError):
        return []


def _check(reasons: set[int]) -> None:
    for reason in sorted(reasons - STORED):
        raise (Later if reason in PASSING else NotTaken)(f"status_{reason:04x}")
