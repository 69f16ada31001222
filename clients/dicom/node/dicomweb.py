"""Connections to DICOMweb services."""

from pathlib import Path

import requests
from dicomweb_client import DICOMwebClient

from clients.dicom.node.config import Tls, secret

SECONDS = (10.0, 60.0)  # to connect, and for each answer
WHOLE = 1 << 31  # bytes: a body is sent with its length, which every server takes


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
