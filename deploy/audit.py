"""What is known against the packages of an image: advisories of PyPI, updates of Debian.

A source that cannot be asked, or a package that it does not know, fails the audit: silence is not
a clean bill. The report names the source that was asked, and says so where none was.
"""

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from deploy.advisories import Snapshot
from deploy.engine import Engine, EngineFailed
from deploy.inventory import Inventory

# As root and on the network, for this throwaway container alone; the image itself is not changed.
UPDATES = """
apt-get update --quiet=2 --error-on=any >&2 || exit 2
apt-get --simulate upgrade | sed --quiet 's/^Inst //p'
"""
# A mirror of PyPI may have no advisories; then pip-audit calls everything clean, this one too.
KNOWN_BAD = "urllib3==1.24.1"
STALE = timedelta(days=30)  # advisories are published every day


class AuditNotClean(Exception):
    """Something is known against the image, or could not be asked."""


def audit(
    engine: Engine, tag: str, inventory: Inventory, path: Path, snapshot: Snapshot | None = None
) -> None:
    """Write the audit of an image to ``path``; with a snapshot, PyPI is not asked.

    Raises
    ------
    AuditNotClean
        If a vulnerability or an update is known, or if a source could not be asked. The report
        is written first.
    """
    problems: list[str] = []
    asked = (
        from_snapshot(inventory, snapshot, problems) if snapshot else from_pypi(inventory, problems)
    )
    report: dict[str, Any] = {"image": tag, "time": _now(), "python": asked}
    if inventory.debian:
        report["debian"] = debian(engine, tag, problems)
    _write(path, report | {"problems": problems})
    if problems:
        listed = "\n- ".join(problems)
        raise AuditNotClean(f"The image is built, but its audit is not clean:\n- {listed}")


def no_audit(tag: str, path: Path) -> None:
    """Write that nobody was asked, in the place of what an earlier build may have left."""
    _write(path, {"image": tag, "time": _now(), "problems": ["nothing was asked: --no-audit"]})


def from_snapshot(inventory: Inventory, snapshot: Snapshot, problems: list[str]) -> dict[str, Any]:
    """Compare every Python distribution with the advisories of an OSV export."""
    found = [
        {
            "name": each.name,
            "version": each.version,
            "vulns": snapshot.known(each.name, each.version),
        }
        for each in distributions(path=[str(inventory.site_packages)])
    ]
    problems += python_problems(found)
    age = datetime.now(UTC) - snapshot.newest
    if age > STALE:
        problems.append(f"{snapshot.name} knows no advisory of the last {age.days} days")
    source = {
        "source": f"OSV export {snapshot.name}",
        "sha256": snapshot.sha256,
        "newest": snapshot.newest.isoformat(),
        "advisories": snapshot.count,
    }
    return source | {"distributions": found}


def from_pypi(inventory: Inventory, problems: list[str]) -> dict[str, Any]:
    """Ask PyPI for the advisories of every Python distribution, through pip-audit."""
    nothing: dict[str, Any] = {"source": None, "distributions": []}
    try:
        if not any(entry.get("vulns") for entry in _known_bad()):
            problems.append(
                f"PyPI was not asked: what answers for it knows nothing against {KNOWN_BAD}, as"
                " a mirror without advisories; give an OSV export with --advisories"
            )
            return nothing
        found = _pip_audit("--path", str(inventory.site_packages))
    except ServiceUnreachable as failure:
        problems.append(f"pip-audit could not ask PyPI for advisories:\n{failure}")
        return nothing
    problems += python_problems(found)
    return {"source": "PyPI through pip-audit", "distributions": found}


class ServiceUnreachable(Exception):
    """pip-audit gave no answer; the end of its words."""


def _known_bad() -> list[dict[str, Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(KNOWN_BAD)
        requirements.flush()
        return _pip_audit("--requirement", requirements.name, "--no-deps", "--disable-pip")


def _pip_audit(*words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "pypi"]
    command += ["--format", "json", "--progress-spinner", "off", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout.startswith("{"):
        raise ServiceUnreachable(done.stderr[-2000:])
    return list(json.loads(done.stdout)["dependencies"])


def python_problems(found: list[dict[str, Any]]) -> list[str]:
    """What is known against distributions; pip-audit counts those it skipped as clean."""
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    known = [(entry, advisory) for entry in found for advisory in entry.get("vulns", ())]
    return [
        f"{entry['name']} {entry['version']}: {advisory['id']}, fixed in {advisory['fix_versions']}"
        for entry, advisory in known
    ] + [f"PyPI gave no advisories for {len(skipped)} of {len(found)}: {skipped}"] * bool(skipped)


def debian(engine: Engine, tag: str, problems: list[str]) -> dict[str, Any]:
    """Ask Debian's archive for updates of the base, security fixes among them."""
    try:
        updates = engine.output(tag, UPDATES, options=("--user", "0")).decode().splitlines()
    except EngineFailed:
        problems.append("apt could not ask Debian's archive for updates; its words are above")
        return {"source": None, "updates": []}
    problems += [f"Debian has an update: {line}" for line in updates]
    return {"source": "Debian's archive through apt-get", "updates": updates}


def _write(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=2))
    print(f"{path}: audit")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
