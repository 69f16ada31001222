"""What an operator can set of a node, read once at start from a TOML file.

Secrets are never in it: keys are named by their files. A key that nothing reads ends the command
with one sentence, since a misspelt allow-list would allow everybody.
"""

import ipaddress
import json
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from clients.dicom.marks import Kind
from service.settings import SettingError


def _of_form(pattern: str, wanted: str) -> AfterValidator:
    """Let text through that matches as a whole; else ``wanted`` says what is allowed."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(wanted)
        return text

    return AfterValidator(check)


def _network(given: object) -> object:
    """Read a network, with a sentence for what is none."""
    if isinstance(given, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return given
    try:
        found = ipaddress.ip_interface(given if isinstance(given, str) else "")
    except ValueError:
        raise ValueError('must be a network, as in "10.1.2.0/24"') from None
    if found.ip != found.network.network_address:
        raise ValueError(f'must begin with the first address of the network: "{found.network}"')
    return found.network


# PS3.5 6.2: an AE title has 16 characters, no backslash, no control characters.
Title = Annotated[
    str,
    _of_form(
        r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?",
        "must be 1 to 16 characters of ASCII, without a backslash or a space at an end",
    ),
]
Name = Annotated[
    str, _of_form(r"[a-z0-9_-]{1,32}", "must be 1 to 32 small letters, digits, _ and -")
]
Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Address = Annotated[str, Field(min_length=1)]
Url = Annotated[
    str,
    _of_form(
        r"https?://[^\s/]+(/\S*)?",
        'must begin with http:// or https://, as in "http://127.0.0.1:3000"',
    ),
]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, PlainValidator(_network)]

RESERVED = ("film", "reading", "commitment")  # what status counts beside destinations

UNKNOWN = "extra_forbidden"  # as pydantic calls it
LIST = 'must be a list in brackets, as in ["DX", "CR"]'
SAID = {  # for its other names of mistakes; what is not here, such as bounds, it says well
    "tuple_type": LIST,
    "frozen_set_type": LIST,
    "string_type": "must be text in quotes",
    "path_type": "must be text in quotes",
    "int_type": "must be a whole number without quotes",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number without quotes",
    "bool_type": "must be true or false, without quotes",
    "model_type": "must be a table",
    "dict_type": 'must be a table, as in {Modality = "DX"}',
    "too_short": "must have at least 1 entry",
    "string_too_short": "must not be empty",
}


def is_loopback(address: str) -> bool:
    """Whether an address is reached from its own computer alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def is_clear(url: str | None) -> bool:
    """Whether an address is one without TLS."""
    return url is not None and url.startswith("http:")


class ConfigError(SettingError):
    """One sentence: the file, the key, what is allowed."""


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Tls(Table):
    """TLS of one side of a connection.

    Attributes
    ----------
    certificate
        Own certificate with its chain, PEM.
    key
        The certificate's private key, PEM; both are given, or neither.
    ca
        Certificates that the peer's must be signed by, PEM. Where the node listens, a sender then
        needs a certificate; where it sends, the system's authorities are asked if this is left out.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    @model_validator(mode="after")
    def _belong_together(self) -> "Tls":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give both or neither")
        return self


class Receive(Table):
    """Where films come in by DICOM, and from whom.

    Attributes
    ----------
    ae_title
        Own AE title; associations that call another one are rejected.
    address, port
        Where to listen.
    calling
        AE titles that may send; empty for all. An AE title is a name, no proof.
    networks
        Addresses that may connect, e.g. "10.1.2.0/24"; empty for all.
    for_processing
        Whether raw detector images (DX for processing) are taken too.
    tls
        TLS for those who send; without it films travel in clear.
    """

    ae_title: Title = "NANOCXR"
    address: Address = "127.0.0.1"
    port: Port = 11_112
    calling: tuple[Title, ...] = ()
    networks: tuple[Network, ...] = ()
    for_processing: bool = False
    tls: Tls | None = None

    @model_validator(mode="after")
    def _not_open_to_all(self) -> "Receive":
        if self.tls is not None and self.tls.certificate is None:
            raise ValueError("tls needs a certificate and a key where the node listens")
        proof = self.networks or (self.tls and self.tls.ca)
        if not is_loopback(self.address) and not proof:
            raise ValueError(
                "an address beyond loopback needs networks, or tls with a ca, to say who may send"
            )
        return self


class Service(Table):
    """The service that reads.

    Attributes
    ----------
    url
        Its address.
    key_file
        File that holds its API key alone.
    timeout
        Seconds to wait for one answer.
    """

    url: Url = "http://127.0.0.1:3000"
    key_file: Path | None = None
    timeout: Seconds = 60.0


class Objects(Table):
    """What is made of a reading.

    Attributes
    ----------
    kinds
        Any of sr, sc, gsps, seg.
    refused
        Whether a film that the service refuses gets a report (Undetermined, and why).
    """

    kinds: Annotated[frozenset[Kind], Field(min_length=1)] = frozenset[Kind](("sr", "sc", "gsps"))
    refused: bool = True


class When(Table):
    """Which films a destination gets: those that match every list given here.

    Patterns have ``*`` and ``?``, and nothing else that is special; capitals and small letters are
    the same.

    Attributes
    ----------
    calling
        AE titles of senders; films of STOW-RS have STOW-RS, polled ones QIDO-RS.
    modality
        Modality (0008,0060).
    body_part
        Body Part Examined (0018,0015).
    description
        Series Description (0008,103E) or Study Description (0008,1030).
    """

    calling: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    description: tuple[str, ...] = ()


class Destination(Table):
    """An archive that gets results, by DICOM (ae_title, address, port) or STOW-RS (url).

    Attributes
    ----------
    name
        What status, logs and metrics call it; not film, reading or commitment, which they use.
    ae_title, address, port
        Of an archive that takes C-STORE.
    url
        Of a DICOMweb service.
    key_file
        File that holds the bearer token of the DICOMweb service alone.
    tls
        TLS to a DICOM archive; for a DICOMweb service its ``ca`` and own certificate.
    when
        Which films; all without it.
    """

    name: Name
    ae_title: Title | None = None
    address: Address | None = None
    port: Port | None = None
    url: Url | None = None
    key_file: Path | None = None
    tls: Tls | None = None
    when: When = When()

    @property
    def archive(self) -> tuple[str, str, int] | None:
        """AE title, address and port; None where there is a url."""
        if self.ae_title is None or self.address is None or self.port is None:
            return None
        return self.ae_title, self.address, self.port

    @model_validator(mode="after")
    def _other_name(self) -> "Destination":
        if self.name in RESERVED:
            raise ValueError(f"{self.name} means something else in status and metrics: rename it")
        return self

    @model_validator(mode="after")
    def _one_way(self) -> "Destination":
        given = [one for one in (self.ae_title, self.address, self.port) if one is not None]
        if bool(given) == bool(self.url) or (given and self.archive is None):
            raise ValueError("give either ae_title, address and port, or url")
        if self.url is None and self.key_file is not None:
            raise ValueError("key_file is for a url")
        if self.tls is not None and is_clear(self.url):
            raise ValueError("tls is for https: with http the results travel in clear")
        return self


class Commitment(Table):
    """A sender that may ask whether its films are safe (storage commitment).

    Attributes
    ----------
    ae_title
        What it calls by.
    address, port
        Where it wants to be told, by N-EVENT-REPORT.
    tls
        TLS to it.
    """

    ae_title: Title
    address: Address
    port: Port
    tls: Tls | None = None


class Poll(Table):
    """A DICOMweb archive that is asked for new films (QIDO-RS), which are fetched (WADO-RS).

    Attributes
    ----------
    url
        Of the DICOMweb service.
    key_file
        File that holds its bearer token alone.
    ca
        Certificates that its own must be signed by, PEM.
    query
        Attributes that must match, e.g. ``{Modality = "DX", BodyPartExamined = "CHEST"}``; dates
        follow from ``days``.
    days
        Days back from today that studies are looked for in.
    seconds
        From one question to the next.
    """

    url: Url
    key_file: Path | None = None
    ca: Path | None = None
    query: dict[str, str]
    days: Annotated[int, Field(ge=0, le=365)] = 1
    seconds: Seconds = 60.0

    @model_validator(mode="after")
    def _no_key_of_no_use(self) -> "Poll":
        if self.query.keys() & {"StudyDate", "00080020"}:
            raise ValueError(
                "query has no StudyDate: days says how far back studies are looked for"
            )
        if self.ca is not None and is_clear(self.url):
            raise ValueError("ca is for https: with http nobody shows a certificate")
        return self


class Http(Table):
    """Health, metrics and STOW-RS.

    Attributes
    ----------
    address, port
        Where to listen.
    stow
        Whether ``POST /studies`` takes films.
    key_file
        File that holds the bearer token that /metrics and /studies ask for.
    """

    address: Address = "127.0.0.1"
    port: Port = 11_180
    stow: bool = False
    key_file: Path | None = None

    @model_validator(mode="after")
    def _not_open_to_all(self) -> "Http":
        if not is_loopback(self.address) and self.key_file is None:
            raise ValueError("an address beyond loopback needs a key_file")
        return self


class Retention(Table):
    """How long what is done is kept.

    Attributes
    ----------
    film_hours
        Hours that a film and its results stay in the spool once every destination has them.
    row_days
        Days that UID and digest stay known, so that a film that is sent again is not read again.
    """

    film_hours: Annotated[float, Field(ge=0, le=8760)] = 0.0
    row_days: Annotated[float, Field(ge=1, le=3660)] = 30.0


class Limits(Table):
    """Bounds on what senders can make the node hold, and on its patience.

    Attributes
    ----------
    film_mib
        MiB of one film, as it is sent.
    associations
        Associations at once; twice as many connections are accepted.
    free_mib
        MiB that stay free on the spool's disk: below that films are answered "out of resources".
    silent_seconds
        How long a sender may be silent within a message, or between two.
    readers
        Films that are at the service at once.
    wait_seconds
        The longest pause between two attempts; the first is 1 s, and each is twice the last.
    """

    film_mib: Annotated[int, Field(ge=1, le=4095)] = 64
    associations: Annotated[int, Field(ge=1, le=1000)] = 10
    free_mib: Annotated[int, Field(ge=0)] = 256
    silent_seconds: Seconds = 30.0
    readers: Annotated[int, Field(ge=1, le=64)] = 2
    wait_seconds: Annotated[float, Field(ge=1, le=86_400)] = 300.0

    @property
    def film_bytes(self) -> int:
        """Bytes of one film."""
        return self.film_mib << 20


class Config(Table):
    """All of it: the tables of the file.

    Attributes
    ----------
    spool
        Folder of its own, mode 0700, for films until they are delivered.
    """

    spool: Path
    receive: Receive = Receive()
    service: Service = Service()
    objects: Objects = Objects()
    destination: Annotated[tuple[Destination, ...], Field(min_length=1)]
    commitment: tuple[Commitment, ...] = ()
    poll: Poll | None = None
    http: Http = Http()
    retention: Retention = Retention()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        names = [one.name for one in self.destination]
        if len(set(names)) < len(names):
            raise ValueError("two destinations have the same name")
        titles = [one.ae_title for one in self.commitment]
        if len(set(titles)) < len(titles):
            raise ValueError("two senders with commitment have the same ae_title")
        if titles and not self.retention.film_hours:
            raise ValueError(
                "commitment needs retention.film_hours, or films are gone before senders ask"
            )
        if self.poll is not None and self.retention.row_days < self.poll.days + 2:
            raise ValueError(
                "retention.row_days must be at least poll.days + 2, or films are fetched twice"
            )
        return self


def load(path: Path) -> Config:
    """Read the file.

    Raises
    ------
    ConfigError
        If it cannot be read, or a key is unknown, missing or out of bounds.
    """
    try:
        tables = tomllib.loads(path.read_bytes().decode())
        # As JSON: so a list may become a tuple, and text a path, but never text a number.
        return Config.model_validate_json(json.dumps(tables, default=str), strict=True)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_sentence(error)}") from None


def secret(path: Path | None) -> str:
    """Return the key that a file holds, or the empty string without a file.

    Raises
    ------
    ConfigError
        If the file cannot be read or is empty.
    """
    if path is None:
        return ""
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {path} cannot be read: {type(error).__name__}") from error
    if not key:
        raise ConfigError(f"the key file {path} is empty")
    return key


def _sentence(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)
    first = min(found, key=lambda one: one["type"] != UNKNOWN)  # it explains what is missing
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == UNKNOWN:
        *tables, name = first["loc"]
        near = get_close_matches(str(name), _keys(tables), n=1)
        return f"nothing reads the key {place}" + (f"; did you mean {near[0]}?" if near else ".")
    if first["type"] == "missing":
        return f"the key {place} is missing."
    if place in ("destination", "commitment") and first["type"] == "tuple_type":
        return f"{place} can be there several times: write [[{place}]] in two brackets."
    text = SAID.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    text = text.replace("Input should be", "must be")
    return f"{place}: {text}." if place else f"{text}."


def _keys(tables: list[int | str]) -> list[str]:
    """Names of the keys of the table at a path; its class is called as it is."""
    schema = Config.model_json_schema()
    names = [part.capitalize() for part in tables if isinstance(part, str)]
    return list((schema["$defs"][names[-1]] if names else schema)["properties"])
