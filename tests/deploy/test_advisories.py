"""An OSV export says what is known against a version, and what it is itself."""

import hashlib
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.advisories import AdvisoriesUnreadable, Advisory, Snapshot

MODIFIED = datetime(2026, 11, 20, 12, tzinfo=UTC)


def ranged(*events: dict[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return {"ranges": [{"type": kind, "events": list(events)}]}


def entry(
    name: str = "sample",
    *,
    number: int = 1,
    ecosystem: str = "PyPI",
    modified: datetime = MODIFIED,
    **part: Any,
) -> dict[str, Any]:
    """An advisory as OSV writes it; every version is affected unless ``part`` says otherwise."""
    affected = {"package": {"ecosystem": ecosystem, "name": name}}
    return {
        "id": f"PYSEC-2026-{number}",
        "aliases": [f"CVE-2026-{number}"],
        "modified": modified.isoformat().replace("+00:00", "Z"),
        "affected": [affected | (part or ranged({"introduced": "0"}))],
    }


def export(path: Path, *entries: dict[str, Any]) -> Path:
    """A zip like the one that OSV publishes."""
    with zipfile.ZipFile(path, "w") as archive:
        for each in entries:
            archive.writestr(f"{each['id']}.json", json.dumps(each))
    return path


def affects(version: str, **part: Any) -> bool:
    return Advisory("PYSEC-2026-1", (), [part]).affects(version)


TWO_RANGES = ranged(
    {"introduced": "2.0.0"}, {"fixed": "2.0.6"}, {"introduced": "0"}, {"fixed": "1.26.17"}
)


class TestAffects:
    @pytest.mark.parametrize("version", ["0.9", "1.26.16", "2.0.0", "2.0.5"])
    def test_within_a_range_whatever_the_order_of_events(self, version: str) -> None:
        assert affects(version, **TWO_RANGES)

    @pytest.mark.parametrize("version", ["1.26.17", "1.27", "2.0.0rc1", "2.0.6"])
    def test_not_between_ranges(self, version: str) -> None:
        assert not affects(version, **TWO_RANGES)

    @pytest.mark.parametrize(
        ("version", "expected"), [("1.9", True), ("2.0", True), ("2.1", False)]
    )
    def test_the_last_affected_is_affected(self, version: str, *, expected: bool) -> None:
        part = ranged({"introduced": "1.0"}, {"last_affected": "2.0"})
        assert affects(version, **part) is expected

    def test_versions_are_compared_not_spelt(self) -> None:
        assert affects("1.10", **ranged({"introduced": "1.9"}))
        assert affects("1.0", versions=["1.0.0"])
        assert affects("1.0.dev1", **ranged({"introduced": "0"}))
        assert not affects("1.0.1", versions=["1.0", "0.9-old-snapshot"])

    def test_a_commit_is_no_version(self) -> None:
        assert not affects("2.0", **ranged({"introduced": "0"}, kind="GIT"))

    def test_what_cannot_be_compared_is_no_clean_bill(self) -> None:
        assert affects("2.0", **ranged({"introduced": "not a version"}))


class TestSnapshot:
    def test_knows_itself(self, tmp_path: Path) -> None:
        newest = MODIFIED + timedelta(days=3)
        entries = [entry(), entry("other", number=2, modified=newest)]
        path = export(tmp_path / "all.zip", *entries)
        found = Snapshot.open(path)
        assert (found.name, found.count, found.newest) == ("all.zip", 2, newest)
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_gives_what_is_known(self, tmp_path: Path) -> None:
        part = ranged({"introduced": "0"}, {"fixed": "1.1"})
        found = Snapshot.open(export(tmp_path / "all.zip", entry("Sample.Name", **part)))
        known = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"]}
        assert found.known("sample-name", "1.0") == [known]
        assert found.known("sample-name", "1.1") == found.known("another", "1.0") == []

    def test_leaves_out_what_was_withdrawn_and_other_ecosystems(self, tmp_path: Path) -> None:
        withdrawn = entry("sample", number=2) | {"withdrawn": "2026-11-21T00:00:00Z"}
        entries = [entry("other"), withdrawn, entry("sample", number=3, ecosystem="npm")]
        found = Snapshot.open(export(tmp_path / "all.zip", *entries))
        assert found.known("sample", "1.0") == []
        assert found.count == 1

    def test_refuses_what_holds_no_advisory(self, tmp_path: Path) -> None:
        (tmp_path / "text.zip").write_text("no zip")
        export(tmp_path / "empty.zip")
        export(tmp_path / "npm.zip", entry(ecosystem="npm"))
        for name in ("text.zip", "empty.zip", "npm.zip", "missing.zip"):
            with pytest.raises(AdvisoriesUnreadable, match=name):
                Snapshot.open(tmp_path / name)
