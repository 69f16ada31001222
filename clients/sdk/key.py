"""The API key that every request carries, and no message quotes."""

import os

VARIABLE = "CXR_API_KEY"


class MalformedKey(ValueError):
    """What was given as an API key has a character that no key has."""


def key_of(given: str | None) -> str:
    """Return the key that was given, else that of the environment; empty where there is none.

    Space around it, such as the end of the line in the file that it comes from, is left out.

    Raises
    ------
    MalformedKey
        If a character is not printable ASCII: an HTTP header cannot hold it.
    """
    key = (os.environ.get(VARIABLE, "") if given is None else given).strip()
    for place, character in enumerate(key, 1):
        if not (character.isascii() and character.isprintable()):
            source = VARIABLE if given is None else "api_key"
            raise MalformedKey(
                f"{source} is no API key: its character {place} of {len(key)} is not printable "
                "ASCII. Copy the key again."
            )
    return key
