"""Connections to DICOMweb services."""

from collections.abc import Callable
from pathlib import Path

import requests
from dicomweb_client import DICOMwebClient

from clients.dicom.node.config import Tls, secret

SECONDS = (10.0, 60.0)  # to connect, and for each answer
WHOLE = 1 << 31  # bytes: a body is sent with its length, which every server takes
MEDIA_TYPE = "application/dicom+json"  # what answers are asked for in, where nothing else is


def connect(
    url: str,
    key_file: Path | None,
    tls: Tls | None,
    hear: Callable[..., None] | None = None,
) -> DICOMwebClient:
    """Open a session.

    Parameters
    ----------
    hear
        Called with each answer before the client looks at it, as a response hook of requests.

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
    headers = {"Accept": MEDIA_TYPE}
    key = secret(key_file)
    if key:
        headers["Authorization"] = f"Bearer {key}"
    client = DICOMwebClient(
        url,
        session=session,
        headers=headers,
        callback=hear,
        chunk_size=WHOLE,
        timeout=SECONDS,
    )
    client.set_http_retry_params(retry=False)
    return client
