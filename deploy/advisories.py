"""Advisories of an OSV export, for machines that reach no service with advisories.

The export of an ecosystem is a zip with a JSON file for each advisory. Format and evaluation:
https://ossf.github.io/osv-schema/
"""

import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from service.files import sha256

ECOSYSTEM = "PyPI"


class AdvisoriesUnreadable(Exception):
    """A file is not an OSV export with advisories of PyPI."""


@dataclass(frozen=True)
class Advisory:
    """What an advisory says of one distribution.

    Attributes
    ----------
    id, aliases
        Its names in the databases that know it.
    parts
        The entries under ``affected`` that are about the distribution.
    """

    id: str
    aliases: Sequence[str]
    parts: Sequence[Mapping[str, Any]]

    def affects(self, version: str) -> bool:
        """Whether it means this version.

        A bound that is no version cannot be compared; it counts as affected, for silence would
        pass for a clean bill.
        """
        try:
            parsed = Version(version)
            return any(_lists(part, parsed) for part in self.parts) or any(
                _within(events, parsed) for events in self._ranges()
            )
        except InvalidVersion:
            return True

    def fixes(self) -> list[str]:
        """Versions that mend it, in the order in which it names them."""
        events = [event for events in self._ranges() for event in events]
        return list(dict.fromkeys(event["fixed"] for event in events if "fixed" in event))

    def _ranges(self) -> list[list[Mapping[str, str]]]:
        ranges = [found for part in self.parts for found in part.get("ranges", ())]
        return [found["events"] for found in ranges if found["type"] != "GIT"]


@dataclass(frozen=True)
class Snapshot:
    """The advisories of one export.

    Attributes
    ----------
    name
        Name of the file.
    sha256
        Of the file.
    newest
        When an advisory in it was last changed.
    count
        Advisories of PyPI that are not withdrawn.
    advisories
        Those of each distribution, by its normalised name.
    """

    name: str
    sha256: str
    newest: datetime
    count: int
    advisories: Mapping[str, Sequence[Advisory]]

    @classmethod
    def open(cls, path: Path) -> "Snapshot":
        """Read a zip.

        Raises
        ------
        AdvisoriesUnreadable
            If it is no such zip or holds no advisory of PyPI.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                files = [name for name in archive.namelist() if name.endswith(".json")]
                entries = [json.loads(archive.read(name)) for name in files]
            newest = max(datetime.fromisoformat(entry["modified"]) for entry in entries)
            advisories = _by_name(entry for entry in entries if "withdrawn" not in entry)
            digest = sha256(path)
        except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
            raise AdvisoriesUnreadable(f"{path} is no OSV export: {error}") from error
        count = len({advisory.id for found in advisories.values() for advisory in found})
        if not count:
            raise AdvisoriesUnreadable(f"{path} holds no advisory of {ECOSYSTEM}")
        return cls(path.name, digest, newest.astimezone(UTC), count, advisories)

    def known(self, name: str, version: str) -> list[dict[str, Any]]:
        """What is known against a distribution, in the form that pip-audit gives it."""
        return [
            {"id": found.id, "aliases": found.aliases, "fix_versions": found.fixes()}
            for found in self.advisories.get(canonicalize_name(name), ())
            if found.affects(version)
        ]


def _by_name(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[Advisory]]:
    found: defaultdict[str, list[Advisory]] = defaultdict(list)
    for entry in entries:
        parts: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for part in entry.get("affected", ()):
            if part.get("package", {}).get("ecosystem") == ECOSYSTEM:
                parts[canonicalize_name(part["package"]["name"])].append(part)
        for name, own in parts.items():
            found[name].append(Advisory(entry["id"], entry.get("aliases", []), own))
    return dict(found)


def _lists(part: Mapping[str, Any], version: Version) -> bool:
    """Whether a version is among those that are listed, however they are spelt."""
    for listed in part.get("versions", ()):
        with suppress(InvalidVersion):  # releases of before PEP 440, which nobody can install
            if Version(listed) == version:
                return True
    return False


def _within(events: Iterable[Mapping[str, str]], version: Version) -> bool:
    """Evaluate a range as its specification does: its events in the order of their versions."""
    inside = False
    for kind, bound in sorted((_event(event) for event in events), key=lambda event: event[1]):
        if kind == "introduced" and version >= bound:
            inside = True
        elif (kind == "fixed" and version >= bound) or (
            kind == "last_affected" and version > bound
        ):
            inside = False
    return inside


def _event(event: Mapping[str, str]) -> tuple[str, Version]:
    ((kind, bound),) = event.items()
    return kind, Version("0.dev0" if bound == "0" else bound)  # 0 is before every version
