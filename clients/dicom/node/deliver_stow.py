"""Results go out by STOW-RS, all of one film in one request.

What an archive does not say that it has stored is sent again: results must not get lost.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import requests
from pydicom import dcmread
from pydicom.dataset import Dataset

from clients.dicom.node.associate import Later, NotTaken
from clients.dicom.node.config import ConfigError, Destination
from clients.dicom.node.deliver import PASSING, STORED
from clients.dicom.node.dicomweb import MEDIA_TYPE, connect

DEFINITE = frozenset((400, 406, 409, 413, 415, 422))  # the same request will be refused again
SOME_NOT = 202  # PS3.18 10.5.3: failures or warnings, which the body lists
UNSAID = 0x0110  # a failure without its reason, which may pass


def store(archive: Destination, files: Sequence[Path]) -> None:
    """Send all results of one film by STOW-RS; errors as of ``deliver.store``.

    Parameters
    ----------
    archive
        One with a ``url``.
    """
    try:
        answer, told = _post(archive, [dcmread(path) for path in files])
    except ConfigError as error:  # its key is just being replaced
        raise Later("key_unreadable") from error
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        failed = _failed(error.response)
        if len(failed) == len(files) and STORED.issuperset(failed):
            return  # 409: nothing was stored, since all was there
        if status in DEFINITE and PASSING.isdisjoint(failed):
            raise NotTaken(f"http_{status}") from error
        raise Later(f"http_{status}") from error
    except requests.JSONDecodeError as error:
        raise Later("foreign_answer") from error
    except (requests.RequestException, OSError) as error:
        raise Later("unreachable") from error
    except (ParseError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise Later("foreign_answer") from error
    if answer.headers["Content-Type"] == "text/html":  # where somebody has to log in, with 200
        raise Later("foreign_answer")
    _check(answer.status_code, told, len(files))


def _post(archive: Destination, results: Sequence[Dataset]) -> tuple[requests.Response, Dataset]:
    """Send them; the answer, and what its body tells: nothing where that is none of DICOM."""
    answers: list[requests.Response] = []

    def hear(answer: requests.Response, **_: Any) -> None:
        # The client knows two types without parameters, and leaves a body of another one unread.
        media_type = answer.headers.get("Content-Type", MEDIA_TYPE).partition(";")[0]
        answer.headers["Content-Type"] = media_type.strip().lower()
        answers.append(answer)

    client = connect(str(archive.url), archive.key_file, archive.tls, hear)
    told = client.store_instances(results)
    return answers[-1], told


def _failed(response: requests.Response | None) -> list[int]:
    """Reasons in the body of an answer, one an object; none where it has no such body."""
    try:
        answer = Dataset.from_json({} if response is None else response.json())
        return [int(item.FailureReason) for item in answer.FailedSOPSequence]
    except (ValueError, TypeError, AttributeError, KeyError):
        return []


def _check(status: int, told: Dataset, sent: int) -> None:
    """Raise where not all are stored; one that may still be taken has all sent again."""
    failed = [
        item.get("FailureReason", UNSAID)
        for sequence in ("FailedSOPSequence", "OtherFailuresSequence")
        for item in told.get(sequence) or ()
    ]
    refused = sorted(set(failed) - STORED)
    passing = [reason for reason in refused if reason in PASSING]
    for reason in passing or refused:
        raise (Later if passing else NotTaken)(f"status_{reason:04x}")
    stored = len(told.get("ReferencedSOPSequence") or ())
    if status == SOME_NOT and len(failed) + stored < sent:
        raise Later(f"http_{status}")
