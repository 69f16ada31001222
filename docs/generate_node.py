"""Write the keys in docs/node.md from the configuration: ``python docs/generate_node.py``."""

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

from pydantic.fields import FieldInfo

from clients.dicom.node import config
from clients.dicom.node.config import Config, Destination, Poll, Table, Tls, When

TARGET = Path(__file__).with_name("node.md")
START, END = "<!-- keys: python docs/generate_node.py -->\n", "<!-- end of keys -->\n"
ATTRIBUTE = re.compile(r"^(\w+(?:, \w+)*)\n((?: {4}.*\n?)+)", re.MULTILINE)
TABLES: dict[str, type[Table]] = {
    "": Config,
    "receive": config.Receive,
    "service": config.Service,
    "objects": config.Objects,
    "[destination]": Destination,
    "destination.when": When,
    "[commitment]": config.Commitment,
    "poll": Poll,
    "http": config.Http,
    "retention": config.Retention,
    "limits": config.Limits,
    "receive.tls, destination.tls, commitment.tls": Tls,
}


def meanings(kind: type) -> dict[str, str]:
    """What the docstring of a table says of its keys."""
    text = cleandoc(kind.__doc__ or "").partition("Attributes\n----------\n")[2]
    return {
        name: " ".join(found[2].split()).replace("``", "`")
        for found in ATTRIBUTE.finditer(text + "\n")
        for name in found[1].split(", ")
    }


def default(key: FieldInfo) -> str:
    """A default as TOML writes it."""
    value = key.default
    if key.is_required():
        return "required"
    if value is None or value == ():
        return "none"
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def rows(kind: type[Table]) -> Iterator[str]:
    """Rows of one table; a key that is a table itself has its own."""
    said = meanings(kind)
    for name, key in kind.model_fields.items():
        if not isinstance(key.default, Table) and name in said:
            yield f"| `{name}` | {default(key)} | {said[name]} |"


def render() -> str:
    """Build the part between the marks."""
    parts = []
    for name, kind in TABLES.items():
        title = ", ".join(f"`[{one}]`" for one in name.split(", ")) if name else "Before any table"
        head = f"{title}\n\n| Key | Default | Meaning |\n|---|---|---|"
        parts.append("\n".join([head, *rows(kind)]) + "\n")
    return START + "\n" + "\n".join(parts) + "\n" + END


def written(text: str) -> str:
    """The text with the part between the marks as it has to be."""
    before, rest = text.split(START)
    return before + render() + rest.split(END)[1]


if __name__ == "__main__":
    TARGET.write_text(written(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
