"""Write a multipart form: one answer with parts that a browser reads with `Response.formData()`.

JSON with base64 would be a third longer and would have to be decoded twice.
"""

from collections.abc import Mapping
from secrets import token_hex


def write_form(parts: Mapping[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    """Join parts to a body.

    Parameters
    ----------
    parts
        Field name to media type and content.

    Returns
    -------
    body : bytes
    media_type : str
        ``multipart/form-data`` with the boundary, 128 random bits that no content holds.

    References
    ----------
    RFC 7578. A part with a file name is a file to browsers, one without is text.
    """
    boundary = token_hex(16)
    pieces = []
    for name, (media_type, content) in parts.items():
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"Content-Type: {media_type}\r\n\r\n"
        )
        pieces += [head.encode("ascii"), content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode("ascii"))
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"
