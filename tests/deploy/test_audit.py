"""The audit says what was asked and what is known; where nobody could be asked, it says so."""

import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from deploy.adapting import Adaptation
from deploy.advisories import Snapshot
from deploy.audit import AuditNotClean, audit, from_pypi, no_audit, python_problems
from deploy.engine import Engine
from deploy.inventory import Inventory
from tests.deploy.test_advisories import entry, export

NOW = datetime.now(UTC)


@pytest.fixture
def python_only(inventory: Inventory) -> Inventory:
    """An image without Debian's packages, for whose updates an engine would be needed."""
    (inventory.root / "var/lib/dpkg/status").unlink()
    return inventory


def audited(
    inventory: Inventory, folder: Path, *entries: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Report of an audit against these advisories, and why it is not clean."""
    snapshot = Snapshot.open(export(folder / "all.zip", *entries))
    why = ""
    try:
        audit(Engine("docker", Adaptation()), "x:1", inventory, folder / "audit.json", snapshot)
    except AuditNotClean as problems:
        why = str(problems)
    return json.loads((folder / "audit.json").read_text()), why


def test_clean_names_the_advisories_that_were_asked(python_only: Inventory, tmp_path: Path) -> None:
    report, why = audited(python_only, tmp_path, entry("other", modified=NOW))
    assert why == ""
    assert report["problems"] == []
    asked = report["python"]
    assert asked["source"] == "OSV export all.zip"
    assert asked["advisories"] == 1
    assert asked["newest"] == NOW.isoformat()
    assert len(asked["sha256"]) == 64
    found = {each["name"]: each["version"] for each in asked["distributions"]}
    assert found == {name: version(name) for name in ("starlette", "anyio")}


def test_what_is_known_is_a_problem(python_only: Inventory, tmp_path: Path) -> None:
    report, why = audited(python_only, tmp_path, entry("anyio", modified=NOW))
    assert report["problems"] == [f"anyio {version('anyio')}: PYSEC-2026-1, fixed in []"]
    assert report["problems"][0] in why


def test_old_advisories_are_a_problem(python_only: Inventory, tmp_path: Path) -> None:
    old = NOW - timedelta(days=31)
    report, _ = audited(python_only, tmp_path, entry("other", modified=old))
    assert report["problems"] == ["all.zip knows no advisory of the last 31 days"]


def test_a_service_that_is_out_of_reach_is_a_problem(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing listens
    problems: list[str] = []
    assert from_pypi(inventory, problems) == {"source": None, "distributions": []}
    assert "could not ask PyPI" in problems[0]


def test_nobody_asked_is_said_in_place_of_an_older_report(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text('{"problems": []}')
    no_audit("x:1", path)
    assert json.loads(path.read_text())["problems"] == ["nothing was asked: --no-audit"]


def test_what_could_not_be_asked_is_a_problem() -> None:
    clean = {"name": "a", "version": "1", "vulns": []}
    known = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    skipped = {"name": "c", "skip_reason": "not found"}
    assert python_problems([clean]) == []
    assert python_problems([clean, known]) == ["b 2: PYSEC-1, fixed in ['3']"]
    assert python_problems([clean, skipped]) == ["PyPI gave no advisories for 1 of 2: ['c']"]
